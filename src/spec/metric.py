"""What a number means: its direction, unit, title and digits. It travels with the record, so that no reader has to know the name."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, TypeVar

Key = TypeVar("Key")

TRAIN, VAL, TEST, BEST, STEPS_TO = "train/", "val/", "test/", "best/", "steps_to/"
SPLITS = {TRAIN: "training", VAL: "validation", TEST: "test"}
FINISH: dict[str, Callable[[float], float]] = {
    "mean": float,
    "exp": math.exp,
    "sqrt": math.sqrt,
}  # what becomes of a weighted mean


@dataclass(frozen=True)
class Metric:
    """A quantity that a task measures on each split: `perplexity` is recorded as train/perplexity, val/perplexity, test/perplexity.

    Attributes:
      name: letters, digits and underscores.
      direction: `higher` or `lower` is better; None where nobody can say.
      unit: shown after its values.
      title: what readers see; the name with spaces if left out.
      digits: decimals that are shown.
      margin: the largest difference that does not matter, the default of `plan.margin`; None if there is no such default.
      target: value to reach, the default of `plan.threshold`; None if there is no such default.
      of: the quantity that it is made from: a task measures its sum and its weight on every batch. The metric's own name if left out.
      finish: what becomes of sum / weight, a key of `FINISH`; perplexity is `exp` of the loss.
      ratio: whether values are compared as ratios, as times are.
      least: smallest value that it can have, where intervals end in figures; None if there is none.
      most: greatest value, likewise.
    """

    name: str
    direction: Literal["higher", "lower"] | None
    unit: str = ""
    title: str = ""
    digits: int = 3
    margin: float | None = None
    target: float | None = None
    of: str = ""
    finish: str = "mean"
    ratio: bool = False
    least: float | None = None
    most: float | None = None

    @property
    def sign(self) -> int:
        """1 where higher values are better, -1 where lower ones are, 0 where nobody can say."""
        return {"higher": 1, "lower": -1, None: 0}[self.direction]

    @property
    def shown(self) -> str:
        """Its title."""
        return self.title or self.name.replace("_", " ")

    @property
    def source(self) -> str:
        """The quantity whose sum and weight it is made from."""
        return self.of or self.name

    def value(self, mean: float) -> float:
        """Returns the metric from the weighted mean of its quantity; infinity where that is too large for a number."""
        try:
            return FINISH[self.finish](mean)
        except OverflowError:
            return math.inf

    def best(self, values: Iterable[float]) -> float | None:
        """Returns the best of some values, None of none; values that are not numbers are never the best.

        Raises:
          ValueError: the metric has no direction.
        """
        if not self.sign:
            raise ValueError(f"{self.name} has no direction, so none of its values is the best")
        known = [value for value in values if not math.isnan(value)]
        return (max if self.sign > 0 else min)(known, default=None)

    def best_of(self, values: Mapping[Key, float | None]) -> Key | None:
        """Returns the key of the best value, of equal ones the first; None if no value is a number, or the metric has no direction."""
        chosen: Key | None = None
        for key, value in values.items() if self.sign else ():
            if value is not None and self.is_better(value, None if chosen is None else values[chosen]):
                chosen = key
        return chosen

    def is_better(self, value: float, than: float | None) -> bool:
        """Returns whether a value is better than another one; every number is better than None and than what is not a number."""
        if math.isnan(value):
            return False
        return than is None or math.isnan(than) or self.sign * (value - than) > 0

    def reaches(self, value: float, target: float) -> bool:
        """Returns whether a value is at least as good as a target."""
        return self.sign * value >= self.sign * target


LOSS = Metric("loss", "lower")
# What a plan or a trial implies that records no meaning: a version before wrote it.
IMPLIED = (Metric("accuracy", "higher", margin=0.01, target=0.8, least=0.0, most=1.0), LOSS)

# What the core measures of every trial, by its full name.
MEASURED = (
    Metric("time/batch_ms_median", "lower", "ms", "ms per batch", 1, ratio=True),
    Metric("time/batch_ms_p10", "lower", "ms", "ms per batch (p10)", 1, ratio=True),
    Metric("time/batch_ms_p90", "lower", "ms", "ms per batch (p90)", 1, ratio=True),
    Metric("time/epoch_s", "lower", "s", "s per epoch", 2, ratio=True),
    Metric("time/steady_epoch_s", "lower", "s", "s per steady epoch", 2, ratio=True),
    Metric("time/train_s", "lower", "s", "s of training", 1, ratio=True),
    Metric("time/trace_s", "lower", "s", "s of steps that traced", 1, ratio=True),
    Metric("time/tokens_per_s", "higher", "1/s", "tokens per s", 0, ratio=True),
    Metric("data/padding_fraction", "lower", "", "padded steps", 3),
    Metric("data/batches_per_epoch", None, "", "batches per epoch", 0),
    Metric("data/traces", None, "", "traces", 0),
    Metric("model/parameters", "lower", "", "parameters", 0),
    Metric("memory/peak_mb", "lower", "MB", "peak memory (MB)", 0),
)
_BY_NAME = {metric.name: metric for metric in MEASURED}


def meaning(name: str, metrics: Sequence[Metric]) -> Metric:
    """Returns what a recorded metric means, under its full name.

    Args:
      name: as it is recorded: `test/accuracy`, `best/val_accuracy`, `steps_to/val_accuracy_0.80`, `time/epoch_s`.
      metrics: of the task.
    """
    if name in _BY_NAME:
        return _BY_NAME[name]
    for metric in metrics:
        for prefix, split in SPLITS.items():
            if name == f"{prefix}{metric.name}":
                return replace(metric, name=name, title=f"{split} {metric.shown}")
        if name == best_name(metric):
            return replace(metric, name=name, title=f"best validation {metric.shown}")
        if name.startswith(begin := f"{STEPS_TO}val_{metric.name}_"):
            return Metric(name, "lower", "steps", f"steps to {name.removeprefix(begin)} validation {metric.shown}", 1)
    return Metric(name, None, title=name)


def best_name(metric: Metric) -> str:
    """Returns the name under which the best validation of a trial is recorded: `best/val_accuracy`.

    MLflow sorts by the last value of a metric, and val/accuracy is a curve.
    """
    return f"{BEST}val_{metric.name}"


BEST_VALIDATION = "best/val_accuracy"


def steps_to(metric: Metric, target: float) -> str:
    """Returns the name of the metric that says when validation reached a target, as steps_to/val_perplexity_100.

    Targets up to 1 have two decimals or more, as in `steps_to/val_accuracy_0.80`: so they have been called from the beginning.
    """
    shown = max(f"{target:.2f}", f"{target:g}", key=len) if abs(target) <= 1 else f"{target:g}"
    return f"{STEPS_TO}val_{metric.name}_{shown}"


def as_records(metrics: Sequence[Metric]) -> list[dict[str, Any]]:
    """Returns metrics as plain values, for plans and journals."""
    return [asdict(metric) for metric in metrics]


def of_records(values: Any) -> tuple[Metric, ...]:
    """Returns the metrics that `as_records` wrote; those of the time before it where there are none, or something else."""
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        return IMPLIED
    known = {field.name for field in fields(Metric)}
    try:
        return tuple(
            Metric(**{key: value for key, value in dict[str, Any](one).items() if key in known}) for one in values
        )
    except (TypeError, ValueError):
        return IMPLIED


def of_plan(plan: Mapping[str, Any]) -> tuple[Metric, ...]:
    """Returns the metrics that a record of a plan names, in their order: the first chooses the epoch and is the study's default."""
    return of_records(plan.get("metrics"))
