"""Numbers of comparisons as readers see them: texts, each with the number that it is sorted by."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from src.spec.section import as_typed

from analysis.inference import LEVEL, failures_not_excluded
from analysis.table import NOTHING, Entry
from analysis.verdicts import NO_DIFFERENCE


def number_of(count: int, what: str) -> str:
    """Returns a number with its noun: `1 seed`, `8 seeds`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def verdict(row: Any) -> str:
    """Returns a verdict with its level, or with how many seeds a study needs to tell."""
    if row["verdict"] == NO_DIFFERENCE:
        return "no difference (each at 5 %, not adjusted)"
    few, many = (
        row.get("seeds_needed", math.nan),
        row.get("seeds_needed_high", math.nan),
    )  # of main effects nobody has computed any
    if math.isnan(few):
        return str(row["verdict"])
    return (
        f"{row['verdict']}; a study of {few:.0f} {'seeds or more' if math.isnan(many) else f'to {many:.0f} seeds'} may"
    )


def setting(value: Any) -> Entry:
    """Returns a toggle's value; a truth value as a mark."""
    if isinstance(value, bool):
        return Entry("✓" if value else "✗", float(value))
    return Entry(as_typed(value), float(value) if isinstance(value, int | float) else None)


def number(value: float, decimals: int) -> Entry:
    """Returns a number, a dash where there is none."""
    return Entry(NOTHING) if math.isnan(value) else Entry(f"{value:,.{decimals}f}", float(value))


def change(row: Mapping[Any, Any], decimals: int) -> Entry:
    """Returns a change with its interval, where it has one."""
    middle, low, high = row["change"], row["low"], row["high"]
    if math.isnan(middle):
        return Entry(NOTHING)
    text = f"{middle:+.{decimals}f}"
    return Entry(text if math.isnan(low) else f"{text} [{low:+.{decimals}f}, {high:+.{decimals}f}]", middle)


def ratio(row: dict[Any, Any]) -> Entry:
    """Returns a ratio of times with its interval; 1 for the reference."""
    if row["is_reference"]:
        return Entry("1", 1.0)
    middle, low, high = row["time_ratio"], row["time_low"], row["time_high"]
    if math.isnan(middle):
        return Entry(NOTHING)
    return Entry(f"{middle:.2f}" if math.isnan(low) else f"{middle:.2f} [{low:.2f}, {high:.2f}]", middle)


def failure_bound(row: dict[Any, Any]) -> Entry:
    """Returns the share of failing seeds that the seeds of a variant, none of which failed, still allow."""
    if row["unfinished"] or not row["pairs"]:
        return Entry("")
    bound = failures_not_excluded(row["pairs"])
    return Entry(f"up to {bound:.0%}", bound)


def steps_to(row: dict[Any, Any]) -> Entry:
    """Returns the median over seeds, a target that was never reached being later than any."""
    if math.isnan(row["steps_to"]):
        return Entry(NOTHING)
    if math.isinf(row["steps_to"]):
        return Entry(f"never in {row['steps_to_never']:.0f} of {row['pairs'] - row['unfinished']}", math.inf)
    return Entry(
        f"{row['steps_to']:,.0f}" + (f" ({row['steps_to_never']:.0f} never)" if row["steps_to_never"] else ""),
        row["steps_to"],
    )


def p_value(value: float) -> Entry:
    """Returns a p value, with as many digits as tell on which side of the level it is."""
    if math.isnan(value):
        return Entry("")
    text = f"{value:.3f}"
    return Entry("< 0.001" if value < 0.001 else f"{value:.4f}" if text == f"{LEVEL:.3f}" else text, value)
