"""Races of variants over looks: which variants need more seeds, and what a race costs and finds before it is run.

A comparison is a contrast: a weight for each variant. Against one reference it is +1 and -1; for an effect of a
factorial design it is the effect's weight of each cell. A variant needs more seeds as long as a comparison with a
weight on it is open.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import optimize, special, stats

from src.inference.sequential import SEED, Decisions, Rule, decide, estimates
from src.inference.student import LEVEL

POWER = 0.8
STUDIES = 2_000  # simulated for an expected number of trials
DRAWS = 20_000  # simulated for a power
MOST_SEEDS = 1_000
MOST_EFFECT = 60.0  # standard deviations


class Race(NamedTuple):
    """What simulated studies decide, and the seeds that they train.

    Attributes:
      decisions: of each family, arrays [studies, comparisons].
      seeds: int[studies, variants], seeds of each variant.
    """

    decisions: list[Decisions]
    seeds: np.ndarray


def differences(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns the contrasts of values by seed, float64[..., k, n]; nan where a variant with a weight has no value.

    Args:
      values: float64[..., V, n].
      weights: float64[k, V].
    """
    parts = []
    for row in weights:
        mine = np.flatnonzero(row)
        parts.append(np.einsum("v,...vn->...n", row[mine], values[..., mine, :]))
    return np.stack(parts, axis=-2) if parts else np.empty((*values.shape[:-2], 0, values.shape[-1]))


def needed(weights: np.ndarray, is_open: np.ndarray) -> np.ndarray:
    """Returns which variants an open comparison has a weight on, bool[..., V].

    Args:
      weights: float64[k, V].
      is_open: bool[..., k].
    """
    return np.asarray(is_open.astype(float) @ (np.abs(weights) > 1e-9) > 0)


def run(
    values: np.ndarray,
    families: Sequence[np.ndarray],
    rule: Rule,
    *,
    margin: float | None = None,
    hidden: float = 0.0,
) -> Race:
    """Returns what a sweep would decide with these values, and how many seeds of each variant it would train.

    Args:
      values: float64[studies, V, N], every variant with every seed.
      families: weights float64[k, V] of the comparisons that Holm's correction counts together.
      rule: how the looks share the error.
      margin: as in `sequential.decide`.
      hidden: as in `sequential.decide`.
    """
    looks = np.array(rule.looks)
    seeds = np.full(values.shape[:-1], looks[0])
    made = []
    for weights in families:
        seen = estimates(differences(values, weights), rule.looks, scale=float(np.abs(values).max()))
        decisions = decide(seen, rule, margin=margin, hidden=hidden, races=True)
        made.append(decisions)
        for place, row in enumerate(np.abs(weights) > 1e-9):
            trained = looks[np.maximum(decisions.last[..., place], 0)]
            seeds = np.where(row, np.maximum(seeds, trained[..., None]), seeds)
    return Race(made, seeds)


def expected_trials(
    families: Sequence[np.ndarray], means: np.ndarray, *, rule: Rule, margin: float | None, spread: float
) -> float:
    """Returns the mean number of trials of studies whose variants have these means.

    Args:
      families: as in `run`.
      means: float64[V].
      rule: how the looks share the error.
      margin: as in `sequential.decide`.
      spread: standard deviation of the difference of two variants of a seed.
    """
    draws = np.random.default_rng(SEED).standard_normal((STUDIES, len(means), rule.looks[-1]))
    values = means[:, None] + draws * spread / math.sqrt(2)
    return float(run(values, families, rule, margin=margin).seeds.sum(axis=-1).mean())


def detectable(rule: Rule | None, *, seeds: int, comparisons: int) -> float:
    """Returns the change, in standard deviations of the differences, that a design shows with a power of 80 %.

    The level is divided by the number of comparisons (Bonferroni, the strictest step of Holm).

    Args:
      rule: of the looks; None for a study that is judged once.
      seeds: n of a study that is judged once.
      comparisons: k.
    """

    def lacking(effect: float) -> float:
        return power(effect, rule, seeds=seeds, comparisons=comparisons) - POWER

    return float(optimize.brentq(lacking, 0.0, MOST_EFFECT, xtol=1e-3)) if lacking(MOST_EFFECT) > 0 else math.inf


def power(effect: float, rule: Rule | None, *, seeds: int, comparisons: int) -> float:
    """Returns the chance of a verdict on a change of `effect` standard deviations of the differences."""
    alpha = LEVEL / comparisons
    if rule is None:
        critical = float(special.stdtrit(seeds - 1, 1 - alpha / 2))
        shift = effect * math.sqrt(seeds)
        return float(_nct_above(critical, seeds - 1, shift) + _nct_above(critical, seeds - 1, -shift))
    found, total, squares, before = np.zeros(DRAWS, bool), np.zeros(DRAWS), np.zeros(DRAWS), 0
    draws = np.random.default_rng(SEED)
    for look, n in enumerate(rule.looks):
        step = n - before
        drawn = draws.standard_normal(DRAWS) * math.sqrt(step) + effect * step
        total += drawn
        squares += drawn**2 / step + (2 * draws.standard_gamma((step - 1) / 2, DRAWS) if step > 1 else 0.0)
        t = total / np.sqrt(n * (squares - total**2 / n) / (n - 1))
        found |= np.abs(t) >= rule.critical(look, alpha=alpha)
        before = n
    return float(found.mean())


def _nct_above(critical: float, freedom: int, shift: float) -> float:
    chance = float(stats.nct.sf(critical, freedom, shift))
    return 0.0 if math.isnan(chance) else chance


def seeds_for(effect: float, *, comparisons: int) -> int | None:
    """Returns the seeds with which a study judged once shows a change with a power of 80 %; None for over 1,000.

    Args:
      effect: the change in standard deviations of the differences.
      comparisons: k, as in `detectable`.
    """
    low, high = 2, MOST_SEEDS
    if power(effect, None, seeds=high, comparisons=comparisons) < POWER:
        return None
    while low < high:
        middle = (low + high) // 2
        if power(effect, None, seeds=middle, comparisons=comparisons) >= POWER:
            high = middle
        else:
            low = middle + 1
    return low
