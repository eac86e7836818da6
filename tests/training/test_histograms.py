from __future__ import annotations

import numpy as np

from src.training.histograms import BINS, histogram, of_all


def test_a_histogram_agrees_with_numpy():
    values = np.random.default_rng(0).normal(size=(20, 10))

    result = histogram(values)

    assert sum(result["counts"]) == result["num"] == 200
    assert (result["min"], result["max"]) == (values.min(), values.max())
    np.testing.assert_allclose([result["sum"], result["sum_squares"]], [values.sum(), (values**2).sum()])
    np.testing.assert_array_equal(result["counts"], np.histogram(values, bins=BINS)[0])


def test_a_histogram_of_constant_or_infinite_values_is_valid():
    assert histogram(np.full(5, 3.0))["num"] == 5
    assert sum(histogram(np.array([1e15, 1e15 + 1]))["counts"]) == 2
    assert histogram(np.array([np.nan, np.inf, 1.0]))["num"] == 1
    assert histogram(np.array([np.nan]))["counts"]


def test_the_name_of_a_histogram_begins_with_its_group():
    assert list(of_all({"weights": {"a/b": np.ones(2)}, "gradients": {"a/b": np.ones(2)}})) == [
        "weights/a/b",
        "gradients/a/b",
    ]
