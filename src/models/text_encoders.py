"""Layers between the ids of a text and the features of a classifier without recurrence.

Letters: B texts, T steps, D size of a step, V ids.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

LONGEST_WAVE = 10_000.0  # of the sines, in steps, divided by 2 pi


@keras.saving.register_keras_serializable("ablation")
class Positions(keras.layers.Layer):
    r"""Scales the steps of a text and, unless told otherwise, adds what depends on their position.

        y_t = sqrt(D) x_t + p_t,    p_{t, 2i} = sin(t / 10000^{2i / D}),    p_{t, 2i + 1} = cos(t / 10000^{2i / D})

    Source: Vaswani et al., "Attention Is All You Need", NIPS 2017, sections 3.4 and 3.5. Ours, not the paper's: with a
    mask, t counts from the first step that is not masked, so that padding in front moves no word.

    Call: float32[B, T, D], mask bool[B, T] or None → float32[B, T, D].
    """

    def __init__(self, has_positions: bool = True, **kwargs: Any) -> None:
        """Creates the layer; without positions it only scales."""
        super().__init__(**kwargs)
        self.has_positions = has_positions
        self.supports_masking = True

    def call(self, x: Any, mask: Any = None) -> Any:
        """Returns float32[B, T, D]."""
        size = x.shape[-1]
        scaled = x * np.float32(np.sqrt(size))
        if not self.has_positions:
            return scaled
        is_real = ops.ones_like(x[..., 0]) if mask is None else ops.cast(mask, x.dtype)
        places = ops.expand_dims(ops.cumsum(is_real, axis=1) - 1, -1)
        pair = np.arange(size) // 2
        rates, phases = (
            LONGEST_WAVE ** (-2 * pair / size),
            np.pi / 2 * (np.arange(size) % 2),
        )  # cos(a) = sin(a + pi / 2)
        return scaled + ops.sin(places * rates.astype(np.float32) + phases.astype(np.float32))

    def get_config(self) -> dict[str, Any]:
        """Returns the configuration that recreates the layer."""
        return {**super().get_config(), "has_positions": self.has_positions}


@keras.saving.register_keras_serializable("ablation")
class ClearMasked(keras.layers.Layer):
    """Sets masked steps to zero and removes the mask: a convolution then reads them as it reads the end of a text.

    Call: float32[B, T, D], mask bool[B, T] or None → float32[B, T, D].
    """

    def __init__(self, **kwargs: Any) -> None:
        """Creates the layer."""
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, x: Any, mask: Any = None) -> Any:
        """Returns float32[B, T, D]."""
        return x if mask is None else x * ops.expand_dims(ops.cast(mask, x.dtype), -1)

    def compute_mask(self, x: Any, previous_mask: Any = None) -> None:
        """Returns None: the steps are cleared already."""
        return


@keras.saving.register_keras_serializable("ablation")
class TfIdf(keras.layers.Layer):
    r"""The frequencies of the words of a text, weighted by rarity, as a vector of length 1.

        y_v = n_v idf_v / sqrt(sum_w (n_w idf_w)^2)

    n_v is how often the text has id v, and `idf` a weight of each id, which does not train; an id with weight 0, such
    as padding, does not count. A text without any weighted word gives zeros.

    Call: int32[B, T] → float32[B, V].
    """

    def __init__(self, size: int, **kwargs: Any) -> None:
        """Creates the layer; `size` is V, the number of ids."""
        super().__init__(**kwargs)
        self.size = size

    def build(self, shape: Any) -> None:
        """Creates the weights, with value 1."""
        self.idf = self.add_weight(shape=(self.size,), initializer="ones", trainable=False, name="idf")

    def call(self, ids: Any) -> Any:
        """Returns float32[B, V] for ids int32[B, T]."""
        counts = ops.reshape(ops.bincount(ids, minlength=self.size), (-1, self.size))
        weighted = ops.cast(counts, self.idf.dtype) * self.idf
        length = ops.sqrt(ops.sum(ops.square(weighted), axis=1, keepdims=True))
        return weighted / ops.where(length > 0, length, 1.0)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, int]:
        """Returns [B, V]."""
        return shape[0], self.size

    def get_config(self) -> dict[str, Any]:
        """Returns the configuration that recreates the layer."""
        return {**super().get_config(), "size": self.size}
