"""Which variants are compared with which: rearrangements of a study's rows that do not depend on the metric."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import pandas as pd

from analysis.rows import FINISHED
from src.config.settings import label
from src.spec.metric import Metric
from src.spec.section import as_typed


def within_toggle(rows: pd.DataFrame, toggle: str, toggles: Sequence[str]) -> pd.DataFrame:
    """Returns the rows of a grid so that each value of a toggle is compared with its first, all else being equal.

    Args:
      rows: one row per trial, as `paired` takes them, with a column for every varied toggle.
      toggle: the toggle of interest; its first value in the order of the rows is the reference.
      toggles: all varied toggles.

    Returns:
      The rows with new `within` (the other toggles' values), `label` (the toggle's value) and `is_reference`.
    """
    others = [key for key in toggles if key != toggle]
    values = [as_typed(value) for value in rows[toggle]]
    return rows.assign(
        within=[label({key: row[key] for key in others}) for row in rows.to_dict("records")],
        label=[f"{toggle}={value}" for value in values],
        is_reference=[value == values[0] for value in values],
    )


def within_values(rows: pd.DataFrame, keys: Sequence[str], toggles: Sequence[str]) -> pd.DataFrame:
    """Returns the rows so that each variant is compared with the reference's other values, at its own values of keys.

    With 30 labels a class, for example, every pretext is compared with no pretext and 30 labels a class.

    Args:
      rows: one row per trial, as `paired` takes them, with a column for every varied toggle.
      keys: toggles whose values are not compared.
      toggles: all varied toggles.

    Returns:
      The rows with new `within` (the values of keys), `label` (the other values that differ from the reference's) and
      `is_reference`.
    """
    others = [key for key in toggles if key not in keys]
    reference = rows[rows["is_reference"]].iloc[0]
    records = rows.to_dict("records")
    changed = [{key: row[key] for key in others if row[key] != reference[key]} for row in records]
    return rows.assign(
        within=[label({key: row[key] for key in keys}) for row in records],
        label=[label(values) or "reference" for values in changed],
        is_reference=[not values for values in changed],
    )


def stepwise(rows: pd.DataFrame, steps: Sequence[str]) -> pd.DataFrame:
    """Returns the rows so that each step of a design is compared with the step before, not with the first one.

    Args:
      rows: one row per trial, as `paired` takes them.
      steps: labels of the variants, in the order of the steps (`chain`).

    Returns:
      For each step its rows and those of the step before as its reference, with a new `within`; the unchanged rows if
      no step was taken.
    """
    parts = []
    for number, (before, step) in enumerate(itertools.pairwise(steps), 1):
        part = rows[rows["label"].isin([before, step])]
        parts.append(part.assign(within=f"step {number}", is_reference=part["label"] == before))
    return pd.concat(parts) if parts else rows.assign(within="")


def chain(rows: pd.DataFrame, design: str, toggles: Sequence[str], *, validation: Metric) -> list[str]:
    """Returns the labels of the steps that a cumulative design or a path took, the reference first.

    In each round, a path keeps the flip with the best mean validation, the first one on ties
    (`src.study.designs.path`).

    Args:
      rows: as `load.Study.rows`.
      design: `cumulative` or `path`.
      toggles: all varied toggles.
      validation: the metric by which a path chooses, on the validation split.
    """
    labels = list(dict.fromkeys(rows["label"]))
    if design == "cumulative":
        return labels
    values = {row["label"]: [row[key] for key in toggles] for row in rows.to_dict("records")}
    whole = rows.groupby("label", sort=False)["status"].agg(lambda states: bool((states == FINISHED).all()))
    # the mean is computed exactly as in the sweep, bit for bit; a flip without all seeds is not chosen
    score = rows.groupby("label", sort=False)[validation.name].agg(fmean).where(whole)
    taken = labels[:1]
    while True:
        flips = [
            name
            for name in labels
            if _distance(values[name], values[taken[-1]]) == 1
            and _distance(values[name], values[labels[0]]) == len(taken)
        ]
        scores = score[flips].dropna()
        best = validation.best(scores)
        if best is None:
            return taken
        taken.append(str(scores.index[scores == best][0]))


def _distance(values: Sequence[Any], others: Sequence[Any]) -> int:
    return sum(value != other for value, other in zip(values, others, strict=True))
