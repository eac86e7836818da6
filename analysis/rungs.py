"""The rungs of successive halving: which candidates each trained, what they reached, and where they left."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.groups import within
from analysis.load import Study
from src.inference.student import interval

COLUMNS = ["label", "is_reference", "number", "of", "budget", "value", "low", "high", "goes_on", "why"]
LAST = "judged in the last rung"


def has_any(study: Study) -> bool:
    """Returns whether the study has rungs before its last one."""
    return bool(study.plan["selection"])


def key(study: Study) -> str:
    """Returns the key whose value is the budget of a rung."""
    return str(study.plan["selection"][0]["key"])


def values(study: Study) -> pd.DataFrame:
    """Returns one row per variant and rung that was trained, in the order of the rungs and of the design.

    Returns:
      `label`, `is_reference`, `number` of the rung (from 1) `of` so many, `budget`, `value` (mean best validation value
      of the first metric; nan if there is none), `low` and `high` (its 95 % interval over seeds, in the last rung),
      `goes_on`, and `why` there is no value, or why the variant did not compete. The last rung has the finished seeds
      of the study's rows.
    """
    rows: list[dict[str, Any]] = []
    for rung in study.plan["selection"]:
        of_rung = {name: rung[name] for name in ("number", "of", "budget")}
        rows += [{**_candidate(each), **of_rung} for each in rung["candidates"] if each["goes_on"] is not None]
    rows += _of_last(study)
    return pd.DataFrame(rows, columns=COLUMNS)


def candidates(study: Study) -> pd.DataFrame:
    """Returns one row per variant: `label`, `is_reference`, its value at each rung, and `outcome` in words.

    The columns of the values are named by the budget, such as `epochs=3`. Those that came farthest come first, and
    among them those with the better values.
    """
    found, name = values(study), key(study)
    sign = study.metrics[0].sign
    made = []
    for label, part in found.groupby("label", sort=False):
        rows = part.to_dict("records")
        last = rows[-1]
        at = {f"{name}={row['budget']}": row["value"] for row in rows}
        rank = (-last["number"], -sign * last["value"] if math.isfinite(last["value"]) else math.inf)
        of_label = {"label": label, "is_reference": last["is_reference"], "outcome": _outcome(last), "rank": rank}
        made.append(of_label | at)
    made.sort(key=lambda row: (not row["is_reference"], row["rank"]))
    budgets = [f"{name}={budget}" for budget in dict.fromkeys(found["budget"])]
    return pd.DataFrame(made, columns=["label", "is_reference", *budgets, "outcome"])


def summary(study: Study) -> str:
    """Returns in one sentence how the variants of the table were selected."""
    rungs, name = study.plan["selection"], key(study)
    first = [each for each in rungs[0]["candidates"] if not each["is_reference"]]
    seeds = sorted({seed for rung in rungs for each in rung["candidates"] for seed, _ in each["trials"]})
    finalists = study.rows.loc[~study.rows["is_reference"], "label"].nunique()
    budgets = " and ".join(f"{name}={rung['budget']}" for rung in rungs)
    by_seeds = f"seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}"
    return (
        f"Successive halving: {finalists} of {len(first)} candidates were selected by {study.validation.shown} with "
        f"{budgets} and {by_seeds}, which judges nothing here."
    )


def _candidate(each: Mapping[str, Any]) -> dict[str, Any]:
    value = math.nan if each["value"] is None else each["value"]
    named = {name: each[name] for name in ("label", "is_reference", "goes_on", "why")}
    return {**named, "value": value, "low": math.nan, "high": math.nan}


def _of_last(study: Study) -> list[dict[str, Any]]:
    """Returns the rows of the last rung, once one of its candidates has finished a trial."""
    rungs, name, rows = study.plan["selection"], study.validation.name, study.finished
    budget = rungs[-1]["next_budget"]
    made = []
    for label, part in rows.groupby("label", sort=False) if (~rows["is_reference"]).any() else ():
        found = within(interval(part[name].to_numpy(float)), study.validation)
        made.append({
            "label": label, "is_reference": bool(part["is_reference"].iloc[0]), "number": rungs[-1]["of"],
            "of": rungs[-1]["of"], "budget": budget, "value": found.mean, "low": found.low, "high": found.high,
            "goes_on": True, "why": "",
        })  # fmt: skip
    return made


def _outcome(row: Mapping[Any, Any]) -> str:
    if row["number"] == row["of"]:
        return LAST
    if row["goes_on"]:
        return "waits for the next rung"
    left = f"left at rung {row['number']} of {row['of']}"
    return f"{left}: {row['why']}" if row["why"] else left
