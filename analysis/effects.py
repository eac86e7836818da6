"""Is a variant better than the reference, by how much, and can one believe it? Pairs by seed, nothing averaged away.

The interval and its p value are those of the paired t test; Holm's correction over a study's comparisons decides. Intervals are
over seeds, for the study's test set: they say what another seed would do, not what other reviews would.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import special, stats
from statsmodels.stats.multitest import multipletests

from analysis.load import FINISHED
from src.settings import as_typed, label

LEVEL = 0.05
LOWER_IS_BETTER = ("train/loss", "val/loss", "test/loss", "time/batch", "time/epoch", "time/train", "time/trace", "steps_to", "memory/")
MAX_SEEDS = 1_000
MAX_EXACT = 14  # pairs whose 2^n signs are all tried
TIME = "time/batch_ms_median"
REFERENCE = "reference"


class Interval(NamedTuple):
    """An estimate with its 95 % interval and two-sided p value (Student's t), nan where there is none.

    Attributes:
      mean: the estimate.
      low: of the interval.
      high: of the interval.
      p: of the estimate being zero.
      error: standard error of the estimate.
      freedom: degrees of freedom.
    """

    mean: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    error: float = math.nan
    freedom: int = 0


def interval(values: np.ndarray) -> Interval:
    """Returns the mean of values with Student's interval; no interval below two values.

    Args:
      values: float[n], differences of pairs, or what was measured once a seed.
    """
    if not len(values):
        return Interval()
    mean, freedom = float(values.mean()), len(values) - 1
    if freedom == 0:
        return Interval(mean)
    return t_interval(mean, float(values.std(ddof=1)) / math.sqrt(len(values)), freedom)


def t_interval(mean: float, error: float, freedom: int) -> Interval:
    """Returns an estimate with Student's interval from its standard error; without any spread it is the estimate alone."""
    if error == 0:
        return Interval(mean, mean, mean, 1.0 if mean == 0 else 0.0, error, freedom)
    half = _quantile(1 - LEVEL / 2, freedom) * error
    return Interval(mean, mean - half, mean + half, float(2 * special.stdtr(freedom, -abs(mean) / error)), error, freedom)


def paired(rows: pd.DataFrame, *, metric: str, margin: float | None) -> pd.DataFrame:
    """Returns how every variant differs from its reference.

    Args:
      rows: one row a variant and seed: `label`, `is_reference`, `seed`, `identity`, `status` (FINISHED, FAILED, …), the metric;
        `time/batch_ms_median` and `health` where they are known; `within`, where several references are in one frame. Unfinished
        trials have a row too.
      metric: name of a metric; lower is better for losses, times, steps and memory.
      margin: difference that is too small to matter, in the metric's unit; None if nobody has said.

    Returns:
      One row a variant, in the order of the rows: `pairs` asked for, `n` with both values, `mean` and its `reference_mean` over the
      finished seeds, `change` with `low` and `high` (95 %, paired t), `p` and `p_holm` (over all comparisons of the frame),
      `p_sign_flip` (exact), `correlation` of the pairs, `effect_size` (change / standard deviation of the differences), `unfinished`
      seeds, `diverged` (those among them), `never` (seeds that did not reach the target), `time_ratio` with `time_low` and
      `time_high` (geometric), `verdict`, and `further_seeds` that would tell.

    Raises:
      ValueError: a variant has two trials of one seed.
    """
    if rows.duplicated(["within", "label", "seed"] if "within" in rows else ["label", "seed"]).any():
        raise ValueError("a variant has two trials of one seed; one of them must be superseded")
    rows = rows.reindex(columns=list(dict.fromkeys([*rows.columns, TIME, "health"])))  # where every step traced, no time is known
    table = pd.DataFrame(
        {"within": within, "label": name, "is_reference": is_one, **_difference(both, metric)}
        for within, name, is_one, both in _joined(rows)
    )
    table["p"] = table["p"].mask(table["is_reference"] | table["is_same"])
    table["p_holm"], table["comparisons"] = holm(table["p"]), int(table["p"].notna().sum())
    sign = better(metric)
    verdicts = [_verdict(row, sign=sign, margin=margin) for row in table.to_dict("records")]
    return table.assign(verdict=[verdict for verdict, _ in verdicts], further_seeds=[seeds for _, seeds in verdicts])


def pairs(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Returns the single differences behind `paired`, one row a variant and seed that both finished.

    Returns:
      `within`, `label`, `seed` and `difference` from the reference, nan where one of the two has no value.
    """
    parts = []
    for within, name, is_one, both in _joined(rows):
        if not is_one:
            ours, theirs = _values(both, metric)
            seeds = both.loc[_is_finished(both), "seed"]
            parts.append(pd.DataFrame({"within": within, "label": name, "seed": seeds, "difference": ours - theirs}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["within", "label", "seed", "difference"])


def within_toggle(rows: pd.DataFrame, toggle: str, toggles: Sequence[str]) -> pd.DataFrame:
    """Returns the rows of a grid so that each other value of one toggle is compared with its first, all else being equal.

    Args:
      rows: one row a trial, as `paired` takes them, with a column for every varied toggle.
      toggle: the toggle of interest; its first value in the order of the rows is the reference.
      toggles: all that vary.

    Returns:
      The rows with `within` (the other toggles' values), `label` (the toggle's value) and `is_reference` anew.
    """
    others = [key for key in toggles if key != toggle]
    values = [as_typed(value) for value in rows[toggle]]
    return rows.assign(
        within=[label({key: row[key] for key in others}) for row in rows.to_dict("records")],
        label=[f"{toggle}={value}" for value in values],
        is_reference=[value == values[0] for value in values],
    )


def stepwise(rows: pd.DataFrame, steps: Sequence[str]) -> pd.DataFrame:
    """Returns rows so that each step of a design is compared with the one before, and not with the beginning.

    Args:
      rows: one row a trial, as `paired` takes them.
      steps: labels of the variants, in the order of the steps (`chain`).

    Returns:
      For each step its rows and those of the step before as reference, with `within` anew.
    """
    parts = []
    for number, (before, step) in enumerate(itertools.pairwise(steps), 1):
        part = rows[rows["label"].isin([before, step])]
        parts.append(part.assign(within=f"step {number}", is_reference=part["label"] == before))
    return pd.concat(parts) if parts else rows


def chain(rows: pd.DataFrame, design: str, toggles: Sequence[str]) -> list[str]:
    """Returns the labels of the steps that a cumulative design or a path took, the reference first.

    A path keeps of each round the flip of highest mean validation accuracy, the first on ties (`src.study.designs.path`).
    """
    labels = list(dict.fromkeys(rows["label"]))
    if design == "cumulative":
        return labels
    values = {row["label"]: [row[key] for key in toggles] for row in rows.to_dict("records")}
    score = rows.groupby("label", sort=False)["val/accuracy"].mean()
    taken = labels[:1]
    while True:
        flips = [
            name
            for name in labels
            if _distance(values[name], values[taken[-1]]) == 1 and _distance(values[name], values[labels[0]]) == len(taken)
        ]
        known = score[flips].dropna()
        if known.empty:
            return taken
        taken.append(str(known.idxmax()))


def changed_nothing(rows: pd.DataFrame, compared: pd.DataFrame) -> list[str]:
    """Returns the variants whose trained weights equal their reference's, bit for bit and seed for seed, in different trials.

    Args:
      rows: as `paired` takes them, with the hash of the trained `weights`.
      compared: what `paired` made of them.
    """
    found = []
    for _, name, is_one, both in _joined(rows):
        done = both[_is_finished(both)]
        is_other = bool((done["identity"] != done["identity_reference"]).all())
        if not is_one and len(done) and is_other and (done["weights"] == done["weights_reference"]).all():
            found.append(name)
    return [name for name in dict.fromkeys(compared["label"]) if name in found]


def holm(p: pd.Series) -> pd.Series:
    """Returns p values adjusted by Holm's step-down method (Scandinavian Journal of Statistics 6, 1979); nan stays nan."""
    adjusted = p.astype(float).copy()
    tested = adjusted.notna()
    if tested.any():
        adjusted[tested] = multipletests(adjusted[tested], method="holm")[1]
    return adjusted


def sign_flip(differences: np.ndarray) -> float:
    """Returns the exact two-sided p value of the mean difference when every sign could as well be the other (at best 2 / 2^n)."""
    if not 2 <= len(differences) <= MAX_EXACT:
        return math.nan
    test = stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True)
    return float(test.pvalue)


def better(metric: str) -> int:
    """Returns 1 where higher values of a metric are better, and -1 where lower ones are."""
    return -1 if metric.startswith(LOWER_IS_BETTER) else 1


def is_equivalent(found: Interval, margin: float | None) -> bool:
    """Returns whether two one-sided t tests at 5 % find the estimate within the margin: its 90 % interval does (Schuirmann 1987)."""
    if found.mean == 0 and found.error == 0:
        return True
    if margin is None or math.isnan(found.error):
        return False
    return abs(found.mean) + _quantile(1 - LEVEL, found.freedom) * found.error < margin


@functools.cache
def _quantile(share: float, freedom: int) -> float:
    """Returns the quantile of Student's t distribution."""
    return float(special.stdtrit(freedom, share))


def _joined(rows: pd.DataFrame) -> Iterator[tuple[str, str, bool, pd.DataFrame]]:
    """Yields for every variant (within, label, is it the reference?) its rows beside the reference's rows of the same seeds."""
    rows = rows if "within" in rows else rows.assign(within="")
    for within, part in rows.groupby("within", sort=False):
        reference = part[part["is_reference"]]
        for name, variant in part.groupby("label", sort=False):
            both = variant.merge(reference, on="seed", suffixes=("", "_reference"))
            yield str(within), str(name), bool(variant["is_reference"].iloc[0]), both


def _is_finished(both: pd.DataFrame) -> pd.Series:
    return (both["status"] == FINISHED) & (both["status_reference"] == FINISHED)


def _values(both: pd.DataFrame, metric: str) -> tuple[np.ndarray, np.ndarray]:
    finished = both[_is_finished(both)]
    return finished[metric].to_numpy(float), finished[f"{metric}_reference"].to_numpy(float)


def _difference(both: pd.DataFrame, metric: str) -> dict[str, Any]:
    """Returns what the pairs of one variant say, without verdict."""
    ours, theirs = _values(both, metric)
    is_whole = ~(np.isnan(ours) | np.isnan(theirs))
    differences = ours[is_whole] - theirs[is_whole]
    spread = float(np.std(differences, ddof=1)) if len(differences) > 1 else math.nan
    found: dict[str, Any] = {
        "is_same": bool(len(both) and (both["identity"] == both["identity_reference"]).all()),
        "pairs": len(both),
        "n": len(differences),
        "unfinished": int((~_is_finished(both)).sum()),
        "diverged": int((both["health"] == "diverged").sum()),
        "never": int(np.isnan(ours).sum()),
        "never_reference": int(np.isnan(theirs).sum()),
        "mean": float(np.nanmean(ours)) if (~np.isnan(ours)).any() else math.nan,
        "reference_mean": float(np.nanmean(theirs)) if (~np.isnan(theirs)).any() else math.nan,
        "sign": math.nan,
        "p_sign_flip": sign_flip(differences),
        "correlation": _correlation(ours[is_whole], theirs[is_whole]),
    }
    change = interval(differences)
    if found["never"] or found["never_reference"]:  # the differences of those that reached it would flatter; signs are known of all
        signs = _signs(ours, theirs)
        p = float(stats.binomtest(int((signs > 0).sum()), int((signs != 0).sum())).pvalue) if (signs != 0).any() else math.nan
        change, found["sign"], found["p_sign_flip"] = Interval(p=p), float(np.sign(signs.sum())), math.nan
    found |= {"change": change.mean, "low": change.low, "high": change.high, "p": change.p, "error": change.error, "spread": spread}
    found["effect_size"] = change.mean / spread if spread > 0 else math.nan
    time, time_of_reference = _values(both, TIME)
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = np.log(time / time_of_reference)
    ratio = interval(logs[np.isfinite(logs)])
    return found | {"time_ratio": math.exp(ratio.mean), "time_low": math.exp(ratio.low), "time_high": math.exp(ratio.high)}


def _correlation(ours: np.ndarray, theirs: np.ndarray) -> float:
    if len(ours) < 3 or np.ptp(ours) == 0 or np.ptp(theirs) == 0:
        return math.nan
    return float(np.corrcoef(ours, theirs)[0, 1])


def _signs(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Signs of ours - theirs, where a missing value is larger than any other, and two of them are equal."""
    larger = np.where(np.isnan(ours), np.inf, ours)
    than = np.where(np.isnan(theirs), np.inf, theirs)
    return np.where(larger == than, 0.0, np.where(larger > than, 1.0, -1.0))


def _verdict(row: Mapping[Hashable, Any], *, sign: int, margin: float | None) -> tuple[str, float]:  # noqa: PLR0911
    """Returns the verdict on one row of `paired`, and how many further seeds would tell where these do not."""
    if row["is_reference"]:
        return REFERENCE, math.nan
    if row["is_same"]:
        return "the same trial", math.nan
    asked = row["pairs"]
    if row["diverged"]:
        return f"no verdict: {row['diverged']} of {asked} seeds diverged", math.nan
    if row["unfinished"]:
        return f"no verdict: {row['unfinished']} of {asked} seeds did not finish", math.nan
    if asked == 0:
        return "nothing to compare with", math.nan
    if asked < 2:
        return "one seed tells nothing", math.nan
    if is_equivalent(_interval_of(row), margin):
        return "no difference", math.nan
    if row["p_holm"] < LEVEL:
        direction = row["sign"] if math.isnan(row["change"]) else row["change"]
        return ("helps" if direction * sign > 0 else "hurts"), math.nan
    return "cannot tell", _further_seeds(row, margin)


def _interval_of(row: Mapping[Hashable, Any]) -> Interval:
    return Interval(row["change"], row["low"], row["high"], row["p"], row["error"], row["n"] - 1)


def _further_seeds(row: Mapping[Hashable, Any], margin: float | None) -> float:
    """Returns how many seeds more would tell, if change and spread stayed as they are; nan if not even a thousand would.

    Every comparison of the study is counted (Bonferroni's correction, the strictest step of Holm's), so that it is no promise
    that others must keep.
    """
    change, spread, n = row["change"], row["spread"], row["n"]
    if math.isnan(change) or math.isnan(spread) or spread == 0:
        return math.nan
    for total in range(n + 1, MAX_SEEDS):
        then = t_interval(change, spread / math.sqrt(total), total - 1)
        if then.p * row["comparisons"] < LEVEL or is_equivalent(then, margin):
            return float(total - n)
    return math.nan


def _distance(values: Sequence[Any], others: Sequence[Any]) -> int:
    return sum(one != other for one, other in zip(values, others, strict=True))
