"""One-hot vectors as a layer."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable("ablation")
class OneHot(keras.layers.Layer):
    """Replaces every id by its one-hot vector, and creates the mask of the padding.

        y[b, t, i] = 1 if ids[b, t] == i else 0

    Keras' `CategoryEncoding` fails on sequences of unknown length and drops the mask. Multiplied by a matrix [V, D],
    the output equals the embedding lookup in that matrix.

    Call: int32[B, T] → float32[B, T, V], mask bool[B, T].
    """

    def __init__(self, size: int, *, mask_zero: bool = False, **kwargs: Any) -> None:
        """Creates the layer.

        Args:
          size: V, the number of ids.
          mask_zero: whether later layers skip id 0 as padding.
        """
        super().__init__(**kwargs)
        self.size = size
        self.mask_zero = mask_zero

    def call(self, ids: Any) -> Any:
        """Returns float32[B, T, V] for ids int32[B, T]."""
        return keras.ops.one_hot(ids, self.size)

    def compute_mask(self, ids: Any, previous_mask: Any = None) -> Any:
        """Returns bool[B, T], true at real steps; None if padding is not masked."""
        return keras.ops.not_equal(ids, 0) if self.mask_zero else None

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Returns [B, T, V]."""
        return (*shape, self.size)

    def get_config(self) -> dict[str, Any]:
        """Returns the configuration that recreates the layer."""
        return {**super().get_config(), "size": self.size, "mask_zero": self.mask_zero}
