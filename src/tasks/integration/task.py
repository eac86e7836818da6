"""The task `integration`: white noise with a known answer.

The number of examples is unlimited. If a recurrent network does not learn this task, the cause is its memory or its
gradient, not a lack of data. Letters: T steps of noise, B examples in a batch.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Hashable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, final

from src.files import digest
from src.parts import own_model
from src.parts.classes import toggles as classes
from src.parts.classes.toggles import ACCURACY, OF_CLASSES, outputs_of
from src.parts.recurrent import own_cell
from src.parts.recurrent import toggles as recurrent
from src.parts.recurrent.sizes import units_for
from src.parts.sizes import memory_refusals
from src.spec.metric import LOSS
from src.spec.rules import Change, Inert
from src.spec.task import Trial
from src.tasks.integration.settings import Settings
from src.tasks.integration.sizes import parameters, required_mb
from src.training.task import KerasTask, Trained

if TYPE_CHECKING:
    import keras

    from src.tasks.integration.noise import Noise
    from src.training.diagnosis import Evidence
    from src.training.phase import Phase

OWN = ("sequence_length", "num_samples", "threshold", "target")
# The original layout of the settings, on which identities are based, also had the toggles of texts. These are their
# defaults at that time. They never change, because another value would give every old trial another identity.
OF_TEXTS = {
    "padding": "batch",
    "bucketing": True,
    "padding_side": "post",
    "truncation": "pre",
    "max_length": 200,
    "vocab_size": 10_000,
    "encoding": "embedding",
    "masking": True,
}


def _draws_whole_batches(settings: Settings) -> bool:
    return settings.num_samples % settings.batch_size == 0


@final
class Integration(KerasTask[Settings, "Noise"]):
    """Whether the sum of white noise is above a threshold."""

    name = "integration"
    about = "whether the sum of white noise is above a threshold"
    examples: ClassVar = {
        "task=integration": "noise: is its sum > 0?",
        "-m task=integration cell=simple_rnn,lstm sequence_length=25,200": "who remembers for longer?",
        "-m task=integration cell=lstm,my_module:MyCell": "a cell of your own",
    }
    settings = Settings
    metrics = (ACCURACY, LOSS, *OF_CLASSES)
    figures: ClassVar = {"reliability": "src.parts.classes.figures:reliability"}
    inert = (
        *own_model.inert(Settings, recurrent.OF_LAYERS),
        Inert("class_weights", "none", lambda s: s.target == "integral", "target=integral has no classes in the loss"),
        Inert("decision_threshold", "half", lambda s: s.target == "integral", "target=integral has no probability"),
        Inert("head", "sigmoid", lambda s: s.target == "integral", "target=integral has one output, the sum"),
        Inert("implementation", "graph_loop", lambda s: s.implementation == "packed_loop", recurrent.UNPACKED),
        *recurrent.INERT,
        Inert("drop_remainder", False, _draws_whole_batches, "every batch is full"),
        recurrent.LINEAR_HEAD,
    )

    def load(self, settings: Settings) -> Noise:
        """Returns the description of the noise, which is drawn later."""
        from src.tasks.integration import noise

        return noise.description(settings)

    def source(self, settings: Settings) -> Hashable:
        """Returns the length and the number of the sequences."""
        return settings.sequence_length, settings.num_samples

    def resolve(self, settings: Settings, data: Noise) -> tuple[Settings, list[Change]]:
        """Returns the settings that fit this noise."""
        changes = recurrent.bptt_of(settings, data.longest)
        used = settings.model_copy(update={change.key: change.used for change in changes})
        if used.parameters is None or used.model is not None:
            return used, changes
        units = units_for(used, lambda units: parameters(used.model_copy(update={"units": units})))
        return used.model_copy(update={"units": units.used, "parameters": None}), [*changes, units]

    def refusals(self, settings: Settings, data: Noise) -> list[str]:
        """Returns the reasons why the settings do not work with this noise."""
        lacks = "target=integral" if settings.target == "integral" else ""
        own = classes.refusals(settings, counts=None, classes=data.classes, lacks=lacks)
        if settings.model is not None:
            return [*own, *own_model.refusals(settings, _interface(settings, data)), *_refusals(settings)]
        of_cell = recurrent.refusals(settings) or own_cell.refusals(settings, width=settings.embedding_dim)
        return [*own, *of_cell, *_refusals(settings), *_memory(settings)]

    def hashed(self, values: dict[str, Any]) -> dict[str, Any]:
        """Returns the settings in the original layout, on which identities are based."""
        shared = {key: value for key, value in values.items() if key not in OWN}
        return {**OF_TEXTS, **shared, "task": {"name": self.name, **{key: values[key] for key in OWN}}}

    def dataset(self, settings: Settings, data: Noise) -> dict[str, Any]:
        """Returns the description of the noise for MLflow. The digest differs for another length or number."""
        columns = {"input": "float", "class": "string"}
        of_settings = digest([data.digest, self.hashed(settings.model_dump())["task"]])
        return {
            "name": "noise",
            "digest": of_settings,
            "source": "drawn",
            "columns": columns,
            "classes": data.classes,
            "rows": data.rows,
        }

    def work(self, settings: Settings, data: Noise) -> float:
        """Returns steps × layers × directions."""
        return float(settings.sequence_length * settings.depth * (2 if settings.bidirectional else 1))

    def phase(self, settings: Settings, data: Noise) -> Phase:
        """Returns the splits and their batches."""
        from src.tasks.integration import noise

        return noise.phase(settings)

    def model(self, settings: Settings, data: Noise) -> keras.Model:
        """Returns the untrained classifier."""
        if settings.model is not None:
            return own_model.built(settings, _interface(settings, data))
        from src.tasks.integration.model import classifier

        return classifier(settings, classes=len(data.classes))

    def kernel(self, settings: Settings, *, gpus: int) -> str:
        """Returns the kernel that runs the recurrence, and for a model of the user `execution`."""
        if settings.model is not None:
            return super().kernel(settings, gpus=gpus)
        from src.parts.recurrent import layers

        return layers.kernel(settings, gpus=gpus)

    def layers(self, model: keras.Model) -> list[Any]:
        """Returns the layers whose activations TensorBoard shows."""
        from src.parts.recurrent.diagnosis import shown_layers

        return shown_layers(model) or [*super().layers(model)]  # a model of the user has other names

    def causes(self, evidence: Evidence) -> Iterator[str]:
        """Yields possible causes why the model did not learn; drawn sequences are never identical.

        All but an oscillating loss are only likely, and not for trials that learnt.
        """
        from src.parts.recurrent import diagnosis as recurrence
        from src.training import diagnosis

        yield from diagnosis.learning_rate_too_high(evidence)
        if evidence.has_learnt:
            return
        yield from diagnosis.learning_rate_too_low(evidence)
        is_own = evidence.learner.settings.model is not None  # type: ignore[attr-defined]
        if not is_own:
            yield from recurrence.saturated_gates(evidence, is_masked=False)
        yield from diagnosis.too_few_steps(evidence)
        if not is_own:
            yield from recurrence.gradient_and_units(evidence, is_masked=False, is_padded=False)

    def test_values(self, trial: Trial[Settings, Noise], trained: Trained) -> Mapping[str, float]:
        """Returns what the test measures with a decision threshold that validation chose."""
        from src.parts.classes import scores
        from src.tasks.integration import noise

        return scores.test_values(trial.settings, trained, functools.partial(noise.labels, trial.settings))

    def write_files(self, trial: Trial[Settings, Noise], trained: Trained) -> list[str]:
        """Writes the test probabilities and the table of classes; returns the names of the files."""
        from src.parts.classes import scores
        from src.tasks.integration import noise

        labels = functools.partial(noise.labels, trial.settings)
        names, _ = scores.write_files(trial.folder, trial.settings, trained, labels, trial.data.classes)
        return names


def _interface(settings: Settings, data: Noise) -> own_model.Interface:
    """Returns what every classifier of noise reads and returns."""
    what = "predicted sums" if settings.target == "integral" else "logits"
    return own_model.Interface("noise", (None, 1), "float32", outputs_of(settings, len(data.classes)), what)


def _refusals(settings: Settings) -> list[str]:
    reasons = []
    if settings.target == "integral" and settings.readout == "mean_probability":
        reasons.append(
            "readout=mean_probability does not work with target=integral: a sum has no probability; "
            "set readout=mean_state"
        )
    if settings.num_samples < settings.batch_size:
        reasons.append(
            f"num_samples={settings.num_samples} is less than one batch of {settings.batch_size}; "
            "raise num_samples, or lower batch_size"
        )
    spread = math.sqrt(settings.sequence_length)
    if abs(settings.threshold) > 3 * spread:
        reasons.append(
            f"threshold={settings.threshold:g}: sums of {settings.sequence_length} steps have a standard deviation of "
            f"{spread:.3g}, and almost all would be in one class; "
            f"set a threshold from {-3 * spread:.3g} to {3 * spread:.3g}"
        )
    return reasons


def _memory(settings: Settings) -> list[str]:
    steps = settings.sequence_length
    fix = "set a smaller batch_size, sequence_length, units or embedding_dim"
    return memory_refusals(
        settings, required_mb(settings), keys=("batch_size", "units"), data=f"{steps} steps", fix=fix
    )


TASK = Integration()
