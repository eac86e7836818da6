"""How variants are derived: pure functions from a reference and the levels of its toggles to a list of variants.

A variant maps every varied toggle to a value. The reference is always the first variant. A new design is one function
and one line in `DESIGNS`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import numpy as np

from src.spec.section import as_typed
from src.spec.settings import Interval
from src.streams import generator

Variant = dict[str, Any]
Levels = Mapping[str, Sequence[Any]]
Rounds = Generator[list[Variant], Mapping[int, float], None]

MAX_TRIALS = 100_000
MAX_FACTORS = 15
MAX_NAMED = 2  # three-way interactions that `equation` names
DIGITS = 4  # significant digits of a value that is drawn from an interval
DRAWS = 1_000  # draws per variant, after which no new variant is expected
ETA = 3  # of successive halving by default: a rung has this multiple of the budget of the rung before
FACTORIAL = ("grid", "fractional", "random")  # designs with main effects and interactions
STEPWISE = ("cumulative", "path")  # designs that compare each step with the one before
WHOLE = ("path", "fractional", "cumulative")  # designs that do not make sense without one of their variants
UNLINKED = ("path", "listed")  # designs that change single toggles, or name several together anyway


class DesignError(ValueError):
    """The levels do not fit the design. The text says what was got, what is allowed and the fix."""


def grid(reference: Variant, levels: Levels) -> list[Variant]:
    """Returns the full factorial: every combination of levels, the last toggle changing fastest.

    Source: Fisher, "The Design of Experiments", Oliver and Boyd 1935, chapter 6.

    Raises:
      DesignError: more than 100,000 combinations.
    """
    count = math.prod(len(values) for values in levels.values())
    if count > MAX_TRIALS:
        raise DesignError(
            f"the grid has {count:,} variants; allowed: up to {MAX_TRIALS:,}. Set plan.design=random plan.sample=50"
        )
    reference_first = [
        [reference[key], *(value for value in values if value != reference[key])] for key, values in levels.items()
    ]
    return [dict(zip(levels, combination, strict=True)) for combination in itertools.product(*reference_first)]


def one_at_a_time(reference: Variant, levels: Levels) -> list[Variant]:
    """Returns the reference, and one variant per other level of each toggle, which changes that toggle alone.

    Source: Daniel, "One-at-a-Time Plans", Journal of the American Statistical Association 68(342), 1973.
    """
    return [dict(reference)] + [
        {**reference, key: value} for key, values in levels.items() for value in values if value != reference[key]
    ]


def leave_one_out(reference: Variant, levels: Levels) -> list[Variant]:
    """Returns the full model, and for each part the full model without it.

    Source: Newell, "A Tutorial on Speech Understanding Systems", in Reddy (ed.), Speech Recognition, Academic Press
    1975, who called this ablation; the seeds' "remove them one at a time".

    Args:
      reference: the full model.
      levels: for each part two values: the full model's, and the one that removes the part.

    Raises:
      DesignError: a toggle has not exactly two values.
    """
    _alternatives(reference, levels)
    return one_at_a_time(reference, levels)


def add_one_in(reference: Variant, levels: Levels) -> list[Variant]:
    """Returns the bare model, and for each improvement the bare model with it; the converse of `leave_one_out`.

    Source: as `leave_one_out`; compared with it by Fawcett and Hoos, "Analysing differences between algorithm
    configurations through ablation", Journal of Heuristics 22(4), 2016.

    Args:
      reference: the bare model.
      levels: for each improvement two values: the bare model's, and the improved one.

    Raises:
      DesignError: a toggle has not exactly two values.
    """
    _alternatives(reference, levels)
    return one_at_a_time(reference, levels)


def cumulative(reference: Variant, levels: Levels) -> list[Variant]:
    """Returns the bare model, and one variant per improvement, each with one improvement more than the variant before.

    The improvements are added in the order of the levels. The gain of a step depends on the steps before it, so another
    order gives other gains. `path` chooses the order by results.
    Source: the seeds' "adding them one by one".

    Raises:
      DesignError: a toggle has not exactly two values.
    """
    improved = _alternatives(reference, levels)
    keys = list(levels)
    return [{**reference, **{key: improved[key] for key in keys[:count]}} for count in range(len(keys) + 1)]


def fractional(reference: Variant, levels: Levels, *, resolution: int = 4) -> list[Variant]:
    """Returns a two-level fractional factorial of at least the given resolution.

    Where no fraction has that resolution, it is the full factorial. Resolution III separates main effects from each
    other, IV also from two-way interactions, and V also separates two-way interactions from each other (Box and Hunter,
    "The 2^(k-p) Fractional Factorial Designs", Technometrics 3(3), 1961). The search tries generators in the order of
    their length and keeps each one with which the resolution holds. pyDOE3 makes the matrix.

    Raises:
      DesignError: a toggle has not exactly two values, or there are more than 15 toggles.
    """
    alternatives = _alternatives(reference, levels)
    if not levels:
        return [dict(reference)]
    signs = _fraction(len(levels), resolution)
    # Every principal fraction contains the row of plus signs, which is the reference; it comes first.
    ordered = signs[np.lexsort(-signs.T[::-1])]
    return [
        {key: reference[key] if sign > 0 else alternatives[key] for key, sign in zip(levels, row, strict=True)}
        for row in ordered
    ] or [dict(reference)]


def aliases(keys: Sequence[str], *, resolution: int = 4) -> list[list[str]]:
    """Returns the groups of aliased effects of a `fractional` design: `[["a:b", "c:d"], ["a", "b:c:d"], …]`.

    Each group contains a main effect or a two-way interaction. Groups of three-way interactions alone are left out,
    because nobody estimates them. A group lists main effects first, then two-way and three-way interactions.

    Args:
      keys: toggles, in the order of the levels.
      resolution: as in `fractional`.
    """
    signs = _fraction(len(keys), resolution)
    groups: dict[bytes, list[str]] = {}
    for size in (1, 2, 3):
        for columns in itertools.combinations(range(len(keys)), size):
            contrast = signs[:, columns].prod(axis=1)
            groups.setdefault(contrast.tobytes(), []).append(":".join(keys[column] for column in columns))
    return [group for group in groups.values() if len(group) > 1 and group[0].count(":") < 2]


def equation(group: Sequence[str]) -> str:
    """Returns a group of `aliases` in one line: `d = a:b:c = a:e:f and 26 more three-way interactions`.

    It names every main effect and two-way interaction, and the first three-way interactions.
    """
    limit = sum(name.count(":") < 2 for name in group) + MAX_NAMED
    named = group if len(group) <= limit + 1 else group[:limit]
    rest = f" and {len(group) - limit} more three-way interactions" if len(named) < len(group) else ""
    return " = ".join(named) + rest


def random(
    reference: Variant,
    levels: Levels,
    *,
    sample: int = 20,
    seed: int = 0,
    intervals: Mapping[str, Interval] | None = None,
) -> list[Variant]:
    """Returns the reference and `sample - 1` other variants of the grid, drawn without replacement.

    With intervals, each variant has values of its own: uniform between the bounds or in the logarithm, four significant
    digits, and one of the levels for the other toggles. Each toggle has its own random stream, so that more variants
    begin with the same ones, and a further toggle leaves the values of the others.
    Source: Bergstra and Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 13, 2012.

    Args:
      reference: always the first variant.
      levels: the values of each toggle; the grid itself is never built in memory.
      sample: number of variants, the reference included; fewer if the grid, or the whole numbers of the intervals, do
        not have so many.
      seed: seed of the draw.
      intervals: bounds of the toggles that have no levels; `check_interval` has accepted them.
    """
    if intervals:
        return _drawn(reference, levels, intervals, sample=sample, seed=seed)
    sizes = [len(values) for values in levels.values()]
    count = math.prod(sizes)
    reference_digits = [list(values).index(reference[key]) for key, values in levels.items()]
    reference_index = sum(digit * math.prod(sizes[position + 1 :]) for position, digit in enumerate(reference_digits))
    drawn = _distinct(count - 1, min(sample, count) - 1, np.random.default_rng(seed))
    variants = [dict(reference)]
    for index in (number + (number >= reference_index) for number in drawn):
        variant = {}
        for key, values in reversed(list(levels.items())):
            index, digit = divmod(index, len(values))  # noqa: PLW2901  the digits of a mixed-radix number
            variant[key] = values[digit]
        variants.append({key: variant[key] for key in levels})
    return variants


def halving(
    reference: Variant,
    levels: Levels,
    *,
    sample: int = 20,
    seed: int = 0,
    intervals: Mapping[str, Interval] | None = None,
) -> list[Variant]:
    """Returns the reference and the candidates of successive halving: the grid, or draws where there are intervals.

    All candidates are trained with a small budget, the best of them with a larger one, and so on; `rung_sizes` says how
    many. The study trains these rungs (`src.study.halving`).
    Source: Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization", AISTATS
    2016, after Karnin, Koren and Somekh, "Almost Optimal Exploration in Multi-Armed Bandits", ICML 2013.

    Args:
      reference: always the first variant; it is no candidate.
      levels: as in `grid` or `random`.
      sample: as in `random`; without intervals, the whole grid competes.
      seed: as in `random`.
      intervals: as in `random`.
    """
    if intervals:
        return random(reference, levels, sample=sample, seed=seed, intervals=intervals)
    return grid(reference, levels)


def rung_sizes(candidates: int, budgets: Sequence[int]) -> list[int]:
    """Returns how many candidates each rung of successive halving trains.

        n_{i+1} = floor(n_i b_i / b_{i+1})

    so that no rung costs more than the first one, as in Jamieson and Talwalkar, who double the budget, and in Li et
    al., "Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization", JMLR 18, 2018, section 3.

    Args:
      candidates: n_1, without the reference.
      budgets: b_i of each rung, increasing.
    """
    sizes = [candidates]
    for budget, larger in itertools.pairwise(budgets):
        sizes.append(sizes[-1] * budget // larger)
    return sizes


def default_rungs(candidates: int, last: int) -> list[int]:
    """Returns the budgets of the rungs before the last: thirds, as many as leave a candidate for the last rung.

    Li et al. (`rung_sizes`) recommend 3 or 4.

    Args:
      candidates: number of candidates, without the reference.
      last: budget of the last rung.
    """
    budgets = [last]
    while budgets[0] >= ETA:
        budgets.insert(0, budgets[0] // ETA)
    while len(budgets) > 1 and rung_sizes(candidates, budgets)[-1] == 0:
        del budgets[0]
    return budgets[:-1]


def listed(reference: Variant, levels: Levels, *, variants: Sequence[Variant] = ()) -> list[Variant]:
    """Returns the reference and the listed variants, without duplicates.

    It is for alternatives that differ from the reference in several toggles at once. Source: comparing several
    treatments with one control, Dunnett, "A Multiple Comparison Procedure for Comparing Several Treatments with a
    Control", Journal of the American Statistical Association 50(272), 1955.

    Args:
      reference: the variant that the others are compared with.
      levels: the values of each toggle that a variant names.
      variants: for each variant the toggles that it changes, with their values.
    """
    unique = [dict(reference)]
    for changes in variants:
        variant = {**reference, **changes}
        if variant not in unique:
            unique.append(variant)
    return unique


def path(reference: Variant, levels: Levels) -> Rounds:
    """Yields rounds of variants from the reference to the target; the caller sends the scores of each round.

    A round has one candidate per toggle that still differs from the target: it flips that toggle alone. The candidate
    with the highest score is kept (on ties the first of the list), and the next round starts from it. The order of the
    flips shows which change gains most after the earlier ones. Source: Fawcett and Hoos, "Analysing differences between
    algorithm configurations through ablation", Journal of Heuristics 22(4), 2016. Their method stops poor candidates
    early by racing; here every candidate is trained with every seed, so that each has an interval.

    Args:
      reference: the start of the path.
      levels: for each toggle two values: the reference's, and the target's.

    Yields:
      The reference; then the candidates of each round. Send a mapping of position in the list → score; higher is
      better. A candidate without a score is not chosen; the path ends if no candidate has a score.

    Raises:
      DesignError: a toggle has not exactly two values.
    """
    target = _alternatives(reference, levels)
    current, remaining = dict(reference), list(levels)
    yield [current]
    while remaining:
        scores = yield [{**current, key: target[key]} for key in remaining]
        if not scores:
            return
        best = max(sorted(scores), key=lambda position: scores[position])
        key = remaining.pop(best)
        current = {**current, key: target[key]}


DESIGNS: dict[str, Callable[..., list[Variant]]] = {
    "grid": grid,
    "leave_one_out": leave_one_out,
    "add_one_in": add_one_in,
    "cumulative": cumulative,
    "one_at_a_time": one_at_a_time,
    "fractional": fractional,
    "random": random,
    "halving": halving,
    "listed": listed,
}


def rounds(
    design: str,
    reference: Variant,
    levels: Levels,
    *,
    linked: Sequence[Sequence[Variant]] = (),
    exclude: Sequence[Variant] = (),
    **options: Any,
) -> Rounds:
    """Yields the variants of a design: all in one round, except `path`, which needs scores between its rounds.

    Args:
      design: its name.
      reference: the reference.
      levels: the values of each toggle.
      linked: for each group of linked toggles the values that they have together; see `joined`.
      exclude: combinations that are left out; see `without`.
      options: of the design.

    Raises:
      DesignError: the levels do not fit the design, or the exclusions do not.
    """
    if exclude and design in WHOLE:
        raise DesignError("it needs all of its variants; remove plan.exclude, or set plan.design=grid")
    if linked and design in UNLINKED:
        raise DesignError("its variants change single toggles; remove plan.linked, or set plan.design=one_at_a_time")
    if design == "path":
        yield from path(reference, levels)
        return
    start, factors = joined(reference, levels, linked)
    variants = [apart(variant, linked) for variant in DESIGNS[design](start, factors, **options)]
    yield without(variants, exclude)


def joined(
    reference: Variant, levels: Levels, linked: Sequence[Sequence[Variant]]
) -> tuple[Variant, dict[str, Sequence[Any]]]:
    """Returns reference and levels with one factor in place of each group of linked toggles; `apart` is its inverse.

    Args:
      reference: values of the reference; those of linked toggles belong together.
      levels: the values of each toggle; linked toggles stand side by side.
      linked: for each group the values that its toggles have together: `[[{"cell": "lstm", "learning_rate": 0.001},
        {"cell": "gru", "learning_rate": 0.003}]]`. No toggle is in two groups.

    Returns:
      The reference and the levels. The factor of a group is called `cell+learning_rate`, and its values are the
      positions in the group.
    """
    groups = {key: group for group in linked for key in group[0]}
    start: Variant = {}
    factors: dict[str, Sequence[Any]] = {}
    for key, value in reference.items():
        group = groups.get(key)
        if group is not None:
            name = factor_of(group)
            start[name] = group.index({each: reference[each] for each in group[0]})
            factors[name] = range(len(group))
        else:
            start[key] = value
            if key in levels:  # not one with an interval
                factors[key] = levels[key]
    return start, factors


def apart(variant: Variant, linked: Sequence[Sequence[Variant]]) -> Variant:
    """Returns a variant of `joined` levels with the values of all toggles."""
    groups = {factor_of(group): group for group in linked}
    values: Variant = {}
    for key, value in variant.items():
        values |= groups[key][value] if key in groups else {key: value}
    return values


def factor_of(group: Sequence[Variant]) -> str:
    """Returns the name of a group of linked toggles: `cell+learning_rate`."""
    return "+".join(group[0])


def without(variants: Sequence[Variant], exclude: Sequence[Variant]) -> list[Variant]:
    """Returns the variants that no exclusion describes: `{"cell": "gru", "depth": 2}` leaves out all with both.

    Args:
      variants: the first is the reference.
      exclude: for each exclusion the values that a variant must have to be left out.

    Raises:
      DesignError: an exclusion describes the reference or no variant, or nothing but the reference is left.
    """
    left = list(variants)
    for values in exclude:
        shown = " ".join(f"{key}={as_typed(value)}" for key, value in values.items())
        if _has(variants[0], values):
            raise DesignError(f"plan.exclude leaves out the reference ({shown}); set another plan.reference")
        if not any(_has(variant, values) for variant in variants):
            raise DesignError(f"plan.exclude: no variant has {shown}; remove it, or correct its values")
        left = [variant for variant in left if not _has(variant, values)]
    if exclude and len(left) < 2:
        raise DesignError("plan.exclude leaves nothing but the reference; remove an exclusion, or add levels")
    return left


def check_interval(key: str, interval: Interval) -> None:
    """Checks the bounds of a toggle.

    Raises:
      DesignError: no number lies between the bounds, or they do not fit a logarithm or whole numbers.
    """
    shown = f"{key} has an interval from {interval.low:g} to {interval.high:g}"
    if not interval.low < interval.high:
        raise DesignError(f"{shown}; the first bound must be below the second")
    if interval.log and interval.low <= 0:
        raise DesignError(f"{shown} with log; the bounds of a logarithm must be above 0, or leave log out")
    if interval.integer and not (interval.low.is_integer() and interval.high.is_integer()):
        raise DesignError(f"{shown} of whole numbers; its bounds must be whole numbers, too")


def middle(interval: Interval) -> float | int:
    """Returns the middle of an interval, the geometric one with `log`."""
    value = _at(0.5, interval.low, interval.high, is_log=interval.log)
    return round(value) if interval.integer else _rounded(value, interval)


def _alternatives(reference: Variant, levels: Levels) -> Variant:
    """Returns for each toggle the value that differs from the reference's; checks that there are two values."""
    for key, values in levels.items():
        if len(values) != 2 or values[0] == values[1]:
            fix = "this design needs two: the reference value and one other"
            raise DesignError(f"{key} has {len(values)} values, {list(values)}; {fix}")
    return {key: next(value for value in values if value != reference[key]) for key, values in levels.items()}


def _fraction(factors: int, resolution: int) -> np.ndarray:
    """Returns float64[runs, factors] of -1 and 1: the smallest fraction that this greedy search finds."""
    import pyDOE3

    if factors > MAX_FACTORS:
        raise DesignError(
            f"{factors} toggles; a fractional design allows up to {MAX_FACTORS}. Remove some, or set plan.design=random"
        )
    letters = "abcdefghijklmno"
    for base in range(1, factors + 1):
        words = [
            word
            for size in range(max(2, resolution - 1), base + 1)
            for word in itertools.combinations(range(base), size)
        ]
        chosen: list[tuple[int, ...]] = []
        for word in words:
            if len(chosen) < factors - base and _shortest([*chosen, word], base) >= resolution:
                chosen.append(word)
        if len(chosen) == factors - base:
            names = [letters[:base][i] for i in range(base)] + ["".join(letters[i] for i in word) for word in chosen]
            return np.asarray(pyDOE3.fracfact(" ".join(names)))
    return np.ones((1, 0))


def _shortest(generators: list[tuple[int, ...]], base: int) -> int:
    """Returns the resolution: the length of the shortest word in the defining relation of these generators."""
    words = [frozenset(word) | {base + number} for number, word in enumerate(generators)]
    spanned: set[frozenset[int]] = {frozenset()}
    for word in words:
        spanned |= {product ^ word for product in spanned}
    return min(len(word) for word in spanned if word)


def _has(variant: Variant, values: Variant) -> bool:
    return all(variant.get(key) == value for key, value in values.items())


def _drawn(
    reference: Variant, levels: Levels, intervals: Mapping[str, Interval], *, sample: int, seed: int
) -> list[Variant]:
    streams = {key: generator(seed, "values", key) for key in reference}
    unique = {tuple(reference.values()): dict(reference)}
    for _ in range(DRAWS * sample):
        if len(unique) == sample:
            break
        variant: Variant = {}
        for key, stream in streams.items():
            share = float(stream.random())
            variant[key] = _value(share, intervals[key]) if key in intervals else _one_of(share, levels[key])
        unique.setdefault(tuple(variant.values()), variant)
    return list(unique.values())


def _one_of(share: float, values: Sequence[Any]) -> Any:
    return values[int(share * len(values))]


def _value(share: float, interval: Interval) -> float | int:
    """Returns the value at a share of an interval, 0 <= share < 1; whole numbers have equal shares without `log`."""
    if interval.integer:
        return min(math.floor(_at(share, interval.low, interval.high + 1, is_log=interval.log)), int(interval.high))
    return _rounded(_at(share, interval.low, interval.high, is_log=interval.log), interval)


def _at(share: float, low: float, high: float, *, is_log: bool) -> float:
    if is_log:
        return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    return low + share * (high - low)


def _rounded(value: float, interval: Interval) -> float:
    return min(max(float(f"{value:.{DIGITS}g}"), interval.low), interval.high)


def _distinct(population: int, count: int, rng: np.random.Generator) -> list[int]:
    """Returns `count` different numbers below `population`, in the order of their draw."""
    drawn: dict[int, None] = {}
    while len(drawn) < count:
        drawn.setdefault(_random_below(population, rng), None)
    return list(drawn)


def _random_below(population: int, rng: np.random.Generator) -> int:
    if population <= 2**63:  # the range of NumPy's integers
        return int(rng.integers(population))
    spare = 8  # extra bytes, so that the bias of the remainder stays below one part in 2**64
    return int.from_bytes(rng.bytes(population.bit_length() // 8 + 1 + spare), "little") % population
