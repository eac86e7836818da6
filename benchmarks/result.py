"""What a benchmark returns: a number with its interval, its goal, and every single measurement behind it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from scipy import stats

LEVEL = 0.95
TIMES, SECONDS, MEGABYTES, SHARE = "×", "s", "MB", "share"  # units


class Goal(NamedTuple):
    """A bound that a value must reach.

    Attributes:
      kind: whether the bound is the least or the largest value that meets the goal.
      bound: in the unit of the value.
    """

    kind: Literal["at least", "at most"]
    bound: float

    def is_met(self, value: float) -> bool:
        """Returns whether a value meets the goal."""
        return value >= self.bound if self.kind == "at least" else value <= self.bound


@dataclass(frozen=True)
class Result:
    """One measured number.

    Attributes:
      name: `BENCHMARK/NUMBER`, unique.
      what: what was measured, in words.
      value: the number; None if it was not measured, and then `details["why"]` says why.
      unit: `×` for a ratio, `s`, `MB`, `share` (0 to 1, shown in percent), or another unit.
      interval: 95 % interval of the value; None without one.
      goal: the bound that the value must reach; None without a goal.
      n: number of repeats.
      details: every measurement, and what else a reader needs; plain values that JSON can hold. `curve` (x → value)
        is drawn as a figure; its axis is `axis`.
    """

    name: str
    what: str
    value: float | None
    unit: str = TIMES
    interval: tuple[float, float] | None = None
    goal: Goal | None = None
    n: int = 1
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without a goal or a value."""
        return None if self.goal is None or self.value is None else self.goal.is_met(self.value)

    def as_json(self) -> dict[str, Any]:
        """Returns the result as plain values."""
        return {**dataclasses.asdict(self), "goal": self.goal and list(self.goal), "met": self.met}

    @classmethod
    def of_json(cls, values: Mapping[str, Any]) -> Self:
        """Returns the result of `as_json`."""
        fields = {name: value for name, value in values.items() if name != "met"}
        interval, goal = fields["interval"], fields["goal"]
        return cls(**{**fields, "interval": interval and tuple(interval), "goal": goal and Goal(*goal)})


class Estimate(NamedTuple):
    """An estimate with its 95 % interval; None where there are too few values."""

    value: float
    interval: tuple[float, float] | None


def ratio_of_pairs(above: Sequence[float], below: Sequence[float]) -> Estimate:
    """Returns the geometric mean of the ratios of pairs, with Student's interval of their logarithms.

    Args:
      above: n positive numbers.
      below: n positive numbers; those at one place were measured one after the other.
    """
    logs = np.log(np.asarray(above, float)) - np.log(np.asarray(below, float))
    return _of_logs(float(logs.mean()), float(logs.std(ddof=1)) / math.sqrt(len(logs)) if len(logs) > 1 else 0.0, logs)


def ratio_of_sums(above: Sequence[float], below: Sequence[float]) -> Estimate:
    r"""Returns sum(above) / sum(below) with its interval over the pairs, which may differ in size.

        R = sum a / sum b,    se(log R) = sqrt(n / (n - 1) sum (a - R b)^2) / sum a

    Source: the ratio estimator of Cochran, "Sampling Techniques", Wiley 1977, section 6.4.
    """
    a, b = np.asarray(above, float), np.asarray(below, float)
    ratio, n = float(a.sum() / b.sum()), len(a)
    error = math.sqrt(n / (n - 1) * float(((a - ratio * b) ** 2).sum())) / float(a.sum()) if n > 1 else 0.0
    return _of_logs(math.log(ratio), error, a)


def mean_of(values: Sequence[float]) -> Estimate:
    """Returns the median of values with Student's interval of their mean, moved to the median."""
    array = np.asarray(values, float)
    middle, n = float(np.median(array)), len(array)
    if n < 2:
        return Estimate(middle, None)
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1) * array.std(ddof=1) / math.sqrt(n))
    return Estimate(middle, (middle - half, middle + half))


def _of_logs(log: float, error: float, values: np.ndarray) -> Estimate:
    if len(values) < 2:
        return Estimate(math.exp(log), None)
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1)) * error
    return Estimate(math.exp(log), (math.exp(log - half), math.exp(log + half)))


def shown(value: float | None, unit: str) -> str:
    """Returns a value with its unit, as text."""
    if value is None:
        return "not measured"
    if unit == SHARE:
        return f"{value:.2%}" if value < 0.1 else f"{value:.0%}"
    if unit == MEGABYTES:
        return f"{value:,.0f} MB"
    digits = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:,.{digits}f} {unit}".rstrip()
