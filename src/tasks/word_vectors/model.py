"""Builds the untrained model from settings; counted vectors are complete."""

from __future__ import annotations

import keras
import numpy as np

from src.data import word_pairs
from src.data.splits import TRAIN
from src.models import ppmi
from src.models.word_pairs import WordPairs
from src.streams import generator, stream_seed
from src.tasks.word_vectors import corpus, examples
from src.tasks.word_vectors.corpus import Corpus
from src.tasks.word_vectors.settings import Settings, is_counted, is_skipgram

LAYER = "words"  # name of the layer with both tables


def word_model(settings: Settings, data: Corpus) -> keras.Model:
    """Returns a model from contexts int32[B, C] and candidates int32[B, 1 + K] to `WordPairs`' losses."""
    count, size = corpus.row_count(settings, data), settings.vector_size
    # as in the code of Mikolov et al.: from -1/2 to 1/2, divided by D
    initial = keras.initializers.RandomUniform(
        -0.5 / size, 0.5 / size, seed=stream_seed(settings.seed, "weights", LAYER, "input")
    )
    layer = WordPairs(count, size, loss=settings.loss, is_mean=settings.cbow_mean, initializer=initial, name=LAYER)
    width = 1 if is_skipgram(settings) else 2 * settings.window
    contexts = keras.Input((width,), dtype="int32", name="contexts")
    candidates = keras.Input((None,), dtype="int32", name="candidates")
    model = keras.Model((contexts, candidates), layer(contexts, candidates), name="word_vectors")
    counts = corpus.counts_of(settings, data)
    noise = examples.noise_of(settings, counts).shares
    layer.expected.assign(np.log(np.maximum(settings.negative * noise, 1e-30)))
    layer.offset.assign(offsets(settings, counts, noise))
    if is_counted(settings):
        tables = counted(settings, data)
        layer.input_table.assign(tables[0])
        layer.output_table.assign(tables[1])
    return model


def offsets(settings: Settings, counts: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Returns what is added to the score of each word for its cross entropy, float64[R]; see `WordPairs`."""
    kept = word_pairs.kept_shares(np.maximum(counts, 1), settings.sample)
    of_noise = np.log(np.maximum(noise, 1e-30)) if settings.loss == "negative" else 0.0
    return np.asarray(of_noise - np.log(kept))


def counted(settings: Settings, data: Corpus) -> tuple[np.ndarray, np.ndarray]:
    """Returns the tables of counted vectors, float32[R, D] each, from the pairs of one epoch."""
    texts, count = corpus.texts_of(settings, data, TRAIN), corpus.row_count(settings, data)
    draws = generator(settings.seed, "pairs", 1)
    kept = word_pairs.kept_shares(np.maximum(corpus.counts_of(settings, data), 1), settings.sample)
    runs = word_pairs.windows(texts, draws, kept=kept, window=settings.window, is_drawn=settings.shrink_windows)
    blocks = (tuple(texts.ids[place] for place in word_pairs.pairs(*run)) for run in runs)
    matrix = ppmi.ppmi(ppmi.pair_counts(blocks, count), exponent=settings.ns_exponent)
    return ppmi.factors(matrix, settings.vector_size, seed=stream_seed(settings.seed, "weights", LAYER, "start"))
