from __future__ import annotations

import numpy as np

from src.training.histograms import BINS, histogram, of_all


def test_a_histogram_agrees_with_numpy():
    values = np.random.default_rng(0).normal(size=(20, 10))

    found = histogram(values)

    assert sum(found["counts"]) == found["num"] == 200
    assert (found["min"], found["max"]) == (values.min(), values.max())
    np.testing.assert_allclose([found["sum"], found["sum_squares"]], [values.sum(), (values**2).sum()])
    np.testing.assert_array_equal(found["counts"], np.histogram(values, bins=BINS)[0])


def test_constant_and_infinite_values_do_not_break_it():
    assert histogram(np.full(5, 3.0))["num"] == 5
    assert sum(histogram(np.array([1e15, 1e15 + 1]))["counts"]) == 2
    assert histogram(np.array([np.nan, np.inf, 1.0]))["num"] == 1
    assert histogram(np.array([np.nan]))["counts"]


def test_every_array_is_named_by_its_group():
    assert list(of_all({"weights": {"a/b": np.ones(2)}, "gradients": {"a/b": np.ones(2)}})) == [
        "weights/a/b",
        "gradients/a/b",
    ]
