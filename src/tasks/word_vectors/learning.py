"""What a trial trains on and is judged by: batches, the loss, and the tests of words."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from src.data.prefetch import ahead
from src.data.splits import TEST, VALIDATION
from src.models.word_pairs import CROSS_ENTROPY, LOSSES
from src.tasks.word_vectors import corpus, examples, scores
from src.tasks.word_vectors.corpus import Corpus
from src.tasks.word_vectors.settings import Settings, is_counted, is_skipgram
from src.tasks.word_vectors.vectors import of_model
from src.training.phase import LOSS, Phase

AHEAD = 16  # batches that a thread prepares
HELD_OUT_BATCH = 250  # each example is compared with all words


def phase(settings: Settings, data: Corpus) -> Phase:
    """Returns the batches, the loss and the measures, for settings without `refusals`."""
    import tensorflow as tf

    if is_counted(settings):  # imported here, as the time of building the model is that of counting
        import scipy.sparse.linalg  # noqa: F401
    training = examples.Training(settings, data)
    columns = 1 + examples.negative_count(settings)
    width = 1 if is_skipgram(settings) else 2 * settings.window
    contexts, candidates = tf.TensorSpec([None, width], tf.int32), tf.TensorSpec([None, columns], tf.int32)
    words = corpus.words_of(settings, data)

    def of_vectors(model: Any) -> Mapping[str, float]:
        return scores.of_vectors(of_model(model, settings.combine), words)

    return Phase(
        training=lambda epoch: ahead(_as_batches(training.epoch(epoch)), AHEAD),
        batches_per_epoch=training.batches,
        held_out={name: functools.partial(_held_out, settings, data, name) for name in (VALIDATION, TEST)},
        signature=((contexts, candidates), candidates),
        measure=measure,
        predictions=lambda outputs: {CROSS_ENTROPY: outputs[CROSS_ENTROPY]},
        scores=lambda _, predictions: {CROSS_ENTROPY: float(predictions[CROSS_ENTROPY].mean(dtype=np.float64))},
        scores_of_model=of_vectors,
        shape=lambda inputs: (int(inputs[0].shape[0]), 1),
        minimises_sum=True,
        is_fitted=is_counted(settings),
    )


def measure(outputs: Any, candidates: Any) -> dict[str, Any]:
    """Returns the loss of each example; an example without a true word has no weight."""
    import tensorflow as tf

    weights = tf.cast(candidates[:, 0] >= 0, tf.float32)
    return {LOSS: (outputs[LOSSES] * weights, weights)}


def _as_batches(batches: Iterator[examples.Examples], first: int = 0) -> Iterator[Any]:
    import tensorflow as tf

    for contexts, candidates in batches:
        rows = np.arange(first, first + len(contexts))
        compared = tf.convert_to_tensor(candidates)
        yield (tf.convert_to_tensor(contexts), compared), compared, rows
        first += len(contexts)


def _held_out(settings: Settings, data: Corpus, split: str) -> Iterator[Any]:
    contexts, candidates = examples.held_out(settings, data, split)
    parts = range(0, len(contexts), HELD_OUT_BATCH)
    return _as_batches((contexts[a : a + HELD_OUT_BATCH], candidates[a : a + HELD_OUT_BATCH]) for a in parts)
