"""Trials to a table."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

import pandas as pd
from scipy.stats import gmean

NOT_VARIED = ("run_id", "variant", "identity", "health", "workers", "seed")
COLUMNS = {
    "test/accuracy": "test accuracy",
    "val/accuracy (epoch 1)": "validation accuracy after epoch 1",
    "time/batch_ms_median": "ms per batch",
    "time/epoch_s": "s per epoch",
    "data/padding_fraction": "padding",
    "model/parameters": "parameters",
}


def varied(trials: pd.DataFrame) -> list[str]:
    """Returns the toggles that differ between trials, the seed left out, in the order of the columns."""
    return [name for name in trials.columns if "/" not in name and name not in NOT_VARIED and len(trials[name].unique()) > 1]


def variants(trials: pd.DataFrame, validation: pd.DataFrame) -> pd.DataFrame:
    """Returns one row a variant: its toggles, n seeds, and the mean over the seeds of what is of interest.

    Times are geometric means: they are compared as ratios. No interval is given; with one seed there is none.

    Args:
      trials: one row a trial (`load.trials`).
      validation: steps of `val/accuracy` (`load.steps`); the first of each trial is used.

    Raises:
      ValueError: two trials have the same variant and seed.
    """
    toggles = varied(trials)
    if trials.duplicated([*toggles, "seed"]).any():
        raise ValueError("two trials have the same variant and seed")
    first = validation.sort_values("step").groupby("run_id")["value"].first()
    frame = trials.assign(**{"val/accuracy (epoch 1)": trials["run_id"].map(first)})
    groups = frame.groupby(toggles or (lambda _: 0), sort=False, dropna=False)
    table = groups[[name for name in COLUMNS if name in frame.columns]].mean()
    for name in ("time/batch_ms_median", "time/epoch_s"):
        table[name] = groups[name].agg(gmean)
    table.insert(0, "n", groups.size())
    return (table.reset_index() if toggles else table.reset_index(drop=True)).rename(columns=COLUMNS)


def effects(compared: pd.DataFrame, *, metric: str) -> str:
    """Returns how variants differ from their reference (`effects.paired`) as Markdown, intervals of 95 %."""
    digits = 3 if "accuracy" in metric or metric.endswith("loss") else 1
    headings = ["variant", "n", metric, "change", "p (Holm)", "verdict", "time per batch"]
    has_groups = bool((compared["within"] != "").any())
    lines = [(["with"] if has_groups else []) + headings]
    lines.append(["---"] * len(lines[0]))
    for row in compared.to_dict("records"):
        is_one = row["is_reference"]
        never = f", {row['never']} never" if row["never"] else ""
        cells = [
            row["label"],
            f"{row['n']}{never}",
            _number(row["mean"], digits),
            "" if is_one else _interval(row["change"], row["low"], row["high"], digits),
            "" if is_one else _p(row["p_holm"]),
            _verdict(row),
            "1" if is_one else _ratio(row["time_ratio"], row["time_low"], row["time_high"]),
        ]
        lines.append(([row["within"]] if has_groups else []) + cells)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def caution(rows: pd.DataFrame) -> str:
    """Returns what keeps the times of these trials from being compared; empty if nothing does."""
    found = rows[rows["status"] == "FINISHED"]
    reasons = []
    side_by_side = sorted(set(found["workers"].dropna()) - {"1"}, key=int)
    if side_by_side:
        reasons.append(f"{' or '.join(side_by_side)} trials ran side by side")
    for name in ("workers", "threads", "processor"):
        if len(found[name].unique()) > 1:
            reasons.append(f"{name} differ ({', '.join(sorted(found[name].unique()))})")
    return f"Times are rough: {'; '.join(reasons)}." if reasons else ""


def _verdict(row: dict[Hashable, Any]) -> str:
    more = row["further_seeds"]
    return f"{row['verdict']} ({more:.0f} more seeds would)" if not math.isnan(more) else str(row["verdict"])


def _interval(change: float, low: float, high: float, digits: int) -> str:
    if math.isnan(change):
        return "–"
    return f"{change:+.{digits}f}" + (f" [{low:+.{digits}f}, {high:+.{digits}f}]" if not math.isnan(low) else "")


def _ratio(ratio: float, low: float, high: float) -> str:
    if math.isnan(ratio):
        return "–"
    return f"{ratio:.2f}" + (f" [{low:.2f}, {high:.2f}]" if not math.isnan(low) else "")


def _p(value: float) -> str:
    return "–" if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _number(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:,.{digits}f}"


def markdown(table: pd.DataFrame) -> str:
    """Returns a table of variants as Markdown, check marks for toggles that are on or off."""
    digits = {
        "test accuracy": 3,
        "validation accuracy after epoch 1": 3,
        "ms per batch": 0,
        "s per epoch": 1,
        "padding": 3,
        "parameters": 0,
    }
    lines = [[str(name) for name in table.columns], ["---"] * len(table.columns)]
    for row in table.to_dict("records"):
        lines.append([_cell(value, digits.get(str(name))) for name, value in row.items()])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _cell(value: object, digits: int | None) -> str:
    if isinstance(value, bool):
        return "✓" if value else "✗"
    if isinstance(value, int | float) and digits is not None:
        return f"{value:,.{digits}f}"
    return str(value)
