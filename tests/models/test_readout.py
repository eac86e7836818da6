from __future__ import annotations

import numpy as np
import pytest

from src.models.readout import PoolSteps

X = np.random.default_rng(0).normal(size=(3, 6, 2)).astype(np.float32)
LENGTHS = (2, 6, 4)
MASK = np.arange(6) < np.array(LENGTHS)[:, None]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


@pytest.mark.parametrize(("how", "plain"), [("mean", np.mean), ("sum", np.sum), ("max", np.max)])
@pytest.mark.parametrize("masked", [True, False])
def test_pooling_equals_numpys_over_the_real_steps(how, plain, masked):
    pooled = PoolSteps(how)(X, mask=MASK if masked else None)

    expected = [plain(x[: n if masked else None], axis=0) for x, n in zip(X, LENGTHS, strict=True)]
    np.testing.assert_allclose(pooled, expected, atol=1e-6)


@pytest.mark.parametrize("masked", [True, False])
def test_the_pooled_logit_has_the_mean_probability_of_the_steps(masked):
    mask = MASK if masked else None
    several, one = PoolSteps("mean_probability")(X, mask=mask), PoolSteps("mean_probability")(X[..., :1], mask=mask)

    for i, n in enumerate(LENGTHS):
        steps = X[i, : n if masked else None]
        np.testing.assert_allclose(softmax(np.asarray(several[i])), softmax(steps).mean(0), atol=1e-5)
        np.testing.assert_allclose(sigmoid(np.asarray(one[i])), sigmoid(steps[:, :1]).mean(0), atol=1e-5)


def test_extreme_logits_give_a_finite_mean_probability():
    assert np.isfinite(PoolSteps("mean_probability")(np.full((1, 3, 1), 1e4, np.float32))).all()
