"""Probabilities of classes. Letters: N examples, K classes."""

from __future__ import annotations

import numpy as np


def of_every_class(probabilities: np.ndarray) -> np.ndarray:
    """Returns the probability of every class, float[N, K]; a single column is that of class 1 of two."""
    return np.hstack([1 - probabilities, probabilities]) if probabilities.shape[1] == 1 else probabilities
