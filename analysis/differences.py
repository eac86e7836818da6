"""Pairs of trials: each variant beside its reference with the same seeds, and the differences between the two.

The differences are a variant's change with interval and p value, its failures, and its time; there is no verdict here.

The number of steps to a target is known only as a range: from the validation before the target was seen to the one that
saw it. A seed counts as earlier or later only where the two ranges do not overlap, and a sign test over seeds decides.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special, stats

from analysis import times
from analysis.inference import sign_flip
from analysis.rows import DROPPED, FINISHED, is_exact, is_of_weights, is_steps_to
from src.inference.student import RESOLUTION, Interval, are_alike, hidden, interval, scale_of
from src.spec.metric import Metric
from src.spec.record import DIVERGED, NO_LEARNING


@dataclass(frozen=True, eq=False)
class Pairs:
    """The trials of a variant beside those of its reference with the same seeds.

    Columns are NumPy arrays, as a study may have thousands of variants.

    Attributes:
      ours: column → [pairs], of the variant.
      theirs: the same for the reference.
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

    def first(self, count: int) -> Pairs:
        """Returns the first pairs, in the order of the seeds."""
        return Pairs(*({name: values[:count] for name, values in side.items()} for side in (self.ours, self.theirs)))

    @property
    def have_equal_weights(self) -> bool:
        """Whether the trained weights are equal in every finished pair, bit for bit, in different trials."""
        is_other = not are_equal(*self.values("identity", kind=object)).any()
        return is_other and bool(self.is_finished.any()) and bool(are_equal(*self.values("weights", kind=object)).all())

    def are_alike(self, name: str) -> bool:
        """Returns whether a column of numbers is equal in every finished pair."""
        return are_alike(*self.values(name))

    def values(self, name: str, *, kind: type = float) -> tuple[np.ndarray, np.ndarray]:
        """Returns a column of the finished pairs, of the variant and of the reference."""
        return self.ours[name][self.is_finished].astype(kind), self.theirs[name][self.is_finished].astype(kind)


def joined(rows: pd.DataFrame, *names: str) -> Iterator[tuple[str, str, bool, Pairs]]:
    """Yields (within, label, is_reference, pairs) for every variant: its rows beside the reference's, by seed.

    Args:
      rows: as `effects.paired` takes them.
      *names: columns that are needed in addition to `seed`, `status` and `identity`.
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
    """Returns where two arrays of texts are equal, bool[n]; a missing text equals nothing."""
    return np.asarray((ours == theirs) & ~pd.isna(ours) & ~pd.isna(theirs), dtype=bool)


OUTLIER = 0.05  # level of the test for one outlying seed
INTERNAL = [
    "identities",
    "trained",
    "bounds",
    "hidden",
    "looks",
    "decision",
    "decided_sign",
]  # columns that only the verdict needs


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
      low: lower end of its 95 % interval.
      high: upper end of its 95 % interval.
      p: two-sided, of no change.
      error: standard error of the change.
      bounds: the least and the greatest change that the pairs allow; they differ where values are known to within two
        validations.
      hidden: standard error that the grid of the metric may hide.
      n: pairs with both values.
      p_sign_flip: exact p of the differences' signs, or nan.
      effect_size: change / standard deviation of the differences, or nan.
      spread: standard deviation of the differences, or nan.
      sign: 1 or -1 if the signs decide, not the sizes; else nan.
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
    """The differences of one variant from its reference.

    Attributes:
      identities: identities of the trials of the variant and of the reference, by seed.
      trained: hashes of the trained weights on both sides, and values of the metric to five digits; None where a seed
        has no hash, or where weights do not determine the metric.
      idle: finished trials of the variant that learnt nothing.
      reference_idle: finished trials of the reference that learnt nothing.
      is_same: both sides are the same trials.
      is_unchanged: different trials ended with the same weights and equal values in every seed (for a deterministic
        metric: with equal values).
      pairs: seeds that were planned on both sides.
      ours: trials of the variant that did not finish.
      theirs: trials of the reference that did not finish.
      never: finished trials of the variant that never reached the target.
      reference_never: finished trials of the reference that never reached the target.
      missing: finished pairs without a finite value.
      mean: mean of the variant's finished trials.
      reference_mean: mean of the reference's finished trials.
      correlation: correlation of the pairs.
      outlier: seed whose difference is an outlier, or nan.
      change: over the pairs.
      looks: the change at each look of a sequential study that the pairs have reached.
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
    looks: tuple[Change, ...]
    time: Interval

    def columns(self) -> dict[str, Any]:
        """Returns the difference as one row of a frame.

        The reference's counts of unfinished trials have names that begin with `reference_`.
        """
        row: dict[str, Any] = {}
        for name, value in vars(self).items():
            if name == "time":
                row |= times.columns(value)
            elif isinstance(value, Troubles):
                row |= {
                    f"{'reference_' if name == 'theirs' else ''}{column}": count
                    for column, count in vars(value).items()
                }
            else:
                row |= vars(value) if isinstance(value, Change) else {name: value}
        return row


def difference(both: Pairs, metric: Metric, time: Interval, *, grid: float, looks: Sequence[int] = ()) -> Difference:
    """Returns the differences of one variant from its reference.

    Args:
      both: with the columns of the metric, `health`, `weights`, `step_before` and `last_step`.
      metric: under its full name, the name of its column.
      time: log of the ratio of times.
      grid: smallest distance between two values of the metric.
      looks: numbers of seeds at which a sequential study is looked at.
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
        trained=_trained(both, metric) if has_weights else None,
        idle=idle,
        reference_idle=reference_idle,
        is_same=bool(len(both) and is_same.all()),
        is_unchanged=both.have_equal_weights and both.are_alike(metric.name) if has_weights else is_equal,
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
        change=_change(both, metric, grid=grid),
        looks=tuple(_change(both.first(n), metric, grid=grid) for n in looks if n <= len(both)),
        time=time,
    )


def _change(both: Pairs, metric: Metric, *, grid: float) -> Change:
    if is_steps_to(metric):
        return _of_steps(both, metric, grid=grid)
    ours, theirs = both.values(metric.name)
    is_whole = np.isfinite(ours) & np.isfinite(theirs)
    return _of_values(ours[is_whole], theirs[is_whole], grid=grid)


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
    ):  # a mean over only the seeds that reached it would be biased
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
    """Returns the interval of a change whose values are known only to lie between two bounds."""
    if not (math.isfinite(change.low) or least.mean < most.mean):
        return math.nan, math.nan
    low = least.low if math.isfinite(least.low) else least.mean
    return low, most.high if math.isfinite(most.high) else most.mean


def _between(both: Pairs, metric: Metric) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns the range of steps in which the target was reached, float64[n] each: first ours, then the reference's.

    If the target was never reached, the range is from the last step to infinity.
    """
    sides = zip(both.values(metric.name), both.values("step_before"), both.values("last_step"), strict=True)
    ranges = []
    for reached, *steps in sides:
        before, last = map(np.nan_to_num, steps)
        is_reached = np.isfinite(reached)
        ranges.append((np.where(is_reached, before, last), np.where(is_reached, reached, np.inf)))
    return ranges


def signs(our_low: np.ndarray, our_high: np.ndarray, their_low: np.ndarray, their_high: np.ndarray) -> np.ndarray:
    """Returns 1 where ours was certainly later, -1 where certainly earlier, 0 where neither, nan where undetermined.

    Args:
      our_low: float64[n], steps after which we reached the target; if we did not, the last step that was validated.
      our_high: steps by which we reached the target; infinite if we did not.
      their_low: the same for the reference.
      their_high: the same for the reference.
    """
    order = np.select([our_low >= their_high, our_high <= their_low], [1.0, -1.0], 0.0)
    is_open = np.isinf(our_high) | np.isinf(
        their_high
    )  # the side that stopped first might still have reached the target later
    return np.where((order == 0) & is_open, np.nan, order)


def outlier(differences: np.ndarray, seeds: np.ndarray, *, grid: float) -> float:
    """Returns the seed whose difference is an outlier among the others, or nan.

    The usual cause is a seed that failed where the others did not. The test is Student's prediction interval from the
    other seeds, at Bonferroni's level over the seeds. That is the test of Grubbs, "Procedures for Detecting Outlying
    Observations in Samples", Technometrics 11(1), 1969.
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


def _trained(both: Pairs, metric: Metric) -> tuple[Any, ...] | None:
    """Returns the hashes of the trained weights on both sides, and the values; None if a seed has no hash.

    Equal weights alone are not enough: two variants may differ in what the test makes of the same outputs.
    """
    hashes = [*both.ours["weights"], *both.theirs["weights"]]
    if pd.isna(np.array(hashes, dtype=object)).any():
        return None
    values = (f"{value:.5g}" for side in (both.ours, both.theirs) for value in side[metric.name].astype(float))
    return (*hashes, *values)


def _troubles(side: Any) -> Troubles:
    is_open = side["status"] != FINISHED
    return Troubles(
        unfinished=int(np.sum(is_open)),
        dropped=int(np.sum(side["status"] == DROPPED)),
        diverged=int(np.sum(is_open & (side["health"] == DIVERGED))),
    )


def _without_learning(both: Pairs) -> tuple[int, int]:
    """Returns how many trials of the finished pairs learnt nothing: of the variant, and of its reference."""
    ours, theirs = both.values("health", kind=object)
    return int(np.sum(ours == NO_LEARNING)), int(np.sum(theirs == NO_LEARNING))


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if (~np.isnan(values)).any() else math.nan


def _correlation(ours: np.ndarray, theirs: np.ndarray) -> float:
    if len(ours) < 3 or np.ptp(ours) == 0 or np.ptp(theirs) == 0:
        return math.nan
    return float(np.corrcoef(ours, theirs)[0, 1])
