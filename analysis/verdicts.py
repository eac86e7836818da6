"""The verdict on a comparison in a few words, or why there is none."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

from analysis.inference import LEVEL, is_equivalent
from analysis.learning import MOST

REFERENCE = "reference"
HELPS, HURTS, HIGHER, LOWER = SHOWN = ("helps", "hurts", "higher", "lower")  # of a change that was shown
NO_DIFFERENCE, CHANGED_NOTHING, CANNOT_TELL, INTERACT = (
    "no difference",
    "changed nothing",
    "cannot tell",
    "they interact",
)


def verdict(row: Mapping[Hashable, Any], *, sign: int, margin: float | None, idle: str) -> str:
    """Returns the verdict on one row of `effects.paired`.

    Args:
      row: of it, with the columns of `differences.INTERNAL`.
      sign: 1 where higher values are better, -1 where lower ones are, 0 where nobody can say.
      margin: difference that is too small to matter; None if nobody has said.
      idle: how many trials learnt nothing, if most of the frame did.
    """
    if reason := _not_compared(row) or _no_verdict(row):
        return reason
    if row["is_unchanged"]:
        return CHANGED_NOTHING
    of_both = f"{row['idle']} of {row['pairs']} seeds learnt nothing, and {row['reference_idle']} of the reference's"
    if min(row["idle"], row["reference_idle"]) > MOST * row["pairs"]:
        return f"no verdict: {of_both}"
    if all(is_equivalent(bound, margin, hidden=row["hidden"]) for bound in row["bounds"]):
        if row["idle"] + row["reference_idle"] > 2 * MOST * row["pairs"]:
            return f"no verdict: {of_both}"
        return f"no verdict: {idle}" if idle else NO_DIFFERENCE
    if row["p_holm"] < LEVEL:
        return direction(row["change"] if math.isnan(row["sign"]) else row["sign"], sign)
    return CANNOT_TELL


def direction(change: float, sign: int) -> str:
    """Returns the word for a change that was shown: `helps` or `hurts`.

    It is `higher` or `lower` where nobody can say which is better.
    """
    if sign == 0:
        return HIGHER if change > 0 else LOWER
    return HELPS if change * sign > 0 else HURTS


def _not_compared(row: Mapping[Hashable, Any]) -> str | None:
    """Returns what a row is, if there is nothing to judge in it."""
    if row["is_reference"]:
        return REFERENCE
    if row["is_same"]:
        return "the same trial"
    return f"the same trials as {row['twin_of']}" if row["twin_of"] else None


def _no_verdict(row: Mapping[Hashable, Any]) -> str | None:
    """Returns why the pairs allow no verdict, or None if they do: survivors alone would flatter."""
    for who, name in (("", ""), ("reference_", " of the reference")):
        for what, words in (("dropped", "were dropped"), ("diverged", "diverged"), ("unfinished", "did not finish")):
            if row[f"{who}{what}"]:
                return f"no verdict: {row[f'{who}{what}']} of {row['pairs']} seeds{name} {words}"
    if row["missing"]:
        return f"no verdict: {row['missing']} of {row['pairs']} seeds have no finite value"
    if row["pairs"] == 0:
        return "no verdict: no seed in common with the reference"
    return "single seed: no interval" if row["pairs"] < 2 else None
