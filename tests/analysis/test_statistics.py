"""Simulated studies with known effects: intervals have the nominal coverage, and verdicts the nominal error rate."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import differences, effects, factorial, inference
from src.inference import student
from tests.analysis.conftest import ACCURACY

SIMULATIONS = 3_000


@pytest.mark.parametrize("seeds", [3, 5, 8])
def test_the_interval_covers_the_true_change_in_95_of_100_studies(seeds):
    rng = np.random.default_rng(seeds)
    covered = 0
    for _ in range(SIMULATIONS):
        of_seed = rng.normal(0, 0.02, seeds)  # effect of the seed on both variants
        differences = (0.8 + 0.015 + of_seed + rng.normal(0, 0.01, seeds)) - (
            0.8 + of_seed + rng.normal(0, 0.01, seeds)
        )
        found = student.interval(differences)
        covered += found.low <= 0.015 <= found.high

    assert 0.93 <= covered / SIMULATIONS <= 0.97


def frame(values):
    """The rows of values float[variants, seeds]; the first variant is the reference."""
    common = {"status": "FINISHED"}
    rows = [
        {
            "label": str(place),
            "is_reference": place == 0,
            "seed": seed,
            "identity": f"{place} {seed}",
            "test/accuracy": value,
            **common,
        }
        for place, row in enumerate(values)
        for seed, value in enumerate(row)
    ]
    return pd.DataFrame(rows)


def test_holm_errs_in_no_more_than_5_of_100_studies_where_nothing_differs():
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(10_000):
        values = rng.normal(0.8, 0.01, (6, 5))
        p = pd.Series([student.interval(row - values[0]).p for row in values[1:]])
        wrong += bool((inference.holm(p) < student.LEVEL).any())

    assert wrong / 10_000 <= 0.05 + 2 * np.sqrt(
        0.05 * 0.95 / 10_000
    )  # the rate, and two standard errors of the simulation


def test_verdicts_are_those_of_the_adjusted_p():
    rng = np.random.default_rng(2)
    for _ in range(20):
        values = rng.normal(0.8, 0.01, (4, 5)) + np.array([[0], [0.01], [0.02], [0.0]])
        found = effects.paired(frame(values), metric=ACCURACY, margin=None).iloc[1:]
        p = inference.holm(pd.Series([student.interval(row - values[0]).p for row in values[1:]]))

        np.testing.assert_allclose(found["p_holm"], p)
        assert found["verdict"].isin(["helps", "hurts"]).tolist() == (p < student.LEVEL).tolist()


def test_a_change_of_two_standard_deviations_is_found_with_8_seeds():
    rng = np.random.default_rng(3)
    found = sum(student.interval(rng.normal(0.02, 0.01, 8)).p * 5 < student.LEVEL for _ in range(1_000))
    assert found / 1_000 > 0.9


@pytest.mark.parametrize("spread", [0.0, 0.03])  # of an effect between seeds, three times that of a single trial
def test_main_effects_and_interactions_cover_the_truth_too(spread):
    rng = np.random.default_rng(4)
    covered = {"cell=gru": 0, "length=2": 0, "cell=gru × length=2": 0}
    truth = {"cell=gru": 0.02, "length=2": 0.03, "cell=gru × length=2": 0.02}
    studies = 600
    for _ in range(studies):
        rows = []
        for seed, of_seed in enumerate(rng.normal(0, 0.02, 3)):
            of_cell, of_both = rng.normal(0, spread, 2)
            for cell in ("lstm", "gru"):
                for length in (1, 2):
                    mean = (
                        0.8
                        + of_seed
                        + (0.01 + of_cell) * (cell == "gru")
                        + of_both * (cell == "gru") * (length == 2)
                        + 0.02 * (length == 2)
                        + 0.02 * (cell == "gru") * (length == 2)
                    )
                    rows.append({"seed": seed, "cell": cell, "length": length, "status": "FINISHED",
                                 "identity": f"{seed}{cell}{length}",
                                 "test/accuracy": mean + rng.normal(0, 0.01)})  # fmt: skip
        found = factorial.fit(
            pd.DataFrame(rows), {"cell": ["lstm", "gru"], "length": [1, 2]}, metric=ACCURACY, margin=None
        )
        for row in found.to_dict("records"):
            covered[row["effect"]] += row["low"] <= truth[row["effect"]] <= row["high"]

    assert all(0.92 <= count / studies <= 0.98 for count in covered.values()), covered


def test_equivalence_on_a_coarse_grid_is_claimed_in_no_more_than_5_of_100_studies_at_the_margin():
    rng = np.random.default_rng(5)
    claimed = 0
    for _ in range(SIMULATIONS):
        one, other = rng.binomial(20, [[0.80], [0.82]], (2, 3)) / 20  # 20 test examples, a true change of 0.02
        hidden = differences.hidden(student.grid(np.concatenate([one, other])), 3)
        claimed += student.is_equivalent(student.interval(other - one, scale=1.0), 0.02, hidden=hidden)

    assert claimed / SIMULATIONS <= 0.05


@pytest.mark.parametrize(("seeds", "spread"), [(3, 0.1), (5, 0.1), (8, 0.1), (8, 0.25)])
def test_steps_on_a_grid_of_epochs_differ_in_no_more_than_5_of_100_studies_where_nothing_differs(seeds, spread):
    rng = np.random.default_rng(6)
    wrong = 0
    for _ in range(SIMULATIONS):
        ours, theirs = np.ceil(700 * np.exp(rng.normal(0, spread, (2, seeds))) / 274) * 274
        signs = differences.signs(ours - 274, ours, theirs - 274, theirs)
        later, earlier = int((signs > 0).sum()), int((signs < 0).sum())
        wrong += later + earlier > 0 and stats.binomtest(later, later + earlier).pvalue < student.LEVEL

    assert wrong / SIMULATIONS <= 0.05


def test_seeds_that_are_added_after_each_look_claim_something_in_17_of_100_studies_without_an_effect():
    rng = np.random.default_rng(7)
    claimed = 0
    for changes in rng.normal(0, 1, (SIMULATIONS, 21)):
        claimed += any(student.interval(changes[:seeds]).p < student.LEVEL for seeds in (3, 5, 8, 13, 21))

    assert claimed / SIMULATIONS == pytest.approx(0.17, abs=0.02)


def test_of_a_path_that_gains_nothing_the_first_step_is_optimistic_and_later_ones_pessimistic():
    rng = np.random.default_rng(8)
    gains = []
    for _ in range(SIMULATIONS):
        means = [rng.normal(0, 0.02, 5).mean()]
        means += [rng.normal(0, 0.02, (left, 5)).mean(axis=1).max() for left in (5, 4, 3, 2, 1)]
        gains.append(np.diff(means))

    np.testing.assert_allclose(np.mean(gains, axis=0), [0.0105, -0.0013, -0.0015, -0.0025, -0.0048], atol=0.001)
