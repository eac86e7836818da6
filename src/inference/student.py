"""Student's t for numbers measured once per seed, at one look: intervals, p values and equivalence."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
from scipy import special

LEVEL = 0.05
ROUNDING = 1e-12  # relative rounding error of arithmetic in float64
RESOLUTION = 1e-6  # relative; float32 has seven digits, so smaller differences are rounding
ALIKE = 1e-5  # relative; largest difference of sums in float32 over the same numbers in other batches


class Interval(NamedTuple):
    """An estimate with its 95 % interval and two-sided p value (Student's t); nan where undefined.

    Attributes:
      mean: the estimate.
      low: lower end of the interval.
      high: upper end of the interval.
      p: p value of the hypothesis that the mean is zero.
      error: standard error of the estimate.
      freedom: degrees of freedom.
    """

    mean: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    error: float = math.nan
    freedom: int = 0


def are_alike(ours: Any, theirs: Any) -> bool:
    """Returns whether all values, float[n] each, are equal but for the rounding of sums in float32; nan equals nan."""
    return bool(np.allclose(ours, theirs, rtol=ALIKE, atol=ROUNDING, equal_nan=True))


def interval(values: np.ndarray, *, scale: float | None = None) -> Interval:
    """Returns the mean of values with Student's interval; with fewer than two values there is no interval.

    Without any spread, for example for counts that are equal in every seed, there is no interval, and p is that of the
    signs.

    Args:
      values: float[n], differences of pairs, or measurements, one per seed.
      scale: magnitude of the measured values, which separates rounding errors from spread; default: the largest of
        `values`. Differences need it, as they are much smaller than the values that they are computed from.
    """
    if not len(values):
        return Interval()
    mean, freedom = float(values.mean()), len(values) - 1
    if freedom == 0:
        return Interval(mean)
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    if error <= RESOLUTION * (float(np.abs(values).max()) if scale is None else scale):
        is_zero = abs(mean) <= ROUNDING * (scale or 0.0)
        return Interval(0.0 if is_zero else mean, p=1.0 if is_zero else 2.0**-freedom, error=error, freedom=freedom)
    half = quantile(1 - LEVEL / 2, freedom) * error
    return Interval(
        mean, mean - half, mean + half, float(2 * special.stdtr(freedom, -abs(mean) / error)), error, freedom
    )


def is_equivalent(estimate: Interval, margin: float | None, *, hidden: float = 0.0) -> bool:
    """Returns whether two one-sided t tests at 5 % show that the estimate is within the margin.

    They do if and only if the 90 % interval is within the margin. The level is not adjusted for the number of
    comparisons.

    Source: Schuirmann, "A comparison of the two one-sided tests procedure and the power approach for assessing the
    equivalence of average bioavailability", Journal of Pharmacokinetics and Biopharmaceutics 15, 1987.

    Args:
      estimate: mean difference with its standard error.
      margin: difference that is too small to matter; None if no margin is set, and then nothing is equivalent.
      hidden: standard error that the grid of a coarse metric may hide: two models may get the same number of 20
        examples right in both of two seeds, and still have different accuracies.
    """
    if margin is None or math.isnan(estimate.error):
        return False
    return abs(estimate.mean) + quantile(1 - LEVEL, estimate.freedom) * max(estimate.error, hidden) < margin


@functools.cache
def quantile(share: float, freedom: int) -> float:
    """Returns the quantile of Student's t distribution."""
    return float(special.stdtrit(freedom, share))


def scale_of(*values: np.ndarray) -> float:
    """Returns the largest absolute value; 0 for an empty array."""
    return max((float(np.abs(some).max(initial=0.0)) for some in values), default=0.0)


def grid(values: np.ndarray) -> float:
    """Returns the smallest distance between two different values, a metric's grid. Infinite if all are equal."""
    distinct = np.unique(values[np.isfinite(values)])
    gaps = np.diff(distinct)
    return float(gaps[gaps > RESOLUTION * scale_of(distinct)].min(initial=np.inf))


def hidden(grid: float, n: int) -> float:
    """Returns the standard error of a mean of n differences that rounding to a grid may hide: grid / sqrt(6 n).

    Rounding to a grid has an error of up to half the grid, with a variance of grid^2 / 12; a difference has two such
    errors.
    """
    return grid / math.sqrt(6 * n) if n else math.inf
