"""Causes why an image classifier learnt nothing, from its weights, one batch and the record of its training."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np

from src.training import diagnosis
from src.training.diagnosis import Evidence


def causes(evidence: Evidence) -> Iterator[str]:
    """Yields the causes, the likeliest first."""
    yield from diagnosis.identical_inputs(evidence, what="images", look_at="the files")
    yield from identical_units(evidence)
    yield from diagnosis.learning_rate(evidence)
    yield from diagnosis.too_few_steps(evidence)


def identical_units(evidence: Evidence) -> Iterator[str]:
    """Yields a cause if all units of a hidden layer have the same weights, before and after training.

    Such units get the same gradient in each step, so that they stay one unit; from zeros, they get none at all.
    """
    for layer in evidence.learner.model.layers:
        before = evidence.untrained.get_layer(layer.name)
        if layer.name != "head" and all(map(_are_identical, (layer, before))):
            count, are_zero = int(layer.kernel.shape[-1]), not np.any(layer.kernel)
            what = f"all {count} units of {layer.name} have the same weights{' (zeros)' if are_zero else ''}"
            yield f"identical units: {what}, before training and after it; set initializer=glorot"
            return


def _are_identical(layer: keras.layers.Layer) -> bool:
    if not isinstance(layer, keras.layers.Dense | keras.layers.Conv2D):
        return False
    kernel = np.asarray(layer.kernel)
    return bool(kernel.shape[-1] > 1 and (kernel == kernel[..., :1]).all())
