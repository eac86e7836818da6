"""Histograms of weights, activations and gradients in TensorBoard's format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

BINS = 30


def histogram(values: np.ndarray) -> dict[str, Any]:
    """Returns the counts in bins of equal width and the other fields of TensorBoard's histograms.

    Values that are not finite are left out.
    """
    flat = np.asarray(values, np.float64).ravel()
    flat = flat[np.isfinite(flat)]
    if not len(flat):
        flat = np.zeros(1)
    low, high = flat.min(), flat.max()
    # Bins need some width, even if all values are equal.
    room = max(0.0, 1e-6 * max(abs(low), abs(high), 1.0) - (high - low))
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
    """Returns one histogram per array, with names such as `weights/encoding/embeddings`."""
    return {f"{group}/{name}": histogram(values) for group, arrays in groups.items() for name, values in arrays.items()}
