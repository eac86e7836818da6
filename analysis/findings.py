"""What a study found: its trials, compared as its design wants it. Tables, figures and the report only show it."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from scipy.stats import gmean

from analysis import effects, factorial
from analysis.load import DROPPED, Study
from analysis.store import StoreError

STEPWISE = ("cumulative", "path")
FACTORIAL = ("grid", "fractional", "random")
MEANS = ("test/accuracy", "test/loss", "data/padding_fraction", "model/parameters", "memory/peak_mb")
TIMES = ("time/batch_ms_median", "time/epoch_s")  # compared as ratios: geometric means


@dataclass(frozen=True, eq=False)
class Findings:
    """A study with its comparisons.

    Attributes:
      study: as it was loaded.
      metric: what variants are compared by, and what they are sorted for.
      margin: difference that is too small to matter; None if nobody has said.
      rows: the study's rows that were not dropped, with `within` where there are several references.
      compared: `effects.paired` of them.
      summary: one row a variant: what `compared` says, every varied toggle, and means over its finished seeds of what costs.
      factorial: `factorial.fit`, or None.
      no_factorial: why not, in words; None if there is one or the design asks for none.
      unchanged: variants whose trained weights equal their reference's, seed for seed.
    """

    study: Study
    metric: str
    margin: float | None
    rows: pd.DataFrame
    compared: pd.DataFrame
    summary: pd.DataFrame
    factorial: pd.DataFrame | None
    no_factorial: str | None
    unchanged: list[str]

    @property
    def seeds(self) -> int:
        """Pairs of the variant that has most."""
        return int(self.compared["n"].max())


def find(study: Study, *, metric: str | None = None, margin: float | None = None, toggle: str | None = None) -> Findings:
    """Returns what a study found.

    Args:
      study: as loaded.
      metric: name of a metric, or `steps_to`; default: the study's.
      margin: difference that is too small to matter; default: the study's, for its own metric.
      toggle: compare the values of this toggle, all else being equal; default: all variants with the reference, or in a cumulative
        design and a path every step with the one before.

    Raises:
      StoreError: nothing has finished, or there is no such metric or toggle.
    """
    plan = study.plan
    asked = metric or plan["metric"]
    name = study.steps_to if asked == "steps_to" else asked
    if margin is None and asked in (plan["metric"], study.steps_to if plan["metric"] == "steps_to" else None):
        margin = plan["margin"]  # of that metric alone: a margin of steps says nothing about accuracy
    if study.finished.empty:
        states = ", ".join(f"{count} {state}" for state, count in study.rows["status"].value_counts().items())
        raise StoreError(f"study {study.name!r} has no finished trial yet ({states}); type its command again to go on")
    known = sorted(column for column in study.rows.columns if "/" in str(column) and study.rows[column].notna().any())
    if name not in study.rows or not pd.api.types.is_numeric_dtype(study.rows[name]) or ("/" not in name):
        raise StoreError(f"no trial of {study.name} has the metric {asked!r}; there are {', '.join(known)}, steps_to")
    if toggle is not None and toggle not in study.toggles:
        raise StoreError(f"{toggle!r} was not varied in {study.name}; varied: {', '.join(study.toggles) or 'nothing'}")
    rows = _compared_rows(study, toggle)
    compared = effects.paired(rows, metric=name, margin=margin)
    table, why_not = _factorial(study, name, margin)
    unchanged = effects.changed_nothing(rows, compared)
    return Findings(study, name, margin, rows, compared, _summary(study, rows, compared), table, why_not, unchanged)


def caution(rows: pd.DataFrame) -> str:
    """Returns what keeps the times of these trials from being compared; empty if nothing does."""
    found = rows[rows["status"] == "FINISHED"]
    reasons = []
    side_by_side = sorted(set(found["workers"].dropna()) - {"1"}, key=int)
    if side_by_side:
        reasons.append(f"{' or '.join(side_by_side)} trials ran side by side")
    for name in ("workers", "threads", "processor"):
        if len(found[name].dropna().unique()) > 1:
            reasons.append(f"{name} differ ({', '.join(sorted(found[name].dropna().unique()))})")
    return f"Times are rough: {'; '.join(reasons)}." if reasons else ""


def _compared_rows(study: Study, toggle: str | None) -> pd.DataFrame:
    rows = study.rows[study.rows["status"] != DROPPED]
    if toggle:
        return effects.within_toggle(rows, toggle, study.toggles)
    if study.plan["design"] in STEPWISE:
        return effects.stepwise(rows, effects.chain(rows, study.plan["design"], study.toggles))
    return rows.assign(within="")


def _factorial(study: Study, metric: str, margin: float | None) -> tuple[pd.DataFrame | None, str | None]:
    if study.plan["design"] not in FACTORIAL or len(study.toggles) < 2:
        return None, None
    rows = study.rows[study.rows["status"] != DROPPED]
    present = {key: [value for value in _first(study, key) if (rows[key] == value).any()] for key in study.toggles}
    try:
        return factorial.fit(rows, present, metric=metric, margin=margin), None
    except factorial.NotEnough as reason:
        return None, f"Main effects and interactions are not shown: {reason}."


def _first(study: Study, toggle: str) -> list[object]:
    """Returns a toggle's values, the reference's first."""
    reference = study.plan["reference"].get(toggle)
    return sorted(study.plan["levels"][toggle], key=lambda value: value != reference)


def _summary(study: Study, rows: pd.DataFrame, compared: pd.DataFrame) -> pd.DataFrame:
    rows = rows if "within" in rows else rows.assign(within="")
    keys = ["within", "label"]
    whole = rows.groupby(keys, sort=False)
    costs = whole[study.toggles].first() if study.toggles else whole[["seed"]].first()[[]]
    done = rows[rows["status"] == "FINISHED"].groupby(keys, sort=False)
    for name in MEANS:
        if name in rows:
            costs[f"mean {name}"] = done[name].mean()
    for name in TIMES:
        if name in rows:
            costs[f"mean {name}"] = done[name].agg(lambda values: gmean(values.dropna()) if values.notna().any() else float("nan"))
    costs["steps_to"] = done[study.steps_to].mean()
    costs["steps_to_never"] = done[study.steps_to].agg(lambda values: int(values.isna().sum()))
    table: pd.DataFrame = compared.merge(costs.reset_index(), on=keys, how="left")
    is_again = table["is_reference"] & table["label"].duplicated() & (table["within"] != table["within"].iloc[0]) & _is_step(table)
    shown: pd.DataFrame = table[~is_again]
    return shown.reset_index(drop=True)


def _is_step(table: pd.DataFrame) -> pd.Series:
    """Whether a row belongs to a step of a cumulative design, whose reference is the step before and is shown once."""
    return table["within"].str.startswith("step ")
