"""How variants are derived: pure functions from a reference and the levels of its toggles to a list of variants.

A variant is a mapping of every varied toggle to its value. The reference is always among the variants, and always first. A
new design is one function and one line in `DESIGNS`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import numpy as np

Variant = dict[str, Any]
Levels = Mapping[str, Sequence[Any]]
Rounds = Generator[list[Variant], Mapping[int, float], None]

MAX_TRIALS = 100_000
MAX_FACTORS = 15
MAX_NAMED = 2  # interactions of three toggles that a line names


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
    first = [
        [reference[key], *(value for value in values if value != reference[key])] for key, values in levels.items()
    ]
    return [dict(zip(levels, combination, strict=True)) for combination in itertools.product(*first)]


def one_at_a_time(reference: Variant, levels: Levels) -> list[Variant]:
    """Returns the reference, and for every other level of every toggle the reference with that level.

    Source: Daniel, "One-at-a-Time Plans", Journal of the American Statistical Association 68(342), 1973.
    """
    return [dict(reference)] + [
        {**reference, key: value} for key, values in levels.items() for value in values if value != reference[key]
    ]


def leave_one_out(reference: Variant, levels: Levels) -> list[Variant]:
    """Returns the full model, and the full model without each one of its parts.

    Source: Newell, "A Tutorial on Speech Understanding Systems", in Reddy (ed.), Speech Recognition, Academic Press 1975, who
    took the word ablation for it; the seeds' "remove them one at a time".

    Args:
      reference: the full model.
      levels: for each part two values: that of the full model, and the one that takes the part away.

    Raises:
      DesignError: a toggle has not exactly two values.
    """
    _other(reference, levels)
    return one_at_a_time(reference, levels)


def add_one_in(reference: Variant, levels: Levels) -> list[Variant]:
    """Returns the bare model, and the bare model with each one of the improvements: `leave_one_out` seen from the other end.

    Source: as `leave_one_out`; compared with it by Fawcett and Hoos, "Analysing differences between algorithm configurations
    through ablation", Journal of Heuristics 22(4), 2016.

    Args:
      reference: the bare model.
      levels: for each improvement two values: that of the bare model, and the improved one.

    Raises:
      DesignError: a toggle has not exactly two values.
    """
    _other(reference, levels)
    return one_at_a_time(reference, levels)


def cumulative(reference: Variant, levels: Levels) -> list[Variant]:
    """Returns the bare model, then with the first improvement, then with the first two, and so on in the order of the levels.

    What a step gains depends on the steps before it: another order gives other gains. `path` chooses the order by results.
    Source: the seeds' "adding them one by one".

    Raises:
      DesignError: a toggle has not exactly two values.
    """
    other = _other(reference, levels)
    keys = list(levels)
    return [{**reference, **{key: other[key] for key in keys[:count]}} for count in range(len(keys) + 1)]


def fractional(reference: Variant, levels: Levels, *, resolution: int = 4) -> list[Variant]:
    """Returns a two-level fractional factorial of at least the wanted resolution, the full factorial where nothing less has it.

    Resolution III separates main effects from each other, IV also from two-way interactions, V two-way interactions from each
    other too (Box and Hunter, "The 2^(k-p) Fractional Factorial Designs", Technometrics 3(3), 1961). Generators are taken in
    the order of their length, each kept if the resolution holds; the matrix is pyDOE3's.

    Raises:
      DesignError: a toggle has not exactly two values, or there are more than 15 toggles.
    """
    other = _other(reference, levels)
    if not levels:
        return [dict(reference)]
    signs = _fraction(len(levels), resolution)
    ordered = signs[
        np.lexsort(-signs.T[::-1])
    ]  # the row of pluses is in every principal fraction: the reference, first
    return [
        {key: reference[key] if sign > 0 else other[key] for key, sign in zip(levels, row, strict=True)}
        for row in ordered
    ] or [dict(reference)]


def aliases(keys: Sequence[str], *, resolution: int = 4) -> list[list[str]]:
    """Returns which effects a `fractional` design cannot tell apart: `[["a:b", "c:d"], ["a", "b:c:d"], …]`.

    Main effects and two-way interactions, with each other and with interactions of three toggles; those of three with each other are left
    out, for nobody estimates them. The effects of a group stand in the order of their size.

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
    """Returns a group of `aliases` in a line: `d = a:b:c = a:e:f and 26 more of three`; all effects but interactions of three are named."""
    few = [name for name in group if name.count(":") < 2]
    most = len(few) + MAX_NAMED
    named = group if len(group) <= most + 1 else group[:most]
    rest = f" and {len(group) - most} more of three" if len(named) < len(group) else ""
    return " = ".join(named) + rest


def random(reference: Variant, levels: Levels, *, sample: int = 20, seed: int = 0) -> list[Variant]:
    """Returns the reference and `sample - 1` other variants of the grid, drawn without replacement.

    Source: Bergstra and Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 13, 2012.

    Args:
      reference: kept whatever is drawn.
      levels: of each toggle; the grid is never written out.
      sample: variants in all; the whole grid if it has no more.
      seed: of the draw.
    """
    sizes = [len(values) for values in levels.values()]
    count = math.prod(sizes)
    home = {key: list(values).index(reference[key]) for key, values in levels.items()}
    skipped = sum(place * math.prod(sizes[position + 1 :]) for position, place in enumerate(home.values()))
    drawn = _distinct(count - 1, min(sample, count) - 1, np.random.default_rng(seed))
    variants = [dict(reference)]
    for index in (number + (number >= skipped) for number in drawn):
        variant = {}
        for key, values in reversed(list(levels.items())):
            index, place = divmod(index, len(values))  # noqa: PLW2901  the digits of a number of mixed base
            variant[key] = values[place]
        variants.append({key: variant[key] for key in levels})
    return variants


def listed(reference: Variant, levels: Levels, *, variants: Sequence[Variant] = ()) -> list[Variant]:
    """Returns the reference, and the variants that were written down, each once.

    For alternatives that differ in several toggles at a time, none of which is half of another. Source: the comparison of several
    treatments with one control of Dunnett, "A Multiple Comparison Procedure for Comparing Several Treatments with a Control",
    Journal of the American Statistical Association 50(272), 1955.

    Args:
      reference: what they are compared with.
      levels: of each toggle that a variant names.
      variants: each what it changes of the reference.
    """
    whole = [dict(reference)]
    for changes in variants:
        variant = {**reference, **changes}
        if variant not in whole:
            whole.append(variant)
    return whole


def path(reference: Variant, levels: Levels) -> Rounds:
    """Yields rounds of variants on the way from the reference to the target, and is sent the score of each.

    In each round every toggle that still differs from the target is flipped alone; the flip of highest score is kept (the first
    of the list on ties) and the next round starts from there. The order of the flips says what mattered most, given what came
    before. Source: Fawcett and Hoos, "Analysing differences between algorithm configurations through ablation", Journal of
    Heuristics 22(4), 2016. Theirs stops a poor flip early by racing; here every flip is trained with every seed, so that each
    has an interval.

    Args:
      reference: where the path begins.
      levels: for each toggle two values: that of the reference, and the target's.

    Yields:
      The reference; then the candidates of each round. Send it position in the list → score, higher is better; a candidate
      without a score is not chosen, and the path ends where none has one.

    Raises:
      DesignError: a toggle has not exactly two values.
    """
    other = _other(reference, levels)
    here, left = dict(reference), list(levels)
    yield [here]
    while left:
        scores = yield [{**here, key: other[key]} for key in left]
        if not scores:
            return
        best = max(sorted(scores), key=lambda position: scores[position])
        key = left.pop(best)
        here = {**here, key: other[key]}


DESIGNS: dict[str, Callable[..., list[Variant]]] = {
    "grid": grid,
    "leave_one_out": leave_one_out,
    "add_one_in": add_one_in,
    "cumulative": cumulative,
    "one_at_a_time": one_at_a_time,
    "fractional": fractional,
    "random": random,
    "listed": listed,
}


def rounds(design: str, reference: Variant, levels: Levels, **options: Any) -> Rounds:
    """Yields the variants of a design: all of them at once, but for `path`, which asks for scores between its rounds."""
    if design == "path":
        yield from path(reference, levels)
    else:
        yield DESIGNS[design](reference, levels, **options)


def _other(reference: Variant, levels: Levels) -> Variant:
    """Returns for each toggle the value that is not the reference's."""
    for key, values in levels.items():
        if len(values) != 2 or values[0] == values[1]:
            raise DesignError(
                f"{key} has {len(values)} values, {list(values)}; this design needs two, the reference value and one other"
            )
    return {key: next(value for value in values if value != reference[key]) for key, values in levels.items()}


def _fraction(factors: int, resolution: int) -> np.ndarray:
    """Returns float64[runs, factors] of -1 and 1, the smallest that this greedy search finds."""
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
    """Returns the length of the shortest word of the defining relation that these generators span: the resolution."""
    words = [frozenset(word) | {base + number} for number, word in enumerate(generators)]
    spanned: set[frozenset[int]] = {frozenset()}
    for word in words:
        spanned |= {known ^ word for known in spanned}
    return min(len(word) for word in spanned if word)


def _distinct(population: int, count: int, rng: np.random.Generator) -> list[int]:
    """Returns `count` different numbers below `population`, in the order of their draw, without listing the population."""
    drawn: dict[int, None] = {}
    while len(drawn) < count:
        drawn.setdefault(_below(population, rng), None)
    return list(drawn)


def _below(population: int, rng: np.random.Generator) -> int:
    if population <= 2**63:  # as far as NumPy counts
        return int(rng.integers(population))
    spare = 8  # bytes more than needed: no number is likelier than another by more than one part in 2**64
    return int.from_bytes(rng.bytes(population.bit_length() // 8 + 1 + spare), "little") % population
