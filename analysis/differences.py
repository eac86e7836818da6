"""The trials of each variant beside those of its reference with the same seeds, and what these pairs say.

They say a variant's change with interval and p value, its troubles, its time; no verdict.

Steps to a target are known only to within two validations: a target was reached after the validation before and at the
latest by the one that saw it. There a seed counts as earlier or later only where the two ranges do not overlap, and a
sign test over seeds decides.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special, stats

from analysis.inference import RESOLUTION, Interval, interval, scale_of, sign_flip
from analysis.rows import DROPPED, FINISHED, is_exact, is_of_weights, is_steps_to
from analysis.verdicts import NO_LEARNING
from src.spec.metric import Metric


@dataclass(frozen=True, eq=False)
class Pairs:
    """The trials of a variant beside those of its reference with the same seeds.

    They are arrays, for a study may have thousands of variants.

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
        """bool[pairs], whether both trials finished."""
        return np.asarray((self.ours["status"] == FINISHED) & (self.theirs["status"] == FINISHED), dtype=bool)

    @property
    def are_unchanged(self) -> bool:
        """Whether the trained weights are equal in every finished pair, bit for bit, in different trials."""
        is_other = not are_equal(*self.values("identity", kind=object)).any()
        return is_other and bool(self.is_finished.any()) and bool(are_equal(*self.values("weights", kind=object)).all())

    def values(self, name: str, *, kind: type = float) -> tuple[np.ndarray, np.ndarray]:
        """Returns a column of the finished pairs, of the variant and of the reference."""
        return self.ours[name][self.is_finished].astype(kind), self.theirs[name][self.is_finished].astype(kind)


def joined(rows: pd.DataFrame, *names: str) -> Iterator[tuple[str, str, bool, Pairs]]:
    """Yields for every variant (within, label, is it the reference?) its rows beside the reference's of the same seeds.

    Args:
      rows: as `effects.paired` takes them.
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
    variants = zip(firsts["within"], firsts["label"], firsts["is_reference"], strict=True)
    for within, name, is_reference in sorted(variants, key=lambda variant: turn[variant[0]]):
        mine = places.get((within, name), np.array([], dtype=int))
        sides = ({key: values[mine] for key, values in side.items()} for side in (ours, theirs))
        yield str(within), str(name), bool(is_reference), Pairs(*sides)


def are_equal(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Returns where two arrays of texts have the same one, bool[n]; what is missing equals nothing."""
    return np.asarray((ours == theirs) & ~pd.isna(ours) & ~pd.isna(theirs), dtype=bool)


OUTLIER = 0.05  # p below which one seed differs from the others by more than they allow
INTERNAL = ["identities", "trained", "bounds", "hidden"]  # columns that a verdict needs, and no reader


@dataclass(frozen=True)
class Troubles:
    """How many trials of one side did not finish, and how many of those were dropped or diverged."""

    unfinished: int
    dropped: int
    diverged: int


@dataclass(frozen=True)
class Change:
    """The change from the reference over the pairs that have both values.

    Attributes:
      change: mean difference.
      low: of its 95 % interval.
      high: of the same.
      p: two-sided, of no change.
      error: standard error of the change.
      bounds: the least and the greatest change that the pairs allow; they differ where values are known to within two
        validations.
      hidden: standard error that the grid of the metric may hide.
      n: pairs with both values.
      p_sign_flip: exact p of the differences' signs, or nan.
      effect_size: change / standard deviation of the differences, or nan.
      spread: standard deviation of the differences, or nan.
      sign: 1 or -1 where signs decide and not sizes, else nan.
    """

    change: float
    low: float
    high: float
    p: float
    error: float
    bounds: tuple[Interval, Interval]
    hidden: float
    n: int
    p_sign_flip: float
    effect_size: float
    spread: float
    sign: float


@dataclass(frozen=True)
class Difference:
    """What the pairs of one variant say.

    Attributes:
      identities: of the trials, of the variant and of the reference, by seed.
      trained: hashes of what was trained on both sides; None where a seed has none, or weights do not decide the
        metric.
      idle: finished trials that learnt nothing.
      reference_idle: the same of the reference.
      is_same: both sides are the same trials.
      is_unchanged: different trials ended with the same weights (or, of a metric without chance, with equal values) in
        every seed.
      pairs: seeds that were asked for on both sides.
      ours: troubles of the variant.
      theirs: troubles of the reference.
      never: finished trials that never reached the target.
      reference_never: the same of the reference.
      missing: finished pairs without a finite value.
      mean: of the variant's finished trials.
      reference_mean: of the reference's.
      correlation: of the pairs.
      outlier: seed that differs by more than the others allow, or nan.
      change: over the pairs.
      time: log of the ratio of times.
    """

    identities: tuple[tuple[Any, ...], tuple[Any, ...]]
    trained: tuple[Any, ...] | None
    idle: int
    reference_idle: int
    is_same: bool
    is_unchanged: bool
    pairs: int
    ours: Troubles
    theirs: Troubles
    never: int
    reference_never: int
    missing: int
    mean: float
    reference_mean: float
    correlation: float
    outlier: float
    change: Change
    time: Interval

    def columns(self) -> dict[str, Any]:
        """Returns the difference as one row of a frame.

        The names of the reference's troubles begin with `reference_`.
        """
        row: dict[str, Any] = {}
        for name, value in vars(self).items():
            if name == "time":
                ratios = {"time_ratio": value.mean, "time_low": value.low, "time_high": value.high}
                row |= {column: math.exp(log) for column, log in ratios.items()} | {"time_p": value.p}
            elif isinstance(value, Troubles):
                row |= {
                    f"{'reference_' if name == 'theirs' else ''}{column}": count
                    for column, count in vars(value).items()
                }
            else:
                row |= vars(value) if isinstance(value, Change) else {name: value}
        return row


def difference(both: Pairs, metric: Metric, time: str, *, grid: float) -> Difference:
    """Returns what the pairs of one variant say.

    Args:
      both: with the columns of the metric, the time, `health`, `weights`, `step_before` and `last_step`.
      metric: under its full name, that of its column.
      time: column of the time that is compared.
      grid: smallest distance between two values of the metric.
    """
    ours, theirs = both.values(metric.name)
    is_whole = np.isfinite(ours) & np.isfinite(theirs)
    is_steps, has_weights = is_steps_to(metric), is_of_weights(metric)
    seeds = both.ours["seed"][both.is_finished][is_whole]
    idle, reference_idle = _without_learning(both) if has_weights else (0, 0)
    is_same = are_equal(both.ours["identity"], both.theirs["identity"])
    is_equal = is_exact(metric) and bool((ours == theirs).all())
    return Difference(
        identities=(tuple(both.ours["identity"]), tuple(both.theirs["identity"])),
        trained=_trained(both) if has_weights else None,
        idle=idle,
        reference_idle=reference_idle,
        is_same=bool(len(both) and is_same.all()),
        is_unchanged=both.are_unchanged if has_weights else is_equal,
        pairs=len(both),
        ours=_troubles(both.ours),
        theirs=_troubles(both.theirs),
        never=int(np.isnan(ours).sum()) if is_steps else 0,
        reference_never=int(np.isnan(theirs).sum()) if is_steps else 0,
        missing=0 if is_steps else int((~is_whole).sum()),
        mean=_mean(ours),
        reference_mean=_mean(theirs),
        correlation=_correlation(ours[is_whole], theirs[is_whole]),
        outlier=outlier(ours[is_whole] - theirs[is_whole], seeds, grid=grid),
        change=_of_steps(both, metric, grid=grid)
        if is_steps
        else _of_values(ours[is_whole], theirs[is_whole], grid=grid),
        time=_log_ratio(*both.values(time)),
    )


def _of_values(ours: np.ndarray, theirs: np.ndarray, *, grid: float) -> Change:
    """Returns the change between pairs of values, float[n] each, with its interval and p values."""
    differences = ours - theirs
    change = interval(differences, scale=scale_of(ours, theirs))
    spread = float(np.std(differences, ddof=1)) if len(differences) > 1 else math.nan
    low, high = _outer(change, change, change)
    return Change(
        change=change.mean,
        low=low,
        high=high,
        p=change.p,
        error=change.error,
        bounds=(change, change),
        hidden=hidden(grid, len(differences)),
        n=len(differences),
        p_sign_flip=sign_flip(differences),
        effect_size=change.mean / spread if spread > RESOLUTION * scale_of(ours, theirs) else math.nan,
        spread=spread,
        sign=math.nan,
    )


def _of_steps(both: Pairs, metric: Metric, *, grid: float) -> Change:
    """Returns the change between steps to a target, with the p value of their signs.

    Steps are known to within two validations.
    """
    (our_low, our_high), (their_low, their_high) = _between(both, metric)
    each = signs(our_low, our_high, their_low, their_high)
    known = each[~np.isnan(each)]
    decided = known[known != 0]
    is_decided = int((decided > 0).sum()), len(decided)
    p = math.nan if not len(known) else float(stats.binomtest(*is_decided).pvalue) if len(decided) else 1.0
    change = least = most = Interval()
    if (
        np.isfinite(our_high).all() and np.isfinite(their_high).all()
    ):  # the mean of those that reached it alone would flatter
        scale = scale_of(our_high, their_high)
        differences = (our_high - their_high, our_low - their_high, our_high - their_low)
        change, least, most = (interval(values, scale=scale) for values in differences)
    low, high = _outer(change, least, most)
    return Change(
        change=change.mean,
        low=low,
        high=high,
        p=p,
        error=change.error,
        bounds=(least, most),
        hidden=hidden(grid, len(each)),
        n=len(known),
        p_sign_flip=math.nan,
        effect_size=math.nan,
        spread=math.nan,
        sign=float(np.sign(known.sum())),
    )


def _outer(change: Interval, least: Interval, most: Interval) -> tuple[float, float]:
    """Returns the interval of a change whose true values lie between the least and the most that the pairs allow."""
    if not (math.isfinite(change.low) or least.mean < most.mean):
        return math.nan, math.nan
    low = least.low if math.isfinite(least.low) else least.mean
    return low, most.high if math.isfinite(most.high) else most.mean


def _between(both: Pairs, metric: Metric) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns the steps after which, and by which, a target was reached, float64[n] each.

    Where it never was, they are the last step and infinity.

    First of the variant, then of the reference.
    """
    sides = zip(both.values(metric.name), both.values("step_before"), both.values("last_step"), strict=True)
    found = []
    for reached, *steps in sides:
        before, last = map(np.nan_to_num, steps)
        is_reached = np.isfinite(reached)
        found.append((np.where(is_reached, before, last), np.where(is_reached, reached, np.inf)))
    return found


def signs(our_low: np.ndarray, our_high: np.ndarray, their_low: np.ndarray, their_high: np.ndarray) -> np.ndarray:
    """Returns 1 where ours was surely reached later, -1 where surely earlier, 0 where neither; nan where none can say.

    Args:
      our_low: float64[n], steps after which ours was reached; where it was not, until which we looked.
      our_high: steps by which it was reached; infinite where it was not.
      their_low: the same of theirs.
      their_high: the same of theirs.
    """
    found = np.select([our_low >= their_high, our_high <= their_low], [1.0, -1.0], 0.0)
    is_open = np.isinf(our_high) | np.isinf(
        their_high
    )  # after we stopped looking, the other might have reached it, too
    return np.where((found == 0) & is_open, np.nan, found)


def hidden(grid: float, n: int) -> float:
    """Returns the standard error of a mean of n differences that rounding to a grid may hide: grid / sqrt(6 n).

    A value that is rounded to a grid is off by up to half of it, with a variance of grid^2 / 12, and a difference has
    two.
    """
    return grid / math.sqrt(6 * n) if n else math.inf


def outlier(differences: np.ndarray, seeds: np.ndarray, *, grid: float) -> float:
    """Returns the seed whose difference lies outside of what the others allow, or nan.

    Such a seed has failed where the others have not.

    By Student's prediction interval from the others, Bonferroni's level over the seeds; which is the test of Grubbs,
    "Procedures for Detecting Outlying Observations in Samples", Technometrics 11(1), 1969.
    """
    if len(differences) < 4:
        return math.nan
    place = int(np.abs(differences - np.median(differences)).argmax())
    others = np.delete(differences, place)
    rounding = grid / math.sqrt(6) if math.isfinite(grid) else 0.0
    spread = max(float(others.std(ddof=1)), rounding, np.finfo(float).tiny)
    distance = abs(differences[place] - others.mean()) / (spread * math.sqrt(1 + 1 / len(others)))
    p = 2 * float(special.stdtr(len(others) - 1, -distance)) * len(differences)
    return float(seeds[place]) if p < OUTLIER else math.nan


def _trained(both: Pairs) -> tuple[Any, ...] | None:
    """Returns what was trained on both sides, by the hashes of the weights; None where a seed has none."""
    hashes = [*both.ours["weights"], *both.theirs["weights"]]
    return None if pd.isna(np.array(hashes, dtype=object)).any() else tuple(hashes)


def _troubles(side: Any) -> Troubles:
    is_open = side["status"] != FINISHED
    return Troubles(
        unfinished=int(np.sum(is_open)),
        dropped=int(np.sum(side["status"] == DROPPED)),
        diverged=int(np.sum(is_open & (side["health"] == "diverged"))),
    )


def _without_learning(both: Pairs) -> tuple[int, int]:
    """Returns how many of the finished pairs' trials learnt nothing, of the variant and of its reference."""
    ours, theirs = both.values("health", kind=object)
    return int(np.sum(ours == NO_LEARNING)), int(np.sum(theirs == NO_LEARNING))


def _log_ratio(ours: np.ndarray, theirs: np.ndarray) -> Interval:
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = np.log(ours / theirs)
    return interval(logs[np.isfinite(logs)], scale=1.0)


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if (~np.isnan(values)).any() else math.nan


def _correlation(ours: np.ndarray, theirs: np.ndarray) -> float:
    if len(ours) < 3 or np.ptp(ours) == 0 or np.ptp(theirs) == 0:
        return math.nan
    return float(np.corrcoef(ours, theirs)[0, 1])
