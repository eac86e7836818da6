"""Results of benchmarks: ratios with their intervals, goals, and their way through JSON."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats

from benchmarks.result import Goal, Result, mean_of, ratio_of_pairs, ratio_of_sums, shown

ABOVE, BELOW = [2.0, 4.4, 6.3, 7.9], [1.0, 2.0, 3.0, 4.0]


def test_the_ratio_of_pairs_is_their_geometric_mean_with_the_t_interval_of_the_logarithms():
    logs = [math.log(a / b) for a, b in zip(ABOVE, BELOW, strict=True)]
    expected = stats.ttest_1samp(logs, 0).confidence_interval(0.95)

    estimate = ratio_of_pairs(ABOVE, BELOW)

    assert estimate.value == pytest.approx(stats.gmean([a / b for a, b in zip(ABOVE, BELOW, strict=True)]))
    assert estimate.interval == pytest.approx((math.exp(expected.low), math.exp(expected.high)))


def test_one_pair_has_no_interval():
    assert ratio_of_pairs([3.0], [2.0]) == (pytest.approx(1.5), None)
    assert ratio_of_sums([3.0], [2.0]) == (pytest.approx(1.5), None)
    assert mean_of([3.0]) == (3.0, None)


def test_the_ratio_of_sums_has_an_interval_that_covers():
    rng, hits = np.random.default_rng(0), 0
    for _ in range(400):
        below = rng.uniform(1, 10, 8)
        above = 3 * below * rng.lognormal(0, 0.1, 8)
        low, high = ratio_of_sums(above, below).interval
        hits += low < 3 * math.exp(0.1**2 / 2) < high

    assert 0.90 <= hits / 400 <= 0.98


def test_equal_ratios_have_an_interval_without_width():
    estimate = ratio_of_sums([2.0, 4.0], [1.0, 2.0])

    assert (estimate.value, *estimate.interval) == pytest.approx((2.0, 2.0, 2.0))


@pytest.mark.parametrize(
    ("goal", "value", "met"),
    [
        (Goal("at least", 5.0), 5.0, True),
        (Goal("at least", 5.0), 4.9, False),
        (Goal("at most", 2.0), 2.0, True),
        (Goal("at most", 2.0), 2.1, False),
        (None, 2.1, None),
        (Goal("at most", 2.0), None, None),
    ],
)
def test_a_goal_is_met_on_its_side(goal, value, met):
    assert Result("a/b", "a number", value, goal=goal).met is met


@pytest.mark.parametrize("goal", [Goal("at least", 5.0), None])
def test_a_result_is_the_same_after_its_way_through_json(goal):
    result = Result("a/b", "a number", 4.2, "×", (4.0, 4.4), goal, 3, {"seconds": [1.0, 2.0]})

    assert Result.of_json(json.loads(json.dumps(result.as_json()))) == result


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1.234, "×", "1.23 ×"),
        (0.0052, "share", "0.52%"),
        (0.31, "share", "31%"),
        (1101.6, "MB", "1,102 MB"),
        (123.4, "s", "123 s"),
        (None, "s", "not measured"),
    ],
)
def test_a_value_is_shown_with_its_unit(value, unit, text):
    assert shown(value, unit) == text
