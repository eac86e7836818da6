"""Intervals, p values, equivalence and power for numbers measured once per seed, independent of metric and study."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import special, stats
from statsmodels.stats.multitest import multipletests

LEVEL = 0.05
ROUNDING = 1e-12  # relative rounding error of arithmetic in float64
RESOLUTION = 1e-6  # relative; float32 has seven digits, so smaller differences are rounding
MAX_EXACT = 20  # largest number of pairs for which all 2^n signs are enumerated
POWER = 0.8  # power for which the number of seeds is planned
MAX_SEEDS = 1_000


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


def holm(p: pd.Series) -> pd.Series:
    """Returns p values adjusted for their number; nan stays nan.

    Source: Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 6, 1979.
    """
    adjusted = p.astype(float).copy()
    tested = adjusted.notna()
    if tested.any():
        adjusted[tested] = multipletests(adjusted[tested], method="holm")[1]
    return adjusted


def sign_flip(differences: np.ndarray) -> float:
    """Returns the exact two-sided p value of the mean difference under random signs (sign-flip test).

    The smallest possible value is 2 / 2^n. It is nan for one difference and for more than 20.

    Source: Fisher, "The Design of Experiments", Oliver and Boyd 1935, section 21.
    """
    if not 2 <= len(differences) <= MAX_EXACT:
        return math.nan
    sums = np.zeros(1)
    for size in np.abs(differences):
        sums = np.concatenate([sums + size, sums - size])
    least = abs(differences.sum()) - RESOLUTION * np.abs(differences).sum()
    return float((np.abs(sums) >= least).mean())


def failures_not_excluded(seeds: int) -> float:
    """Returns the upper 95 % bound on the failure rate after n seeds without a failure: 1 - 0.05^(1/n).

    Source: the exact bound of Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of
    the binomial", Biometrika 26(4), 1934.
    """
    return float(1 - LEVEL ** (1 / seeds))


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


def seeds_needed(row: Mapping[Hashable, Any], margin: float | None) -> tuple[float, float]:
    """Returns two estimates of the number of seeds that a study needs for a power of 80 %; nan for more than 1,000.

    The first assumes that the change and the standard deviation of the differences are as estimated. The second assumes
    that the standard deviation is at its upper 80 % bound: a few differences estimate it badly, and the first number
    alone may be a third of what is needed.

    A study decides if it finds a difference at the level divided by the number of comparisons (Bonferroni, the
    strictest step of Holm), or finds it within the margin. The power is that of the noncentral t distribution.

    Args:
      row: `change`, `spread` and `n` of a `differences.Change`, and the number of `comparisons`.
      margin: difference that is too small to matter; None if no margin is set.
    """
    spread, freedom = row["spread"], row["n"] - 1
    if math.isnan(row["change"]) or not spread > 0:
        return math.nan, math.nan
    most = spread * math.sqrt(freedom / float(stats.chi2.ppf(1 - POWER, freedom)))
    return _seeds(row, margin, spread), _seeds(row, margin, most)


def _seeds(row: Mapping[Hashable, Any], margin: float | None, spread: float) -> float:
    change = abs(row["change"])

    def is_enough(total: np.ndarray) -> np.ndarray:
        error, freedom = spread / np.sqrt(total), total - 1
        critical = special.stdtrit(freedom, 1 - LEVEL / (2 * row["comparisons"]))
        power = stats.nct.sf(critical, freedom, change / error)
        if margin is not None:
            half = special.stdtrit(freedom, 1 - LEVEL)
            below, above = ((margin + side * change) / error - half for side in (-1, 1))
            power = np.maximum(power, special.stdtr(freedom, below) + special.stdtr(freedom, above) - 1)
        return np.asarray(power >= POWER)

    return smallest(is_enough, row["n"] + 1, MAX_SEEDS)


def smallest(holds: Callable[[np.ndarray], np.ndarray], low: int, high: int) -> float:
    """Returns the smallest number for which a monotone condition holds; nan if there is none."""
    if low > high:
        return math.nan
    coarse = np.append(np.arange(low, high, 32), high)
    holding = np.flatnonzero(holds(coarse))
    if not len(holding):
        return math.nan
    last = int(coarse[holding[0]])
    fine = np.arange(last if not holding[0] else int(coarse[holding[0] - 1]) + 1, last + 1)
    return float(fine[np.flatnonzero(holds(fine))[0]])
