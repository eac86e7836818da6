"""The examples of a trial, made while training: what a model reads, and the words that it compares.

An example is a context and candidates. The context of skip-gram is one word, that of CBOW all words of a window. The
first candidate is the true word, the others are negatives. `NONE` is no word.

Letters: B examples, C words of a context, K negatives, N words of the texts, R vectors.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cached_property

import numpy as np

from src.data import word_pairs
from src.data.splits import TRAIN
from src.data.word_pairs import NONE, Noise, Texts
from src.streams import generator, stream_seed
from src.tasks.word_vectors import corpus
from src.tasks.word_vectors.corpus import Corpus
from src.tasks.word_vectors.settings import Settings, is_counted, is_skipgram

HELD_OUT = 10_000  # most examples of validation and of test
READ = 60_000  # words of a held-out split from which they are taken
ROUNDS = 50  # of drawing again with hits=resample; a hit that is left is dropped
Examples = tuple[np.ndarray, np.ndarray]  # contexts int32[B, C], candidates int32[B, 1 + K]


class Training:
    """The examples of each epoch. They depend only on the settings, the corpus and the epoch.

    Texts come in a new order in each epoch, and the examples of about 50,000 words are shuffled together.
    """

    def __init__(self, settings: Settings, data: Corpus) -> None:
        """Takes resolved settings."""
        self._settings = settings
        self._texts = corpus.texts_of(settings, data, TRAIN)
        self._counts = corpus.counts_of(settings, data)
        self._kept = word_pairs.kept_shares(np.maximum(self._counts, 1), settings.sample)
        self._draws = Negatives(settings, noise_of(settings, self._counts))

    @cached_property
    def count(self) -> int:
        """Number of examples of an epoch; if it is random, that of one draw, the same for all seeds."""
        total = 0
        for texts, reach in self._windows(generator(0, "count")):
            before, after = word_pairs.around(texts, reach)
            total += int((before + after).sum() if is_skipgram(self._settings) else np.count_nonzero(before + after))
        return total

    @property
    def batches(self) -> int:
        """Number of batches of an epoch."""
        settings = self._settings
        if is_counted(settings):
            return 1
        whole, rest = divmod(self.count, settings.batch_size)
        return whole if settings.drop_remainder else whole + bool(rest)

    def epoch(self, number: int) -> Iterator[Examples]:
        """Yields the batches of an epoch.

        All epochs have the same number of batches. If subsampling or windows are random, the last batch is full, too:
        surplus examples are left out, and missing ones are drawn anew.
        """
        settings, size = self._settings, self._settings.batch_size
        if is_counted(settings):
            yield np.full((1, 1), NONE, np.int32), np.full((1, 1), NONE, np.int32)
            return
        is_random = settings.sample > 0 or settings.shrink_windows
        rounds = itertools.count() if is_random else (0,)
        blocks = itertools.chain.from_iterable(self.blocks(number, part) for part in rounds)
        yield from itertools.islice(_rebatched(blocks, size), self.batches)

    def blocks(self, epoch: int, part: int = 0) -> Iterator[Examples]:
        """Yields all examples of an epoch, shuffled in blocks."""
        settings = self._settings
        draws = generator(settings.seed, "pairs", epoch, part)
        ids = np.append(self._texts.ids, np.int32(NONE))  # place -1 → no word
        for texts, reach in self._windows(draws):
            truth, around = _places(settings, texts, reach)
            rows = draws.permutation(len(truth))
            truth, around = truth[rows], around[rows]
            yield ids[around], self._draws.beside(ids[truth], _keys(settings, truth, around), draws)

    def _windows(self, draws: np.random.Generator) -> Iterator[tuple[Texts, np.ndarray]]:
        settings = self._settings
        return word_pairs.windows(
            self._texts, draws, kept=self._kept, window=settings.window, is_drawn=settings.shrink_windows
        )


class Negatives:
    """Draws the negatives of examples."""

    def __init__(self, settings: Settings, noise: Noise) -> None:
        """Takes resolved settings and the distribution of negatives."""
        self._settings, self._noise = settings, noise
        self._count = negative_count(settings)
        self._seed = stream_seed(settings.seed, "negatives")

    def beside(self, true: np.ndarray, keys: tuple[np.ndarray, ...], draws: np.random.Generator) -> np.ndarray:
        """Returns the candidates of examples, int32[B, 1 + K]: true words, and `of` them."""
        return np.concatenate([true[:, None], self.of(true, keys, draws)], axis=1)

    def of(self, true: np.ndarray, keys: tuple[np.ndarray, ...], draws: np.random.Generator) -> np.ndarray:
        """Returns the negatives of examples, int32[B, K]; dropped ones are `NONE`.

        Args:
          true: int32[B] true words.
          keys: what identifies an example: places in the corpus, int[B] each; for `negatives=fixed`.
          draws: for `negatives=redrawn`.
        """
        drawn = self._noise.of(self._bits(keys, draws, (len(true), self._count), 0))
        if self._settings.hits == "allow":
            return drawn
        is_hit = drawn == true[:, None]
        if self._settings.hits == "resample":
            for attempt in range(1, ROUNDS):
                rows, columns = np.nonzero(is_hit)
                if not len(rows):
                    break
                again = self._bits(tuple(key[rows] for key in keys), draws, (len(rows), 1), attempt, columns)[:, 0]
                drawn[rows, columns] = self._noise.of(again)
                is_hit[rows, columns] = drawn[rows, columns] == true[rows]
        drawn[is_hit] = NONE
        return drawn

    def _bits(
        self,
        keys: tuple[np.ndarray, ...],
        draws: np.random.Generator,
        shape: tuple[int, int],
        attempt: int,
        columns: np.ndarray | None = None,
    ) -> np.ndarray:
        """Returns uint64[B, K] random bits; `columns`, int[B], are the numbers of single negatives."""
        if self._settings.negatives == "redrawn":
            return draws.integers(0, 2**64, shape, np.uint64)
        numbers = np.arange(shape[1])[None, :] if columns is None else columns[:, None]
        return word_pairs.mixed(self._seed, attempt, *(key[:, None] for key in keys), numbers)


def negative_count(settings: Settings) -> int:
    """Returns K."""
    return 0 if settings.loss == "full" or is_counted(settings) else settings.negative


def noise_of(settings: Settings, counts: np.ndarray) -> Noise:
    """Returns the distribution of negatives."""
    return Noise(word_pairs.noise_weights(settings.noise, counts, settings.ns_exponent))


def held_out(settings: Settings, data: Corpus, split: str) -> Examples:
    """Returns examples of a held-out split, the same for every seed: whole windows, without subsampling.

    They are taken evenly from the first words of the split. Their negatives are drawn as in training, with one seed.
    """
    texts = next(word_pairs.chunks(corpus.texts_of(settings, data, split), READ))
    ids = np.append(texts.ids, np.int32(NONE))
    places = Texts(np.arange(len(texts.ids), dtype=np.int32), texts.starts)
    reach = word_pairs.reaches(len(texts.ids), settings.window, None)
    truth, around = _places(settings, places, reach)
    chosen = np.unique(np.linspace(0, len(truth) - 1, min(HELD_OUT, len(truth))).astype(np.int64))
    truth, around = truth[chosen], around[chosen]
    fixed = Negatives(settings.model_copy(update={"seed": 0}), noise_of(settings, corpus.counts_of(settings, data)))
    draws = generator(0, "held out", split)
    return ids[around], fixed.beside(ids[truth], _keys(settings, truth, around), draws)


def _places(settings: Settings, texts: Texts, reach: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the place of the true word of each example, int32[P], and those of its context, int32[P, C]."""
    if is_skipgram(settings):
        words, others = word_pairs.pairs(texts, reach)
        return others, words[:, None]
    return word_pairs.contexts(texts, reach, settings.window)


def _keys(settings: Settings, truth: np.ndarray, around: np.ndarray) -> tuple[np.ndarray, ...]:
    """Returns the places that identify examples: those of a pair, or of the word in the middle of a window."""
    return (truth, around[:, 0]) if is_skipgram(settings) else (truth,)


def _rebatched(blocks: Iterator[Examples], size: int) -> Iterator[Examples]:
    """Yields the examples of blocks in batches of `size`; the last batch may be smaller."""
    rest: Examples | None = None
    for block in blocks:
        joined = block if rest is None else tuple(map(np.concatenate, zip(rest, block, strict=True)))
        whole = len(joined[0]) // size * size
        for begin in range(0, whole, size):
            yield joined[0][begin : begin + size], joined[1][begin : begin + size]
        rest = joined[0][whole:], joined[1][whole:]
    if rest is not None and len(rest[0]):
        yield rest
