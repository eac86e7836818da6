"""Texts for readers: formatted numbers of comparisons, and users' texts with markup and formulas escaped."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from analysis.inference import failures_not_excluded
from src.inference.student import LEVEL
from src.inference.verdicts import CANNOT_TELL, NO_DIFFERENCE
from src.spec.section import as_typed
from src.terminal.visible import no_formula, one_line, visible

NOTHING = "–"
MARKUP = re.compile(  # signs of GitHub's Markdown that need a backslash before them
    r"[\\`*|]|<(?=[A-Za-z/!?])|(?<!\w)_|_(?!\w)|~(?=~)|(?<=~)~|\](?=[(\[:])"  # signs, tags, links, images
    r"|&(?=#?\w+;)"  # entities
    r"|:(?=//)|(?<=www)\.|(?<=mailto):|(?<=xmpp):|@(?=[\w-])",  # automatic links and mentions
    re.IGNORECASE,
)
SPELT_IN_LATEX = {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"}
IN_LATEX = {
    "<": "$<$",
    ">": "$>$",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "✓": r"\checkmark",
    "✗": r"$\times$",
    "×": r"$\times$",
    "–": "--",
    "−": "$-$",
    "…": r"\dots{}",
    "’": "'",
}


class Entry(NamedTuple):
    """A text, and the number by which a table sorts it."""

    text: str
    value: float | None = None


def number_of(count: int, what: str) -> str:
    """Returns a number with its noun: `1 seed`, `8 seeds`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def verdict(row: Any) -> str:
    """Returns a verdict with its level, or with the number of seeds that a study needs to decide."""
    if row["verdict"] == NO_DIFFERENCE:
        return "no difference (each at 5 %, not adjusted)"
    if row.get("is_futile") and row["verdict"] == CANNOT_TELL:
        return f"{CANNOT_TELL}; set aside as futile"
    few, many = (
        row.get("seeds_needed", math.nan),
        row.get("seeds_needed_high", math.nan),
    )  # main effects have no such numbers
    if math.isnan(few):
        return str(row["verdict"])
    return (
        f"{row['verdict']}; a study of {few:.0f} {'seeds or more' if math.isnan(many) else f'to {many:.0f} seeds'} may"
    )


def decided_at(row: Mapping[Any, Any]) -> Entry:
    """Returns the look at which a comparison was decided or set aside; empty if it is open or was not tested."""
    if math.isnan(row["decided_at"]) or row["verdict"].startswith("no verdict"):
        return Entry("")
    return Entry(f"look {row['look']:.0f} (n = {row['decided_at']:.0f})", float(row["decided_at"]))


def setting(value: Any) -> Entry:
    """Returns a toggle's value; a boolean as ✓ or ✗."""
    if isinstance(value, bool):
        return Entry("✓" if value else "✗", float(value))
    return Entry(as_typed(value), float(value) if isinstance(value, int | float) else None)


def number(value: float, decimals: int) -> Entry:
    """Returns a number, or a dash for nan."""
    return Entry(NOTHING) if math.isnan(value) else Entry(f"{value:,.{decimals}f}", float(value))


def change(row: Mapping[Any, Any], decimals: int) -> Entry:
    """Returns a change with its interval, if it has one."""
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
    """Returns the upper bound on the failure rate of a variant of which no seed failed."""
    if row["unfinished"] or not row["pairs"]:
        return Entry("")
    bound = failures_not_excluded(row["pairs"])
    return Entry(f"up to {bound:.0%}", bound)


def steps_to(row: dict[Any, Any]) -> Entry:
    """Returns the median over seeds; a target that was never reached counts as later than any other."""
    if math.isnan(row["steps_to"]):
        return Entry(NOTHING)
    if math.isinf(row["steps_to"]):
        return Entry(f"never in {row['steps_to_never']:.0f} of {row['pairs'] - row['unfinished']}", math.inf)
    return Entry(
        f"{row['steps_to']:,.0f}" + (f" ({row['steps_to_never']:.0f} never)" if row["steps_to_never"] else ""),
        row["steps_to"],
    )


def p_value(value: float) -> Entry:
    """Returns a p value with enough digits to show on which side of the level it is."""
    if math.isnan(value):
        return Entry("")
    text = f"{value:.3f}"
    return Entry("< 0.001" if value < 0.001 else f"{value:.4f}" if text == f"{LEVEL:.3f}" else text, value)


def in_markdown(text: str) -> str:
    r"""Returns a text escaped for Markdown: no markup, link, image, tag or entity in it takes effect."""
    text = visible(re.sub(r"\s+", " ", text))
    return MARKUP.sub(lambda match: "\\" + match[0], text)


def in_latex(text: str) -> str:
    """Returns a text in one line, escaped for LaTeX; `signs` then replaces what pdfLaTeX's fonts lack."""
    return re.sub(r"[&%$#_{}\\^~]", lambda match: SPELT_IN_LATEX.get(match[0], "\\" + match[0]), one_line(text))


def signs(text: str) -> str:
    """Returns LaTeX with commands in place of the signs that its usual fonts lack."""
    return "".join(IN_LATEX.get(sign, sign) for sign in text)


def csv(frame: pd.DataFrame) -> str:
    """Returns a frame as CSV in which no text is a formula for a spreadsheet.

    A text that a spreadsheet would read as a formula, as it begins with = + - or @ (full-width ones too), a tab or a
    line end, gets an apostrophe before it, in headings too. Numbers are unchanged, even if they are texts. Programs
    that read the file see the apostrophe; Parquet files have none.
    """
    kinds = frame.dtypes.map(
        lambda kind: pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_datetime64_any_dtype(kind)
    )
    texts = {
        str(name): frame[name].astype(object).map(_no_formula) for name, is_number in kinds.items() if not is_number
    }
    return str(frame.assign(**texts).rename(columns=_no_formula).to_csv(index=False))


def _no_formula(value: Any) -> Any:
    return no_formula(value) if isinstance(value, str) else value


def halves(text: str) -> tuple[str, str]:
    """Returns a text as two lines, broken at the space nearest its middle; without a space the second is empty."""
    spaces = [place for place, sign in enumerate(text) if sign == " "]
    if not spaces:
        return text, ""
    place = min(spaces, key=lambda one: abs(2 * one - len(text)))
    return text[:place], text[place + 1 :]
