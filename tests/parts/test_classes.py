from __future__ import annotations

import math

import numpy as np
import pytest

from src.parts.classes import measures as classes
from src.parts.classes.probabilities import of_every_class

EVEN, SKEWED = np.array([0, 1] * 500), np.array([0] * 900 + [1] * 100)


@pytest.mark.parametrize(("labels", "largest"), [(EVEN, 0.5), (SKEWED, 0.9)])
def test_chance_is_the_share_of_the_largest_class_plus_two_standard_errors(labels, largest):
    assert classes.chances(labels)["accuracy"] == largest + 2 * math.sqrt(largest * (1 - largest) / 1_000)


@pytest.mark.parametrize("counts", [(36, 4), (900, 100), (300, 60, 30, 10)])
def test_guesses_are_seldom_better_than_chance_where_classes_are_of_unequal_sizes(counts):
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score

    labels = np.repeat(np.arange(len(counts)), counts)
    chances, random = classes.chances(labels), np.random.default_rng(0)
    del chances["accuracy"]  # of a constant guess; these are not constant
    better = dict.fromkeys(chances, 0)
    for _ in range(1_000):
        guesses = random.integers(0, len(counts), len(labels))
        better["balanced_accuracy"] += balanced_accuracy_score(labels, guesses) > chances["balanced_accuracy"]
        if "roc_auc" in chances:
            better["roc_auc"] += roc_auc_score(labels, random.random(len(labels))) > chances["roc_auc"]

    assert ("roc_auc" in chances) == (len(counts) == 2)
    assert all(count / 1_000 < 0.045 for count in better.values())  # two standard errors: 2.3 %
    assert all(1 / len(counts) < by < 1 for by in chances.values())


@pytest.mark.parametrize("labels", [EVEN, np.zeros(10, int), np.array([0] * 14 + [1] * 10)])
def test_accuracy_says_enough_where_classes_are_of_about_equal_sizes(labels):
    assert list(classes.chances(labels)) == ["accuracy"]


def test_a_single_column_is_the_probability_of_class_1_of_two():
    of_class_1 = np.array([[0.25], [0.1]], np.float32)
    of_three = np.array([[0.25, 0.5, 0.25]], np.float32)

    of_two = of_every_class(of_class_1)

    np.testing.assert_array_equal(of_two, [[np.float32(1) - p, p] for p in of_class_1[:, 0]])
    assert of_two.dtype == np.float32 and of_every_class(of_three) is of_three


@pytest.mark.training
@pytest.mark.parametrize(("loss", "width"), [("sigmoid", 1), ("softmax", 3), ("squared", 1)])
def test_each_loss_equals_numpys_and_each_example_has_weight_1(loss, width):
    import tensorflow as tf

    rng = np.random.default_rng(0)
    outputs = rng.normal(size=(20, width)).astype(np.float32)
    targets = (
        rng.normal(size=20).astype(np.float32)
        if loss == "squared"
        else rng.integers(0, max(2, width), 20).astype(np.int32)
    )
    measured = classes.MEASURES[loss](tf.constant(outputs), tf.constant(targets))
    chance = 1 / (1 + np.exp(-outputs[:, 0]))
    shares = np.exp(outputs) / np.exp(outputs).sum(1, keepdims=True)
    expected = {
        "sigmoid": lambda: (-np.log(np.where(targets == 1, chance, 1 - chance)), (chance > 0.5) == targets),
        "softmax": lambda: (-np.log(shares[np.arange(20), targets]), shares.argmax(1) == targets),
        "squared": lambda: ((outputs[:, 0] - targets) ** 2, (outputs[:, 0] > 0) == (targets > 0)),
    }[loss]()

    np.testing.assert_allclose(measured["loss"][0], expected[0], rtol=1e-4)
    np.testing.assert_array_equal(measured["accuracy"][0], expected[1])
    assert all((weights.numpy() == 1).all() for _, weights in measured.values())
    np.testing.assert_allclose(
        classes.predictions(tf.constant(outputs))["probability"], shares if width > 1 else chance[:, None], atol=1e-6
    )
