"""The verdict on a comparison in a few words, or the reason why there is none."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from analysis.rows import FINISHED
from src.inference.sequential import DIFFERENT, EQUIVALENT
from src.inference.student import LEVEL, is_equivalent
from src.inference.verdicts import (
    CANNOT_TELL,
    CHANGED_NOTHING,
    NO_DIFFERENCE,
    direction,
)
from src.spec.record import NO_LEARNING

MOST = 0.5  # share of trials above which "most" learnt nothing
REFERENCE = "reference"


def mostly_idle(rows: pd.DataFrame) -> bool:
    """Returns whether most of the finished trials learnt nothing (by `health`), so that differences are chance.

    Args:
      rows: as `effects.paired` takes them.
    """
    return bool(_is_idle(rows).mean() > MOST)


def idle_trials(rows: pd.DataFrame) -> str:
    """Returns the number of finished trials that learnt nothing, in words."""
    is_idle = _is_idle(rows)
    return f"{is_idle.sum()} of {len(is_idle)} trials learnt nothing"


def _is_idle(rows: pd.DataFrame) -> pd.Series:
    """Returns for each finished trial whether it learnt nothing; a trial that serves several rows counts once."""
    done = rows[rows["status"] == FINISHED].drop_duplicates("identity")
    return done.reindex(columns=["health"])["health"] == NO_LEARNING


def verdict(row: Mapping[Hashable, Any], *, sign: int, margin: float | None, idle: str) -> str:
    """Returns the verdict on one row of `effects.paired`.

    Args:
      row: a row with the columns of `differences.INTERNAL`.
      sign: 1 if higher values are better, -1 if lower values are, 0 if the metric has no direction.
      margin: difference that is too small to matter; None if no margin is set.
      idle: sentence with the number of trials that learnt nothing, if most of the frame did; else empty.
    """
    if reason := _not_compared(row) or _no_verdict(row):
        return reason
    if row["is_unchanged"]:
        return CHANGED_NOTHING
    of_both = f"{row['idle']} of {row['pairs']} seeds learnt nothing, and {row['reference_idle']} of the reference's"
    if min(row["idle"], row["reference_idle"]) > MOST * row["pairs"]:
        return f"no verdict: {of_both}"
    if _is_equal(row, margin):
        if row["idle"] + row["reference_idle"] > 2 * MOST * row["pairs"]:
            return f"no verdict: {of_both}"
        return f"no verdict: {idle}" if idle else NO_DIFFERENCE
    if row["decision"] is not None:
        return direction(row["decided_sign"], sign) if row["decision"] == DIFFERENT else CANNOT_TELL
    if row["p_holm"] < LEVEL:
        return direction(row["change"] if math.isnan(row["sign"]) else row["sign"], sign)
    return CANNOT_TELL


def _is_equal(row: Mapping[Hashable, Any], margin: float | None) -> bool:
    """Returns whether the change lies within the margin: at one of the looks, or in a fixed study once."""
    if row["decision"] is not None:
        return bool(row["decision"] == EQUIVALENT)
    return all(is_equivalent(bound, margin, hidden=row["hidden"]) for bound in row["bounds"])


def _not_compared(row: Mapping[Hashable, Any]) -> str | None:
    """Returns the description of a row that is not a comparison, or None."""
    if row["is_reference"]:
        return REFERENCE
    if row["is_same"]:
        return "the same trial"
    return f"the same trials as {row['twin_of']}" if row["twin_of"] else None


def _no_verdict(row: Mapping[Hashable, Any]) -> str | None:
    """Returns why the pairs allow no verdict, or None: a verdict from only the finished seeds would be biased."""
    for who, name in (("", ""), ("reference_", " of the reference")):
        for what, words in (("dropped", "were dropped"), ("diverged", "diverged"), ("unfinished", "did not finish")):
            if row[f"{who}{what}"]:
                return f"no verdict: {row[f'{who}{what}']} of {row['pairs']} seeds{name} {words}"
    if row["missing"]:
        return f"no verdict: {row['missing']} of {row['pairs']} seeds have no finite value"
    if row["pairs"] == 0:
        return "no verdict: no seed in common with the reference"
    return "single seed: no interval" if row["pairs"] < 2 else None
