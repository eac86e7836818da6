"""Rows of trials gathered for a picture: groups that can be told apart, means over seeds, curves, the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from analysis.factorial import MAIN
from analysis.findings import Findings
from analysis.inference import LEVEL, Interval, grid, interval, quantile
from analysis.load import Study
from analysis.looks import MAX_VARIANTS, Look, looks
from analysis.texts import number_of
from src.spec.metric import Metric
from src.spec.section import as_typed


def grouped(found: Findings, keys: Sequence[str] = ()) -> tuple[pd.DataFrame, str]:
    """Returns the finished rows with `group`, few enough to tell apart, and what a group is in words.

    A group is a variant; where there are more than `MAX_VARIANTS`, the steps of a path alone; where these are too many
    or there are none, the values of the toggle with the largest share of variance, or of the first where shares are not
    known.
    """
    rows = found.study.finished
    wanted = [key for key in keys if key in found.study.toggles]
    if wanted:
        named = [" ".join(f"{key}={as_typed(row[key])}" for key in wanted) for row in rows.to_dict("records")]
        if len(set(named)) <= MAX_VARIANTS:
            return rows.assign(group=named), "by what shapes the batches"
    if rows["label"].nunique() <= MAX_VARIANTS:
        return rows.assign(group=rows["label"]), "by variant"
    kept = rows[rows["label"].isin(found.summary["label"])]
    if found.rejected and kept["label"].nunique() <= MAX_VARIANTS:
        return kept.assign(group=kept["label"]), "by variant, without those that the path did not keep"
    toggle = found.study.toggles[0]
    if found.factorial is not None:
        main = found.factorial[found.factorial["kind"] == MAIN]
        toggle = str(main.sort_values("share", ascending=False, kind="stable")["term"].iloc[0])
    others = differs_too(rows, [toggle], found.study.toggles)
    text = f"by {toggle}, over all else" + (", which is not the same for all of them" if others else "")
    return rows.assign(group=[f"{toggle}={as_typed(value)}" for value in rows[toggle]]), text


def looks_of(found: Findings, groups: pd.DataFrame | pd.Series | None = None) -> dict[str, Look]:
    """Returns the look of each variant, or of each group.

    A group has that of its first variant, where a study has few enough to tell apart. The steps of a cumulative study
    or a path come first, so that what a path tried beside them takes none of their colours.

    Args:
      found: of the study.
      groups: rows with `label` and `group`, or labels; default: all variants.
    """
    rows = found.study.rows
    steps: list[str] = found.summary["label"].tolist() if found.is_stepwise else []
    labels = list(dict.fromkeys([*rows.loc[rows["is_reference"], "label"].head(1), *steps, *rows["label"]]))
    known, apart = looks(labels), set(labels[:MAX_VARIANTS])
    if not isinstance(groups, pd.DataFrame):
        return known if groups is None or set(groups) <= apart else looks(groups)
    firsts = groups.drop_duplicates("group")
    are_variants = bool((firsts["group"] == firsts["label"]).all())
    if len(labels) > MAX_VARIANTS and not (are_variants and set(firsts["label"]) <= apart):
        return looks(firsts["group"])
    return {row["group"]: known[row["label"]] for row in firsts.to_dict("records")}


def over_seeds(rows: pd.DataFrame, keys: list[str], metric: str) -> pd.DataFrame:
    """Returns the mean of a metric for each combination of values, with Student's interval over seeds.

    All that else varies is averaged within a seed first: it is no noise. A trial that serves several rows of a
    combination counts once.

    Args:
      rows: one row a variant and seed: `identity`, `seed`, the keys and the metric.
      keys: columns of the combination.
      metric: name of a metric.

    Returns:
      One row a combination: the keys, `mean`, `low`, `high`.
    """
    found = []
    for values, part in rows.groupby(keys, sort=False, dropna=False):
        of_seed = part.drop_duplicates("identity").groupby("seed")[metric].mean().dropna()
        known = interval(of_seed.to_numpy(float))
        found.append({**dict(zip(keys, values, strict=True)), "mean": known.mean, "low": known.low, "high": known.high})
    return pd.DataFrame(found)


def mean_curves(points: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """Returns one row a group and validation: mean step and time, mean of the metric and its interval over seeds.

    Where all seeds have one value the interval is that of what the grid of the values may hide; none leaves what can
    be.
    """
    rows = []
    finest = grid(points["value"].to_numpy(float))
    for (group, _), part in points.groupby(["group", "number"], sort=False):
        of_seeds = part.groupby("seed")["value"].mean().dropna().to_numpy(float)
        found = interval(of_seeds) if np.isfinite(of_seeds).all() else Interval()  # no mean of those that are finite
        if len(of_seeds) > 1 and math.isnan(found.low) and not math.isnan(found.mean):
            hidden = finest / math.sqrt(12 * len(of_seeds)) if math.isfinite(finest) else 0.0
            half = quantile(1 - LEVEL / 2, len(of_seeds) - 1) * hidden
            found = found._replace(low=found.mean - half, high=found.mean + half)
        found = within(found, metric)
        at = {"step": part["step"].mean(), "seconds": part["seconds"].mean()}
        rows.append({"group": group, **at, "mean": found.mean, "low": found.low, "high": found.high})
    return pd.DataFrame(rows)


def whole_seeds(study: Study) -> tuple[pd.DataFrame, str]:
    """Returns the rows of the seeds that finished every variant that any did, and a sentence on the seeds that did not.

    Their means would be of other variants.
    """
    rows = study.finished
    whole = rows[rows.groupby("seed")["label"].transform("nunique") == rows["label"].nunique()]
    asked = study.rows["seed"].nunique()
    left = asked - whole["seed"].nunique()
    return whole, f" {left} of {asked} seeds lack a variant that others finished and are left out." if left else ""


def within(known: Interval, metric: Metric) -> Interval:
    """Returns an interval that leaves out what the metric cannot be."""
    low, high = known.low, known.high
    if metric.least is not None and low < metric.least:
        low = metric.least
    if metric.most is not None and high > metric.most:
        high = metric.most
    return known._replace(low=low, high=high)


def front(points: pd.DataFrame, sign: int) -> pd.DataFrame:
    """Returns the variants that no other beats in time and metric, the fastest first.

    A variant of which some trials did not finish is none of them.

    Args:
      points: one row a variant: `time`, `value`, and `is_whole`, if it is known whether all its trials have one.
      sign: of the metric, 1 or -1.
    """
    points = points[points["is_whole"]] if "is_whole" in points else points
    in_order = points.sort_values(["time", "value"], ascending=[True, sign < 0])
    best = (in_order["value"] * sign).cummax()
    return in_order[(in_order["value"] * sign == best) & ~best.duplicated()]


def differs_too(rows: pd.DataFrame, keys: Sequence[str], toggles: Sequence[str]) -> str:
    """Returns a sentence on the toggles that the groups made by `keys` do not share alike; empty if there are none."""
    typed = rows[list(toggles)].map(as_typed)
    groups = typed[list(keys)].agg(" ".join, axis=1)
    shares = {key: pd.crosstab(groups, typed[key], normalize="index") for key in toggles if key not in keys}
    others = [key for key, table in shares.items() if (np.ptp(table.to_numpy(), axis=0) > 1e-9).any()]
    return f" They differ in {', '.join(others)} too, as not all combinations were trained." if others else ""


def seeds(counts: Iterable[int]) -> str:
    """Returns over how many seeds something is: `8 seeds`, `3 to 8 seeds`."""
    known = [int(count) for count in counts]
    low, high = min(known, default=0), max(known, default=0)
    return number_of(high, "seed") if low == high else f"{low} to {high} seeds"
