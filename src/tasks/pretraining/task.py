"""The task `pretraining`: an encoder learns from images without labels, then a classifier from a few with labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, final

from src.parts.classes.toggles import ACCURACY, head_of, outputs_of
from src.parts.description import described
from src.parts.sizes import memory_refusals
from src.spec.metric import LOSS
from src.spec.rules import Change
from src.spec.task import First, Trial
from src.tasks.pretraining import sizes, toggles
from src.tasks.pretraining.first import first
from src.tasks.pretraining.settings import FITTED, Settings
from src.training.task import KerasTask

if TYPE_CHECKING:
    import keras

    from src.data.images import Stored
    from src.training.phase import Phase


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
    metrics = (dataclasses.replace(ACCURACY, target=0.9), LOSS)
    inert = toggles.INERT

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
        return reasons or _memory(settings, data)

    def measures(self, settings: Settings, data: Stored) -> dict[str, float]:
        """Returns the number of labelled images, and of parameters of encoder and head, whether trained or frozen."""
        size = sizes.classifier(settings, shape=data.shape, outputs=outputs_of(settings, len(data.classes)))
        labels = data.rows["train"] if settings.labels is None else settings.labels * len(data.classes)
        return {"data/labels": float(labels), "model/network_parameters": float(size.trained)}

    def summary(self, settings: Sequence[Settings], data: Stored) -> list[str]:
        """Returns lines about the data for the plan, and warnings."""
        rows = ", ".join(f"{count:,} {name}" for name, count in data.rows.items())
        lines = [
            f"data {data.origin}: {len(data.classes)} classes, images of {' x '.join(map(str, data.shape))}: {rows}"
        ]
        return lines + list(
            dict.fromkeys(line for each in settings for line in toggles.warnings(each, shape=data.shape))
        )

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
        from src.training import model_file

        if trial.first is not None:
            networks.take_over(model, model_file.load(trial.first))

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


def _memory(settings: Settings, data: Stored) -> list[str]:
    needed = sizes.required_mb(settings, shape=data.shape, outputs=outputs_of(settings, len(data.classes)))
    pixels = f"images of {' x '.join(map(str, data.shape))}"
    keys = ("encoder", "width", "depth", "batch_size", "pretext_batch_size")
    return memory_refusals(settings, needed, keys=keys, data=pixels, fix="set a smaller width or batch size")


TASK = Pretraining()
