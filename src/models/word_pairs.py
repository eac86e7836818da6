"""The model of word vectors: how well a context predicts a word.

Letters: B examples, C words of a context, K negatives, R words, D size of a vector.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

NONE = -1  # no word, as in `src.data.word_pairs`
LOSSES, CROSS_ENTROPY = "losses", "cross_entropy"
INPUT, OUTPUT = "input", "output"


@keras.saving.register_keras_serializable("ablation")
class WordPairs(keras.layers.Layer):
    r"""Two vectors for each word: w of the input table, where it is context, and c of the output table.

        h   = w_i                      one word of context (skip-gram)
        h   = mean_i w_i or sum_i w_i  several (continuous bag of words)
        s_j = h . c_j

    and the loss of an example with the true word o and its negatives n_1 … n_K is

        full:     log sum_j exp(s_j) - s_o, over all words j
        negative: - log sigmoid(s_o) - sum_k log sigmoid(-s_{n_k})
        sampled:  log sum_j exp(t_j) - t_o, over o and the negatives, with t_j = s_j - log(K q_j)

    where q is the distribution of the negatives. A negative that is `NONE` is left out.

    Sources: Mikolov, Sutskever, Chen, Corrado and Dean, "Distributed Representations of Words and Phrases and their
    Compositionality", NIPS 2013; for sampled softmax Jean, Cho, Memisevic and Bengio, "On Using Very Large Target
    Vocabulary for Neural Machine Translation", ACL 2015. The code of Mikolov et al. does not divide the gradient of the
    mean of CBOW by the number of words (İrsoy, Benton and Stratos, "Corrected CBOW Performs as well as Skip-gram",
    2021); here it is the gradient of the loss.

    All losses are judged by one, the cross entropy of the true word among all words:

        log sum_j exp(s_j + a_j) - (s_o + a_o)

    With negative sampling, s_j approaches log(p(j | h) / q_j) plus a constant (Levy and Goldberg, NIPS 2014), and
    subsampling divides p(j | h) by the share of occurrences that are kept. The offset `a` takes both back.

    Call: contexts int32[B, C], candidates int32[B, 1 + K] → `losses` and `cross_entropy`, float32[B] each; the latter
    is 0 in training.
    """

    def __init__(self, count: int, size: int, *, loss: str = "negative", is_mean: bool = True, **kwargs: Any) -> None:
        """Creates the layer.

        Args:
          count: R.
          size: D.
          loss: `full`, `negative` or `sampled`.
          is_mean: whether h is a mean of vectors, or their sum.
          **kwargs: for Keras; `initializer` is that of the input table.
        """
        initializer = kwargs.pop("initializer", "uniform")
        super().__init__(**kwargs)
        self.count, self.size, self.loss, self.is_mean = count, size, loss, is_mean
        self.initializer = keras.initializers.get(initializer)

    def build(self, *shapes: Any) -> None:
        """Creates the tables, the logarithms log(K q) that `sampled` subtracts, and the offsets a."""
        shape = (self.count, self.size)
        self.input_table = self.add_weight(shape=shape, initializer=self.initializer, name=INPUT)
        self.output_table = self.add_weight(shape=shape, initializer="zeros", name=OUTPUT)
        self.expected = self.add_weight(shape=(self.count,), initializer="zeros", trainable=False, name="expected")
        self.offset = self.add_weight(shape=(self.count,), initializer="zeros", trainable=False, name="offset")

    def call(self, contexts: Any, candidates: Any, training: bool | None = None) -> dict[str, Any]:
        """Returns the loss of each example and, except in training, its cross entropy."""
        hidden = self._hidden(contexts)
        truth = ops.maximum(candidates[:, 0], 0)
        losses = self._full(hidden, truth) if self.loss == "full" else self._drawn(hidden, candidates)
        judged = ops.zeros_like(losses) if training else self._full(hidden, truth, self.offset)
        return {LOSSES: losses, CROSS_ENTROPY: judged}

    def _hidden(self, contexts: Any) -> Any:
        """Returns h, float32[B, D]."""
        if contexts.shape[1] == 1:
            return ops.take(self.input_table, ops.maximum(contexts[:, 0], 0), axis=0)
        is_word = ops.cast(ops.not_equal(contexts, NONE), "float32")
        total = ops.einsum("bc,bcd->bd", is_word, ops.take(self.input_table, ops.maximum(contexts, 0), axis=0))
        return total / ops.maximum(ops.sum(is_word, axis=1, keepdims=True), 1.0) if self.is_mean else total

    def _full(self, hidden: Any, truth: Any, offset: Any = 0.0) -> Any:
        """Returns the cross entropy among all words, float32[B]."""
        scores = ops.matmul(hidden, ops.transpose(self.output_table)) + offset
        of_truth = ops.take_along_axis(scores, truth[:, None], axis=1)[:, 0]
        return ops.logsumexp(scores, axis=1) - of_truth

    def _drawn(self, hidden: Any, candidates: Any) -> Any:
        """Returns the loss of the true words against their negatives, float32[B]."""
        safe = ops.maximum(candidates, 0)
        scores = ops.einsum("bd,bkd->bk", hidden, ops.take(self.output_table, safe, axis=0))
        is_word = ops.not_equal(candidates, NONE)
        if self.loss == "sampled":
            compared = ops.where(is_word, scores - ops.take(self.expected, safe, axis=0), -1e9)
            return ops.logsumexp(compared, axis=1) - compared[:, 0]
        signed = ops.concatenate([-scores[:, :1], scores[:, 1:]], axis=1)
        return ops.sum(ops.softplus(signed) * ops.cast(is_word, "float32"), axis=1)

    def compute_output_shape(self, contexts_shape: Any, candidates_shape: Any) -> dict[str, Any]:
        """Returns [B] twice."""
        return {LOSSES: (contexts_shape[0],), CROSS_ENTROPY: (contexts_shape[0],)}

    def get_config(self) -> dict[str, Any]:
        """Returns the configuration that recreates the layer."""
        values = {"count": self.count, "size": self.size, "loss": self.loss, "is_mean": self.is_mean}
        return {**super().get_config(), **values, "initializer": keras.initializers.serialize(self.initializer)}
