"""Trials aggregated for figures: groups with distinct looks, means over seeds, curves, the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from analysis.factorial import MAIN
from analysis.findings import Findings
from analysis.load import Study
from analysis.looks import MAX_VARIANTS, Look, looks
from analysis.texts import number_of
from src.inference.student import LEVEL, Interval, grid, interval, quantile
from src.spec.metric import Metric
from src.spec.section import as_typed

PER_BIN, MAX_BINS = 4, 8  # points in a bin, at least; bins


def grouped(findings: Findings, keys: Sequence[str] = ()) -> tuple[pd.DataFrame, str]:
    """Returns the finished rows with a column `group`, at most `MAX_VARIANTS` groups if possible, and a description.

    The groups are the variants. If there are more than `MAX_VARIANTS`, they are the steps of a path. If these are also
    too many, or the study is no path, they are the values of the toggle with the largest share of variance, or of the
    first toggle if there are no shares.
    """
    rows = findings.study.finished
    wanted = [key for key in keys if key in findings.study.toggles]
    if wanted:
        named = [" ".join(f"{key}={as_typed(row[key])}" for key in wanted) for row in rows.to_dict("records")]
        if len(set(named)) <= MAX_VARIANTS:
            return rows.assign(group=named), "by what shapes the batches"
    if rows["label"].nunique() <= MAX_VARIANTS:
        return rows.assign(group=rows["label"]), "by variant"
    kept = rows[rows["label"].isin(findings.summary["label"])]
    if findings.rejected and kept["label"].nunique() <= MAX_VARIANTS:
        return kept.assign(group=kept["label"]), "by variant, without those that the path did not keep"
    toggle = findings.study.toggles[0]
    if findings.factorial is not None:
        main = findings.factorial[findings.factorial["kind"] == MAIN]
        toggle = str(main.sort_values("share", ascending=False, kind="stable")["term"].iloc[0])
    others = differs_too(rows, [toggle], findings.study.toggles)
    text = f"by {toggle}, over all else" + (", which is not the same for all of them" if others else "")
    return rows.assign(group=[f"{toggle}={as_typed(value)}" for value in rows[toggle]]), text


def looks_of(findings: Findings, groups: pd.DataFrame | pd.Series | None = None) -> dict[str, Look]:
    """Returns the look of each variant, or of each group.

    A group has the look of its first variant if the study has at most `MAX_VARIANTS`. The steps of a cumulative study
    or a path come first, so that they never share a colour with the rejected variants of a path.

    Args:
      findings: the study's comparisons.
      groups: rows with `label` and `group`, or labels; default: all variants.
    """
    rows = findings.study.rows
    steps: list[str] = findings.summary["label"].tolist() if findings.is_stepwise else []
    labels = list(dict.fromkeys([*rows.loc[rows["is_reference"], "label"].head(1), *steps, *rows["label"]]))
    by_label, apart = looks(labels), set(labels[:MAX_VARIANTS])
    if not isinstance(groups, pd.DataFrame):
        return by_label if groups is None or set(groups) <= apart else looks(groups)
    firsts = groups.drop_duplicates("group")
    are_variants = bool((firsts["group"] == firsts["label"]).all())
    if len(labels) > MAX_VARIANTS and not (are_variants and set(firsts["label"]) <= apart):
        return looks(firsts["group"])
    return {row["group"]: by_label[row["label"]] for row in firsts.to_dict("records")}


def over_seeds(rows: pd.DataFrame, keys: list[str], metric: str) -> pd.DataFrame:
    """Returns the mean of a metric for each combination of values, with Student's interval over seeds.

    All other toggles are first averaged within each seed, as their effects are not noise. A trial that serves several
    rows of a combination counts once.

    Args:
      rows: one row per variant and seed: `identity`, `seed`, the keys and the metric.
      keys: columns of the combination.
      metric: name of a metric.

    Returns:
      One row per combination: the keys, `mean`, `low`, `high`.
    """
    means = []
    for values, part in rows.groupby(keys, sort=False, dropna=False):
        of_seed = part.drop_duplicates("identity").groupby("seed")[metric].mean().dropna()
        estimate = interval(of_seed.to_numpy(float))
        means.append(
            {**dict(zip(keys, values, strict=True)), "mean": estimate.mean, "low": estimate.low, "high": estimate.high}
        )
    return pd.DataFrame(means)


def mean_curves(points: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """Returns one row per group and validation: mean step and time, mean of the metric and its interval over seeds.

    If all seeds have the same value, the interval is that of the error which the grid of the values may hide. Intervals
    are clipped to the metric's range.
    """
    rows = []
    finest = grid(points["value"].to_numpy(float))
    for (group, _), part in points.groupby(["group", "number"], sort=False):
        of_seeds = part.groupby("seed")["value"].mean().dropna().to_numpy(float)
        estimate = (
            interval(of_seeds) if np.isfinite(of_seeds).all() else Interval()
        )  # a mean over only the finite seeds would be biased
        if len(of_seeds) > 1 and math.isnan(estimate.low) and not math.isnan(estimate.mean):
            hidden = finest / math.sqrt(12 * len(of_seeds)) if math.isfinite(finest) else 0.0
            half = quantile(1 - LEVEL / 2, len(of_seeds) - 1) * hidden
            estimate = estimate._replace(low=estimate.mean - half, high=estimate.mean + half)
        estimate = within(estimate, metric)
        at = {"step": part["step"].mean(), "seconds": part["seconds"].mean()}
        rows.append({"group": group, **at, "mean": estimate.mean, "low": estimate.low, "high": estimate.high})
    return pd.DataFrame(rows)


def means_of_variants(rows: pd.DataFrame, keys: Sequence[str], metric: Metric) -> pd.DataFrame:
    """Returns one row per variant whose values are all finite: `label`, the keys, `is_reference`, `value` (the mean).

    Args:
      rows: one row per variant and seed.
      keys: columns of toggles.
      metric: under its full name, the name of its column.
    """
    means = rows.groupby("label", sort=False)[metric.name].agg(lambda values: values.to_numpy(float).mean())
    variants = rows.drop_duplicates("label").set_index("label")[[*keys, "is_reference"]].assign(value=means)
    finite: pd.DataFrame = variants[np.isfinite(variants["value"])]
    return finite.reset_index()


def binned(points: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """Returns the means of neighbouring points, each with Student's interval over its points.

    The points are independent draws, and so are their values, whatever else differs between them. Bins of equally many
    points keep their intervals comparable where the draws are sparse.

    Args:
      points: `at` and `value`; no rows, or one per variant.
      metric: of the values; intervals are clipped to its range.

    Returns:
      One row per bin in ascending order: `begin` and `end` (its least and greatest `at`), `mean`, `low`, `high`, `n`.
      There are `PER_BIN` points in a bin or more, and at most `MAX_BINS` bins; none for fewer than two bins.
    """
    count = min(MAX_BINS, len(points) // PER_BIN)
    ordered = points.sort_values("at", kind="stable")
    places = np.array_split(np.arange(len(ordered)), count) if count > 1 else []
    bins = []
    for place in places:
        part = ordered.iloc[place]
        estimate = within(interval(part["value"].to_numpy(float)), metric)
        bins.append({"begin": part["at"].min(), "end": part["at"].max(), "n": len(part), **estimate._asdict()})
    return pd.DataFrame(bins, columns=["begin", "end", "mean", "low", "high", "n"])


def whole_seeds(study: Study) -> tuple[pd.DataFrame, str]:
    """Returns the rows of the seeds that finished every variant that any seed finished, and a note on the other seeds.

    Means over incomplete seeds would be over different variants.
    """
    rows = study.finished
    whole = rows[rows.groupby("seed")["label"].transform("nunique") == rows["label"].nunique()]
    planned = study.rows["seed"].nunique()
    left = planned - whole["seed"].nunique()
    return whole, f" {left} of {planned} seeds lack a variant that others finished and are left out." if left else ""


def within(estimate: Interval, metric: Metric) -> Interval:
    """Returns an interval, clipped to the range of the metric."""
    low, high = estimate.low, estimate.high
    if metric.least is not None and low < metric.least:
        low = metric.least
    if metric.most is not None and high > metric.most:
        high = metric.most
    return estimate._replace(low=low, high=high)


def front(points: pd.DataFrame, sign: int) -> pd.DataFrame:
    """Returns the Pareto front: the variants that no other beats in both time and metric, the fastest first.

    A variant with unfinished trials is never on the front.

    Args:
      points: one row per variant: `time`, `value`, and optionally `is_whole` (whether all its trials have a value).
      sign: sign of the metric, 1 or -1.
    """
    points = points[points["is_whole"]] if "is_whole" in points else points
    in_order = points.sort_values(["time", "value"], ascending=[True, sign < 0])
    best = (in_order["value"] * sign).cummax()
    return in_order[(in_order["value"] * sign == best) & ~best.duplicated()]


def differs_too(rows: pd.DataFrame, keys: Sequence[str], toggles: Sequence[str]) -> str:
    """Returns a sentence on the other toggles that differ between the groups made by `keys`; empty if none does."""
    typed = rows[list(toggles)].map(as_typed)
    groups = typed[list(keys)].agg(" ".join, axis=1)
    shares = {key: pd.crosstab(groups, typed[key], normalize="index") for key in toggles if key not in keys}
    others = [key for key, table in shares.items() if (np.ptp(table.to_numpy(), axis=0) > 1e-9).any()]
    return f" They differ in {', '.join(others)} too, as not all combinations were trained." if others else ""


def seeds(counts: Iterable[int]) -> str:
    """Returns a number or range of seeds in words: `8 seeds`, `3 to 8 seeds`."""
    numbers = [int(count) for count in counts]
    low, high = min(numbers, default=0), max(numbers, default=0)
    return number_of(high, "seed") if low == high else f"{low} to {high} seeds"
