"""The answer of a study in words, made from its numbers."""

from __future__ import annotations

import math
from typing import Any

from analysis.effects import MAX_EXACT
from analysis.findings import STEPWISE, Findings, caution
from analysis.tables import digits, title

AT_MOST = 4  # variants that a sentence names


def sentences(found: Findings) -> list[str]:
    """Returns what the study found in two sentences, and what limits them in as many more as that takes."""
    rows = [row for row in found.compared.to_dict("records") if not row["is_reference"]]
    asked = int(found.compared["pairs"].max())
    if not rows:
        return [f"One variant: {title(found.metric)} {_mean(found)}. There is nothing to compare it with."]
    if asked < 2:
        return [
            "With one seed nothing can be concluded: another seed may turn every difference around.",
            f"What was seen once is in the table; {_more_seeds(found)}",
        ]
    return [*_averaged(found), _decided(found, rows), _undecided(rows, found), *_fastest(found, rows), *_limits(found, asked)]


def _decided(found: Findings, rows: list[dict[Any, Any]]) -> str:
    against = "the step before" if found.study.plan["design"] in STEPWISE else f"the reference ({title(found.metric)} {_mean(found)})"
    parts = []
    for word in ("helps", "hurts"):
        told = sorted((row for row in rows if row["verdict"] == word), key=lambda row: -abs(_size(row)))
        if told:
            parts.append(f"{_listed([_with_change(row, found) for row in told])} {word if len(told) == 1 else word[:-1]}")
    return f"Against {against}, {'; '.join(parts) or 'no variant was shown to help or to hurt'}."


def _undecided(rows: list[dict[Any, Any]], found: Findings) -> str:
    parts = []
    same = [row["label"] for row in rows if row["verdict"] in ("no difference", "the same trial")]
    if same:
        within = f" within ±{found.margin:g}" if found.margin is not None else ""
        parts.append(f"no difference{within} in {_listed(same)}")
    unclear = [row for row in rows if row["verdict"] == "cannot tell"]
    if unclear:
        parts.append(f"undecided with these seeds: {_listed([_with_seeds(row) for row in unclear])}")
    rest = [row for row in rows if row["verdict"].startswith(("no verdict", "nothing"))]
    if rest:
        parts.append(f"no verdict on {_listed([row['label'] for row in rest])}, where trials are missing or diverged")
    text = "; ".join(parts) or "every comparison was decided"
    return text[0].upper() + text[1:] + "."


def _averaged(found: Findings) -> list[str]:
    if found.factorial is None:
        return []
    main = found.factorial[found.factorial["verdict"].isin(["helps", "hurts"])].sort_values("share", ascending=False)
    told = [f"{row['effect']} {row['verdict']} ({_numbers(row, found)})" for row in main.to_dict("records")]
    pairs = found.factorial.loc[found.factorial["verdict"] == "they interact", "term"].drop_duplicates()
    text = f"Averaged over all else, {_listed(told) if told else 'no toggle was shown to matter'}"
    if len(pairs):
        text += f"; {_listed([pair.replace(':', ' and ') for pair in pairs])} interact"
    return [text + "."]


def _fastest(found: Findings, rows: list[dict[Any, Any]]) -> list[str]:
    told = [row for row in rows if row["time_high"] < 1 or row["time_low"] > 1]
    if not told:
        return []
    told = sorted(told, key=lambda row: float(row["time_ratio"]))
    named = [f"{row['label']} {row['time_ratio']:.2f} [{row['time_low']:.2f}, {row['time_high']:.2f}]" for row in told]
    of = "that of the step before" if found.study.plan["design"] in STEPWISE else "the reference's"
    return [f"Time per batch as a multiple of {of}: {_listed(named)}. {caution(found.rows)}".strip()]


def _limits(found: Findings, asked: int) -> list[str]:
    limits = []
    if asked < 6:
        least = f"With {asked} seeds the exact sign-flip p cannot go below {2 / 2**asked:g}"
        limits.append(f"{least}; the paired t test assumes that differences are normal.")
    elif asked > MAX_EXACT:
        limits.append(f"With more than {MAX_EXACT} seeds no exact sign-flip p is computed.")
    last = [text.split(" of ") for text in found.study.finished["best_epoch"].dropna() if " of " in str(text)]
    late = sum(best == whole != "1" for best, whole in last)
    if last and late > len(last) / 2:
        limits.append(f"In {late} of {len(last)} trials the last epoch was the best: training may have been too short to compare.")
    if found.unchanged:
        limits.append(f"Changed nothing, weights equal bit for bit: {_listed(found.unchanged)}.")
    return limits


def _more_seeds(found: Findings) -> str:
    commands = found.study.plan["commands"]
    command = commands[-1]["command"] if commands else f"python -m src.run -m study={found.study.name} …"
    return f"type {command} seed='range(0,8)' for intervals and verdicts."


def _size(row: dict[Any, Any]) -> float:
    return 0.0 if math.isnan(row["change"]) else row["change"]


def _with_change(row: dict[Any, Any], found: Findings) -> str:
    if math.isnan(row["change"]):
        return f"{row['label']} ({row['never']} of {row['pairs']} seeds never reached it)"
    return f"{row['label']} ({_numbers(row, found)})"


def _numbers(row: dict[Any, Any], found: Findings) -> str:
    places = digits(found.metric)
    return f"{row['change']:+.{places}f} [{row['low']:+.{places}f}, {row['high']:+.{places}f}]"


def _with_seeds(row: dict[Any, Any]) -> str:
    more = row["further_seeds"]
    return row["label"] if math.isnan(more) else f"{row['label']} (about {more:.0f} more would tell)"


def _mean(found: Findings) -> str:
    mean = found.compared["mean"].iloc[0]
    return "unknown" if math.isnan(mean) else f"{mean:,.{digits(found.metric)}f}"


def _listed(names: list[str]) -> str:
    shown = names[:AT_MOST]
    if len(names) > AT_MOST:
        return f"{', '.join(shown)} and {len(names) - AT_MOST} more"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
