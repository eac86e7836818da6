from __future__ import annotations

import numpy as np

from src.parts.classes import diagnosis


def test_the_explained_variance_is_that_of_an_analysis_of_variance():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 40)
    inputs = rng.normal(size=(40, 5)) + labels[:, None] * np.arange(5)

    within = sum(((inputs[labels == label] - inputs[labels == label].mean(0)) ** 2).sum() for label in range(3))

    expected = 1 - within / ((inputs - inputs.mean(0)) ** 2).sum()
    np.testing.assert_allclose(diagnosis.explained(inputs, labels), expected)
    assert 0 < expected < 1 and diagnosis.explained(np.ones((4, 2)), np.array([0, 0, 1, 1])) == 0


def test_labels_that_do_not_depend_on_inputs_explain_what_chance_does():
    rng = np.random.default_rng(1)
    found = [diagnosis.explained(rng.normal(size=(200, 30)), rng.integers(0, 5, 200)) for _ in range(50)]

    np.testing.assert_allclose(np.mean(found), 4 / 199, rtol=0.05)
