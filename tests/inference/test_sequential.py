"""Levels, p values and decisions of several looks, against plain computations."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from src.inference import sequential
from src.inference.sequential import (
    ALWAYS_VALID,
    DIFFERENT,
    EQUIVALENT,
    FUTILE,
    SPENDING,
    UNDECIDED,
    Estimates,
    Rule,
    decide,
    estimates,
)
from src.inference.student import interval

LOOKS = (4, 8, 12, 16)
RULE = Rule(SPENDING, 16, LOOKS)


pytestmark = pytest.mark.usefixtures("fewer_paths")


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def test_the_levels_are_those_of_the_audit():
    assert [RULE.level(look) for look in range(4)] == pytest.approx([0.0124, 0.0142, 0.0177, 0.0219], rel=0.03)
    at_one_percent = [RULE.level(look, alpha=0.01) for look in range(4)]
    assert at_one_percent == pytest.approx([0.0025, 0.0027, 0.0031, 0.0037], rel=0.06)


@pytest.mark.parametrize(("looks", "horizon"), [((3, 5, 9), 9), ((5, 20), 20), ((4, 6), 12)])
def test_a_comparison_without_difference_first_reaches_each_level_with_the_error_that_is_spent_there(looks, horizon):
    rule = Rule(SPENDING, horizon, looks)
    values = normal(200_000, looks[-1], seed=7)

    left, spent = np.ones(len(values), bool), []
    for look, n in enumerate(looks):
        p = stats.ttest_1samp(values[:, :n], 0, axis=1).pvalue
        found = left & (p <= rule.level(look))
        spent.append(found.mean())
        left &= ~found

    wanted = 0.05 * np.diff([0, *looks]) / horizon
    assert spent == pytest.approx(wanted, abs=4 * math.sqrt(0.02 / len(values)))


def test_the_least_error_of_a_p_value_has_that_p_value_as_its_level():
    for look in range(4):
        for alpha in (0.002, 0.03, 0.2):
            p = sequential._levels(LOOKS, 16, 2).at(alpha, look)
            seen = Estimates(*(np.full((1, 4), value) for value in (1.0, 1.0, p)))
            assert RULE.p_value(seen, look) == pytest.approx(alpha, rel=1e-6)


def test_looks_beyond_the_horizon_decide_nothing():
    rule = Rule(SPENDING, 8, (4, 8, 12))
    seen = Estimates(np.full((1, 3), 1.0), np.full((1, 3), 1e-3), np.array([[math.nan, 0.5, 1e-9]]))

    assert rule.level(2) == 0 and math.isinf(rule.critical(2))
    assert decide(seen, rule).kind.tolist() == [UNDECIDED]


def test_estimates_are_those_of_a_fixed_study_with_as_many_seeds():
    values = normal(3, 16) * 0.02 + 0.01
    values[2] = 0.25

    seen = estimates(values, LOOKS, scale=1.0)

    for row in range(3):
        for look, n in enumerate(LOOKS):
            one = interval(values[row, :n], scale=1.0)
            expected = [one.mean, one.error, one.p]
            assert [part[row, look] for part in seen[:3]] == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_a_comparison_that_lacks_seeds_is_not_looked_at():
    values = normal(1, 16)
    values[0, 7:] = math.nan

    seen = estimates(values, LOOKS)

    assert np.isnan(seen.p[0]).tolist() == [False, True, True, True]


def test_holm_is_that_of_statsmodels_whatever_is_missing():
    p = np.random.default_rng(3).uniform(size=(50, 6)) ** 3
    p[:, 2] = math.nan

    adjusted = sequential.holm(p)

    kept = [0, 1, 3, 4, 5]
    for mine, row in zip(adjusted[:, kept], p[:, kept], strict=True):
        assert mine == pytest.approx(multipletests(row, method="holm")[1])
    assert np.isnan(adjusted[:, 2]).all()


def test_a_decision_stays_and_names_the_look_that_made_it():
    p = np.array([[0.5, 1e-4, 0.9, 0.9], [0.5, 0.5, 0.5, 0.5]])
    seen = Estimates(np.array([[0.1, 0.2, 0.1, -0.1], [0.1] * 4]), np.full((2, 4), 0.1), p)

    made = decide(seen, RULE)

    assert made.kind[0] == DIFFERENT and made.look[0] == 1 and made.sign[0] == 1
    assert made.p_holm[0] == pytest.approx(2 * RULE.p_value(seen, 1)[0])


def test_the_same_decisions_follow_from_all_seeds_and_from_those_that_racing_trains():
    values = normal(400, 5, 16, seed=5) + np.array([0, 0.3, 0.7, 1, 1.5])[:, None]
    made = decide(estimates(values, LOOKS, scale=1.0), RULE, margin=0.8, races=True)
    trained = np.array(LOOKS)[made.last]
    values[np.arange(16) >= trained[..., None]] = math.nan

    again = decide(estimates(values, LOOKS, scale=1.0), RULE, margin=0.8)

    for mine, theirs in zip(made, again, strict=True):
        np.testing.assert_allclose(mine, theirs, equal_nan=True)
    assert {*made.kind.ravel()} == {UNDECIDED, DIFFERENT, EQUIVALENT, FUTILE}


def test_equivalence_has_an_error_of_five_percent_at_the_margin_over_all_looks():
    values = normal(40_000, 1, 16, seed=2) + 3.0
    seen = estimates(values, LOOKS, scale=1.0)
    made = decide(seen._replace(p=np.ones_like(seen.p)), RULE, margin=3.0)  # no difference is ever found

    assert (made.kind == EQUIVALENT).mean() == pytest.approx(0.05, abs=0.004)


def test_the_interval_covers_at_every_look_at_once_in_95_of_100_studies():
    seen = estimates(normal(40_000, 1, 16, seed=4) + 0.5, LOOKS, scale=1.0)
    covers = np.ones((40_000, 1), bool)
    for look in range(4):
        low, high = sequential.interval(seen, RULE, look)
        covers &= (low <= 0.5) & (high >= 0.5)

    assert covers.mean() == pytest.approx(0.95, abs=0.004)


def test_futility_is_the_conditional_power_of_the_change_seen_so_far():
    seen = estimates(normal(1, 1, 16, seed=1), LOOKS, scale=1.0)
    z = stats.norm.isf(seen.p[0, 0, 1] / 2)
    at_end = stats.norm.isf(RULE.level(3) / 2)
    power = stats.norm.sf((at_end - z / math.sqrt(0.5)) / math.sqrt(0.5))

    assert bool(sequential._is_futile(seen, RULE, 1, None)[0, 0]) == (power < 0.1)
    assert not np.any(sequential._is_futile(seen, RULE, 0, None))  # fewer than 8 seeds


def test_a_change_that_will_be_equivalent_is_not_futile():
    values = 0.3 * normal(1, 1, 16, seed=1)
    seen = estimates(values - values.mean(), LOOKS, scale=1.0)

    assert sequential._is_futile(seen, RULE, 1, None)[0, 0]
    assert not sequential._is_futile(seen, RULE, 1, 0.3)[0, 0]


def test_the_mixture_is_the_integral_of_the_likelihood_ratio_of_t_over_its_prior():
    values = normal(8, seed=9) + 1.0
    t = values.mean() / (values.std(ddof=1) / math.sqrt(8))
    effects = np.linspace(-12, 12, 200_001)
    weights = stats.norm.pdf(effects) * (effects[1] - effects[0])
    ratio = np.sum(weights * stats.nct.pdf(t, 7, math.sqrt(8) * effects)) / stats.t.pdf(t, 7)

    rule = Rule(ALWAYS_VALID, 16, (8, 16))
    p = rule.p_value(estimates(values[None], (8, 16)), 0)

    assert p[0] == pytest.approx(1 / ratio, rel=1e-4)


def test_the_mixture_needs_the_values_of_t_that_the_audit_names():
    rule = Rule(ALWAYS_VALID, 16, (4, 5, 8, 16))
    assert [rule.critical(look) for look in range(4)] == pytest.approx([math.inf, 8.45, 4.25, 3.51], abs=0.01)


def test_the_mixture_keeps_its_error_when_every_seed_is_a_look():
    looks = tuple(range(3, 33))
    made = decide(estimates(normal(10_000, 1, 32, seed=6), looks, scale=1.0), Rule(ALWAYS_VALID, 32, looks))

    assert (made.kind == DIFFERENT).mean() < 0.05


def test_signs_are_judged_without_what_holds_for_t_only():
    p = np.full((1, 4), 0.0130)
    seen = Estimates(np.ones((1, 4)), np.full((1, 4), math.nan), p, is_normal=False)

    assert decide(seen, RULE).kind.tolist() == [UNDECIDED]
    assert decide(seen._replace(p=p * 0.9), RULE).kind.tolist() == [DIFFERENT]


def test_looks_at_five_percent_each_cost_what_the_audit_found():
    assert sequential.false_claims((3, 5, 8, 13, 21)) == pytest.approx(0.168, abs=0.004)
    assert sequential.false_claims((5, 8)) == pytest.approx(0.08, abs=0.006)


def test_default_looks_are_about_four_and_end_at_the_horizon():
    assert sequential.default_looks(16) == LOOKS
    for horizon in range(3, 40):
        looks = sequential.default_looks(horizon)
        assert looks[-1] == horizon and looks[0] >= 3 and len(looks) <= 4 and list(looks) == sorted({*looks})
