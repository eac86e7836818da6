from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.study import designs
from src.study.designs import DESIGNS, DesignError

names = st.sampled_from("abcdefgh")
many = st.dictionaries(names, st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True), max_size=4)
pairs = st.dictionaries(names, st.lists(st.integers(0, 9), min_size=2, max_size=2, unique=True), max_size=6)


@st.composite
def studies(draw, levels=many):
    found = draw(levels)
    return {key: draw(st.sampled_from(values)) for key, values in found.items()}, found


def changed(reference, variant):
    return {key for key in reference if variant[key] != reference[key]}


@pytest.mark.parametrize("design", DESIGNS)
@given(study=studies(pairs))
def test_every_design_starts_with_the_reference_repeats_nothing_and_stays_within_the_levels(design, study):
    reference, levels = study
    variants = DESIGNS[design](reference, levels)

    assert variants[0] == reference
    assert len({tuple(variant.items()) for variant in variants}) == len(variants)
    assert all(list(variant) == list(levels) and variant[key] in levels[key] for variant in variants for key in levels)


@given(studies())
def test_a_grid_has_every_combination(study):
    reference, levels = study
    assert {tuple(variant.values()) for variant in designs.grid(reference, levels)} == set(
        itertools.product(*levels.values())
    )
    assert designs.grid(reference, levels)[0] == reference


def test_the_last_key_changes_fastest():
    found = designs.grid({"a": 1, "b": 3}, {"a": [1, 2], "b": [3, 4]})

    assert found == [{"a": 1, "b": 3}, {"a": 1, "b": 4}, {"a": 2, "b": 3}, {"a": 2, "b": 4}]


def test_a_grid_too_large_to_plan_is_refused_with_a_fix():
    with pytest.raises(DesignError, match=r"1,048,576 variants.*plan\.design=random"):
        designs.grid(dict.fromkeys(range(20), 0), {key: [0, 1] for key in range(20)})


@given(studies())
def test_one_at_a_time_changes_one_toggle_per_variant_and_uses_every_level(study):
    reference, levels = study
    variants = designs.one_at_a_time(reference, levels)

    flips = {(key, variant[key]) for variant in variants[1:] for key in changed(reference, variant)}
    assert all(len(changed(reference, variant)) == 1 for variant in variants[1:])
    assert flips == {(key, value) for key, values in levels.items() for value in values if value != reference[key]}


@pytest.mark.parametrize("design", [designs.leave_one_out, designs.add_one_in])
@given(study=studies(pairs))
def test_each_part_is_flipped_once_and_alone(design, study):
    reference, levels = study
    variants = design(reference, levels)

    assert [changed(reference, variant) for variant in variants[1:]] == [{key} for key in levels]


@given(studies(pairs))
def test_add_one_in_is_leave_one_out_with_swapped_levels(study):
    reference, levels = study
    full = {key: next(value for value in values if value != reference[key]) for key, values in levels.items()}

    assert designs.add_one_in(reference, levels)[0] == reference
    assert [changed(full, variant) for variant in designs.leave_one_out(full, levels)[1:]] == [
        changed(reference, variant) for variant in designs.add_one_in(reference, levels)[1:]
    ]


@given(studies(pairs))
def test_cumulative_adds_one_toggle_at_a_time_in_the_order_given(study):
    reference, levels = study
    variants = designs.cumulative(reference, levels)

    assert [changed(reference, variant) for variant in variants] == [
        set(list(levels)[:count]) for count in range(len(levels) + 1)
    ]


@pytest.mark.parametrize("design", ["leave_one_out", "add_one_in", "cumulative", "fractional", "path"])
@pytest.mark.parametrize("values", [[1], [1, 2, 3]])
def test_two_level_designs_refuse_another_number_of_levels(design, values):
    with pytest.raises(DesignError, match=rf"a has {len(values)} values.*needs two"):
        next(designs.rounds(design, {"a": 1}, {"a": values}))


def signs_of(reference, variants):
    return np.array([[1 if variant[key] == reference[key] else -1 for key in reference] for variant in variants])


@pytest.mark.parametrize("factors", range(1, 9))
@pytest.mark.parametrize("resolution", [3, 4, 5])
def test_a_fraction_has_at_least_the_given_resolution(factors, resolution):
    reference = dict.fromkeys("abcdefgh"[:factors], 0)
    signs = signs_of(
        reference, designs.fractional(reference, {key: [0, 1] for key in reference}, resolution=resolution)
    )

    for size in range(1, min(resolution, factors + 1)):  # no product of fewer columns than the resolution is constant
        for columns in itertools.combinations(range(factors), size):
            assert abs(signs[:, columns].prod(axis=1).sum()) == 0
    assert len(signs) <= 2**factors


@pytest.mark.parametrize(
    ("factors", "resolution", "runs"), [(3, 3, 4), (7, 3, 8), (4, 4, 8), (8, 4, 16), (5, 5, 16), (6, 5, 32)]
)
def test_fractions_have_as_few_runs_as_in_textbooks(factors, resolution, runs):
    """Box, Hunter and Hunter, "Statistics for Experimenters", Wiley 2005, table 6.22."""
    reference = dict.fromkeys("abcdefgh"[:factors], 0)

    assert len(designs.fractional(reference, {key: [0, 1] for key in reference}, resolution=resolution)) == runs


def test_aliases_are_the_effects_with_equal_contrasts():
    main = [["a", "b:c:d"], ["b", "a:c:d"], ["c", "a:b:d"], ["d", "a:b:c"]]
    assert designs.aliases(["a", "b", "c", "d"], resolution=4) == [
        *main,
        ["a:b", "c:d"],
        ["a:c", "b:d"],
        ["a:d", "b:c"],
    ]
    assert designs.aliases(["a", "b", "c"], resolution=3) == [["a", "b:c"], ["b", "a:c"], ["c", "a:b"]]
    assert ["a:b", "c:d:e"] in designs.aliases(["a", "b", "c", "d", "e"], resolution=5)
    assert designs.aliases(["a", "b", "c"], resolution=4) == []  # only the full factorial has it


@pytest.mark.parametrize(("factors", "resolution"), [(4, 4), (5, 5), (5, 3), (6, 4), (7, 3), (8, 4), (15, 4)])
def test_aliases_are_all_the_effects_that_change_an_estimate(factors, resolution):
    keys = list("abcdefghijklmno"[:factors])
    signs = signs_of(
        dict.fromkeys(keys, 0),
        designs.fractional(dict.fromkeys(keys, 0), {key: [0, 1] for key in keys}, resolution=resolution),
    )
    effects = {
        ":".join(names): signs[:, [keys.index(name) for name in names]].prod(axis=1)
        for size in (1, 2, 3)
        for names in itertools.combinations(keys, size)
    }
    groups = designs.aliases(keys, resolution=resolution)

    for name, contrast in effects.items():
        moved = {other for other, column in effects.items() if other != name and contrast @ column != 0}
        mine = {other for group in groups if name in group for other in group if other != name}
        if name.count(":") < 2:
            assert mine == moved
        else:  # three-way interactions are listed if they are aliased with a lower order
            assert bool(mine) == any(other.count(":") < 2 for other in moved)


def test_a_long_group_of_aliases_is_one_line_that_names_low_order_effects_and_counts_the_rest():
    assert designs.equation(["d", "a:b:c"]) == "d = a:b:c"
    assert designs.equation(["a:b", "c:d", "e:f", "g:h"]) == "a:b = c:d = e:f = g:h"
    assert designs.equation(["a", "b:c", "a:b:c", "a:b:d", "a:b:e"]) == "a = b:c = a:b:c = a:b:d = a:b:e"
    assert (
        designs.equation(["a", "b:c", "a:b:c", "a:b:d", "a:b:e", "a:b:f"])
        == "a = b:c = a:b:c = a:b:d and 2 more three-way interactions"
    )
    groups = designs.aliases(list("abcdefghijklmno"), resolution=4)
    assert max(len(group) for group in groups) > 20 and all(len(designs.equation(group)) < 80 for group in groups)


def test_too_many_factors_are_refused():
    levels = {f"t{number}": [0, 1] for number in range(16)}
    with pytest.raises(DesignError, match="16 toggles; a fractional design allows up to 15"):
        designs.fractional(dict.fromkeys(levels, 0), levels)


@given(studies(), st.integers(2, 30), st.integers(0, 5))
def test_a_random_sample_has_the_given_size_and_no_duplicates_and_comes_from_the_grid(study, sample, seed):
    reference, levels = study
    found = designs.random(reference, levels, sample=sample, seed=seed)

    assert found[0] == reference
    assert len({tuple(variant.values()) for variant in found}) == len(found)
    assert len(found) == min(sample, math.prod(len(values) for values in levels.values()))
    assert {tuple(variant.values()) for variant in found} <= set(itertools.product(*levels.values()))
    assert found == designs.random(reference, levels, sample=sample, seed=seed)


def test_another_seed_draws_another_sample():
    levels = {"a": list(range(50)), "b": list(range(50))}
    reference = {"a": 7, "b": 7}

    assert designs.random(reference, levels, seed=0) != designs.random(reference, levels, seed=1)


def test_a_random_sample_of_a_huge_grid_covers_the_whole_grid():
    levels = {f"key{number}": list(range(1_000)) for number in range(8)}  # 10**24 cells
    reference = dict.fromkeys(levels, 0)

    found = designs.random(reference, levels, sample=200, seed=3)

    assert found[0] == reference and len({tuple(variant.values()) for variant in found}) == 200
    assert (
        found
        == designs.random(reference, levels, sample=200, seed=3)
        != designs.random(reference, levels, sample=200, seed=4)
    )
    for key in levels:  # uniform: the mean of 199 draws from 0 to 999 is within 5 standard errors of its expectation
        assert abs(sum(variant[key] for variant in found[1:]) / 199 - 499.5) < 5 * 288.7 / math.sqrt(199)


def walk(levels, gains):
    """Returns the path for a score that is the sum of the gains of the flipped toggles."""
    reference = {key: values[0] for key, values in levels.items()}
    rounds, seen = designs.path(reference, levels), []
    variants = next(rounds)
    while True:
        seen.append(variants)
        scores = {
            place: sum(gains[key] for key in changed(reference, variant)) for place, variant in enumerate(variants)
        }
        try:
            variants = rounds.send(scores)
        except StopIteration:
            return reference, seen


@given(st.lists(st.integers(-20, 20), min_size=1, max_size=6, unique=True))
def test_a_path_flips_what_gains_most_first_and_ends_at_the_target(values):
    gains = dict(zip("abcdef", values, strict=False))
    levels = {key: [0, 1] for key in gains}
    reference, seen = walk(levels, gains)

    assert seen[0] == [reference]
    assert [len(variants) for variants in seen[1:]] == list(range(len(gains), 0, -1))
    assert seen[-1] == [dict.fromkeys(gains, 1)]
    order = sorted(gains, key=lambda key: -gains[key])
    for depth, variants in enumerate(seen[1:], 1):
        assert all(changed(reference, variant) >= set(order[: depth - 1]) for variant in variants)


def test_a_path_never_keeps_a_flip_without_a_score_and_ends_if_no_flip_has_one():
    rounds = designs.path({"a": 0, "b": 0}, {"a": [0, 1], "b": [0, 1]})
    next(rounds)
    assert rounds.send({0: 0.5}) == [{"a": 1, "b": 0}, {"a": 0, "b": 1}]
    assert rounds.send({1: 0.1}) == [{"a": 1, "b": 1}]
    with pytest.raises(StopIteration):
        rounds.send({})


def test_every_design_has_its_function_and_names_its_source():
    from src.config.explain import allowed
    from src.spec.settings import Plan

    assert set(allowed("plan.design").removeprefix("one of ").split(", ")) == {*DESIGNS, "path"}
    assert Plan().design == "grid"
    for function in [*DESIGNS.values(), designs.path]:
        assert "Source:" in function.__doc__ or "Technometrics" in function.__doc__
        assert "19" in function.__doc__ or "20" in function.__doc__ or "seeds" in function.__doc__
