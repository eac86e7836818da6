"""Readouts that use all steps: pooling of states or logits over time."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("ablation")
class PoolSteps(keras.layers.Layer):
    r"""Pools the steps of a sequence into one vector.

    With m_t = 1 at real steps (at all steps if there is no mask):

        mean:  y = sum_t m_t x_t / sum_t m_t
        sum:   y = sum_t m_t x_t
        max:   y = max over t with m_t = 1 of x_t
        mean_probability:  y = g^-1(mean_t g(x_t))

    For one unit, g is the sigmoid and g^-1 the log-odds; for several units, g is the softmax and g^-1 the logarithm.
    The result is a logit whose probability is the mean of the steps' probabilities.

    Call: float32[B, T, F], mask bool[B, T] or None → float32[B, F].
    """

    def __init__(self, how: str, **kwargs: Any) -> None:
        """Creates the layer; `how` is a key of `POOLINGS`."""
        super().__init__(**kwargs)
        self.how = how
        self.supports_masking = True

    def call(self, x: Any, mask: Any = None) -> Any:
        """Returns float32[B, F]."""
        weights = ops.ones_like(x[..., :1]) if mask is None else ops.expand_dims(ops.cast(mask, x.dtype), -1)
        return POOLINGS[self.how](x, weights)

    def compute_mask(self, x: Any, previous_mask: Any = None) -> None:
        """Returns None: the output has no steps to mask."""
        return

    def get_config(self) -> dict[str, Any]:
        """Returns the configuration that recreates the layer."""
        return {**super().get_config(), "how": self.how}


def _mean(x: Any, weights: Any) -> Any:
    return ops.sum(x * weights, axis=1) / ops.sum(weights, axis=1)


def _sum(x: Any, weights: Any) -> Any:
    return ops.sum(x * weights, axis=1)


def _max(x: Any, weights: Any) -> Any:
    return ops.max(ops.where(weights > 0, x, -float("inf")), axis=1)


def _mean_probability(x: Any, weights: Any) -> Any:
    smallest = keras.config.epsilon()
    if x.shape[-1] == 1:
        mean = ops.clip(_mean(ops.sigmoid(x), weights), smallest, 1 - smallest)
        return ops.log(mean) - ops.log(1 - mean)
    return ops.log(ops.maximum(_mean(ops.softmax(x), weights), smallest))


POOLINGS = {"mean": _mean, "sum": _sum, "max": _max, "mean_probability": _mean_probability}
