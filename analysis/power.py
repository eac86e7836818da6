"""How many seeds a study needs to tell a change from none."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
from scipy import special, stats

from analysis.inference import LEVEL

POWER = 0.8  # with which a study of so many seeds would tell
MAX_SEEDS = 1_000


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

    return first(is_enough, row["n"] + 1, MAX_SEEDS)


def first(holds: Callable[[np.ndarray], np.ndarray], low: int, high: int) -> float:
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
