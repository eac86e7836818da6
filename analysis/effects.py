"""Is a variant better than the reference, by how much, and can one believe it? Pairs by seed, nothing averaged away.

The interval and its p value are those of the paired t test; Holm's correction over a study's comparisons decides. Intervals are
over seeds, for the study's test set: they say what another seed would do, not what other examples would.

Steps to a target are known only to within two validations: a target was reached after the validation before and at the latest by the one
that saw it. There a seed counts as earlier or later only where the two ranges do not overlap, and a sign test over seeds decides.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special, stats

from analysis.inference import LEVEL, RESOLUTION, Interval, grid, holm, interval, is_equivalent, scale_of, sign_flip
from analysis.load import DROPPED, FINISHED, PER_BATCH

POWER = 0.8  # with which a study of so many seeds would tell
OUTLIER = 0.05  # p below which one seed differs from the others by more than they allow
HIGHER_IS_BETTER = ("test/accuracy", "val/accuracy", "train/accuracy", "time/tokens_per_s")
LOWER_IS_BETTER = ("train/loss", "val/loss", "test/loss", "time/", "steps_to/", "memory/", "model/parameters", "data/padding_fraction")
MAX_SEEDS = 1_000
EXACT = ("model/parameters",)  # metrics without chance: equal values are equal
MOST = 0.5  # share of trials above which "most" learnt nothing
OF_WEIGHTS = ("test/", "val/", "train/", "steps_to/")  # metrics that trained weights decide: equal weights, equal values
REFERENCE = "reference"
NO_LEARNING = "no_learning"  # what `ablation.health` says of a trial whose validation accuracy is chance


def paired(rows: pd.DataFrame, *, metric: str, margin: float | None, time: str = PER_BATCH) -> pd.DataFrame:
    """Returns how every variant differs from its reference.

    Args:
      rows: one row a variant and seed: `label`, `is_reference`, `seed`, `identity`, `status` (FINISHED, FAILED, …), the metric; the time,
        `health` and the hash of the trained `weights` where they are known; `within`, where several references are in one frame;
        `step_before` and `last_step` (`load.Study`) where the metric is `steps_to/…`. Unfinished trials have a row too.
      metric: name of a metric; `better` says in which direction.
      margin: difference that is too small to matter, in the metric's unit; None if nobody has said.
      time: metric that is compared as a ratio.

    Returns:
      One row a variant, in the order of the rows: `pairs` asked for, `n` with both values, `mean` and its `reference_mean` over the
      finished seeds, `idle` and `reference_idle` (finished seeds that learnt nothing), `change` with `low` and `high` (95 %, paired t; of
      steps to a target wide enough for whatever lies between two
      validations), `p` and `p_holm` (over all comparisons of the frame), `p_sign_flip` (exact), `correlation` of the pairs, `effect_size`
      (change / standard deviation of the differences), `unfinished` seeds and `diverged` ones among them, `never` (finished seeds that did
      not reach the target), `missing` (finished seeds without a value), `outlier` (a seed that differs by more than the others allow, or
      nan), `time_ratio` with `time_low`, `time_high` (geometric) and `time_holm` (p, over all ratios of the frame), `twin_of` (an earlier
      variant made of the same trials), `is_unchanged` (weights equal to the reference's in every seed), `verdict`, and `seeds_needed` to
      `seeds_needed_high`: how many seeds a study needs to tell with a power of 80 %, if the differences spread as they seem to, or as
      much as they may (upper 80 % bound).

    Raises:
      ValueError: a variant has two trials of one seed.
    """
    if rows.duplicated(["within", "label", "seed"] if "within" in rows else ["label", "seed"]).any():
        raise ValueError("a variant has two trials of one seed; one of them must be superseded")
    optional = (time, "health", "weights", "last_step", "step_before")  # where every step traced, no time is known
    rows = rows.reindex(columns=list(dict.fromkeys([*rows.columns, *optional])))
    finest = grid(rows.loc[rows["status"] == FINISHED, metric].to_numpy(float))
    table = pd.DataFrame(
        {"within": within, "label": name, "is_reference": is_one, **_difference(both, metric, time, grid=finest)}
        for within, name, is_one, both in _joined(rows, metric, *optional)
    )
    is_idle = metric.startswith(OF_WEIGHTS) and mostly_idle(rows)
    found = _judged(_adjusted(table), sign=better(metric), margin=margin, idle=idle_trials(rows) if is_idle else "")
    return found.drop(columns=["identities", "trained", "bounds", "hidden"])


def pairs(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Returns the single differences behind `paired`, one row a variant and seed that both finished.

    Returns:
      `within`, `label`, `seed` and `difference` from the reference, nan where one of the two has no value.
    """
    parts = []
    for within, name, is_one, both in _joined(rows, metric):
        if not is_one:
            ours, theirs = both.values(metric)
            seeds = both.ours["seed"][both.is_finished]
            parts.append(pd.DataFrame({"within": within, "label": name, "seed": seeds, "difference": ours - theirs}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["within", "label", "seed", "difference"])


def mostly_idle(rows: pd.DataFrame) -> bool:
    """Returns whether most of the finished trials learnt nothing, by their `health`: their differences are chance.

    Args:
      rows: as `paired` takes them.
    """
    return bool(_idle(rows).mean() > MOST)


def idle_trials(rows: pd.DataFrame) -> str:
    """Returns how many of the finished trials learnt nothing, in words."""
    is_idle = _idle(rows)
    return f"{is_idle.sum()} of {len(is_idle)} trials learnt nothing"


def _idle(rows: pd.DataFrame) -> pd.Series:
    """Returns for each finished trial whether it learnt nothing; a trial that serves several rows counts once."""
    done = rows[rows["status"] == FINISHED].drop_duplicates("identity")
    return done.reindex(columns=["health"])["health"] == NO_LEARNING


def changed_nothing(rows: pd.DataFrame) -> list[str]:
    """Returns the variants whose trained weights equal their reference's, bit for bit and seed for seed, in different trials.

    Args:
      rows: as `paired` takes them, with the hash of the trained `weights`.
    """
    return list(dict.fromkeys(name for _, name, is_one, both in _joined(rows, "weights") if not is_one and _is_unchanged(both)))


def _is_unchanged(both: _Pairs) -> bool:
    is_other = not _are_equal(*both.values("identity", kind=object)).any()
    return is_other and bool(both.is_finished.any()) and bool(_are_equal(*both.values("weights", kind=object)).all())


def better(metric: str) -> int:
    """Returns 1 where higher values of a metric are better, -1 where lower ones are, and 0 where nobody can say."""
    return 1 if metric in HIGHER_IS_BETTER else -1 if metric.startswith(LOWER_IS_BETTER) else 0


@dataclass(frozen=True, eq=False)
class _Pairs:
    """The trials of a variant beside those of its reference with the same seeds; arrays, for a study may have thousands of variants.

    Attributes:
      ours: column → [pairs], of the variant.
      theirs: the same of the reference.
    """

    ours: Mapping[str, np.ndarray]
    theirs: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        """Returns the number of pairs."""
        return len(self.ours["seed"])

    @functools.cached_property
    def is_finished(self) -> np.ndarray:
        """bool[pairs], whether both did."""
        return np.asarray((self.ours["status"] == FINISHED) & (self.theirs["status"] == FINISHED), dtype=bool)

    def values(self, name: str, *, kind: type = float) -> tuple[np.ndarray, np.ndarray]:
        """Returns a column of the finished pairs, of the variant and of the reference."""
        return self.ours[name][self.is_finished].astype(kind), self.theirs[name][self.is_finished].astype(kind)


def _joined(rows: pd.DataFrame, *names: str) -> Iterator[tuple[str, str, bool, _Pairs]]:
    """Yields for every variant (within, label, is it the reference?) its rows beside the reference's rows of the same seeds.

    Args:
      rows: as `paired` takes them.
      *names: of columns that are wanted beside `seed`, `status` and `identity`.
    """
    rows = rows if "within" in rows else rows.assign(within="")
    variant, wanted = ["within", "label"], list(dict.fromkeys(["status", "identity", *names]))
    rows = rows[[*variant, "seed", "is_reference", *wanted]]
    both = rows.merge(rows[rows["is_reference"]], on=["within", "seed"], suffixes=("", "_reference"))
    ours = {name: both[name].to_numpy() for name in ("seed", *wanted)}
    theirs = {name: both[f"{name}_reference"].to_numpy() for name in wanted}
    places = both.groupby(variant, sort=False).indices
    firsts = rows.drop_duplicates(variant)
    turn = {within: number for number, within in enumerate(dict.fromkeys(firsts["within"]))}
    each = zip(firsts["within"], firsts["label"], firsts["is_reference"], strict=True)
    for within, name, is_one in sorted(each, key=lambda one: turn[one[0]]):
        mine = places.get((within, name), np.array([], dtype=int))
        pairs = _Pairs(*({key: values[mine] for key, values in side.items()} for side in (ours, theirs)))
        yield str(within), str(name), bool(is_one), pairs


def _are_equal(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Returns where two arrays of texts have the same one, bool[n]; what is missing equals nothing."""
    return np.asarray((ours == theirs) & ~pd.isna(ours) & ~pd.isna(theirs), dtype=bool)


def _difference(both: _Pairs, metric: str, time: str, *, grid: float) -> dict[str, Any]:
    """Returns what the pairs of one variant say, without verdict."""
    ours, theirs = both.values(metric)
    is_whole = np.isfinite(ours) & np.isfinite(theirs)
    is_steps = metric.startswith("steps_to/")
    seeds = both.ours["seed"][both.is_finished][is_whole]
    logs = _log_ratio(*both.values(time))
    is_same = _are_equal(both.ours["identity"], both.theirs["identity"])
    return {
        "identities": (tuple(both.ours["identity"]), tuple(both.theirs["identity"])),
        "trained": _trained(both) if metric.startswith(OF_WEIGHTS) else None,
        **(_without_learning(both) if metric.startswith(OF_WEIGHTS) else {"idle": 0, "reference_idle": 0}),
        "is_same": bool(len(both) and is_same.all()),
        "is_unchanged": _is_unchanged(both) if metric.startswith(OF_WEIGHTS) else metric in EXACT and bool((ours == theirs).all()),
        "pairs": len(both),
        **_troubles(both),
        "never": int(np.isnan(ours).sum()) if is_steps else 0,
        "reference_never": int(np.isnan(theirs).sum()) if is_steps else 0,
        "missing": 0 if is_steps else int((~is_whole).sum()),
        "mean": _mean(ours),
        "reference_mean": _mean(theirs),
        "correlation": _correlation(ours[is_whole], theirs[is_whole]),
        "outlier": _outlier(ours[is_whole] - theirs[is_whole], seeds, grid=grid),
        **(_of_steps(both, metric, grid=grid) if is_steps else _of_values(ours[is_whole], theirs[is_whole], grid=grid)),
        "time_ratio": math.exp(logs.mean),
        "time_low": math.exp(logs.low),
        "time_high": math.exp(logs.high),
        "time_p": logs.p,
    }


def _of_values(ours: np.ndarray, theirs: np.ndarray, *, grid: float) -> dict[str, Any]:
    """Returns the change between pairs of values, float[n] each, with its interval and p values."""
    differences = ours - theirs
    change = interval(differences, scale=scale_of(ours, theirs))
    spread = float(np.std(differences, ddof=1)) if len(differences) > 1 else math.nan
    return {
        **_numbers(change, change, change, hidden=_hidden(grid, len(differences))),
        "n": len(differences),
        "p_sign_flip": sign_flip(differences),
        "effect_size": change.mean / spread if spread > RESOLUTION * scale_of(ours, theirs) else math.nan,
        "spread": spread,
        "sign": math.nan,
    }


def _of_steps(both: _Pairs, metric: str, *, grid: float) -> dict[str, Any]:
    """Returns the change between steps to a target, which are known to within two validations, with the p value of their signs."""
    (our_low, our_high), (their_low, their_high) = _between(both, metric)
    signs = _signs(our_low, our_high, their_low, their_high)
    known = signs[~np.isnan(signs)]
    decided = known[known != 0]
    p = math.nan if not len(known) else float(stats.binomtest(int((decided > 0).sum()), len(decided)).pvalue) if len(decided) else 1.0
    change = least = most = Interval()
    if np.isfinite(our_high).all() and np.isfinite(their_high).all():  # the differences of those that reached it alone would flatter
        scale = scale_of(our_high, their_high)
        differences = (our_high - their_high, our_low - their_high, our_high - their_low)
        change, least, most = (interval(values, scale=scale) for values in differences)
    return {
        **_numbers(change._replace(p=p), least, most, hidden=_hidden(grid, len(signs))),
        "n": len(known),
        "p_sign_flip": math.nan,
        "effect_size": math.nan,
        "spread": math.nan,
        "sign": float(np.sign(known.sum())),
    }


def _numbers(change: Interval, least: Interval, most: Interval, *, hidden: float) -> dict[str, Any]:
    """Returns a change whose true values lie between the least and the most that the pairs allow."""
    low, high = (bound if math.isfinite(bound) else mean for bound, mean in ((least.low, least.mean), (most.high, most.mean)))
    is_known = math.isfinite(change.low) or least.mean < most.mean
    return {
        "change": change.mean,
        "low": low if is_known else math.nan,
        "high": high if is_known else math.nan,
        "p": change.p,
        "error": change.error,
        "bounds": (least, most),
        "hidden": hidden,
    }


def _between(both: _Pairs, metric: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns the steps after which, and by which, a target was reached, float64[n] each: (last step, infinity) where it never was.

    First of the variant, then of the reference.
    """
    found = []
    for reached, *steps in zip(both.values(metric), both.values("step_before"), both.values("last_step"), strict=True):
        before, last = map(np.nan_to_num, steps)
        is_reached = np.isfinite(reached)
        found.append((np.where(is_reached, before, last), np.where(is_reached, reached, np.inf)))
    return found


def _hidden(grid: float, n: int) -> float:
    """Returns the standard error of a mean of n differences that rounding of both values to a grid may hide: grid / sqrt(6 n).

    A value that is rounded to a grid is off by up to half of it, with a variance of grid^2 / 12, and a difference has two.
    """
    return grid / math.sqrt(6 * n) if n else math.inf


def _outlier(differences: np.ndarray, seeds: np.ndarray, *, grid: float) -> float:
    """Returns the seed whose difference lies outside of what the others allow, or nan: such a seed has failed where the others have not.

    By Student's prediction interval from the others, Bonferroni's level over the seeds; which is the test of Grubbs, "Procedures for
    Detecting Outlying Observations in Samples", Technometrics 11(1), 1969.
    """
    if len(differences) < 4:
        return math.nan
    place = int(np.abs(differences - np.median(differences)).argmax())
    others = np.delete(differences, place)
    spread = max(float(others.std(ddof=1)), grid / math.sqrt(6) if math.isfinite(grid) else 0.0, np.finfo(float).tiny)
    distance = abs(differences[place] - others.mean()) / (spread * math.sqrt(1 + 1 / len(others)))
    p = 2 * float(special.stdtr(len(others) - 1, -distance)) * len(differences)
    return float(seeds[place]) if p < OUTLIER else math.nan


def _trained(both: _Pairs) -> tuple[Any, ...] | None:
    """Returns what was trained on both sides, by the hashes of the weights; None where a seed has none."""
    hashes = [*both.ours["weights"], *both.theirs["weights"]]
    return None if pd.isna(np.array(hashes, dtype=object)).any() else tuple(hashes)


def _troubles(both: _Pairs) -> dict[str, int]:
    """Returns how many seeds of the variant and of its reference did not finish, and how many of those were dropped or diverged."""
    found = {}
    for name, side in (("", both.ours), ("reference_", both.theirs)):
        is_open = side["status"] != FINISHED
        found[f"{name}unfinished"] = int(np.sum(is_open))
        found[f"{name}dropped"] = int(np.sum(side["status"] == DROPPED))
        found[f"{name}diverged"] = int(np.sum(is_open & (side["health"] == "diverged")))
    return found


def _without_learning(both: _Pairs) -> dict[str, int]:
    """Returns how many of the finished pairs' trials learnt nothing, of the variant and of its reference."""
    ours, theirs = both.values("health", kind=object)
    return {"idle": int(np.sum(ours == NO_LEARNING)), "reference_idle": int(np.sum(theirs == NO_LEARNING))}


def _log_ratio(ours: np.ndarray, theirs: np.ndarray) -> Interval:
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = np.log(ours / theirs)
    return interval(logs[np.isfinite(logs)], scale=1.0)


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if (~np.isnan(values)).any() else math.nan


def _adjusted(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the differences with `twin_of`, and with p adjusted over the comparisons: of the metric, and apart from it of the times.

    What was trained alike is one comparison, whatever it is called: the same trials, or other ones that ended with the same weights.
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
    """Returns the differences with `verdict`, and where it is that these seeds cannot tell, with how many a study needs.

    Args:
      table: as `_adjusted` returns it.
      sign: as `better` returns it.
      margin: as in `paired`.
      idle: how many trials learnt nothing, if most of the frame did.
    """
    rows = table.to_dict("records")
    verdicts = [_verdict(row, sign=sign, margin=margin, idle=idle) for row in rows]
    unknown = (math.nan, math.nan)
    needed = [_seeds_needed(row, margin) if said == "cannot tell" else unknown for row, said in zip(rows, verdicts, strict=True)]
    return table.assign(verdict=verdicts, seeds_needed=[few for few, _ in needed], seeds_needed_high=[many for _, many in needed])


def _names(table: pd.DataFrame) -> list[str]:
    return [" | ".join(filter(None, (row["within"], row["label"]))) for row in table.to_dict("records")]


def _twins(table: pd.DataFrame, column: str) -> list[str | None]:
    """Returns for each comparison the name of an earlier one that has the same in a column on both sides, None where there is none."""
    seen: dict[Any, str] = {}
    found: list[str | None] = []
    for name, row in zip(_names(table), table.to_dict("records"), strict=True):
        is_compared = row["pairs"] > 0 and not row["is_reference"] and not row["is_same"]
        key = row[column] if is_compared and None not in row["identities"][0] else None
        found.append(seen.get(key) if key is not None else None)
        if key is not None:
            seen.setdefault(key, name)
    return found


def _correlation(ours: np.ndarray, theirs: np.ndarray) -> float:
    if len(ours) < 3 or np.ptp(ours) == 0 or np.ptp(theirs) == 0:
        return math.nan
    return float(np.corrcoef(ours, theirs)[0, 1])


def _signs(our_low: np.ndarray, our_high: np.ndarray, their_low: np.ndarray, their_high: np.ndarray) -> np.ndarray:
    """Returns 1 where ours was surely reached later than theirs, -1 where surely earlier, 0 where neither is sure; nan where none can say.

    Args:
      our_low: float64[n], steps after which ours was reached; where it was not, until which we looked.
      our_high: steps by which it was reached; infinite where it was not.
      their_low: the same of theirs.
      their_high: the same of theirs.
    """
    signs = np.select([our_low >= their_high, our_high <= their_low], [1.0, -1.0], 0.0)
    is_open = np.isinf(our_high) | np.isinf(their_high)  # what one reached after we stopped looking, the other might have reached, too
    return np.where((signs == 0) & is_open, np.nan, signs)


def _verdict(row: Mapping[Hashable, Any], *, sign: int, margin: float | None, idle: str) -> str:
    """Returns the verdict on one row of `paired`."""
    if reason := _not_compared(row) or _no_verdict(row):
        return reason
    if row["is_unchanged"]:
        return "changed nothing"
    learnt_nothing = f"no verdict: {row['idle']} of {row['pairs']} seeds learnt nothing, and {row['reference_idle']} of the reference's"
    if min(row["idle"], row["reference_idle"]) > MOST * row["pairs"]:
        return learnt_nothing
    if all(is_equivalent(bound, margin, hidden=row["hidden"]) for bound in row["bounds"]):
        if row["idle"] + row["reference_idle"] > 2 * MOST * row["pairs"]:
            return learnt_nothing
        return f"no verdict: {idle}" if idle else "no difference"
    if row["p_holm"] < LEVEL:
        return direction(row["change"] if math.isnan(row["sign"]) else row["sign"], sign)
    return "cannot tell"


def _not_compared(row: Mapping[Hashable, Any]) -> str | None:
    """Returns what a row is, if there is nothing to judge in it."""
    if row["is_reference"]:
        return REFERENCE
    if row["is_same"]:
        return "the same trial"
    return f"the same trials as {row['twin_of']}" if row["twin_of"] else None


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
        return "no verdict: no seed in common with the reference"
    return "single seed: no interval" if row["pairs"] < 2 else None


def _seeds_needed(row: Mapping[Hashable, Any], margin: float | None) -> tuple[float, float]:
    """Returns how many seeds a study needs to tell with a power of 80 %, twice; nan for more than 1,000.

    First if change and spread are what they seem, then if the differences spread as much as the upper 80 % bound of their standard
    deviation says: a few differences say little about their spread, and the first number alone may be a third of what is needed.

    To tell is to find a difference at the level divided by the number of comparisons (Bonferroni's, the strictest step of Holm's), or
    to find it within the margin. The power of the t test is that of the noncentral t distribution.
    """
    spread, freedom = row["spread"], row["n"] - 1
    if math.isnan(row["change"]) or not spread > 0:
        return math.nan, math.nan
    most = spread * math.sqrt(freedom / float(stats.chi2.ppf(1 - POWER, freedom)))
    return _seeds(row, margin, spread), _seeds(row, margin, most)


def _seeds(row: Mapping[Hashable, Any], margin: float | None, spread: float) -> float:
    change = abs(row["change"])

    def is_enough(total: np.ndarray) -> np.ndarray:
        error, freedom = spread / np.sqrt(total), total - 1
        critical = special.stdtrit(freedom, 1 - LEVEL / (2 * row["comparisons"]))
        power = stats.nct.sf(critical, freedom, change / error)
        if margin is not None:
            half = special.stdtrit(freedom, 1 - LEVEL)
            within = special.stdtr(freedom, (margin - change) / error - half) + special.stdtr(freedom, (margin + change) / error - half) - 1
            power = np.maximum(power, within)
        return np.asarray(power >= POWER)

    return _first(is_enough, row["n"] + 1, MAX_SEEDS)


def _first(holds: Callable[[np.ndarray], np.ndarray], low: int, high: int) -> float:
    """Returns the smallest number from low to high for which something holds that holds for all greater ones, too; nan for none."""
    if low > high:
        return math.nan
    some = np.append(np.arange(low, high, 32), high)
    found = np.flatnonzero(holds(some))
    if not len(found):
        return math.nan
    last = int(some[found[0]])
    every = np.arange(last if not found[0] else int(some[found[0] - 1]) + 1, last + 1)
    return float(every[np.flatnonzero(holds(every))[0]])
