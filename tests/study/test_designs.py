from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.spec.settings import Interval
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


@st.composite
def intervals(draw):
    """Returns toggle → interval, with bounds that each kind allows."""
    found = {}
    for key in draw(st.lists(st.sampled_from("uvw"), min_size=1, unique=True)):
        is_log, is_whole = draw(st.booleans()), draw(st.booleans())
        bound = st.integers(1, 50) if is_whole else st.floats(1e-6, 1e6) if is_log else st.floats(-1e6, 1e6)
        low, high = sorted(draw(st.lists(bound, min_size=2, max_size=2, unique=True)))
        found[key] = Interval(low=float(low), high=float(high), log=is_log, integer=is_whole)
    return found


@given(studies(), intervals(), st.integers(2, 12), st.integers(0, 5))
def test_draws_stay_within_intervals_and_levels_and_more_of_them_begin_with_the_same(study, bounds, sample, seed):
    given_reference, levels = study
    reference = {**given_reference, **{key: designs.middle(each) for key, each in bounds.items()}}
    found = designs.random(reference, levels, sample=sample, seed=seed, intervals=bounds)

    assert found[0] == reference and len({tuple(variant.values()) for variant in found}) == len(found) <= sample
    for variant in found:
        assert list(variant) == list(reference) and all(variant[key] in levels[key] for key in levels)
        for key, each in bounds.items():
            assert each.low <= variant[key] <= each.high and isinstance(variant[key], int) == each.integer
    assert designs.random(reference, levels, sample=sample + 3, seed=seed, intervals=bounds)[: len(found)] == found


def test_draws_are_uniform_between_the_bounds_or_in_the_logarithm_and_whole_numbers_have_equal_shares():
    bounds = {
        "plain": Interval(low=2.0, high=6.0),
        "log": Interval(low=1e-4, high=1e-2, log=True),
        "whole": Interval(low=3.0, high=5.0, integer=True),
    }
    found = designs.random({"plain": 4.0, "log": 1e-3, "whole": 4}, {}, sample=2_001, intervals=bounds)[1:]

    plain, log = np.array([each["plain"] for each in found]), np.log10([each["log"] for each in found])
    np.testing.assert_allclose(np.quantile(plain, [0.25, 0.5, 0.75]), [3, 4, 5], atol=0.2)
    np.testing.assert_allclose(np.quantile(log, [0.25, 0.5, 0.75]), [-3.5, -3, -2.5], atol=0.1)
    counts = [sum(each["whole"] == number for each in found) for number in (3, 4, 5)]
    assert sum(counts) == 2_000 and all(abs(count - 2_000 / 3) < 100 for count in counts)


def test_another_toggle_leaves_the_draws_of_an_interval_as_they_are_and_another_seed_does_not():
    bounds = {"lr": Interval(low=1e-4, high=1e-2, log=True)}
    alone = designs.random({"lr": 1e-3}, {}, sample=9, intervals=bounds)
    both = designs.random({"cell": "a", "lr": 1e-3}, {"cell": ["a", "b"]}, sample=9, intervals=bounds)

    assert [each["lr"] for each in both] == [each["lr"] for each in alone]
    assert {each["cell"] for each in both} == {"a", "b"}
    assert designs.random({"lr": 1e-3}, {}, sample=9, seed=1, intervals=bounds) != alone


def test_an_interval_of_few_whole_numbers_gives_each_of_them_once():
    found = designs.random({"n": 4}, {}, sample=20, intervals={"n": Interval(low=3.0, high=6.0, integer=True)})

    assert sorted(each["n"] for each in found) == [3, 4, 5, 6]


def test_the_middle_of_an_interval_is_geometric_with_log():
    assert designs.middle(Interval(low=1e-4, high=1e-2, log=True)) == 1e-3
    assert designs.middle(Interval(low=1.0, high=4.0)) == 2.5
    assert designs.middle(Interval(low=16.0, high=64.0, log=True, integer=True)) == 32


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"low": 0.0, "high": 1.0, "log": True}, "from 0 to 1 with log; the bounds of a logarithm must be above 0"),
        ({"low": -1.0, "high": 1.0, "log": True}, "from -1 to 1 with log"),
        ({"low": 1.0, "high": 1.0}, "from 1 to 1; the first bound must be below the second"),
        ({"low": 2.0, "high": 1.0}, "from 2 to 1; the first bound must be below"),
        ({"low": 1.0, "high": 2.5, "integer": True}, "from 1 to 2.5 of whole numbers; its bounds must be whole"),
    ],
)
def test_bounds_that_cannot_be_drawn_from_are_refused(bounds, message):
    with pytest.raises(DesignError, match=f"lr has an interval {message}"):
        designs.check_interval("lr", Interval(**bounds))


LINKED = [[{"cell": "lstm", "lr": 1}, {"cell": "gru", "lr": 2}, {"cell": "rnn", "lr": 2}]]
CELLS = {"cell": ["lstm", "gru", "rnn"], "lr": [1, 2], "depth": [1, 2]}


@pytest.mark.parametrize("design", ["grid", "one_at_a_time", "random"])
def test_linked_toggles_change_together_in_every_design(design):
    reference = {"cell": "lstm", "lr": 1, "depth": 1}
    options = {"sample": 100} if design == "random" else {}
    found = next(designs.rounds(design, reference, CELLS, linked=LINKED, **options))

    together = {("lstm", 1), ("gru", 2), ("rnn", 2)}
    assert found[0] == reference and {(each["cell"], each["lr"]) for each in found} == together
    pairs = {(each["cell"], each["depth"]) for each in found}
    full = {(cell, depth) for cell in ("lstm", "gru", "rnn") for depth in (1, 2)}
    assert pairs == (full if design != "one_at_a_time" else {pair for pair in full if "lstm" in pair or 1 in pair})
    assert len(found) == len(pairs)


@given(studies(pairs))
def test_toggles_come_apart_as_they_were_joined(study):
    reference, levels = study
    keys = list(levels)[:2]
    group = [dict(zip(keys, values, strict=True)) for values in zip(*(levels[key] for key in keys), strict=True)]
    linked = [group] if len(keys) == 2 and {key: reference[key] for key in keys} in group else []

    start, factors = designs.joined(reference, levels, linked)

    assert designs.apart(start, linked) == reference and list(designs.apart(start, linked)) == list(reference)
    assert len(factors) == len(levels) - len(linked)


@given(studies(pairs), st.data())
def test_exclusions_leave_out_the_variants_that_they_describe_and_no_others(study, data):
    reference, levels = study
    grid = designs.grid(reference, levels)
    chosen = data.draw(st.sampled_from(grid))
    exclusion = {key: chosen[key] for key in levels if data.draw(st.booleans())}

    left = [each for each in grid if not all(each[key] == value for key, value in exclusion.items())]
    if reference not in left or len(left) < 2:
        with pytest.raises(DesignError, match=r"plan\.exclude leaves"):
            designs.without(grid, [exclusion])
    else:
        assert designs.without(grid, [exclusion]) == left


def test_exclusions_that_match_nothing_or_break_a_design_are_refused():
    levels = {"a": [1, 2], "b": [1, 2]}
    with pytest.raises(DesignError, match="no variant has a=3"):
        designs.without(designs.grid({"a": 1, "b": 1}, levels), [{"a": 3}])
    for design in ("path", "fractional", "cumulative"):
        with pytest.raises(DesignError, match=r"it needs all of its variants; remove plan\.exclude"):
            next(designs.rounds(design, {"a": 1, "b": 1}, levels, exclude=[{"a": 2}]))
    for design in ("path", "listed"):
        with pytest.raises(DesignError, match=r"remove plan\.linked"):
            next(designs.rounds(design, {"a": 1, "b": 1}, levels, linked=[[{"a": 1, "b": 1}, {"a": 2, "b": 2}]]))


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
