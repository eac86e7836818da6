"""Probabilities of classes, and decisions by them. Letters: N examples, K classes."""

from __future__ import annotations

import numpy as np


def of_every_class(probabilities: np.ndarray) -> np.ndarray:
    """Returns the probability of every class, float[N, K]; a single column is that of class 1 of two."""
    return np.hstack([1 - probabilities, probabilities]) if probabilities.shape[1] == 1 else probabilities


def decided(probabilities: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """Returns the class of each example, int64[N].

    Args:
      probabilities: float[N, K].
      threshold: other than 1/2, the probability from which on class 1 of two is chosen.
    """
    if threshold == 0.5:
        return np.asarray(probabilities.argmax(axis=1))
    return np.asarray(probabilities[:, 1] >= threshold, np.int64)


def worst(probabilities: np.ndarray, labels: np.ndarray, count: int, *, threshold: float = 0.5) -> np.ndarray:
    """Returns int64 rows: the wrong ones, then the right ones; of each, the lowest probability of its own class first.

    Equal ones stay in order.

    Args:
      probabilities: float[N, K].
      labels: int[N].
      count: how many, fewer where there are fewer.
      threshold: as `decided` takes it.
    """
    of_own = probabilities[np.arange(len(labels)), labels]
    return np.lexsort((of_own, decided(probabilities, threshold) == labels))[:count]


def confusion_shares(labels: np.ndarray, predictions: np.ndarray, count: int) -> np.ndarray:
    """Returns float64[K, K], the share of the examples of each class (row) by prediction (column)."""
    counts = np.zeros((count, count))
    np.add.at(counts, (labels, predictions), 1)
    return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))
