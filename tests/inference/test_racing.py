"""Races over looks: power, required seeds and expected trials, against plain computations."""

import math

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower

from src.inference import racing, sequential
from src.inference.sequential import SPENDING, Rule

LOOKS = (4, 8, 12, 16)
RULE = Rule(SPENDING, 16, LOOKS)
AGAINST_REFERENCE = np.array([[-1.0, 1.0, 0.0], [-1.0, 0.0, 1.0]])


pytestmark = pytest.mark.usefixtures("fewer_paths")


@pytest.mark.parametrize(("effect", "count"), [(0.5, 1), (0.8, 5), (1.5, 5)])
def test_required_seeds_and_power_are_those_of_statsmodels(effect, count):
    exact = TTestPower().solve_power(effect, alpha=0.05 / count, power=0.8)
    assert racing.seeds_for(effect, comparisons=count) == math.ceil(exact)
    assert racing.power(effect, None, seeds=12, comparisons=count) == pytest.approx(
        TTestPower().power(effect, 12, 0.05 / count), abs=1e-6
    )
    assert racing.seeds_for(0.01, comparisons=1) is None


def test_the_detectable_change_has_a_power_of_80_percent():
    fixed = racing.detectable(None, seeds=16, comparisons=5)
    assert TTestPower().power(fixed, 16, 0.01) == pytest.approx(0.8, abs=0.002)

    effect = racing.detectable(RULE, seeds=16, comparisons=1)
    values = np.random.default_rng(1).standard_normal((20_000, 1, 16)) + effect
    made = sequential.decide(sequential.estimates(values, LOOKS, scale=1.0), RULE)
    assert (made.kind == sequential.DIFFERENT).mean() == pytest.approx(0.8, abs=0.01)


def test_contrasts_need_every_variant_with_a_weight():
    values = np.arange(12.0).reshape(3, 4)
    values[2, 2:] = math.nan

    found = racing.differences(values, AGAINST_REFERENCE)

    assert found[0].tolist() == [4, 4, 4, 4] and found[1, :2].tolist() == [8, 8] and np.isnan(found[1, 2:]).all()
    assert racing.needed(AGAINST_REFERENCE, np.array([False, True])).tolist() == [True, False, True]


def test_a_race_trains_a_variant_to_its_last_look_and_the_reference_to_the_last_of_all():
    values = np.random.default_rng(0).standard_normal((50, 3, 16)) + np.array([0, 0.7, 9])[:, None]
    race = racing.run(values, [AGAINST_REFERENCE], RULE)

    last = np.array(LOOKS)[race.decisions[0].last]
    assert (race.seeds[:, 1:] == last).all() and (race.seeds[:, 0] == last.max(axis=1)).all()
    assert (race.seeds[:, 2] == 4).mean() > 0.9 and (race.seeds[:, 1] > 4).mean() > 0.9


def test_expected_trials_are_few_for_large_effects_and_all_where_nothing_stops():
    means = np.array([0.0, 20.0, 20.0])
    assert racing.expected_trials([AGAINST_REFERENCE], means, rule=RULE, margin=None, spread=1.0) == 12
    to_the_end = Rule(SPENDING, 7, (3, 7))  # nothing is futile with fewer than 8 seeds
    expected = racing.expected_trials([AGAINST_REFERENCE], 0 * means, rule=to_the_end, margin=None, spread=1.0)
    assert 3 * 7 * 0.97 < expected < 3 * 7
