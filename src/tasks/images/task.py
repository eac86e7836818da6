"""The task `images`: a class for each image."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, final

from src.parts import own_model
from src.parts.classes import toggles as classes
from src.parts.classes.toggles import ACCURACY, OF_CLASSES, head_of, outputs_of
from src.parts.description import described
from src.parts.sizes import memory_refusals
from src.spec.metric import LOSS
from src.spec.rules import Change
from src.spec.task import Command, Served, Trial
from src.tasks.images import faults, pipeline, sizes, toggles
from src.tasks.images.settings import Settings
from src.training.task import KerasTask, Trained

if TYPE_CHECKING:
    import keras
    import numpy as np

    from src.data.images import Stored
    from src.training.diagnosis import Evidence
    from src.training.phase import Learner, Phase

NAMES = 6  # classes that the plan shows


@final
class Images(KerasTask[Settings, "Stored"]):
    """Classification of images."""

    name = "images"
    about = "one class for an image"
    examples: ClassVar = {
        "task=images": "a multilayer perceptron on 5,000 digits",
        "-m task=images network=mlp,cnn,densenet": "three kinds of network",
        "-m task=images model=null,my_module:build": "a network of your own",
        "task=images data=folder data.path=FOLDER": "your own images",
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
        "errors": Command(
            "src.parts.classes.errors:errors",
            "shows the test images that it got most wrong",
            files=("worst_test.parquet",),
        ),
    }
    figures: ClassVar = {
        "confusion": "src.parts.classes.figures:confusion",
        "reliability": "src.parts.classes.figures:reliability",
        "filters": "src.tasks.images.figures:filters",
        "misclassified": "src.tasks.images.figures:misclassified",
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
        changes = head_of(settings, len(data.classes))
        if settings.drop_remainder and data.rows["train"] % settings.batch_size == 0:
            changes.append(Change("drop_remainder", True, False, "every batch is full"))
        changes += pipeline.changes(settings, data.rows["train"])
        used = settings.model_copy(update={change.key: change.used for change in changes})
        if used.parameters is None or used.model is not None or _unreachable(used, data):
            return used, changes
        shape, outputs = data.shape, outputs_of(used, len(data.classes))
        value, key = sizes.nearest(used, shape=shape, outputs=outputs), sizes.chosen(used)
        count = sizes.trained_at(used, value, shape=shape, outputs=outputs)
        reason = f"then {count:,} numbers are trained, which is closest to parameters={used.parameters}"
        changes.append(Change(key, getattr(used, key), value, reason))
        return used.model_copy(update={key: value, "parameters": None}), changes

    def refusals(self, settings: Settings, data: Stored) -> list[str]:
        """Returns the combinations of settings and data that cannot run, each with its fix."""
        if settings.model is None:
            reasons = [*toggles.refusals(settings, shape=data.shape), *_unreachable(settings, data)]
            reasons += faults.refusals(settings)
        else:
            reasons = own_model.refusals(settings, _interface(settings, data))
            if settings.fault != "none":
                what = f"fault={settings.fault} is a mistake in the task's own network"
                reasons.append(f"{what}; set fault=none, or model=null")
        reasons += classes.refusals(settings, counts=lambda split: data.counts[split], classes=data.classes)
        train = data.rows["train"]
        reasons += pipeline.refusals(settings, train)
        if settings.drop_remainder and train < settings.batch_size:
            what = f"drop_remainder=true leaves no batch of {settings.batch_size}: there are {train} training images"
            reasons.append(f"{what}; lower batch_size, or set drop_remainder=false")
        return [*reasons, *(_memory(settings, data) if not reasons and settings.model is None else [])]

    def measures(self, settings: Settings, data: Stored) -> dict[str, float]:
        """Returns the share of test images equal to one of training or validation, and what the first epochs hold."""
        from src.data import order

        labels = data.split("train").labels
        seen, of_seen = faults.as_seen(pipeline.order_of(settings, len(labels)), labels, settings)
        of_order = order.measures(seen, pipeline.draws_of(settings), of_seen)
        leaked = data.shared["test"] / data.rows["test"]
        return {"data/leaked_fraction": leaked, **{f"data/{name}": value for name, value in of_order.items()}}

    def summary(self, settings: Sequence[Settings], data: Stored) -> list[str]:
        """Returns lines about the data, and about the faults, for the plan."""
        made = dict.fromkeys(each.fault for each in settings)
        unequal = classes.warnings(settings[0], counts=data.counts, classes=data.classes)
        return [
            *_summary(data),
            *(f"warning: {each}" for each in unequal),
            *(line for name in made for line in faults.lines(name)),
        ]

    def dataset(self, settings: Settings, data: Stored) -> dict[str, Any]:
        """Returns the description of the data for MLflow."""
        return {**described(settings.data, data, {"input": "binary", "class": "string"}), "classes": data.classes}

    def work(self, settings: Settings, data: Stored) -> float:
        """Returns the multiplications of a batch, in millions."""
        counted = sizes.size(settings, shape=data.shape, outputs=outputs_of(settings, len(data.classes)))
        return settings.batch_size * counted.products / 1e6

    def served(self, folder: Path) -> Served | None:
        """Returns how MLflow serves the classifier, which takes PNG or JPEG files in base64."""
        from src.parts.images import serving

        return serving.served(folder)

    def phase(self, settings: Settings, data: Stored) -> Phase:
        """Returns the splits and their batches."""
        from src.tasks.images import learning

        return faults.in_phase(learning.phase(settings, data), settings, data)

    def model(self, settings: Settings, data: Stored) -> keras.Model:
        """Returns the untrained classifier."""
        if settings.model is not None:
            return own_model.built(settings, _interface(settings, data))
        from src.tasks.images.networks import classifier

        model = classifier(settings, shape=data.shape, outputs=outputs_of(settings, len(data.classes)))
        return faults.in_model(model, settings)

    def optimizer(self, model: keras.Model, settings: Settings) -> keras.optimizers.Optimizer:
        """Returns the optimizer."""
        return faults.in_optimizer(super().optimizer(model, settings), model, settings)

    def layers(self, model: keras.Model) -> list[Any]:
        """Returns the layers whose outputs TensorBoard shows: the activations and the head."""
        import keras

        shown = [layer for layer in model.layers if isinstance(layer, keras.layers.Activation) or layer.name == "head"]
        return shown or [*super().layers(model)]  # a model of the user has other names

    def causes(self, evidence: Evidence) -> Iterator[str]:
        """Yields possible causes why the network learnt nothing."""
        from src.tasks.images import diagnosis

        return diagnosis.causes(evidence)

    def samples(self, trial: Trial[Settings, Stored], trained: Trained) -> list[dict[str, Any]]:
        """Returns the worst-classified images of validation and test."""
        from src.parts.classes.measures import PROBABILITY
        from src.parts.classes.probabilities import of_every_class
        from src.tasks.images import worst

        found = []
        of_splits = {"validation": (trained.validation, 0.5), "test": (trained.test, _threshold(trial, trained))}
        for name, (evaluated, threshold) in of_splits.items():
            probabilities = of_every_class(evaluated.predictions[PROBABILITY])
            found += worst.samples(trial.data, name, probabilities, threshold=threshold)
        return [{"samples": found, "markdown": worst.markdown(found)}]

    def pictures(
        self, trial: Trial[Settings, Stored], learner: Learner, trained: Trained | None
    ) -> Mapping[str, np.ndarray]:
        """Returns inputs, filters and maps before training; after it filters, maps, misclassified images, confusion."""
        from src.parts.classes.measures import PROBABILITY
        from src.parts.classes.probabilities import of_every_class
        from src.tasks.images import pictures

        data, model = trial.data, learner.model
        image = faults.scaling(trial.settings, data, "validation")(data.split("validation").images[:1])[0]
        shown = pictures.of_model(model, image) if trial.settings.model is None else {}
        if trained is None:
            before = pictures.before_training(next(iter(learner.phase.training(1))), data.classes)
            return {**before, **shown}
        split = data.split("test")
        told = (split.labels, of_every_class(trained.test.predictions[PROBABILITY]), data.classes)
        threshold = _threshold(trial, trained)
        return {
            **shown,
            "misclassified": pictures.misclassified(split.images, *told, threshold=threshold),
            "confusion": pictures.confusion(*told, threshold=threshold),
        }

    def test_values(self, trial: Trial[Settings, Stored], trained: Trained) -> Mapping[str, float]:
        """Returns what the test measures with a decision threshold that validation chose."""
        from src.parts.classes import scores

        return scores.test_values(trial.settings, trained, lambda name: trial.data.split(name).labels)

    def write_files(self, trial: Trial[Settings, Stored], trained: Trained) -> list[str]:
        """Writes the preprocessing, what the test says, the worst-classified images, and the first filters."""
        from src.parts.classes import measures, scores
        from src.parts.classes.probabilities import of_every_class
        from src.parts.images import reading
        from src.tasks.images import pictures, worst

        data, has_filters = trial.data, trial.settings.model is None
        scale = faults.scaling(trial.settings, data, "train")
        names, threshold = scores.write_files(
            trial.folder, trial.settings, trained, lambda name: data.split(name).labels, data.classes
        )
        known = reading.Reading(data.classes, [*data.shape], scale.factor.tolist(), scale.offset.tolist(), threshold)
        probabilities = of_every_class(trained.test.predictions[measures.PROBABILITY])
        return [
            reading.write(trial.folder, known),
            *names,
            worst.write(trial.folder, data, probabilities, threshold=threshold),
            *([pictures.write_filters(trial.folder, trained.learner.model, data.shape)] if has_filters else []),
        ]


def _threshold(trial: Trial[Settings, Stored], trained: Trained) -> float:
    """Returns the probability from which on a test image is of the second of two classes."""
    from src.parts.classes import scores

    return scores.decision_threshold(trial.settings, trained, lambda name: trial.data.split(name).labels)


def _interface(settings: Settings, data: Stored) -> own_model.Interface:
    """Returns what every classifier of images reads and returns."""
    return own_model.Interface("images", data.shape, "float32", outputs_of(settings, len(data.classes)))


def _unreachable(settings: Settings, data: Stored) -> list[str]:
    """Returns why `parameters` cannot be reached; empty if it can, or is not set."""
    if settings.parameters is None:
        return []
    key, outputs = sizes.chosen(settings), outputs_of(settings, len(data.classes))
    least, most = (
        sizes.trained_at(settings, at, shape=data.shape, outputs=outputs) for at in (1, sizes.MOST_WIDE[key])
    )
    if least <= settings.parameters <= most:
        return []
    what = f"parameters={settings.parameters} cannot be reached: network={settings.network} has {least:,} to {most:,}"
    return [f"{what} with {key} from 1 to {sizes.MOST_WIDE[key]:,}; set parameters to one of these"]


def _memory(settings: Settings, data: Stored) -> list[str]:
    needed = sizes.required_mb(settings, shape=data.shape, outputs=outputs_of(settings, len(data.classes)))
    keys = {"linear": (), "densenet": ("growth_rate", "depth", "blocks")}.get(settings.network, ("width", "depth"))
    pixels = f"images of {' x '.join(map(str, data.shape))}"
    fix = f"set a smaller {' or '.join(('batch_size', *keys[:1]))}"
    return memory_refusals(settings, needed, keys=("network", *keys, "batch_size"), data=pixels, fix=fix)


def _summary(data: Stored) -> list[str]:
    from src.data.classes import name_warnings
    from src.terminal.visible import one_line, shortened

    height, width, channels = data.shape
    kind = "grey" if channels == 1 else "colour"
    lines = [f"data {one_line(data.origin)}: {len(data.classes)} classes, {kind} images of {height} x {width}"]
    lines.append(f"{'':<40}{'train':>14}{'validation':>11}{'test':>11}")

    def row(name: str, counts: Sequence[int | str]) -> str:
        texts = [f"{one:,}" if isinstance(one, int) else one for one in counts]
        return f"  {name:<38}{texts[0]:>14}{texts[1]:>11}{texts[2]:>11}"

    lines.append(row("images", list(data.rows.values())))
    largest = sorted(range(len(data.classes)), key=lambda one: -data.counts["train"][one])
    few = largest if len(largest) <= NAMES else [*largest[:3], *largest[-3:]]
    if len({*data.counts["train"]}) > 1 or len(data.classes) <= NAMES:
        lines += [
            row(f"  {shortened(data.classes[one], 34)}", [counts[one] for counts in data.counts.values()])
            for one in few
        ]
    else:
        lines.append(row("  of each class", [counts[0] for counts in data.counts.values()]))
    lines.append(row("equal to one of an earlier split", ["", data.shared["validation"], data.shared["test"]]))
    return [*lines, *(f"warning: {warning}" for warning in (*_several_classes(data), *name_warnings(data.classes)))]


def _several_classes(data: Stored) -> list[str]:
    """Returns a sentence if images that are equal have different classes; empty if there are none."""
    import hashlib

    known: dict[bytes, int] = {}
    several: dict[bytes, tuple[int, int]] = {}
    for split in map(data.split, data.rows):
        for image, label in zip(split.images, split.labels.tolist(), strict=True):
            pixels = hashlib.blake2b(image.tobytes(), digest_size=16).digest()
            if (first := known.setdefault(pixels, label)) != label:
                several.setdefault(pixels, (first, label))
    if not several:
        return []
    names = " and ".join(repr(data.classes[label]) for label in next(iter(several.values())))
    images = f"{len(several):,} image has" if len(several) == 1 else f"{len(several):,} different images have"
    return [f"{images} more than one class, such as {names}; no model can tell which is right"]


TASK = Images()
