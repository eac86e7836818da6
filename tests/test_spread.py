from __future__ import annotations

import numpy as np
import pytest

from docs import spread


def crossed(rng, *, seeds, examples, of_seeds, of_pairs):
    """Returns differences of four comparisons: on all examples, and on ten halves of them."""
    own = rng.normal(0, of_seeds, (4, seeds))
    pairs = rng.normal(0, of_pairs, (4, seeds, examples))
    halves = [rng.permutation(examples)[: examples // 2] for _ in range(10)]
    return own + pairs.mean(axis=-1), np.array([own + pairs[..., half].mean(axis=-1) for half in halves])


def test_the_variance_that_endless_examples_leave_is_that_of_the_seeds():
    rng = np.random.default_rng(0)
    limits = [
        spread.examples_limit(*crossed(rng, seeds=8, examples=400, of_seeds=0.01, of_pairs=0.2), np.inf)
        for _ in range(100)
    ]
    assert np.mean(limits) == pytest.approx(0.01**2, rel=0.15)


def test_a_covariate_leaves_the_variance_of_the_regression():
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, (1, 8))
    covariate = values + rng.normal(0, 1, (1, 8))
    design = np.stack([np.ones(8), covariate[0]], axis=1)
    fitted, (squares,), _, _ = np.linalg.lstsq(design, values[0])

    assert spread.residual_variance(values, covariate) == pytest.approx(squares / 6)
    assert spread.intercepts(values, covariate)[0] == pytest.approx(fitted[0])


def test_intervals_of_ratios_cover_in_about_95_of_100_studies():
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(200):
        found = spread.ratio_of(rng.normal(0, 2, (4, 8)), rng.normal(0, 1, (4, 8)))
        low, high = map(float, found.split("[")[1].rstrip("]").split(", "))
        covered.append(low <= 2 <= high)
    assert 0.9 <= np.mean(covered) <= 0.99
