"""Is a variant better than the reference, by how much, and can one believe it? Pairs by seed, nothing averaged away.

The interval and its p value are those of the paired t test; Holm's correction over a study's comparisons decides. Intervals are
over seeds, for the study's test set: they say what another seed would do, not what other reviews would.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import special, stats
from statsmodels.stats.multitest import multipletests

from analysis.load import DROPPED, FINISHED, PER_BATCH
from src.settings import as_typed, label

LEVEL = 0.05
POWER = 0.8  # with which further seeds would tell
HIGHER_IS_BETTER = ("test/accuracy", "val/accuracy", "train/accuracy", "time/tokens_per_s")
LOWER_IS_BETTER = ("train/loss", "val/loss", "test/loss", "time/", "steps_to/", "memory/", "model/parameters", "data/padding_fraction")
MAX_SEEDS = 1_000
MAX_EXACT = 14  # pairs whose 2^n signs are all tried
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

    Without any spread, as between counts that are the same for every seed, there is no interval, and p is that of the signs.

    Args:
      values: float[n], differences of pairs, or what was measured once a seed.
    """
    if not len(values):
        return Interval()
    mean, freedom = float(values.mean()), len(values) - 1
    if freedom == 0:
        return Interval(mean)
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    if error <= 1e-12 * abs(mean):  # rounding
        return Interval(mean, p=1.0 if mean == 0 else 2.0**-freedom, error=error, freedom=freedom)
    half = _quantile(1 - LEVEL / 2, freedom) * error
    return Interval(mean, mean - half, mean + half, float(2 * special.stdtr(freedom, -abs(mean) / error)), error, freedom)


def paired(rows: pd.DataFrame, *, metric: str, margin: float | None, time: str = PER_BATCH) -> pd.DataFrame:
    """Returns how every variant differs from its reference.

    Args:
      rows: one row a variant and seed: `label`, `is_reference`, `seed`, `identity`, `status` (FINISHED, FAILED, …), the metric; the time
        and `health` where they are known; `within`, where several references are in one frame; `last_step` (of the last validation)
        where the metric is `steps_to/…`. Unfinished trials have a row too.
      metric: name of a metric; `better` says in which direction.
      margin: difference that is too small to matter, in the metric's unit; None if nobody has said.
      time: metric that is compared as a ratio.

    Returns:
      One row a variant, in the order of the rows: `pairs` asked for, `n` with both values, `mean` and its `reference_mean` over the
      finished seeds, `change` with `low` and `high` (95 %, paired t), `p` and `p_holm` (over all comparisons of the frame),
      `p_sign_flip` (exact), `correlation` of the pairs, `effect_size` (change / standard deviation of the differences), `unfinished`
      seeds and `diverged` ones among them, `never` (finished seeds that did not reach the target; they count as later than any that
      did, and then the signs are tested), `missing` (finished seeds without a value), `time_ratio` with `time_low` and `time_high`
      (geometric), `twin_of` (an earlier variant made of the same trials; the two are one comparison), `verdict`, and `further_seeds`
      that would tell with a power of 80 %.

    Raises:
      ValueError: a variant has two trials of one seed.
    """
    if rows.duplicated(["within", "label", "seed"] if "within" in rows else ["label", "seed"]).any():
        raise ValueError("a variant has two trials of one seed; one of them must be superseded")
    known = list(dict.fromkeys([*rows.columns, time, "health", "last_step"]))  # where every step traced, no time is known
    table = pd.DataFrame(
        {"within": within, "label": name, "is_reference": is_one, **_difference(both, metric, time)}
        for within, name, is_one, both in _joined(rows.reindex(columns=known))
    )
    table["twin_of"] = pd.Series(_twins(table), dtype=object)
    table["p"] = table["p"].mask(table["is_reference"] | table["is_same"])
    tested = table["p"].where(table["twin_of"].isna())
    table["p_holm"], table["comparisons"] = holm(tested), int(tested.notna().sum())
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
      For each step its rows and those of the step before as reference, with `within` anew; the rows as they are if no step was taken.
    """
    parts = []
    for number, (before, step) in enumerate(itertools.pairwise(steps), 1):
        part = rows[rows["label"].isin([before, step])]
        parts.append(part.assign(within=f"step {number}", is_reference=part["label"] == before))
    return pd.concat(parts) if parts else rows.assign(within="")


def chain(rows: pd.DataFrame, design: str, toggles: Sequence[str]) -> list[str]:
    """Returns the labels of the steps that a cumulative design or a path took, the reference first.

    A path keeps of each round the flip of highest mean validation accuracy, the first on ties (`src.study.designs.path`).
    """
    labels = list(dict.fromkeys(rows["label"]))
    if design == "cumulative":
        return labels
    values = {row["label"]: [row[key] for key in toggles] for row in rows.to_dict("records")}
    whole = rows.groupby("label", sort=False)["status"].agg(lambda states: bool((states == FINISHED).all()))
    score = (
        rows.groupby("label", sort=False)["val/accuracy"].agg(fmean).where(whole)
    )  # as the sweep, to the last bit; a flip that lacks a seed is not chosen
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


def changed_nothing(rows: pd.DataFrame) -> list[str]:
    """Returns the variants whose trained weights equal their reference's, bit for bit and seed for seed, in different trials.

    Args:
      rows: as `paired` takes them, with the hash of the trained `weights`.
    """
    found = []
    for _, name, is_one, both in _joined(rows):
        done = both[_is_finished(both)]
        is_other = bool((done["identity"] != done["identity_reference"]).all())
        if not is_one and len(done) and is_other and (done["weights"] == done["weights_reference"]).all():
            found.append(name)
    return list(dict.fromkeys(found))


def holm(p: pd.Series) -> pd.Series:
    """Returns p values adjusted for their number; nan stays nan.

    Source: Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 6, 1979.
    """
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
    """Returns 1 where higher values of a metric are better, -1 where lower ones are, and 0 where nobody can say."""
    return 1 if metric in HIGHER_IS_BETTER else -1 if metric.startswith(LOWER_IS_BETTER) else 0


def is_equivalent(found: Interval, margin: float | None) -> bool:
    """Returns whether two one-sided t tests at 5 % find the estimate within the margin, which is whether its 90 % interval is within it.

    Source: Schuirmann, "A comparison of the two one-sided tests procedure and the power approach for assessing the equivalence of
    average bioavailability", Journal of Pharmacokinetics and Biopharmaceutics 15, 1987. Not adjusted for the number of comparisons.
    """
    if found.mean == 0 and found.error == 0 and found.freedom > 1:  # equal to the last bit in three seeds or more
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


def _difference(both: pd.DataFrame, metric: str, time: str) -> dict[str, Any]:
    """Returns what the pairs of one variant say, without verdict."""
    ours, theirs = _values(both, metric)
    is_whole = np.isfinite(ours) & np.isfinite(theirs)
    differences = ours[is_whole] - theirs[is_whole]
    change, signs = interval(differences), None
    sign_flip_p = sign_flip(differences)
    is_censored = metric.startswith("steps_to/")
    if is_censored and not is_whole.all():  # the differences of those that reached it would flatter; signs are known of nearly all
        signs = _signs(ours, theirs, *_values(both, "last_step"))
        decided = signs[~np.isnan(signs) & (signs != 0)]
        p = float(stats.binomtest(int((decided > 0).sum()), len(decided)).pvalue) if len(decided) else math.nan
        change, sign_flip_p = Interval(p=p), math.nan
    spread = float(np.std(differences, ddof=1)) if len(differences) > 1 and signs is None else math.nan
    logs = _log_ratio(*_values(both, time))
    return {
        "identities": (tuple(both["identity"]), tuple(both["identity_reference"])),
        "is_same": bool(len(both) and (both["identity"] == both["identity_reference"]).all()),
        "pairs": len(both),
        "n": len(differences) if signs is None else int((~np.isnan(signs)).sum()),
        **_troubles(both),
        "never": int(np.isnan(ours).sum()) if is_censored else 0,
        "reference_never": int(np.isnan(theirs).sum()) if is_censored else 0,
        "missing": 0 if is_censored else int((~is_whole).sum()),
        "mean": _mean(ours),
        "reference_mean": _mean(theirs),
        "change": change.mean,
        "low": change.low,
        "high": change.high,
        "p": change.p,
        "p_sign_flip": sign_flip_p,
        "correlation": _correlation(ours[is_whole], theirs[is_whole]),
        "effect_size": change.mean / spread if spread > 0 else math.nan,
        "error": change.error,
        "spread": spread,
        "sign": math.nan if signs is None else float(np.sign(np.nansum(signs))),
        "time_ratio": math.exp(logs.mean),
        "time_low": math.exp(logs.low),
        "time_high": math.exp(logs.high),
    }


def _troubles(both: pd.DataFrame) -> dict[str, int]:
    """Returns how many seeds of the variant and of its reference did not finish, and how many of those were dropped or diverged."""
    found = {}
    for name, suffix in (("", ""), ("reference_", "_reference")):
        is_open = both[f"status{suffix}"] != FINISHED
        found[f"{name}unfinished"] = int(is_open.sum())
        found[f"{name}dropped"] = int((both[f"status{suffix}"] == DROPPED).sum())
        found[f"{name}diverged"] = int((is_open & (both[f"health{suffix}"] == "diverged")).sum())
    return found


def _log_ratio(ours: np.ndarray, theirs: np.ndarray) -> Interval:
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = np.log(ours / theirs)
    return interval(logs[np.isfinite(logs)])


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if (~np.isnan(values)).any() else math.nan


def _twins(table: pd.DataFrame) -> list[str | None]:
    """Returns for each comparison the name of an earlier one of the same trials on both sides, None where there is none."""
    seen: dict[Any, str] = {}
    found: list[str | None] = []
    for row in table.to_dict("records"):
        key = row["identities"]
        is_compared = row["pairs"] > 0 and not row["is_reference"] and not row["is_same"] and None not in key[0]
        found.append(seen.get(key) if is_compared else None)
        if is_compared:
            seen.setdefault(key, " | ".join(filter(None, (row["within"], row["label"]))))
    return found


def _correlation(ours: np.ndarray, theirs: np.ndarray) -> float:
    if len(ours) < 3 or np.ptp(ours) == 0 or np.ptp(theirs) == 0:
        return math.nan
    return float(np.corrcoef(ours, theirs)[0, 1])


def _signs(ours: np.ndarray, theirs: np.ndarray, our_last: np.ndarray, their_last: np.ndarray) -> np.ndarray:
    """Returns the signs of ours - theirs where a target that was never reached is later than any that was; nan where none can say.

    Args:
      ours: steps to the target, nan where it was never reached.
      theirs: the same.
      our_last: step until which we looked; what the other reached after it, we might have reached, too.
      their_last: the same.
    """
    signs = np.sign(ours - theirs)
    signs = np.where(np.isnan(ours) & np.isnan(theirs), 0.0, signs)
    signs = np.where(np.isnan(ours) & (our_last >= theirs), 1.0, signs)
    return np.where(np.isnan(theirs) & (their_last >= ours), -1.0, signs)


def _verdict(row: Mapping[Hashable, Any], *, sign: int, margin: float | None) -> tuple[str, float]:
    """Returns the verdict on one row of `paired`, and how many further seeds would tell where these do not."""
    if row["is_reference"]:
        return REFERENCE, math.nan
    if row["is_same"]:
        return "the same trial", math.nan
    if row["twin_of"]:
        return f"the same trials as {row['twin_of']}", math.nan
    if reason := _no_verdict(row):
        return reason, math.nan
    if is_equivalent(_interval_of(row), margin):
        return "no difference", math.nan
    if row["p_holm"] < LEVEL:
        return direction(row["sign"] if math.isnan(row["change"]) else row["change"], sign), math.nan
    return "cannot tell", _further_seeds(row, margin)


def direction(change: float, sign: int) -> str:
    """Returns the word for a change that was shown: `helps` or `hurts`; `higher` or `lower` where nobody can say which is better."""
    if sign == 0:
        return "higher" if change > 0 else "lower"
    return "helps" if change * sign > 0 else "hurts"


def _no_verdict(row: Mapping[Hashable, Any]) -> str | None:
    """Returns why the pairs allow no verdict, or None if they do: survivors alone would flatter."""
    for who, name in (("", ""), ("reference_", " of the reference")):
        for what, words in (("dropped", "were dropped"), ("diverged", "diverged"), ("unfinished", "did not finish")):
            if row[f"{who}{what}"]:
                return f"no verdict: {row[f'{who}{what}']} of {row['pairs']} seeds{name} {words}"
    if row["missing"]:
        return f"no verdict: {row['missing']} of {row['pairs']} seeds have no finite value"
    if row["pairs"] == 0:
        return "nothing to compare with"
    return "one seed tells nothing" if row["pairs"] < 2 else None


def _interval_of(row: Mapping[Hashable, Any]) -> Interval:
    return Interval(row["change"], row["low"], row["high"], row["p"], row["error"], row["n"] - 1)


def _further_seeds(row: Mapping[Hashable, Any], margin: float | None) -> float:
    """Returns how many seeds more would tell with a power of 80 %, if change and spread are what they seem; nan if not even 1,000 would.

    To tell is to find a difference at the level divided by the number of comparisons (Bonferroni's, the strictest step of Holm's), or
    to find it within the margin. The power of the t test is that of the noncentral t distribution.
    """
    change, spread, n = abs(row["change"]), row["spread"], row["n"]
    if math.isnan(change) or math.isnan(spread) or spread == 0:
        return math.nan
    total = np.arange(n + 1, MAX_SEEDS + 1)
    error, freedom = spread / np.sqrt(total), total - 1
    critical = special.stdtrit(freedom, 1 - LEVEL / (2 * row["comparisons"]))
    power = stats.nct.sf(critical, freedom, change / error)
    if margin is not None:
        half = special.stdtrit(freedom, 1 - LEVEL)
        within = special.stdtr(freedom, (margin - change) / error - half) + special.stdtr(freedom, (margin + change) / error - half) - 1
        power = np.maximum(power, within)
    enough = np.flatnonzero(power >= POWER)
    return float(total[enough[0]] - n) if len(enough) else math.nan


def _distance(values: Sequence[Any], others: Sequence[Any]) -> int:
    return sum(one != other for one, other in zip(values, others, strict=True))
