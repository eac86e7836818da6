"""Intervals, p values, equivalence and power of numbers that were measured once a seed; no metric and no study."""

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
ROUNDING = 1e-12  # of arithmetic with doubles, relative to the values
RESOLUTION = 1e-6  # of values, relative: float32 keeps seven digits, and what differs by less is rounding
MAX_EXACT = 20  # pairs whose 2^n signs are all tried
POWER = 0.8  # with which a study of so many seeds would tell
MAX_SEEDS = 1_000


class Interval(NamedTuple):
    """An estimate with its 95 % interval and two-sided p value (Student's t), nan where there is none.

    Attributes:
      mean: the estimate.
      low: of the interval.
      high: of the interval.
      p: of the estimate being zero.
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
    """Returns the mean of values with Student's interval; no interval below two values.

    Without any spread, as between counts that are the same for every seed, there is no interval, and p is that of the
    signs.

    Args:
      values: float[n], differences of pairs, or what was measured once a seed.
      scale: size of what was measured, by which rounding is told from spread; default: the largest of the values.
        Differences are much smaller than what they are differences of, and need it.
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
    """Returns the exact two-sided p value of the mean difference, if every sign could as well be the other.

    At best it is 2 / 2^n.

    Source: Fisher, "The Design of Experiments", Oliver and Boyd 1935, section 21. nan for one difference and for more
      than 20.
    """
    if not 2 <= len(differences) <= MAX_EXACT:
        return math.nan
    sums = np.zeros(1)
    for size in np.abs(differences):
        sums = np.concatenate([sums + size, sums - size])
    least = abs(differences.sum()) - RESOLUTION * np.abs(differences).sum()
    return float((np.abs(sums) >= least).mean())


def failures_not_excluded(seeds: int) -> float:
    """Returns the share of failing seeds that so many seeds without a failure still allow, at 95 %: 1 - 0.05^(1/n).

    Source: the exact bound of Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of
      the binomial",
    Biometrika 26(4), 1934.
    """
    return float(1 - LEVEL ** (1 / seeds))


def is_equivalent(found: Interval, margin: float | None, *, hidden: float = 0.0) -> bool:
    """Returns whether two one-sided t tests at 5 % find the estimate within the margin.

    They do exactly if its 90 % interval is within it.

    Source: Schuirmann, "A comparison of the two one-sided tests procedure and the power approach for assessing the
      equivalence of
    average bioavailability", Journal of Pharmacokinetics and Biopharmaceutics 15, 1987. Not adjusted for the number of
    comparisons.

    Args:
      found: the estimate.
      margin: difference that is too small to matter; None if nobody has said, and then nothing is.
      hidden: standard error that the grid of a coarse metric may hide: 20 examples that are right as often in all of
        two seeds may still have different chances of being right.
    """
    if margin is None or math.isnan(found.error):
        return False
    return abs(found.mean) + quantile(1 - LEVEL, found.freedom) * max(found.error, hidden) < margin


@functools.cache
def quantile(share: float, freedom: int) -> float:
    """Returns the quantile of Student's t distribution."""
    return float(special.stdtrit(freedom, share))


def scale_of(*values: np.ndarray) -> float:
    """Returns the largest size of any value; 0 for none."""
    return max((float(np.abs(some).max(initial=0.0)) for some in values), default=0.0)


def grid(values: np.ndarray) -> float:
    """Returns the smallest distance between two different values: how fine a metric is. Infinite if all are equal."""
    distinct = np.unique(values[np.isfinite(values)])
    gaps = np.diff(distinct)
    return float(gaps[gaps > RESOLUTION * scale_of(distinct)].min(initial=np.inf))


def seeds_needed(row: Mapping[Hashable, Any], margin: float | None) -> tuple[float, float]:
    """Returns how many seeds a study needs to tell with a power of 80 %, twice; nan for more than 1,000.

    First if change and spread are what they seem, then if the differences spread as much as the upper 80 % bound of
    their standard deviation says: a few differences say little about their spread, and the first number alone may be a
    third of what is needed.

    To tell is to find a difference at the level divided by the number of comparisons (Bonferroni's, the strictest step
    of Holm's), or to find it within the margin. The power of the t test is that of the noncentral t distribution.

    Args:
      row: `change`, `spread` and `n` of a `differences.Change`, and the number of `comparisons`.
      margin: difference that is too small to matter; None if nobody has said.
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
    """Returns the smallest number for which something holds that holds for all greater ones, too; nan for none."""
    if low > high:
        return math.nan
    coarse = np.append(np.arange(low, high, 32), high)
    found = np.flatnonzero(holds(coarse))
    if not len(found):
        return math.nan
    last = int(coarse[found[0]])
    fine = np.arange(last if not found[0] else int(coarse[found[0] - 1]) + 1, last + 1)
    return float(fine[np.flatnonzero(holds(fine))[0]])
