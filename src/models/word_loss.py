"""The output of a language model: from states to the loss of every word, a block of words at a time.

Letters: B texts, T steps, H width of the states, V ids, N = B T, C words per block.

The logits of all words would take N V numbers: 180 MB for 64 texts of 70 steps and 10,000 ids, and several times as
much with their gradient. Here only the logits of one block exist at any time, and the backward pass computes them
again. `python -m benchmarks tasks` compares the step with one that keeps them all.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

BLOCK = 256  # words per block: 10 MB of logits for 10,000 ids, which stay in the processor's cache
NEVER = -1e9  # logit of an id that is no word


def word_losses(states: Any, words: Any, table: Any, bias: Any, *, first: int = 0, label_smoothing: float = 0.0) -> Any:
    r"""Returns -log p(word) for every row, float32[N], with p = softmax(states table^T + bias).

    With label smoothing ε, part of the target is spread over all K ids that can be a word:

        loss = -(1 - ε) log p(word) - ε/K sum_v log p(v)

    Source of label smoothing: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016.

    Args:
      states: float32[N, H].
      words: int32[N].
      table: float32[V, H].
      bias: float32[V].
      first: the lowest id that can be a word, K = V - first.
      label_smoothing: ε.
    """

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def losses(states: Any, table: Any, bias: Any) -> Any:
        """Returns the losses, and the function that returns their gradients."""
        softmax = _Softmax(states, tf.convert_to_tensor(words), table, bias, first, label_smoothing)
        values, totals = softmax.losses()
        return values, lambda upstream: softmax.gradients(upstream, totals)

    return losses(*map(tf.convert_to_tensor, (states, table, bias)))


class _Softmax(NamedTuple):
    """The arguments of `word_losses`, in blocks of rows. The last block is filled up with zeros."""

    states: Any
    words: Any
    table: Any
    bias: Any
    first: int
    label_smoothing: float

    @property
    def count(self) -> Any:
        """The number of blocks."""
        return -(-tf.shape(self.states)[0] // BLOCK)

    def _filled(self, rows: Any) -> Any:
        """Returns rows [N, ...] with zeros after them, so that all blocks are full."""
        spare = self.count * BLOCK - tf.shape(rows)[0]
        return tf.pad(rows, [[0, spare], *[[0, 0]] * (rows.shape.rank - 1)])

    def _logits(self, rows: Any) -> Any:
        return tf.matmul(rows, self.table, transpose_b=True) + self.bias

    def losses(self) -> tuple[Any, Any]:
        """Returns the losses float32[N], and log sum exp of the logits of all rows, the added ones included."""
        states, words = self._filled(self.states), self._filled(self.words)

        def block(number: Any, values: Any, totals: Any) -> tuple[Any, Any, Any]:
            """Adds the values of a block."""
            logits, answers = self._logits(_block(states, number)), _block(words, number)
            total = tf.reduce_logsumexp(logits, axis=1)  # TensorFlow's cross entropy would compute a gradient, too
            value = total - tf.gather(logits, answers, axis=1, batch_dims=1)
            if self.label_smoothing:
                spread = total - tf.reduce_mean(logits[:, self.first :], axis=1)
                value = (1 - self.label_smoothing) * value + self.label_smoothing * spread
            return number + 1, values.write(number, value), totals.write(number, total)

        empty = [tf.TensorArray(tf.float32, self.count, element_shape=[BLOCK]) for _ in range(2)]
        values, totals = self._over_blocks(block, *empty)
        return values.concat()[: tf.shape(self.states)[0]], totals.concat()

    def gradients(self, upstream: Any, totals: Any) -> tuple[Any, Any, Any]:
        """Returns the gradients of states, table and bias from those of the losses, float32[N]."""
        states, words, weights = map(self._filled, (self.states, self.words, upstream))
        is_word = tf.cast(tf.range(self.bias.shape[0]) >= self.first, tf.float32)
        spread = self.label_smoothing / (self.bias.shape[0] - self.first) * is_word

        def block(number: Any, by_state: Any, of_table: Any, of_bias: Any) -> tuple[Any, ...]:
            """Adds the gradients of a block."""
            rows, answers, weight = (_block(each, number) for each in (states, words, weights))
            shares = tf.exp(self._logits(rows) - _block(totals, number)[:, None]) * weight[:, None]
            places = tf.stack([tf.range(BLOCK), answers], axis=1)
            of_logits = tf.tensor_scatter_nd_sub(shares, places, (1 - self.label_smoothing) * weight)
            if self.label_smoothing:
                of_logits -= weight[:, None] * spread
            by_state = by_state.write(number, tf.matmul(of_logits, self.table))
            of_table += tf.matmul(of_logits, rows, transpose_a=True)
            return number + 1, by_state, of_table, of_bias + tf.reduce_sum(of_logits, axis=0)

        array = tf.TensorArray(tf.float32, self.count, element_shape=[BLOCK, self.states.shape[1]])
        array, of_table, of_bias = self._over_blocks(block, array, tf.zeros_like(self.table), tf.zeros_like(self.bias))
        return array.concat()[: tf.shape(self.states)[0]], of_table, of_bias

    def _over_blocks(self, block: Callable[..., Any], *start: Any) -> Any:
        """Returns what `block` makes of the values, from the first block to the last."""
        count = self.count
        return tf.while_loop(lambda number, *_: number < count, block, (0, *start), maximum_iterations=count)[1:]


def _block(rows: Any, number: Any) -> Any:
    """Returns the rows of a block, [C, ...]."""
    return tf.slice(rows, [number * BLOCK, *[0] * (rows.shape.rank - 1)], [BLOCK, *rows.shape[1:]])


def sampled_losses(states: Any, words: Any, table: Any, bias: Any, *, drawn: Any, first: int) -> Any:
    r"""Returns an estimate of -log p(word) from a few drawn ids, float32[N], for training.

        loss = log(exp(z_word) + sum_i exp(z_i) / q_i) - z_word

    with z the logits, q_i the expected number of times that an id is drawn, and the sum over the drawn ids other than
    the word. The sum is an unbiased estimate of that over all other words, so the loss approaches that of the full
    softmax.

    Source: Bengio and Senécal, "Adaptive Importance Sampling to Accelerate Training of a Neural Probabilistic Language
    Model", IEEE Transactions on Neural Networks 19(4), 2008.

    Args:
      states: float32[N, H].
      words: int32[N].
      table: float32[V, H].
      bias: float32[V].
      drawn: int32[S] ids from `draw_ids`, the same for all rows.
      first: the lowest id that is drawn.
    """
    count, size = tf.cast(tf.size(drawn), tf.float32), bias.shape[0] - first

    rank = tf.cast(drawn - first, tf.float32)
    expected = count * tf.math.log((rank + 2) / (rank + 1)) / tf.math.log(size + 1.0)
    of_word = tf.reduce_sum(states * tf.gather(table, words), axis=1) + tf.gather(bias, words)
    others = tf.matmul(states, tf.gather(table, drawn), transpose_b=True) + tf.gather(bias, drawn)
    others = tf.where(drawn[None] == words[:, None], NEVER, others - tf.math.log(expected))
    return tf.reduce_logsumexp(tf.concat([of_word[:, None], others], axis=1), axis=1) - of_word


def draw_ids(count: int, *, first: int, size: int, seed: Any) -> Any:
    """Returns random ids int32[count] from `first` to `size` - 1, with replacement.

    The probability of the id of rank r is log((r + 2) / (r + 1)) / log(R + 1) for R ids: nearly that of words whose ids
    are ordered by frequency (Zipf's law).
    """
    share = keras.random.uniform((count,), seed=seed)
    rank = tf.cast(tf.exp(share * tf.math.log(size - first + 1.0)), tf.int32) - 1
    return first + tf.clip_by_value(rank, 0, size - first - 1)


@keras.saving.register_keras_serializable("ablation")
class WordLoss(keras.layers.Layer):
    """A linear layer over words, and the loss of each word under its softmax.

        logits = h E^T + b        loss = -log softmax(logits)[word]

    Call: states float32[B, T, H], words int32[B, T] and, if the weights are tied, E float32[V, H] → float32[B, T], zero
    where a word has an id below `first`: such ids (padding, start) are no words, and their probability is 0. Without E
    the layer has weights of its own.

    Source of tied weights: Press and Wolf, "Using the Output Embedding to Improve Language Models", EACL 2017.
    """

    def __init__(
        self,
        size: int,
        *,
        first: int,
        skips_others: bool,
        samples: int = 0,
        label_smoothing: float = 0.0,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        """Creates the layer.

        Args:
          size: V.
          first: the lowest id that is a word.
          skips_others: whether steps without a word are left out of the products, which saves time where batches
            are padded. XLA cannot compile that, because it needs the number of words in advance.
          samples: how many ids the loss of training is computed from, drawn anew in each batch; 0 for all ids.
          label_smoothing: of the loss of training from all ids.
          seed: of these draws.
          **kwargs: for Keras.
        """
        initializer = kwargs.pop("initializer", "glorot_uniform")
        super().__init__(**kwargs)
        self.size, self.first, self.skips_others, self.samples, self.seed = size, first, skips_others, samples, seed
        self.label_smoothing = label_smoothing
        self.draws = keras.random.SeedGenerator(seed)
        self.initializer = keras.initializers.get(initializer)
        self.supports_masking = True  # a step without a word has no loss, whatever the mask

    def build(self, states_shape: Any, words_shape: Any, table_shape: Any = None) -> None:
        """Creates the bias and, if the weights are not tied, the matrix."""
        shape = (self.size, states_shape[-1])
        self.matrix = None if table_shape else self.add_weight(shape=shape, initializer=self.initializer, name="matrix")
        self.bias = self.add_weight(shape=(self.size,), initializer="zeros", name="bias")

    def call(self, states: Any, words: Any, table: Any = None, training: bool | None = None) -> Any:
        """Returns the loss of each word, float32[B, T]."""
        is_word = words >= self.first
        losses_of = self._function(training)
        matrix, bias = self._weights(table)
        if self.skips_others:
            places = tf.where(is_word)
            losses = losses_of(tf.gather_nd(states, places), tf.gather_nd(words, places), matrix, bias)
            return tf.scatter_nd(places, losses, tf.shape(words, tf.int64))
        rows, ids = tf.reshape(states, [-1, states.shape[-1]]), tf.reshape(words, [-1])
        losses = losses_of(rows, tf.maximum(ids, self.first), matrix, bias)
        return tf.where(is_word, tf.reshape(losses, tf.shape(words)), 0.0)

    def _function(self, training: bool | None) -> Callable[..., Any]:
        """Returns the function of states, words, matrix and bias that computes the losses."""
        if training and self.samples:
            return self._sampled
        smoothing = self.label_smoothing if training else 0.0
        return functools.partial(word_losses, first=self.first, label_smoothing=smoothing)

    def _sampled(self, states: Any, words: Any, matrix: Any, bias: Any) -> Any:
        """Returns the losses from ids that are drawn for this batch."""
        drawn = draw_ids(self.samples, first=self.first, size=self.size, seed=self.draws)
        return sampled_losses(states, words, matrix, bias, drawn=drawn, first=self.first)

    def logits(self, states: Any, table: Any = None) -> Any:
        """Returns the logits float32[..., V] of states float32[..., H]: one step of the model, in place of a loss."""
        matrix, bias = self._weights(table)
        return tf.einsum("...h,vh->...v", states, matrix) + bias

    def _weights(self, table: Any) -> tuple[Any, Any]:
        """Returns the matrix float32[V, H] and the bias float32[V], which excludes ids that are no words."""
        never = tf.where(tf.range(self.size) < self.first, NEVER, 0.0)
        return tf.convert_to_tensor(self.matrix if table is None else table), self.bias + never

    def compute_output_shape(self, states_shape: Any, words_shape: Any, table_shape: Any = None) -> Any:
        """Returns [B, T]."""
        return words_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the configuration that recreates the layer."""
        names = ("size", "first", "skips_others", "samples", "label_smoothing", "seed")
        values = {name: getattr(self, name) for name in names}
        return {**super().get_config(), **values, "initializer": keras.initializers.serialize(self.initializer)}
