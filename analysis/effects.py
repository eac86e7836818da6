"""Comparisons of variants with the reference, paired by seed: change, interval, p value, verdict.

The interval and its p value are those of the paired t test; Holm's correction over a study's comparisons decides.
Intervals are over seeds, for the study's test set: they cover other seeds, not other examples.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from analysis import times
from analysis.differences import INTERNAL, difference, joined
from analysis.inference import holm, seeds_needed
from analysis.rows import FINISHED, PER_BATCH, is_of_weights, is_steps_to
from analysis.verdicts import idle_trials, mostly_idle, verdict
from src.inference import sequential
from src.inference.sequential import Rule
from src.inference.student import LEVEL, Interval, grid
from src.inference.verdicts import CANNOT_TELL
from src.spec.metric import TEST, Metric

OF_LOOKS = ("decision", "decided_sign", "decided_at", "look", "is_futile")


def paired(
    rows: pd.DataFrame,
    *,
    metric: Metric,
    margin: float | None,
    time: str = PER_BATCH,
    ratios: times.Ratios | None = None,
    rule: Rule | None = None,
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
      rule: how the looks at the study share its error; None for a study that is judged once.

    Returns:
      One row per variant, in the order of the rows: `pairs` (planned seeds), `n` (pairs with both values), `mean` and
      its `reference_mean` over the finished seeds, `idle` and `reference_idle` (finished seeds that learnt nothing),
      `change` with `low` and `high` (95 %, paired t; for steps to a target, widened by the steps between two
      validations), `p` and `p_holm` (over all comparisons of the frame), `p_sign_flip` (exact), `correlation` of the
      pairs, `effect_size` (change / standard deviation of the differences), `unfinished` seeds and `diverged` ones
      among them, `never` (finished seeds that did not reach the target), `missing` (finished seeds without a value),
      `outlier` (a seed whose difference is an outlier, or nan), `time_ratio` with `time_low`, `time_high` (geometric)
      and `time_holm` (p, over all ratios of the frame), `twin_of` (an earlier variant made of the same trials),
      `is_unchanged` (weights and values equal to the reference's in every seed), `verdict`, and `seeds_needed` to
      `seeds_needed_high`: the number of seeds that a study needs for a power of 80 %, with the standard deviation of
      the differences as estimated, and at its upper 80 % bound. With a `rule`, p values and intervals are those of all
      looks together; `decided_at` is the number of seeds at which a comparison was decided or set aside, `look` the
      number of that look, and `is_futile` whether it was set aside.

    Raises:
      ValueError: a variant has two trials of one seed.
    """
    if rows.duplicated(["within", "label", "seed"] if "within" in rows else ["label", "seed"]).any():
        raise ValueError("a variant has two trials of one seed; one of them must be superseded")
    optional = ("health", "weights", "last_step", "step_before")
    ratios = times.while_training(rows, time) if ratios is None else ratios
    rows = rows.reindex(columns=list(dict.fromkeys([*rows.columns, *optional])))
    looks = () if rule is None else rule.looks
    finest = grid(rows.loc[rows["status"] == FINISHED, metric.name].to_numpy(float))
    table = pd.DataFrame(
        {
            **{"within": within, "label": name, "is_reference": is_reference},
            **difference(both, metric, ratios.get((within, name), Interval()), grid=finest, looks=looks).columns(),
        }
        for within, name, is_reference, both in joined(rows, metric.name, *optional)
    )
    idle = idle_trials(rows) if is_of_weights(metric) and mostly_idle(rows) else ""
    adjusted = _adjusted(table, rule, margin=margin, is_normal=not is_steps_to(metric))
    return _judged(adjusted, sign=metric.sign, margin=margin, idle=idle).drop(columns=INTERNAL)


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


def over_looks(rows: pd.DataFrame, *, metric: Metric, rule: Rule, comparisons: int) -> pd.DataFrame:
    """Returns the change of each variant at each look that it reached: the path to its decision.

    Args:
      rows: as `paired` takes them.
      metric: under its full name; not one of steps to a target.
      rule: how the looks at the study share its error.
      comparisons: number of comparisons of the family.

    Returns:
      `within`, `label`, `n`, `change`, `low` and `high` (the interval of the look), and `bound`: the change that
      decides at this look if all comparisons are open (Holm's first step).
    """
    found = []
    for within, name, is_reference, both in joined(rows, metric.name, "weights", "health", "step_before", "last_step"):
        if is_reference:
            continue
        looks = difference(both, metric, Interval(), grid=math.inf, looks=rule.looks).looks
        for place, change in enumerate(looks):
            half = rule.critical(place) * change.error
            bound = rule.critical(place, alpha=LEVEL / max(1, comparisons)) * change.error
            found.append({
                "within": within, "label": name, "n": rule.looks[place], "change": change.change,
                "low": change.change - half, "high": change.change + half, "bound": bound,
            })  # fmt: skip
    return pd.DataFrame(found, columns=["within", "label", "n", "change", "low", "high", "bound"])


def equal_weights(rows: pd.DataFrame) -> dict[str, bool]:
    """Returns the variants with trials of their own whose trained weights equal the reference's in every seed.

    Args:
      rows: as `paired` takes them, with the hash of the trained `weights`.

    Returns:
      Variant → whether all that the test measured is equal, too. If not, only what the test makes of the outputs of the
      model differs.
    """
    tested = [name for name in map(str, rows) if name.startswith(TEST) and pd.api.types.is_numeric_dtype(rows[name])]
    found: dict[str, bool] = {}
    for _, name, is_reference, both in joined(rows, "weights", *tested):
        if not is_reference and both.have_equal_weights:
            found[name] = found.get(name, True) and all(map(both.are_alike, tested))
    return found


def _adjusted(table: pd.DataFrame, rule: Rule | None, *, margin: float | None, is_normal: bool) -> pd.DataFrame:
    """Returns the differences with `twin_of`, and with p values adjusted for the number of comparisons.

    The p values of the metric and those of the times are adjusted separately. Two variants count as one comparison if
    they consist of the same trials, or of trials that ended with the same weights and values.
    """
    is_tested = ~(table["is_reference"] | table["is_same"])
    twin_of, alike = (pd.Series(_twins(table, column), dtype=object) for column in ("identities", "trained"))
    is_first = twin_of.isna()
    p = table["p"].where(is_tested)
    tested = p.where(is_first & alike.isna() & ~table["is_unchanged"])
    table = table.assign(p=p, p_holm=holm(tested), decision=None, decided_sign=math.nan)
    if rule is not None:
        is_whole = table["unfinished"] + table["reference_unfinished"] + table["missing"] == 0
        table = _at_looks(table, tested.notna() & is_whole, rule, margin=margin, is_normal=is_normal)
    first = {name: number for number, name in enumerate(_names(table))}
    is_alike = (alike.notna() & is_first).tolist()
    places = [
        first[name] if is_one else number for number, (name, is_one) in enumerate(zip(alike, is_alike, strict=True))
    ]
    for column in ("p_holm", *(OF_LOOKS if rule is not None else ())):
        table[column] = table[column].to_numpy()[places]
    return table.assign(
        twin_of=twin_of,
        comparisons=int(tested.notna().sum()),
        time_holm=holm(table["time_p"].where(is_tested & is_first)),
    )


def _at_looks(
    table: pd.DataFrame, is_tested: pd.Series, rule: Rule, *, margin: float | None, is_normal: bool
) -> pd.DataFrame:
    """Returns the differences with what the looks decide in place of what a single test says."""
    rows = table[is_tested].to_dict("records")
    shape = (len(rows), len(rule.looks))
    mean, error, p, coarse = (np.full(shape, math.nan) for _ in range(4))
    for place, row in enumerate(rows):
        for look, change in enumerate(row["looks"]):
            mean[place, look], error[place, look], p[place, look] = change.change, change.error, change.p
            coarse[place, look] = change.hidden
            if not is_normal:
                mean[place, look] = change.sign
    made = sequential.decide(
        sequential.Estimates(mean, error, p, is_normal), rule, margin=margin if is_normal else None, hidden=coarse
    )
    looks = np.array([*rule.looks, math.nan])[made.look]
    new = {
        "p": made.p, "p_holm": made.p_holm, "decision": made.kind, "decided_sign": made.sign, "decided_at": looks,
        "look": np.where(made.look < 0, math.nan, made.look + 1.0), "is_futile": made.kind == sequential.FUTILE,
    }  # fmt: skip
    new |= {"low": made.low, "high": made.high} if is_normal else {}
    none: dict[str, Any] = {"decision": None, "is_futile": False}
    columns = {}
    for name, values in new.items():
        before = (
            table[name] if name in ("low", "high", "decided_sign") else pd.Series(none.get(name, math.nan), table.index)
        )
        columns[name] = before.astype(object if name in none else float)
        columns[name][is_tested] = values
    return table.assign(**columns)


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
