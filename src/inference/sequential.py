"""Several looks at one study: when a comparison is decided, at a known error, and which comparisons need more seeds.

A study that tests at 5 % after each of several numbers of seeds makes more than 5 % false claims. Two rules keep it:

`spending` declares the largest number of seeds N. By a look at n seeds, a share a(n) = a * min(1, n / N) of the error a
has been spent, whatever the other looks are (Lan and DeMets, "Discrete Sequential Boundaries for Clinical Trials",
Biometrika 70(3), 1983). The level l_j of look j is the p value that is reached, by a comparison without any difference
that reached no earlier level, with probability a(n_j) - a(n_(j-1)). As Student's t does not depend on the scale, the
levels follow from paths of t over standard normal differences (Monte Carlo with a fixed seed); they are exact for few
seeds, where levels of the normal distribution are too large. A comparison's sequential p is the least a for which one
of its looks reaches its level (Jennison and Turnbull, "Group Sequential Methods with Applications to Clinical Trials",
Chapman and Hall 2000, chapters 7 to 9). Holm's correction takes these p values as any others.

`always_valid` needs no N. With a normal prior of variance g around 0 for the standardised difference, and the
right-invariant prior of the standard deviation, the likelihood ratio E of t is a martingale if there is no difference:

    log E = -log(1 + n g) / 2 + n / 2 * (log(1 + t^2 / (n - 1)) - log(1 + t^2 / ((n - 1) (1 + n g))))

so 1 / (largest E so far) is a p value at any number of seeds (Ville's inequality; Lai, "On Confidence Sequences",
Annals of Statistics 4(2), 1976; Wang and Ramdas, "Anytime-valid t-tests and confidence sequences for Gaussian means
with unknown variance", Sequential Analysis 44(1), 2025). It decides later than `spending`.

Futility is not binding: a comparison is set aside if, should the change seen so far go on, less than one in ten studies
would decide it by N seeds. It can only lose power, so the error holds also if it is ignored.

Arrays have the shape [..., k, J]: any number of studies, k comparisons of one family, J looks.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from scipy import special

from src.inference.student import LEVEL, RESOLUTION, ROUNDING

Stopping = Literal["spending", "always_valid"]
SPENDING: Stopping = "spending"
ALWAYS_VALID: Stopping = "always_valid"
UNDECIDED, DIFFERENT, EQUIVALENT, FUTILE = range(4)  # kinds of a decision

PATHS = 600_000  # paths of t behind the levels
SEED = 24  # of these paths
PRIOR = 1.0  # g of the t mixture
ALPHAS = np.geomspace(1e-3, 1.0, 61)  # errors for which levels are computed; between them they are interpolated
LEAST_ALPHA = 1e-12  # here the levels are the errors that are spent, which is their limit for small errors
FUTILE_FROM = 8  # seeds; with fewer, the change seen so far says too little about later seeds
FUTILE_BELOW = 0.1  # chance of a decision below which a comparison is set aside
LEAST_SEEDS = 3  # of a look


class Estimates(NamedTuple):
    """Estimates of k comparisons at J looks, float64[..., k, J]; nan where a comparison was not looked at.

    Attributes:
      mean: mean difference.
      error: its standard error.
      p: two-sided p value of no difference, of this look alone.
      is_normal: whether p is that of Student's t; otherwise the levels do not use how looks depend on each other.
    """

    mean: np.ndarray
    error: np.ndarray
    p: np.ndarray
    is_normal: bool = True


class Decisions(NamedTuple):
    """What is decided about k comparisons, arrays [..., k].

    Attributes:
      kind: UNDECIDED, DIFFERENT, EQUIVALENT or FUTILE.
      look: place of the look that decided or set aside, -1 for none.
      sign: sign of the change when it was decided.
      p: sequential p value; nan for a comparison without any look.
      p_holm: the same after Holm's correction over the k comparisons.
      low: lower end of the interval at the latest look of the comparison, with the level of that look.
      high: upper end of the interval.
      last: place of the latest look that saw the comparison, -1 for none.
    """

    kind: np.ndarray
    look: np.ndarray
    sign: np.ndarray
    p: np.ndarray
    p_holm: np.ndarray
    low: np.ndarray
    high: np.ndarray
    last: np.ndarray


@dataclass(frozen=True)
class Rule:
    """How the looks at a study share its error.

    Attributes:
      stopping: `spending` or `always_valid`.
      horizon: N, the largest number of seeds that was declared.
      looks: numbers of seeds at which the study is looked at, increasing; those beyond `horizon` decide nothing.
    """

    stopping: Stopping
    horizon: int
    looks: tuple[int, ...]

    def p_value(self, estimates: Estimates, look: int) -> np.ndarray:
        """Returns the least error a for which this look rejects, float64[..., k]."""
        p = estimates.p[..., look]
        if self.stopping == ALWAYS_VALID and not estimates.is_normal:
            return np.where(np.isnan(p), p, 1.0)  # the mixture is one of t
        if self.stopping == ALWAYS_VALID:
            return _mixture_p(estimates, look, self.looks[look])
        if not estimates.is_normal:
            share = self._shares[look]
            return np.minimum(1.0, p / share) if share > 0 else np.where(np.isnan(p), p, 1.0)
        return _levels(self.looks, self.horizon, 2).error_of(p, look)

    def critical(self, look: int, *, alpha: float = LEVEL, sides: int = 2) -> float:
        """Returns the value that |t| (for one side: t) must exceed at a look; infinite if nothing can."""
        n = self.looks[look]
        if self.stopping == ALWAYS_VALID:
            return _mixture_critical(n, alpha * 2 / sides)
        level = self.level(look, alpha=alpha, sides=sides)
        return float(-special.stdtrit(n - 1, level / sides)) if level > 0 else math.inf

    def level(self, look: int, *, alpha: float = LEVEL, sides: int = 2) -> float:
        """Returns the level of a look, at most `alpha`: the p value that rejects there."""
        if self.stopping == ALWAYS_VALID:
            return float(sides * special.stdtr(self.looks[look] - 1, -self.critical(look, alpha=alpha, sides=sides)))
        return min(alpha, _levels(self.looks, self.horizon, sides).at(alpha, look))

    @property
    def _shares(self) -> np.ndarray:
        """The share of the error that each look spends."""
        return _shares(self.looks, self.horizon)


def default_looks(horizon: int) -> tuple[int, ...]:
    """Returns about four looks, evenly up to the horizon, none before 3 seeds."""
    count = min(4, horizon - LEAST_SEEDS + 1)
    looks = {max(LEAST_SEEDS, math.ceil(horizon * number / count)) for number in range(1, count + 1)}
    return tuple(sorted(looks))


def estimates(differences: np.ndarray, looks: tuple[int, ...], *, scale: np.ndarray | float | None = None) -> Estimates:
    """Returns mean, standard error and p of the paired t test at each look.

    Args:
      differences: float64[..., k, n], in the order of the seeds; nan from the first seed that a comparison lacks.
      looks: numbers of seeds.
      scale: magnitude of the measured values, as in `student.interval`.
    """
    size = np.nanmax(np.abs(differences), axis=-1, initial=0.0) if scale is None else np.asarray(scale, float)
    parts = [_at(differences[..., :n], n, size) for n in looks]
    mean, error, p = (np.stack(column, axis=-1) for column in zip(*parts, strict=True))
    return Estimates(mean, error, p)


def _at(values: np.ndarray, n: int, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if values.shape[-1] < n:
        none = np.full(values.shape[:-1], math.nan)
        return none, none, none
    mean = values.mean(axis=-1)
    error = values.std(axis=-1, ddof=1) / math.sqrt(n)
    is_flat = error <= RESOLUTION * scale
    is_zero = np.abs(mean) <= ROUNDING * scale
    with np.errstate(invalid="ignore", divide="ignore"):
        p = 2 * special.stdtr(n - 1, -np.abs(mean) / error)
    p = np.where(is_flat, np.where(is_zero, 1.0, 2.0 ** -(n - 1)), p)
    mean = np.where(is_flat & is_zero, 0.0, mean)
    return mean, error, np.where(np.isnan(mean), math.nan, p)


def decide(
    seen: Estimates,
    rule: Rule,
    *,
    margin: float | None = None,
    hidden: np.ndarray | float = 0.0,
    races: bool = False,
) -> Decisions:
    """Returns what the looks decide about each comparison.

    Args:
      seen: the estimates at each look of the rule.
      rule: how the looks share the error.
      margin: difference that is too small to matter; None if no margin is set.
      hidden: float64[..., k, J] or a number: standard error that the grid of a coarse metric may hide.
      races: ignores what a comparison shows after the look that decided it or set it aside, as the sweep does not train
        it any more; for simulated studies, which have every seed of every variant.
    """
    shape = seen.p.shape[:-1]
    hidden = np.broadcast_to(hidden, seen.p.shape)
    kind, at, last, sign = np.zeros(shape, int), np.full(shape, -1), np.full(shape, -1), np.zeros(shape)
    p, low, high = (np.full(shape, math.nan) for _ in range(3))
    adjusted = np.full(shape, math.nan)
    for look in range(len(rule.looks)):
        is_seen = ~np.isnan(seen.p[..., look]) & ((kind == UNDECIDED) | (not races))
        last = np.where(is_seen, look, last)
        p = np.where(is_seen, np.fmin(p, rule.p_value(seen, look)), p)
        low, high = (
            np.where(is_seen, end, before) for end, before in zip(interval(seen, rule, look), (low, high), strict=True)
        )
        sign = np.where(is_seen & (kind != DIFFERENT), np.sign(seen.mean[..., look]), sign)
        adjusted = holm(p)
        is_open = (kind == UNDECIDED) | (kind == FUTILE)
        is_equal = is_open & is_seen & _is_equivalent(seen, rule, look, margin, hidden)
        is_different = is_open & ~is_equal & (adjusted <= LEVEL)
        is_futile = (kind == UNDECIDED) & is_seen & ~is_equal & ~is_different & _is_futile(seen, rule, look, margin)
        for what, who in ((EQUIVALENT, is_equal), (DIFFERENT, is_different), (FUTILE, is_futile)):
            kind, at = np.where(who, what, kind), np.where(who, look, at)
    return Decisions(kind, at, sign, p, adjusted, low, high, last)


def interval(seen: Estimates, rule: Rule, look: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ends of the intervals at a look; over all looks together they cover with 95 %."""
    critical = rule.critical(look)
    with np.errstate(invalid="ignore"):
        half = np.where(seen.error[..., look] > 0, critical * seen.error[..., look], math.nan)
    return seen.mean[..., look] - half, seen.mean[..., look] + half


def holm(p: np.ndarray) -> np.ndarray:
    """Returns p values adjusted for their number along the last axis; nan stays nan and does not count.

    Source: Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 6, 1979.
    """
    count = (~np.isnan(p)).sum(axis=-1, keepdims=True)
    order = np.argsort(p, axis=-1)  # nan comes last
    factors = np.maximum(count - np.arange(p.shape[-1]), 1)
    stepped = np.fmin(1.0, np.maximum.accumulate(np.take_along_axis(p, order, axis=-1) * factors, axis=-1))
    adjusted = np.empty_like(stepped)
    np.put_along_axis(adjusted, order, stepped, axis=-1)
    return np.where(np.isnan(p), math.nan, adjusted)


def _is_equivalent(
    seen: Estimates, rule: Rule, look: int, margin: float | None, hidden: np.ndarray
) -> np.ndarray | np.bool_:
    """Returns whether two one-sided tests, each with the levels of one side, show a change within the margin.

    The error is at most 5 % for each comparison, and is not adjusted for the number of comparisons.
    """
    if margin is None:
        return np.False_
    critical = rule.critical(look, sides=1)
    error = np.maximum(seen.error[..., look], hidden[..., look])
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(seen.mean[..., look]) + critical * error < margin)


def _is_futile(seen: Estimates, rule: Rule, look: int, margin: float | None) -> np.ndarray | np.bool_:
    """Returns whether neither decision is likely by the horizon, if the change seen so far goes on.

    The power for a difference is the conditional power of Jennison and Turnbull, chapter 10, at the level of the last
    look without Holm's correction, so that no comparison is set aside too early. The chance of equivalence is that of a
    normal mean at N seeds within what the margin allows there.
    """
    n, last = rule.looks[look], len(rule.looks) - 1
    if not FUTILE_FROM <= n < rule.horizon or look == last or not seen.is_normal:
        return np.False_
    share = n / rule.horizon
    mean, error, p = (part[..., look] for part in seen[:3])
    at_end = -special.ndtri(special.stdtr(rule.looks[last] - 1, -rule.critical(last)))
    with np.errstate(invalid="ignore", divide="ignore"):
        now = -special.ndtri(np.maximum(p, 1e-300) / 2)
        different = special.ndtr((now / math.sqrt(share) - at_end) / math.sqrt(1 - share))
        spread = error * math.sqrt(share)  # standard error at N seeds
        room = -math.inf if margin is None else margin - rule.critical(last, sides=1) * spread
        drawn = spread * math.sqrt(1 - share)
        equal = special.ndtr((room - mean) / drawn) - special.ndtr((-room - mean) / drawn)
    return np.asarray((different < FUTILE_BELOW) & ~(np.nan_to_num(equal) >= FUTILE_BELOW))


def false_claims(looks: tuple[int, ...]) -> float:
    """Returns the chance that a comparison without difference has p < 0.05 at one of several looks, of its own."""
    return _false_claims(tuple(looks))


@functools.lru_cache(maxsize=32)
def _false_claims(looks: tuple[int, ...]) -> float:
    found = np.zeros(PATHS // 3, bool)
    for p in _paths_of_p(looks, len(found), 2):
        found |= p <= LEVEL
    return float(found.mean())


class _Levels(NamedTuple):
    """The levels of every look, for the errors `alphas`.

    Attributes:
      alphas: float64[m], increasing.
      levels: float64[m, J]; 0 for a look that has nothing to spend.
    """

    alphas: np.ndarray
    levels: np.ndarray

    def at(self, alpha: float, look: int) -> float:
        levels = self.levels[:, look]
        return float(np.exp(np.interp(math.log(alpha), np.log(self.alphas), np.log(levels)))) if levels[0] > 0 else 0.0

    def error_of(self, p: np.ndarray, look: int) -> np.ndarray:
        """Returns the least error for which p is within the level of a look; 1 if none is."""
        levels = self.levels[:, look]
        if not levels[0] > 0:
            return np.where(np.isnan(p), p, 1.0)
        log = np.log(np.maximum(p, np.finfo(float).tiny))
        found = np.exp(np.interp(log, np.log(levels), np.log(self.alphas)))
        return np.where(np.isnan(p), p, np.where(p > levels[-1], 1.0, found))


def _shares(looks: tuple[int, ...], horizon: int) -> np.ndarray:
    return np.diff(np.minimum(1.0, np.array(looks) / horizon), prepend=0.0)


@functools.lru_cache(maxsize=64)
def _levels(looks: tuple[int, ...], horizon: int, sides: int) -> _Levels:
    """Returns the levels of looks; the first is known, the others are quantiles of simulated paths."""
    shares = _shares(looks, horizon)
    alphas = np.concatenate([[LEAST_ALPHA], ALPHAS])
    levels = alphas[:, None] * shares
    count = PATHS if len(looks) <= 8 else PATHS * 8 // len(looks)
    ordered = [(order, p[order]) for p in _paths_of_p(looks, count, sides) for order in [np.argsort(p)]]
    for place, alpha in enumerate(ALPHAS, 1):
        is_left = np.ones(count, bool)
        spent = 0
        for look, (order, sorted_p) in enumerate(ordered):
            total = round(count * alpha * float(shares[: look + 1].sum()))
            last = _first_left(is_left, order, total - spent)
            is_left[order[: last + 1]] = False
            spent = total
            if look and shares[look] > 0 and last >= 0:
                levels[place, look] = sorted_p[last]
    levels = np.maximum(levels, alphas[:, None] * shares)  # what is spent never exceeds the level
    return _Levels(alphas, np.maximum.accumulate(levels, axis=0))


def _first_left(is_left: np.ndarray, order: np.ndarray, wanted: int) -> int:
    """Returns the place in the order by which `wanted` paths are left; -1 for none."""
    if wanted <= 0:
        return -1
    size = min(len(order), 4 * wanted + 1_000)
    while True:
        found = np.cumsum(is_left[order[:size]])
        if found[-1] >= wanted or size == len(order):
            return int(np.searchsorted(found, wanted)) if found[-1] >= wanted else size - 1
        size = min(len(order), 4 * size)


def _paths_of_p(looks: tuple[int, ...], count: int, sides: int) -> list[np.ndarray]:
    """Returns the p value of each look for comparisons without difference, J times float64[count].

    Of the seeds between two looks, only their sum and the sum of squares around their mean are drawn.
    """
    draws = np.random.default_rng(SEED)
    total, squares, before, values = np.zeros(count), np.zeros(count), 0, []
    for n in looks:
        step = n - before
        drawn = draws.standard_normal(count) * math.sqrt(step)
        total += drawn
        squares += drawn**2 / step
        if step > 1:
            squares += 2 * draws.standard_gamma((step - 1) / 2, count)
        t = total / np.sqrt(n * (squares - total**2 / n) / (n - 1))
        values.append(np.asarray(special.stdtr(n - 1, -t) if sides == 1 else 2 * special.stdtr(n - 1, -np.abs(t))))
        before = n
    return values


def _mixture_p(seen: Estimates, look: int, n: int) -> np.ndarray:
    """Returns 1 / E of the t mixture at a look; without spread at least the p value of the signs."""
    with np.errstate(invalid="ignore", divide="ignore"):
        squared = np.where(seen.mean[..., look] == 0, 0.0, (seen.mean[..., look] / seen.error[..., look]) ** 2)
    size = 1 + n * PRIOR
    with np.errstate(invalid="ignore", over="ignore"):
        ratio = np.where(
            np.isfinite(squared),
            np.log1p(squared / (n - 1)) - np.log1p(squared / ((n - 1) * size)),
            math.log(size),
        )
    p = np.minimum(1.0, np.exp(math.log(size) / 2 - n / 2 * ratio))
    p = np.maximum(p, np.where(np.isfinite(squared) & (squared < 1 / RESOLUTION**2), 0.0, 2.0 ** -(n - 1)))
    return np.where(np.isnan(seen.p[..., look]), math.nan, p)


def _mixture_critical(n: int, alpha: float) -> float:
    """Returns the |t| at which E reaches 1 / alpha; infinite if no t does."""
    size = 1 + n * PRIOR
    factor = (math.sqrt(size) / alpha) ** (2 / n)
    return math.sqrt((n - 1) * (factor - 1) / (1 - factor / size)) if factor < size else math.inf
