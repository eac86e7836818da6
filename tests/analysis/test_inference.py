from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from analysis import inference
from src.inference import student


def test_the_sign_flip_p_counts_all_signs():
    differences = np.array([0.3, 0.1, 0.2, -0.05])
    signs = np.array([[1 if number >> bit & 1 else -1 for bit in range(4)] for number in range(16)])
    means = np.abs((signs * differences).mean(axis=1))

    assert inference.sign_flip(differences) == pytest.approx((means >= abs(differences.mean()) - 1e-12).mean())
    assert inference.sign_flip(np.ones(8)) == 2 / 2**8


def test_the_bound_on_the_failure_rate_is_exact():
    assert inference.failures_not_excluded(8) == pytest.approx(
        stats.binomtest(0, 8, alternative="less").proportion_ci(0.95).high
    )
    assert f"{inference.failures_not_excluded(8):.0%}" == "31%"


def test_a_difference_without_spread_has_the_p_of_its_signs_and_no_interval():
    found = student.interval(np.array([-40.0, -40.0]))

    assert (found.mean, found.p) == (-40.0, 0.5) and math.isnan(found.low)
    assert student.interval(np.full(8, 0.25)).p == 2 / 2**8


@pytest.mark.parametrize("pairs", [2, 5, 9])
def test_the_exact_p_of_signs_is_that_of_scipy(pairs):
    differences = np.random.default_rng(pairs).normal(0.3, 1, pairs)
    expected = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True
    )

    assert inference.sign_flip(differences) == pytest.approx(expected.pvalue)


def test_signs_are_exact_up_to_twenty_pairs():
    assert inference.sign_flip(np.full(20, 0.1)) == 2 / 2**20
    assert math.isnan(inference.sign_flip(np.full(21, 0.1)))


def test_equivalence_is_claimed_in_no_more_than_5_of_100_studies_at_the_margin():
    rng = np.random.default_rng(1)
    claimed = [student.is_equivalent(student.interval(rng.normal(0.01, 0.004, 8)), 0.01) for _ in range(4_000)]
    assert np.mean(claimed) <= 0.055
