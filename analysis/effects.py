"""Comparisons of variants with the reference, paired by seed: change, interval, p value, verdict.

The interval and its p value are those of the paired t test; Holm's correction over a study's comparisons decides.
Intervals are over seeds, for the study's test set: they cover other seeds, not other examples.
"""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from analysis import times
from analysis.differences import INTERNAL, difference, joined
from analysis.inference import Interval, grid, holm, seeds_needed
from analysis.rows import FINISHED, PER_BATCH, is_of_weights
from analysis.verdicts import CANNOT_TELL, idle_trials, mostly_idle, verdict
from src.spec.metric import Metric


def paired(
    rows: pd.DataFrame,
    *,
    metric: Metric,
    margin: float | None,
    time: str = PER_BATCH,
    ratios: times.Ratios | None = None,
) -> pd.DataFrame:
    """Returns how every variant differs from its reference.

    Args:
      rows: one row per variant and seed: `label`, `is_reference`, `seed`, `identity`, `status` (FINISHED, FAILED, …),
        the metric; if recorded, the time, `health` and the hash of the trained `weights`; `within`, if the frame has
        several references; `step_before` and `last_step` (`load.Study`), if the metric is `steps_to/…`. Unfinished
        trials have a row too.
      metric: under its full name, the name of its column; its direction defines what is better.
      margin: difference that is too small to matter, in the metric's unit; None if no margin is set.
      time: metric that is compared as a ratio.
      ratios: the ratios of times; default: those of `time` while the trials trained.

    Returns:
      One row per variant, in the order of the rows: `pairs` (planned seeds), `n` (pairs with both values), `mean` and
      its `reference_mean` over the finished seeds, `idle` and `reference_idle` (finished seeds that learnt nothing),
      `change` with `low` and `high` (95 %, paired t; for steps to a target, widened by the steps between two
      validations), `p` and `p_holm` (over all comparisons of the frame), `p_sign_flip` (exact), `correlation` of the
      pairs, `effect_size` (change / standard deviation of the differences), `unfinished` seeds and `diverged` ones
      among them, `never` (finished seeds that did not reach the target), `missing` (finished seeds without a value),
      `outlier` (a seed whose difference is an outlier, or nan), `time_ratio` with `time_low`, `time_high` (geometric)
      and `time_holm` (p, over all ratios of the frame), `twin_of` (an earlier variant made of the same trials),
      `is_unchanged` (weights equal to the reference's in every seed), `verdict`, and `seeds_needed` to
      `seeds_needed_high`: the number of seeds that a study needs for a power of 80 %, with the standard deviation of
      the differences as estimated, and at its upper 80 % bound.

    Raises:
      ValueError: a variant has two trials of one seed.
    """
    if rows.duplicated(["within", "label", "seed"] if "within" in rows else ["label", "seed"]).any():
        raise ValueError("a variant has two trials of one seed; one of them must be superseded")
    optional = ("health", "weights", "last_step", "step_before")
    ratios = times.while_training(rows, time) if ratios is None else ratios
    rows = rows.reindex(columns=list(dict.fromkeys([*rows.columns, *optional])))
    finest = grid(rows.loc[rows["status"] == FINISHED, metric.name].to_numpy(float))
    table = pd.DataFrame(
        {
            **{"within": within, "label": name, "is_reference": is_reference},
            **difference(both, metric, ratios.get((within, name), Interval()), grid=finest).columns(),
        }
        for within, name, is_reference, both in joined(rows, metric.name, *optional)
    )
    idle = idle_trials(rows) if is_of_weights(metric) and mostly_idle(rows) else ""
    return _judged(_adjusted(table), sign=metric.sign, margin=margin, idle=idle).drop(columns=INTERNAL)


def single(rows: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """Returns the differences behind `paired`: one row per variant and seed that both sides finished.

    Returns:
      `within`, `label`, `seed` and `difference` from the reference; nan if one of the two has no value.
    """
    parts = []
    for within, name, is_reference, both in joined(rows, metric.name):
        if not is_reference:
            ours, theirs = both.values(metric.name)
            seeds = both.ours["seed"][both.is_finished]
            parts.append(pd.DataFrame({"within": within, "label": name, "seed": seeds, "difference": ours - theirs}))
    return (
        pd.concat(parts, ignore_index=True)
        if parts
        else pd.DataFrame(columns=["within", "label", "seed", "difference"])
    )


def changed_nothing(rows: pd.DataFrame) -> list[str]:
    """Returns the variants with trials of their own whose trained weights equal the reference's in every seed.

    Args:
      rows: as `paired` takes them, with the hash of the trained `weights`.
    """
    names = (name for _, name, is_reference, both in joined(rows, "weights") if not is_reference and both.are_unchanged)
    return list(dict.fromkeys(names))


def _adjusted(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the differences with `twin_of`, and with p values adjusted for the number of comparisons.

    The p values of the metric and those of the times are adjusted separately. Two variants count as one comparison if
    they consist of the same trials, or of trials that ended with the same weights.
    """
    is_tested = ~(table["is_reference"] | table["is_same"])
    twin_of, alike = (pd.Series(_twins(table, column), dtype=object) for column in ("identities", "trained"))
    is_first = twin_of.isna()
    p = table["p"].where(is_tested)
    tested = p.where(is_first & alike.isna() & ~table["is_unchanged"])
    p_holm = holm(tested)
    of_twin = alike.map(dict(zip(_names(table), p_holm, strict=True))).astype(float)
    return table.assign(
        twin_of=twin_of,
        p=p,
        p_holm=p_holm.where(alike.isna() | ~is_first, of_twin),
        comparisons=int(tested.notna().sum()),
        time_holm=holm(table["time_p"].where(is_tested & is_first)),
    )


def _judged(table: pd.DataFrame, *, sign: int, margin: float | None, idle: str) -> pd.DataFrame:
    """Returns the differences with `verdict`, and with the number of seeds needed for undecided comparisons.

    Args:
      table: as `_adjusted` returns it.
      sign: sign of the metric.
      margin: as in `paired`.
      idle: sentence with the number of trials that learnt nothing, if most of the frame did; else empty.
    """
    rows = table.to_dict("records")
    verdicts = [verdict(row, sign=sign, margin=margin, idle=idle) for row in rows]
    unknown = (math.nan, math.nan)
    needed = [
        seeds_needed(row, margin) if text == CANNOT_TELL else unknown for row, text in zip(rows, verdicts, strict=True)
    ]
    return table.assign(
        verdict=verdicts, seeds_needed=[few for few, _ in needed], seeds_needed_high=[many for _, many in needed]
    )


def _names(table: pd.DataFrame) -> list[str]:
    return [" | ".join(filter(None, (row["within"], row["label"]))) for row in table.to_dict("records")]


def _twins(table: pd.DataFrame, column: str) -> list[str | None]:
    """Returns for each comparison the name of an earlier one with the same value in a column, or None."""
    seen: dict[Any, str] = {}
    twins: list[str | None] = []
    for name, row in zip(_names(table), table.to_dict("records"), strict=True):
        is_compared = row["pairs"] > 0 and not row["is_reference"] and not row["is_same"]
        key = row[column] if is_compared and None not in row["identities"][0] else None
        twins.append(seen.get(key) if key is not None else None)
        if key is not None:
            seen.setdefault(key, name)
    return twins
