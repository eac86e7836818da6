"""A learned initial state."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("ablation")
class LearnedState(keras.layers.Layer):
    """Trainable initial states. They start at zero and are the same for every sequence of a batch.

    Call: any tensor [B, ...] → list of `count` tensors float32[B, H].
    """

    def __init__(self, units: int, count: int, **kwargs: Any) -> None:
        """Creates the layer.

        Args:
          units: H, the width of a state.
          count: number of states that the recurrent layer takes (two for an LSTM; a second direction doubles it).
        """
        super().__init__(**kwargs)
        self.units = units
        self.count = count

    def build(self, shape: Any) -> None:
        """Creates the states."""
        self.states = [
            self.add_weight(shape=(self.units,), initializer="zeros", name=f"state_{i}") for i in range(self.count)
        ]

    def call(self, x: Any) -> Any:
        """Returns `count` tensors float32[B, H]."""
        return [ops.broadcast_to(state, (ops.shape(x)[0], self.units)) for state in self.states]

    def compute_mask(self, x: Any, previous_mask: Any = None) -> list[None]:
        """Returns None for every state: states have no steps to mask."""
        return [None] * self.count

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> list[tuple[int | None, int]]:
        """Returns [B, H] for every state."""
        return [(shape[0], self.units)] * self.count

    def get_config(self) -> dict[str, Any]:
        """Returns the configuration that recreates the layer."""
        return {**super().get_config(), "units": self.units, "count": self.count}
