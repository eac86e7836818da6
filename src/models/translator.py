"""Translates with a trained model of `src.models.encoder_decoder`.

Letters: B sentences, S source positions, T target steps, L largest number of words of a translation.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from src.models import decoding
from src.models.decoding import Translations
from src.models.encoder_decoder import END, START, Decoder, Encoder

if TYPE_CHECKING:
    import keras

_IDS = tf.TensorSpec([None, None], tf.int32)


class Translator:
    """Translations of sources, and the probabilities of given translations.

    A source is int32[B, S], an end and then padding (0) after its words. All sentences of a call are translated
    together. The results are NumPy arrays. Each combination of options is a graph of its own, for sources of all sizes.
    """

    def __init__(self, model: keras.Model) -> None:
        """Takes the model.

        Raises:
          ValueError: the model is another one.
        """
        layers = {layer.name: layer for layer in model.layers}
        encoder, decoder = layers.get("encoder"), layers.get("decoder")
        if not (isinstance(encoder, Encoder) and isinstance(decoder, Decoder)):
            raise ValueError(f"the model has the layers {', '.join(layers)}; a translation needs encoder and decoder")
        self._encoder, self._decoder, self.design = encoder, decoder, decoder.design
        self._graph = functools.cache(self._new_graph)
        self._scores = tf.function(self._scored, autograph=False, input_signature=[_IDS, _IDS, _IDS])

    def greedy(self, source: np.ndarray, *, longest: int) -> Translations:
        """Returns translations by the likeliest word at every step.

        Args:
          source: int32[B, S].
          longest: L; what is longer is cut off.

        Raises:
          ValueError: an option or the source does not fit the model, or a log-probability is not finite.
        """
        return self._translated(source, longest=longest)

    def sample(self, source: np.ndarray, *, longest: int, seed: int) -> Translations:
        """Returns translations of words that are drawn from the model's probabilities; otherwise as `greedy`."""
        return self._translated(source, longest=longest, seed=seed)

    def beam(self, source: np.ndarray, *, longest: int, size: int, length_penalty: float = 1.0) -> Translations:
        """Returns the best translations of a beam search, see `decoding.beam`; otherwise as `greedy`."""
        if size < 1:
            raise ValueError(f"the size of the beam is {size}; allowed: 1 or more (1 is greedy)")
        if length_penalty < 0:
            raise ValueError(f"the length penalty is {length_penalty}; allowed: 0 or more")
        return self._translated(source, longest=longest, size=size, length_penalty=length_penalty)

    def score(self, source: np.ndarray, target: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns the log-probabilities of given translations, and the attention while the model reads them.

        Args:
          source: int32[B, S].
          target: int32[B, T], the words that the decoder reads, the start first.
          labels: int32[B, T], the words whose probabilities are taken, the end last, then padding.

        Returns:
          float32[B], and float32[B, T, S] (None without attention).

        Raises:
          ValueError: the source does not fit the model, or a log-probability is not finite.
        """
        self._check(source)
        log_probability, weights = self._scores(*(ids.astype(np.int32) for ids in (source, target, labels)))
        return _finite(np.asarray(log_probability)), None if weights is None else np.asarray(weights)

    def _translated(self, source: np.ndarray, *, longest: int, seed: int | None = None, **options: Any) -> Translations:
        self._check(source)
        if longest < 1:
            raise ValueError(f"the longest translation has {longest} words; allowed: 1 or more")
        is_drawn = seed is not None
        found = self._graph(longest=longest, is_drawn=is_drawn, **options)(source.astype(np.int32), seed or 0)
        ids, log_probability, weights = map(np.asarray, found)
        return Translations(ids, _finite(log_probability), weights)

    def _check(self, source: np.ndarray) -> None:
        known = self.design.longest_source
        if known and source.shape[1] > known:
            raise ValueError(
                f"the source has {source.shape[1]} positions, the end included; the location score knows {known}"
            )

    def _new_graph(
        self, *, longest: int, is_drawn: bool, size: int | None = None, length_penalty: float = 1.0
    ) -> Callable[..., Any]:
        """Returns a graph from source and seed to translations."""

        def translate(source: Any, seed: Any) -> Translations:
            memory, start = self._begin(source, repeats=size or 1)
            step = self._decoder.stepper(memory)
            if size is None:
                return decoding.walk(step, start, START, END, longest=longest, seed=seed if is_drawn else None)
            return decoding.beam(
                step,
                start,
                START,
                END,
                size=size,
                longest=longest,
                positions=tf.shape(source)[1],
                length_penalty=length_penalty,
            )

        graph: Callable[..., Any] = tf.function(
            translate, autograph=False, input_signature=[_IDS, tf.TensorSpec([], tf.int32)]
        )
        return graph

    def _begin(self, source: Any, *, repeats: int = 1) -> tuple[Any, Any]:
        """Returns memory and start of the decoder, each row `repeats` times."""
        annotations, states = self._encoder(source)
        begin = self._decoder.memory(source, annotations), self._decoder.start(annotations, states)
        if repeats == 1:
            return begin
        repeated: tuple[Any, Any] = tf.nest.map_structure(
            lambda rows: None if rows is None else tf.repeat(rows, repeats, axis=0), begin
        )
        return repeated

    def _scored(self, source: Any, target: Any, labels: Any) -> tuple[Any, Any]:
        memory, start = self._begin(source)
        attentional, weights = self._decoder.read(target, start, memory)
        of_labels = tf.gather(self._decoder.log_probs(attentional), labels, batch_dims=2)
        return tf.reduce_sum(tf.where(labels != 0, of_labels, 0.0), axis=1), weights


def _finite(log_probability: np.ndarray) -> np.ndarray:
    if not np.isfinite(log_probability).all():
        raise ValueError("the model's outputs are not finite numbers; its weights are not those of a finished trial")
    return log_probability
