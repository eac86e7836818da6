"""The task `pretraining`: an encoder learns from images without labels, then a classifier from a few with labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, final

from src.parts.classes import labelled
from src.parts.classes import toggles as classes
from src.parts.classes.toggles import ACCURACY, OF_CLASSES, head_of, outputs_of
from src.parts.description import described
from src.parts.sizes import memory_refusals
from src.spec.metric import LOSS
from src.spec.rules import Change
from src.spec.task import Command, First, Served, Trial
from src.tasks.pretraining import sizes, toggles
from src.tasks.pretraining.first import first
from src.tasks.pretraining.settings import FITTED, Settings
from src.training.task import KerasTask, Trained

if TYPE_CHECKING:
    import keras
    import numpy as np

    from src.data.images import Stored
    from src.training.phase import Learner, Phase


@final
class Pretraining(KerasTask[Settings, "Stored"]):
    """Classification of images by an encoder that was trained without labels."""

    name = "pretraining"
    about = "a class for an image, from an encoder that was trained without labels"
    examples: ClassVar = {
        "-m task=pretraining pretext=none,autoencoder,denoising,inpainting labels=10": "10 labels of each class",
        "-m task=pretraining labels=10 tune=head,all": "freeze the encoder, or tune it",
    }
    settings = Settings
    metrics = (dataclasses.replace(ACCURACY, target=0.9), LOSS, *OF_CLASSES)
    inert = toggles.INERT
    commands: ClassVar = {
        "predict": Command(
            "src.parts.images.commands:predict",
            "classifies images",
            files=("images.json", "model.keras"),
            example="image.png",
        ),
        "reconstruct": Command(
            "src.tasks.pretraining.commands:reconstruct",
            "shows what the decoder of the pretext makes of an image",
            files=("images.json",),
            example="image.png",
            optional=("pretext.keras",),
        ),
    }
    figures: ClassVar = {
        "accuracy_by_labels": "src.parts.classes.figures:accuracy_by_labels",
        "codes": "src.tasks.pretraining.figures:codes",
        "codes_by_umap": "src.tasks.pretraining.figures:codes_by_umap",
        "reconstructions": "src.tasks.pretraining.figures:reconstructions",
    }

    def load(self, settings: Settings) -> Stored:
        """Returns the images, from the cache if possible."""
        from src.data import images

        return images.load(settings.data)

    def source(self, settings: Settings) -> Hashable:
        """Returns the collection."""
        return settings.data

    def resolve(self, settings: Settings, data: Stored) -> tuple[Settings, list[Change]]:
        """Returns the settings that fit these images and classes."""
        changes = [*head_of(settings, len(data.classes)), *toggles.changes(settings, data.counts["train"])]
        return settings.model_copy(update={change.key: change.used for change in changes}), changes

    def refusals(self, settings: Settings, data: Stored) -> list[str]:
        """Returns the combinations of settings and data that cannot run, each with its fix."""
        counts = dict(zip(data.classes, data.counts["train"], strict=True))
        reasons = toggles.refusals(settings, shape=data.shape, counts=counts)
        reasons += classes.refusals(settings, counts=lambda split: data.counts[split], classes=data.classes)
        return reasons or _memory(settings, data)

    def measures(self, settings: Settings, data: Stored) -> dict[str, float]:
        """Returns the number of labelled images, and of parameters of encoder and head, whether trained or frozen."""
        size = sizes.classifier(settings, shape=data.shape, outputs=outputs_of(settings, len(data.classes)))
        labels = labelled.count(settings, data.counts["train"])
        return {labelled.LABELS: labels, "model/network_parameters": float(size.trained)}

    def summary(self, settings: Sequence[Settings], data: Stored) -> list[str]:
        """Returns lines about the data for the plan, and warnings."""
        rows = ", ".join(f"{count:,} {name}" for name, count in data.rows.items())
        size = " x ".join(map(str, data.shape))
        found = (line for each in settings for line in toggles.warnings(each, shape=data.shape))
        unequal = (
            f"warning: {line}" for line in classes.warnings(settings[0], counts=data.counts, classes=data.classes)
        )
        own = f"data {data.origin}: {len(data.classes)} classes, images of {size}: {rows}"
        return [own, *unequal, *dict.fromkeys(found)]

    def dataset(self, settings: Settings, data: Stored) -> dict[str, Any]:
        """Returns the description of the data for MLflow."""
        return {**described(settings.data, data, {"input": "binary", "class": "string"}), "classes": data.classes}

    def work(self, settings: Settings, data: Stored) -> float:
        """Returns the multiplications of a batch with labels, in millions."""
        size = sizes.classifier(settings, shape=data.shape, outputs=outputs_of(settings, len(data.classes)))
        return settings.batch_size * size.products / 1e6

    def first(self, settings: Settings, data: Stored) -> First | None:
        """Returns the pretext, if it is trained."""
        return first(settings)

    def begin(self, model: keras.Model, trial: Trial[Settings, Stored]) -> None:
        """Gives the classifier the encoder of the pretext."""
        from src.tasks.pretraining import networks

        networks.take_over(model, _of_pretext(trial))

    def served(self, folder: Path) -> Served | None:
        """Returns how MLflow serves the classifier, which takes PNG or JPEG files in base64."""
        from src.parts.images import serving

        return serving.served(folder)

    def phase(self, settings: Settings, data: Stored) -> Phase:
        """Returns the batches with labels."""
        from src.tasks.pretraining import learning

        return learning.with_labels(settings, data)

    def model(self, settings: Settings, data: Stored) -> keras.Model:
        """Returns the classifier: untrained, or a fitted baseline."""
        outputs = outputs_of(settings, len(data.classes))
        if settings.pretext in FITTED:
            from src.tasks.pretraining import baselines

            return baselines.model(settings, data, outputs=outputs)
        from src.tasks.pretraining import networks

        return networks.classifier(settings, shape=data.shape, outputs=outputs)

    def optimizer(self, model: keras.Model, settings: Settings) -> keras.optimizers.Optimizer:
        """Returns the optimizer; that of a fitted baseline has the learning rate zero, so that nothing changes."""
        optimizer = super().optimizer(model, settings)
        if settings.pretext in FITTED:
            optimizer.learning_rate = 0.0
        return optimizer

    def layers(self, model: keras.Model) -> list[Any]:
        """Returns the layers whose outputs TensorBoard shows: the activations, the code and the head."""
        import keras

        shown = ("code", "head")
        return [layer for layer in model.layers if isinstance(layer, keras.layers.Activation) or layer.name in shown]

    def pictures(
        self, trial: Trial[Settings, Stored], learner: Learner, trained: Trained | None
    ) -> Mapping[str, np.ndarray]:
        """Returns what the pretext does, before training with labels, and the codes of test images before and after."""
        from src.tasks.pretraining import pictures

        found: dict[str, np.ndarray] = {}
        if trained is None and (model := _of_pretext(trial)) is not None:
            found |= pictures.of_pretext(trial.settings, trial.data, model)
        is_as_before = trained is not None and trial.settings.tune == "head"
        if pictures.has_code(learner.model) and not is_as_before:
            codes, labels = pictures.codes(learner.model, trial.data)
            when = "before" if trained is None else "after"
            caption = f"codes of test images {when} training with labels, by PCA"
            found["codes"] = pictures.scatter(pictures.flat(codes), labels, trial.data.classes, caption=caption)
        return found

    def test_values(self, trial: Trial[Settings, Stored], trained: Trained) -> Mapping[str, float]:
        """Returns what the test measures with a decision threshold that validation chose."""
        from src.parts.classes import scores

        return scores.test_values(trial.settings, trained, lambda name: trial.data.split(name).labels)

    def write_files(self, trial: Trial[Settings, Stored], trained: Trained) -> list[str]:
        """Writes the preprocessing, what the test says, and the files of the figures; the projector if enabled."""
        from src.parts.classes import scores
        from src.parts.images import reading
        from src.spec.record import EXTRAS
        from src.tasks.pretraining import learning, pictures

        data, model, scale = trial.data, trained.learner.model, learning.scale(trial.data)
        names, threshold = scores.write_files(
            trial.folder, trial.settings, trained, lambda name: data.split(name).labels, data.classes
        )
        known = reading.Reading(data.classes, [*data.shape], scale.factor.tolist(), scale.offset.tolist(), threshold)
        if trial.settings.tracking.projector and pictures.has_code(model):
            pictures.write_projector(trial.folder / EXTRAS, model, data)
        return [
            reading.write(trial.folder, known),
            *names,
            *pictures.write(trial.folder, trial.settings, data, model, _of_pretext(trial)),
        ]


def _of_pretext(trial: Trial[Settings, Stored]) -> keras.Model | None:
    """Returns the trained model of the pretext; None without one."""
    from src.training import model_file

    return None if trial.first is None else model_file.load(trial.first.parent, trial.first.name)


def _memory(settings: Settings, data: Stored) -> list[str]:
    needed = sizes.required_mb(settings, shape=data.shape, outputs=outputs_of(settings, len(data.classes)))
    pixels = f"images of {' x '.join(map(str, data.shape))}"
    keys = ("encoder", "width", "depth", "batch_size", "pretext_batch_size")
    return memory_refusals(settings, needed, keys=keys, data=pixels, fix="set a smaller width or batch size")


TASK = Pretraining()
