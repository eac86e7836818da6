"""The meaning of a metric: direction, unit, title and digits. Records contain it: readers need no list of names."""

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
}  # functions that are applied to a weighted mean


@dataclass(frozen=True)
class Metric:
    """A quantity that a task measures on each split.

    `perplexity` is recorded as train/perplexity, val/perplexity and test/perplexity.

    Attributes:
      name: letters, digits and underscores.
      direction: `higher` or `lower` is better; None if neither is.
      unit: shown after its values.
      title: the name in tables and figures; by default `name` with spaces.
      digits: decimals that are shown.
      margin: the largest irrelevant difference, the default of `plan.margin`; None for no default.
      target: value to reach, the default of `plan.threshold`; None for no default.
      of: the quantity from which the metric is computed; by default `name`. Tasks measure its sum and weight.
      finish: function of sum / weight, a key of `FINISH`; perplexity is `exp` of the loss.
      ratio: whether values are compared as ratios, as times are.
      least: smallest possible value, at which figures clip intervals; None if unbounded.
      most: largest possible value, likewise.
      of_corpus: whether it is computed from the predictions for all examples of a split, as BLEU is, and not as a mean
        over examples. Validation and test have such a metric, training has not.
      test_only: whether only the test has it. The task computes its value, and a trial records it at its end. The first
        metric of a task is not such a metric.
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
    of_corpus: bool = False
    test_only: bool = False

    @property
    def sign(self) -> int:
        """1 if higher values are better, -1 if lower values are, 0 without a direction."""
        return {"higher": 1, "lower": -1, None: 0}[self.direction]

    @property
    def shown(self) -> str:
        """Its title."""
        return self.title or self.name.replace("_", " ")

    @property
    def source(self) -> str:
        """The quantity from whose sum and weight the metric is computed."""
        return self.of or self.name

    def value(self, mean: float) -> float:
        """Returns the metric from its quantity's weighted mean; infinity if it overflows, NaN if it is undefined."""
        try:
            return FINISH[self.finish](mean)
        except OverflowError:
            return math.inf
        except ValueError:  # the square root of a negative mean
            return math.nan

    def best(self, values: Iterable[float]) -> float | None:
        """Returns the best value, ignoring NaN; None if there is none.

        Raises:
          ValueError: the metric has no direction.
        """
        if not self.sign:
            raise ValueError(f"{self.name} has no direction, so none of its values is the best")
        numbers = [value for value in values if not math.isnan(value)]
        return (max if self.sign > 0 else min)(numbers, default=None)

    def best_of(self, values: Mapping[Key, float | None]) -> Key | None:
        """Returns the first key with the best value; None without a number or without a direction."""
        best: Key | None = None
        for key, value in values.items() if self.sign else ():
            if value is not None and self.is_better(value, None if best is None else values[best]):
                best = key
        return best

    def is_better(self, value: float, than: float | None) -> bool:
        """Returns whether a value is better than another; every number is better than None and NaN."""
        if math.isnan(value):
            return False
        return than is None or math.isnan(than) or self.sign * (value - than) > 0

    def reaches(self, value: float, target: float) -> bool:
        """Returns whether a value is at least as good as a target."""
        return self.sign * value >= self.sign * target


LOSS = Metric("loss", "lower")
# The metrics of plans and trials by earlier versions, which recorded none.
IMPLIED = (Metric("accuracy", "higher", margin=0.01, target=0.8, least=0.0, most=1.0), LOSS)

# What the core measures for every trial, by full name.
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
    """Returns the meaning of a recorded metric; its `name` is the full name.

    Args:
      name: full name: `test/accuracy`, `best/val_accuracy`, `steps_to/val_accuracy_0.80`, `time/epoch_s`.
      metrics: the metrics of the task.
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
    """Returns the name of a trial's best validation value: `best/val_accuracy`.

    MLflow sorts by the last value of a metric, and the last value of the curve val/accuracy may not be the best.
    """
    return f"{BEST}val_{metric.name}"


def steps_to(metric: Metric, target: float) -> str:
    """Returns the name of the number of steps until validation reaches a target: `steps_to/val_perplexity_100`.

    Targets up to 1 have at least two decimals, as in `steps_to/val_accuracy_0.80`, so that old names stay valid.
    """
    shown = max(f"{target:.2f}", f"{target:g}", key=len) if abs(target) <= 1 else f"{target:g}"
    return f"{STEPS_TO}val_{metric.name}_{shown}"


def on_every_split(metrics: Sequence[Metric]) -> list[Metric]:
    """Returns the metrics that training, validation and test have."""
    return [metric for metric in on_validation(metrics) if not metric.of_corpus]


def on_validation(metrics: Sequence[Metric]) -> list[Metric]:
    """Returns the metrics that validation and test have."""
    return [metric for metric in metrics if not metric.test_only]


def as_records(metrics: Sequence[Metric]) -> list[dict[str, Any]]:
    """Returns metrics as plain values for plans and journals."""
    return [asdict(metric) for metric in metrics]


def of_records(values: Any) -> tuple[Metric, ...]:
    """Returns the metrics that `as_records` wrote; `IMPLIED` if the values are missing or invalid."""
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
    """Returns the metrics of a recorded plan, in order: the first chooses the best epoch and is the study's default."""
    return of_records(plan.get("metrics"))
