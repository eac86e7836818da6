"""Intervals, p values, equivalence and power for numbers measured once per seed, independent of metric and study.

What the sweep needs, too, is in `src.inference`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import special, stats

from src.inference import sequential
from src.inference.student import (
    LEVEL,
    RESOLUTION,
)

MAX_EXACT = 20  # largest number of pairs for which all 2^n signs are enumerated
POWER = 0.8  # power for which the number of seeds is planned
MAX_SEEDS = 1_000


def holm(p: pd.Series) -> pd.Series:
    """Returns p values adjusted for their number, as `sequential.holm` does; nan stays nan."""
    return pd.Series(sequential.holm(p.to_numpy(float)), p.index)


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
