"""What a language model reads: the words before each word, their vectors, and dropout of whole words.

Letters: B texts, T steps, V ids, D width of a vector.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("ablation")
class BeforeAndAfter(keras.layers.Layer):
    """Divides a text into what a model reads and what it predicts.

    Call: int32[B, T + 1] → the first T ids, and the last T ids: at every step the id that follows.
    """

    def call(self, ids: Any) -> tuple[Any, Any]:
        """Returns two tensors int32[B, T]."""
        return ids[:, :-1], ids[:, 1:]

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> Any:
        """Returns [B, T] twice."""
        steps = None if shape[1] is None else shape[1] - 1
        return (shape[0], steps), (shape[0], steps)


@keras.saving.register_keras_serializable("ablation")
class WordVectors(keras.layers.Layer):
    """An embedding that also returns its table, which a tied output layer multiplies with.

    Call: int32[B, T] → float32[B, T, D] and the table float32[V, D].
    """

    def __init__(self, size: int, width: int, *, is_product: bool = False, **kwargs: Any) -> None:
        """Creates the layer.

        Args:
          size: V.
          width: D.
          is_product: whether one-hot vectors are multiplied with the table, in place of a lookup.
          **kwargs: for Keras; `initializer` is that of the table.
        """
        initializer = kwargs.pop("initializer", "uniform")
        super().__init__(**kwargs)
        self.size, self.width, self.is_product = size, width, is_product
        self.initializer = keras.initializers.get(initializer)

    def build(self, shape: Any) -> None:
        """Creates the table."""
        self.table = self.add_weight(shape=(self.size, self.width), initializer=self.initializer, name="table")

    def call(self, ids: Any) -> tuple[Any, Any]:
        """Returns the vectors of the ids and the table."""
        table = ops.convert_to_tensor(self.table)
        vectors = ops.matmul(ops.one_hot(ids, self.size), table) if self.is_product else ops.take(table, ids, axis=0)
        return vectors, table

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> Any:
        """Returns [B, T, D] and [V, D]."""
        return (*shape, self.width), (self.size, self.width)

    def get_config(self) -> dict[str, Any]:
        """Returns the configuration that recreates the layer."""
        values = {"size": self.size, "width": self.width, "is_product": self.is_product}
        return {**super().get_config(), **values, "initializer": keras.initializers.serialize(self.initializer)}


@keras.saving.register_keras_serializable("ablation")
class DropWords(keras.layers.Layer):
    """Dropout of whole words: in each training batch, all vectors of some ids are zero, wherever the ids occur.

        y[b, t] = m[id[b, t]] x[b, t],    m[v] = 0 with probability p, else 1 / (1 - p)

    Source: Gal and Ghahramani, "A Theoretically Grounded Application of Dropout in Recurrent Neural Networks",
    NeurIPS 2016; `dropoute` in the code of Merity, Keskar and Socher (ICLR 2018).

    Call: vectors float32[B, T, D], ids int32[B, T] → float32[B, T, D].
    """

    def __init__(self, rate: float, size: int, *, seed: int, **kwargs: Any) -> None:
        """Creates the layer; `size` is V, `rate` is p."""
        super().__init__(**kwargs)
        self.rate, self.size, self.seed = rate, size, seed
        self.draws = keras.random.SeedGenerator(seed)

    def call(self, vectors: Any, ids: Any, training: bool | None = None) -> Any:
        """Returns the vectors; those of dropped ids are zero in training."""
        if not training:
            return vectors
        kept = keras.random.dropout(ops.ones((self.size,)), self.rate, seed=self.draws)
        return vectors * ops.take(kept, ids, axis=0)[..., None]

    def compute_output_shape(self, vectors_shape: Any, ids_shape: Any) -> Any:
        """Returns [B, T, D]."""
        return vectors_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the configuration that recreates the layer."""
        return {**super().get_config(), "rate": self.rate, "size": self.size, "seed": self.seed}


@keras.saving.register_keras_serializable("ablation")
class StatePenalty(keras.layers.Layer):
    r"""Penalties on large states and on large changes of the state; zero except in training.

        activation * sum_t mean_h(d_t^2) + temporal * sum_t mean_h((h_t - h_{t-1})^2)

    over the real steps of a text, where h are the states of the last layer and d the same after dropout.

    Source: AR and TAR of Merity, McCann and Socher, "Revisiting Activation Regularization for Language RNNs", 2017.
    Ours, not the authors': their code divides the second sum by the number of pairs, ours by the number of words, as
    the first.

    Call: h float32[B, T, H], d float32[B, T, H], is_real bool[B, T] → float32[B].
    """

    def __init__(self, *, activation: float, temporal: float, **kwargs: Any) -> None:
        """Creates the layer; the arguments are the factors of the two penalties."""
        super().__init__(**kwargs)
        self.activation, self.temporal = activation, temporal
        self.supports_masking = True  # `is_real` says what counts

    def compute_mask(self, states: Any, previous_mask: Any = None) -> None:
        """Returns None: the output has no steps to mask."""
        return

    def call(self, states: Any, dropped: Any, is_real: Any, training: bool | None = None) -> Any:
        """Returns the penalty of each text."""
        if not training:
            return ops.zeros_like(states[:, 0, 0])
        real = ops.cast(is_real, states.dtype)
        sizes = ops.mean(ops.square(dropped), axis=-1) * real
        changes = ops.mean(ops.square(states[:, 1:] - states[:, :-1]), axis=-1) * real[:, 1:] * real[:, :-1]
        return self.activation * ops.sum(sizes, axis=1) + self.temporal * ops.sum(changes, axis=1)

    def compute_output_shape(self, states_shape: Any, dropped_shape: Any, is_real_shape: Any) -> Any:
        """Returns [B]."""
        return (states_shape[0],)

    def get_config(self) -> dict[str, Any]:
        """Returns the configuration that recreates the layer."""
        return {**super().get_config(), "activation": self.activation, "temporal": self.temporal}
