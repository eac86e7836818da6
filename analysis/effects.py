"""Is a variant better than the reference, by how much, and can one believe it? Pairs by seed, nothing averaged away.

The interval and its p value are those of the paired t test; Holm's correction over a study's comparisons decides. Intervals are
over seeds, for the study's test set: they say what another seed would do, not what other reviews would.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

from src.settings import as_typed

LEVEL = 0.05
LOWER_IS_BETTER = ("train/loss", "val/loss", "test/loss", "time/batch", "time/epoch", "time/train", "time/trace", "steps_to", "memory/")
MAX_SEEDS = 1_000
MAX_EXACT = 14  # pairs whose 2^n signs are all tried
TIME = "time/batch_ms_median"


def compared(rows: pd.DataFrame, toggle: str) -> pd.DataFrame:
    """Returns the rows of a grid so that each other value of one toggle is compared with its first, all else being equal.

    Args:
      rows: one row a trial, as `paired` takes them, with a column for every varied toggle.
      toggle: the toggle of interest; its first value in the order of the rows is the reference.

    Returns:
      The rows with `within` (the other toggles' values), `label` (the toggle's value) and `is_reference` anew.
    """
    others = [key for key in rows.attrs["toggles"] if key != toggle]
    first = rows[toggle].iloc[0]
    within = rows[others].astype(object).apply(lambda row: " ".join(f"{key}={_typed(value)}" for key, value in row.items()), axis="columns")
    labels = [f"{toggle}={_typed(value)}" for value in rows[toggle]]
    return rows.assign(within=within if others else "", label=labels, is_reference=[_same(value, first) for value in rows[toggle]])


def stepwise(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows of a cumulative design so that each step is compared with the one before, and not with the beginning.

    Args:
      rows: one row a trial, as `paired` takes them, the variants in the order of the steps.

    Returns:
      For each step its rows and those of the step before as reference, with `within` anew.
    """
    names = list(dict.fromkeys(rows["label"]))
    parts = []
    for number, (before, step) in enumerate(itertools.pairwise(names), 1):
        part = rows[rows["label"].isin([before, step])]
        parts.append(part.assign(within=f"step {number}", is_reference=part["label"] == before))
    return pd.concat(parts) if parts else rows


def paired(rows: pd.DataFrame, *, metric: str, margin: float | None) -> pd.DataFrame:
    """Returns how every variant differs from its reference.

    Args:
      rows: one row a variant and seed: `label`, `is_reference`, `seed`, `identity`, `status` (FINISHED, FAILED, …), the metric, and
        `time/batch_ms_median`; `within`, where several references are in one frame. Unfinished trials have a row too.
      metric: name of a metric; lower is better for losses, times, steps and memory.
      margin: difference that is too small to matter, in the metric's unit; None if nobody has said.

    Returns:
      One row a variant, the reference first: `n` pairs, `mean` and its `reference_mean` over the pairs, `change` with `low` and
      `high` (95 %, paired t), `p` and `p_holm` (over all comparisons of the frame), `p_sign_flip` (exact), `correlation` of the
      pairs, `effect_size` (change / standard deviation of the differences), `unfinished` seeds, `never` (seeds that did not reach
      the target), `time_ratio` with `time_low` and `time_high` (geometric), `verdict`, and `further_seeds` that would tell.

    Raises:
      ValueError: a variant has two trials of one seed.
    """
    rows = rows if "within" in rows else rows.assign(within="")
    rows = rows.reindex(columns=list(dict.fromkeys([*rows.columns, TIME])))  # where every step traced, there is no time per batch
    if rows.duplicated(["within", "label", "seed"]).any():
        raise ValueError("a variant has two trials of one seed; one of them must be superseded")
    found = []
    for within, part in rows.groupby("within", sort=False):
        reference = part[part["is_reference"]]
        for name, variant in part.groupby("label", sort=False):
            both = variant.merge(reference, on="seed", suffixes=("", "_reference"))
            found.append({"within": within, "label": name, **_difference(both, metric, is_reference=bool(variant["is_reference"].iloc[0]))})
    table = pd.DataFrame(found)
    tests = table["p"].notna() & ~table["is_reference"]
    table["p_holm"], table["comparisons"] = np.nan, int(tests.sum())
    if tests.any():
        table.loc[tests, "p_holm"] = multipletests(table.loc[tests, "p"], method="holm")[1]
    sign = -1 if metric.startswith(LOWER_IS_BETTER) else 1
    verdicts = [_verdict(row, sign=sign, margin=margin) for row in table.to_dict("records")]
    return table.assign(verdict=[verdict for verdict, _ in verdicts], further_seeds=[seeds for _, seeds in verdicts])


def steps_to(rows: pd.DataFrame, validation: pd.DataFrame, *, threshold: float) -> pd.Series:
    """Returns for each row the first optimizer step at which validation accuracy was at least the threshold; nan if none was.

    Args:
      rows: with the column `run_id`.
      validation: `run_id`, `step` and `value`, one row a validation.
      threshold: an accuracy, whichever the trials were recorded with.
    """
    first = validation[validation["value"] >= threshold].groupby("run_id")["step"].min()
    return rows["run_id"].map(first).astype(float)


def sign_flip(differences: np.ndarray) -> float:
    """Returns the exact two-sided p value of the mean difference when every sign could as well be the other (at best 2 / 2^n)."""
    if not 2 <= len(differences) <= MAX_EXACT:
        return math.nan
    test = stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True)
    return float(test.pvalue)


def _difference(both: pd.DataFrame, metric: str, *, is_reference: bool) -> dict[str, Any]:
    """Returns what the pairs of one variant say, without verdict."""
    finished = both[(both["status"] == "FINISHED") & (both["status_reference"] == "FINISHED")]
    ours, theirs = finished[metric].to_numpy(float), finished[f"{metric}_reference"].to_numpy(float)
    is_whole = ~(np.isnan(ours) | np.isnan(theirs))
    found: dict[str, Any] = {
        "is_reference": is_reference,
        "is_same": bool(len(both) and (both["identity"] == both["identity_reference"]).all()),
        "n": int(is_whole.sum()),
        "unfinished": len(both) - len(finished),
        "never": int(np.isnan(ours).sum()),
        "never_reference": int(np.isnan(theirs).sum()),
        "mean": float(np.nanmean(ours)) if (~np.isnan(ours)).any() else math.nan,
        "reference_mean": float(np.nanmean(theirs)) if (~np.isnan(theirs)).any() else math.nan,
    }
    change, low, high, p = _paired_t(ours[is_whole] - theirs[is_whole])
    if found["never"] or found["never_reference"]:  # the differences of those that reached it would flatter; signs are known of all
        signs = _signs(ours, theirs)
        change, low, high = math.nan, math.nan, math.nan
        p = float(stats.binomtest(int((signs > 0).sum()), int((signs != 0).sum())).pvalue) if (signs != 0).any() else math.nan
        found["sign"] = float(np.sign(signs.sum()))
    ratio = _paired_t(np.log(finished[TIME].to_numpy(float) / finished[f"{TIME}_reference"].to_numpy(float)))
    spread = float(np.std(ours[is_whole] - theirs[is_whole], ddof=1)) if is_whole.sum() > 1 else math.nan
    return found | {
        "change": change,
        "low": low,
        "high": high,
        "p": math.nan if is_reference or found["is_same"] else p,
        "p_sign_flip": sign_flip(ours[is_whole] - theirs[is_whole]),
        "correlation": float(np.corrcoef(ours[is_whole], theirs[is_whole])[0, 1]) if is_whole.sum() > 2 and spread > 0 else math.nan,
        "effect_size": change / spread if spread > 0 else math.nan,
        "spread": spread,
        "time_ratio": math.exp(ratio[0]),
        "time_low": math.exp(ratio[1]),
        "time_high": math.exp(ratio[2]),
    }


def _signs(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Signs of ours - theirs, where a missing value is larger than any other, and two of them are equal."""
    larger = np.where(np.isnan(ours), np.inf, ours)
    than = np.where(np.isnan(theirs), np.inf, theirs)
    return np.where(larger == than, 0.0, np.where(larger > than, 1.0, -1.0))


def _paired_t(differences: np.ndarray) -> tuple[float, float, float, float]:
    """Returns mean, 95 % interval and p value of differences; no interval below two of them."""
    if not len(differences):
        return math.nan, math.nan, math.nan, math.nan
    mean = float(differences.mean())
    if len(differences) < 2:
        return mean, math.nan, math.nan, math.nan
    error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    if error == 0:
        return mean, mean, mean, 1.0 if mean == 0 else 0.0
    half = float(stats.t.ppf(1 - LEVEL / 2, len(differences) - 1)) * error
    return mean, mean - half, mean + half, float(2 * stats.t.sf(abs(mean / error), len(differences) - 1))


def _verdict(row: Mapping[Hashable, Any], *, sign: int, margin: float | None) -> tuple[str, float]:
    """Returns the verdict, and how many further seeds would tell where nobody can.

    What surely lies within the margin is no difference, even where it is surely not zero.
    """
    if row["is_reference"]:
        return "reference", math.nan
    if row["is_same"]:
        return "the same trial", math.nan
    if row["n"] + row["unfinished"] + row["never"] + row["never_reference"] == 0:
        return "nothing to compare with", math.nan
    if row["unfinished"]:
        return f"no verdict: {row['unfinished']} of {row['n'] + row['unfinished']} seeds did not finish", math.nan
    if row["n"] < 2 and not (row["never"] or row["never_reference"]):
        return "one seed tells nothing", math.nan
    if _is_equivalent(row["change"], row["spread"], row["n"], margin):
        return "no difference", math.nan
    if row["p_holm"] < LEVEL:
        direction = row["change"] if not math.isnan(row["change"]) else row.get("sign", 0.0)
        return ("helps" if direction * sign > 0 else "hurts"), math.nan
    return "cannot tell", _further_seeds(row, margin)


def _is_equivalent(change: float, spread: float, n: int, margin: float | None) -> bool:
    """Two one-sided t tests at 5 %: the 90 % interval lies within the margin (Schuirmann 1987)."""
    if change == 0 and spread == 0:
        return True
    if margin is None or math.isnan(change) or n < 2:
        return False
    half = float(stats.t.ppf(1 - LEVEL, n - 1)) * spread / math.sqrt(n)
    return abs(change) + half < margin


def _further_seeds(row: Mapping[Hashable, Any], margin: float | None) -> float:
    """Returns how many seeds more would tell, if change and spread stayed as they are; nan if not even a thousand would.

    Every comparison of the study is counted (Bonferroni's correction, the strictest step of Holm's), so that it is no promise
    that others must keep.
    """
    change, spread, n = row["change"], row["spread"], row["n"]
    if math.isnan(change) or math.isnan(spread) or spread == 0:
        return math.nan
    for total in range(n + 1, MAX_SEEDS):
        p = float(2 * stats.t.sf(abs(change) / (spread / math.sqrt(total)), total - 1)) * row["comparisons"]
        if p < LEVEL or _is_equivalent(change, spread, total, margin):
            return float(total - n)
    return math.nan


def _typed(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "null"
    return as_typed(bool(value) if isinstance(value, np.bool_) else value)


def _same(value: Any, other: Any) -> bool:
    return _typed(value) == _typed(other)
