"""Distributions of weights, activations and gradients, as TensorBoard draws them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

BINS = 30


def histogram(values: np.ndarray) -> dict[str, Any]:
    """Returns counts in equal bins and what TensorBoard asks for beside them; only finite values count."""
    flat = np.asarray(values, np.float64).ravel()
    flat = flat[np.isfinite(flat)]
    if not len(flat):
        flat = np.zeros(1)
    low, high = flat.min(), flat.max()
    room = max(0.0, 1e-6 * max(abs(low), abs(high), 1.0) - (high - low))  # bins of equal numbers need some width
    counts, edges = np.histogram(flat, bins=BINS, range=(low - room, high + room))
    return {
        "min": float(flat.min()),
        "max": float(flat.max()),
        "num": len(flat),
        "sum": float(flat.sum()),
        "sum_squares": float(np.square(flat).sum()),
        "edges": edges[1:].tolist(),
        "counts": counts.tolist(),
    }


def of_all(groups: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, Any]:
    """Returns one histogram for each array, named `weights/encoding/embeddings` and the like."""
    return {f"{group}/{name}": histogram(values) for group, arrays in groups.items() for name, values in arrays.items()}
