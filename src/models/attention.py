"""Attention over a source: how well each source position fits a query, and the mean of the source by these weights.

Letters: B sentences, S source positions, T queries, H width of a query, E width of a value, A width of a hidden layer.

Keras' layers are other functions: its `AdditiveAttention` has no projections, its `Attention` has no general score.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from src.streams import stream_seed

EXCLUDED = -1e9  # score of a position that gets no weight


class Memory(NamedTuple):
    """What is computed once from a source and read at every step.

    Attributes:
      values: float32[B, S, E].
      keys: the values as the score reads them, float32[B, S, A]; None if the score reads none.
      mask: bool[B, S], False where the weight is zero; None if all positions may get weight.
    """

    values: Any
    keys: Any = None
    mask: Any = None


@keras.saving.register_keras_serializable("ablation")
class Attention(keras.layers.Layer):
    r"""The mean of the values v_j, weighted by their fit to a query q.

        a_j = exp(score(q, v_j)) / sum_i exp(score(q, v_i))        c = sum_j a_j v_j

    over the positions that the mask allows; the others have weight 0. If it allows none, all weights and c are 0.

        dot:       q . v_j, which needs H = E
        general:   q . W v_j
        concat:    v . tanh(W [q; v_j])
        additive:  v . tanh(W q + U v_j)
        location:  (W q)_j, for the first `longest` positions; later ones have weight 0

    Sources: Luong, Pham and Manning, "Effective Approaches to Attention-based Neural Machine Translation", EMNLP 2015,
    equations 7 and 8, for all but `additive`; Bahdanau, Cho and Bengio, "Neural Machine Translation by Jointly Learning
    to Align and Translate", ICLR 2015, appendix A.1.2, for `additive`. With W = [W_q, W_v], `concat` is the same
    function as `additive`. The two papers differ in the query and in the use of c, see `src.models.encoder_decoder`.
    """

    def __init__(self, score: str, width: int, *, longest: int | None = None, seed: int = 0, **kwargs: Any) -> None:
        """Creates the layer.

        Args:
          score: a key of `SCORES`.
          width: A, of `concat` and `additive`.
          longest: number of positions that `location` knows.
          seed: of the initial weights.
          **kwargs: for Keras.

        Raises:
          ValueError: the score is unknown, or `location` lacks `longest`.
        """
        super().__init__(**kwargs)
        if score not in SCORES:
            raise ValueError(f"score is {score!r}; allowed: {', '.join(SCORES)}")
        if score == "location" and not longest:
            raise ValueError("the location score has one row of weights per source position; give longest, at least 1")
        self.score, self.width, self.longest, self.seed = score, width, longest, seed

    def build(self, query_width: int, value_width: int) -> None:
        """Creates the weights.

        Args:
          query_width: H.
          value_width: E.

        Raises:
          ValueError: the score is `dot`, and the widths differ.
        """
        if self.score == "dot" and query_width != value_width:
            raise ValueError(
                f"the dot score needs queries and values of one width; they have {query_width} and {value_width}; "
                "the general score has a matrix between them"
            )
        for name, shape in self._shapes(query_width, value_width).items():
            initial = keras.initializers.GlorotUniform(stream_seed(self.seed, "weights", self.name, name))
            setattr(self, name, self.add_weight(shape=shape, initializer=initial, name=name))
        self.built = True

    def _shapes(self, query: int, value: int) -> dict[str, tuple[int, ...]]:
        """Returns the names and shapes of the weights of each score."""
        of_score: dict[str, dict[str, tuple[int, ...]]] = {
            "dot": {},
            "general": {"matrix": (value, query)},
            "concat": {"matrix": (query + value, self.width), "vector": (self.width,)},
            "additive": {
                "query_matrix": (query, self.width),
                "value_matrix": (value, self.width),
                "vector": (self.width,),
            },
            "location": {"matrix": (query, self.longest or 0)},
        }
        return of_score[self.score]

    def memory(self, values: Any, mask: Any = None) -> Memory:
        """Returns what is read at every step, from values float32[B, S, E] and mask bool[B, S] or None.

        Raises:
          ValueError: the number of positions is known and above the `longest` of `location`.
        """
        if self.longest and values.shape[1] is not None and values.shape[1] > self.longest:
            raise ValueError(
                f"the source has {values.shape[1]} positions, the location score knows {self.longest}; "
                "shorten the source, or choose another score"
            )
        if self.score == "general":
            return Memory(values, tf.matmul(values, self.matrix), mask)
        if self.score == "concat":
            return Memory(values, tf.matmul(values, self.matrix[-values.shape[2] :]), mask)
        if self.score == "additive":
            return Memory(values, tf.matmul(values, self.value_matrix), mask)
        return Memory(values, values if self.score == "dot" else None, mask)

    def call(self, query: Any, memory: Memory) -> tuple[Any, Any]:
        """Returns the contexts and the weights.

        Args:
          query: float32[B, H] or float32[B, T, H].
          memory: of `memory`.

        Returns:
          float32[B, E] and float32[B, S], or float32[B, T, E] and float32[B, T, S].
        """
        is_step = query.shape.rank == 2
        weights = self._weights(query[:, None] if is_step else query, memory)
        context = tf.matmul(weights, memory.values)
        return (context[:, 0], weights[:, 0]) if is_step else (context, weights)

    def _weights(self, query: Any, memory: Memory) -> Any:
        """Returns the weights float32[B, T, S] for queries float32[B, T, H]."""
        scores = SCORES[self.score](self, query, memory)
        if memory.mask is None:
            return tf.nn.softmax(scores)
        allowed = memory.mask[:, None]
        # Without any allowed position the softmax is uniform, and the product makes it zero.
        return tf.nn.softmax(tf.where(allowed, scores, EXCLUDED)) * tf.cast(allowed, scores.dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the configuration that recreates the layer."""
        names = ("score", "width", "longest", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _products(layer: Attention, query: Any, memory: Memory) -> Any:
    """Returns q . k_j, where the key of `general` is W v_j."""
    return tf.matmul(query, memory.keys, transpose_b=True)


def _hidden_layer(layer: Attention, query: Any, memory: Memory) -> Any:
    """Returns v . tanh(W q + k_j)."""
    matrix = layer.query_matrix if layer.score == "additive" else layer.matrix[: query.shape[2]]
    hidden = tf.tanh(tf.matmul(query, matrix)[:, :, None] + memory.keys[:, None])
    shape = tf.shape(hidden)  # one product with all rows is several times as fast as a sum of products
    return tf.reshape(tf.matmul(tf.reshape(hidden, [-1, layer.width]), layer.vector[:, None]), shape[:3])


def _places(layer: Attention, query: Any, memory: Memory) -> Any:
    """Returns (W q)_j."""
    steps = tf.shape(memory.values)[1]
    known = tf.matmul(query, layer.matrix)[:, :, :steps]
    missing = tf.maximum(steps - layer.longest, 0)
    return tf.pad(known, [[0, 0], [0, 0], [0, missing]], constant_values=EXCLUDED)


SCORES = {
    "dot": _products,
    "general": _products,
    "concat": _hidden_layer,
    "additive": _hidden_layer,
    "location": _places,
}
