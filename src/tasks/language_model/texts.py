"""From an encoded corpus to the batches of a language model.

A text is a sequence of ids: the start id, its words, and the id of its end. The model reads each id and predicts the
next one. The end counts as a word, the start does not: it is read, and never predicted. So a split has as many words to
predict as it has words and texts, whatever the padding and the mode. Letters: B texts or pieces, T steps, L words of a
piece, N ids of a split.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from src.data import tokens
from src.data.batching import MAX_BUCKETS, Padding, batch_count, batches, padding
from src.data.encoded import Encoded, Sequences
from src.data.sequences import drop_longer, limit_vocabulary, truncate
from src.data.splits import SPLITS, TEST, TRAIN, VALIDATION
from src.data.tokens import START, UNKNOWN
from src.parts.words.sequences import padding_of
from src.streams import generator
from src.tasks.language_model.settings import Settings, is_stream
from src.training.phase import LOSS, Phase

END = tokens.END  # id of the end of a text
FIRST_PREDICTED = UNKNOWN  # the lowest id that is predicted
CROSS_ENTROPY = "cross_entropy"  # loss per word without penalties
LOSSES = "losses"  # of every word, without penalties
SPREAD = 1 / 14  # standard deviation of random lengths, as a share of the length: 5 for 70 in Merity et al. (2018)
HALF_AS_LONG = 0.05  # share of the batches whose pieces have half the length, as in the same


def with_ends(split: Sequences, vocab_size: int) -> Sequences:
    """Returns the texts with the id of the end after each, and words outside the vocabulary as the unknown word."""
    limited = limit_vocabulary(split, vocab_size)
    starts = split.starts + np.arange(len(split.starts))
    return Sequences(np.insert(limited.ids, split.starts[1:], np.int32(END)), starts, split.labels)


def training_texts(settings: Settings, data: Encoded) -> Sequences:
    """Returns the training texts; with `text_mode=documents` they are limited to `max_length`."""
    texts = with_ends(data.split(TRAIN), settings.vocab_size)
    if is_stream(settings):
        return texts
    if settings.truncation == "remove":
        return drop_longer(texts, settings.max_length)
    return truncate(texts, settings.max_length, settings.truncation)


def training_lengths(settings: Settings, data: Encoded) -> np.ndarray:
    """Returns the steps of every training text with `text_mode=documents`, int[N], without reading the texts."""
    lengths = np.asarray(data.split(TRAIN).lengths + 1)
    if settings.max_length is None:
        return lengths
    if settings.truncation == "remove":
        return np.asarray(lengths[lengths <= settings.max_length])
    return np.asarray(np.minimum(lengths, settings.max_length))


def longest_steps(settings: Settings, data: Encoded) -> int:
    """Returns T of the longest training example."""
    if not is_stream(settings):
        return int(training_lengths(settings, data).max(initial=1)) - 1
    return 2 * settings.length if settings.bptt_random else settings.length


def words_of(ids: np.ndarray) -> np.ndarray:
    """Returns the ids that are predicted, in order: the words and the ends of texts."""
    return np.asarray(ids[ids >= FIRST_PREDICTED])


def predicted(data: Encoded, split: str, vocab_size: int) -> np.ndarray:
    """Returns the ids of all words and ends of the texts of a split, int32[N], whole and in order."""
    return words_of(with_ends(data.split(split), vocab_size).ids)


class Stream:
    """All texts in one line, as training examples of `length` words.

    Without `stateful` and `bptt_random` there are (N - 1) // L pieces, in a new order in each epoch. With one of them,
    the line is divided into B streams of (N - 1) // B steps; a batch has one piece of each, and all its pieces have the
    same length. `stateful` keeps their order, and the first id of every stream is 0, with which a state begins.
    """

    def __init__(self, settings: Settings, ids: np.ndarray) -> None:
        """Takes the ids of the line, int32[N]."""
        self._settings, self._ids = settings, ids
        self._has_streams = settings.stateful or settings.bptt_random
        self._steps = (len(ids) - 1) // settings.batch_size if self._has_streams else len(ids) - 1

    @property
    def batches(self) -> int:
        """Number of batches of an epoch; 0 if the texts are too short."""
        settings = self._settings
        if not self._has_streams:
            pieces = self._steps // settings.length
            whole = pieces // settings.batch_size
            return whole if settings.drop_remainder else -(-pieces // settings.batch_size)
        if not settings.bptt_random:
            return -(-self._steps // settings.length)
        mean = settings.length * (1 - HALF_AS_LONG / 2)
        return min(self._steps, max(1, round(self._steps / mean)))

    def epoch(self, number: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields the batches of an epoch: ids int32[B, T + 1], and the numbers of the examples int64[B]."""
        settings = self._settings
        rows = generator(settings.seed, "order", number)
        if not self._has_streams:
            size = settings.batch_size
            order = rows.permutation(self._steps // settings.length)
            for batch in range(self.batches):
                chosen = order[batch * size : (batch + 1) * size]
                yield self._ids[chosen[:, None] * settings.length + np.arange(settings.length + 1)], chosen
            return
        cuts = self._cuts(number)
        pieces = list(enumerate(itertools.pairwise(cuts.tolist())))
        if not settings.stateful:
            pieces = [pieces[place] for place in rows.permutation(len(pieces))]
        begins = np.arange(settings.batch_size) * self._steps
        for place, (begin, end) in pieces:
            ids = self._ids[begins[:, None] + np.arange(begin, end + 1)]
            if settings.stateful and begin == 0:
                ids[:, 0] = 0
            yield ids, np.arange(len(begins)) + place * len(begins)

    def _cuts(self, epoch: int) -> np.ndarray:
        """Returns where the pieces of a stream begin and end, int64[K + 1] for K batches.

        Random lengths are those of Merity et al. (2018), scaled so that K of them fill the stream: L with probability
        0.95, else L / 2, with a standard deviation of L / 14. Ours, not theirs: the learning rate is not scaled with
        the length.
        """
        settings, count = self._settings, self.batches
        if not settings.bptt_random:
            return np.minimum(np.arange(count + 1) * settings.length, self._steps)
        draw = generator(settings.seed, "lengths", epoch)
        means = np.where(draw.random(count) < HALF_AS_LONG, settings.length / 2, settings.length)
        lengths = np.maximum(draw.normal(means, settings.length * SPREAD), 1)
        ends = np.rint(np.cumsum(lengths) / lengths.sum() * (self._steps - count)).astype(np.int64)
        return np.concatenate([[0], ends + np.arange(1, count + 1)])


def left_out(settings: Settings, data: Encoded) -> list[str]:
    """Returns a refusal if the settings leave no training batch."""
    name = getattr(settings.data, "path", None) or settings.data.name
    if is_stream(settings):
        ids = int(data.split(TRAIN).starts[-1]) + len(data.split(TRAIN).labels)
        if Stream(settings, np.zeros(ids, np.int8)).batches:
            return []
        what = f"{name}: the training texts have {ids:,} ids, too few for one batch"
        return [f"{what} of length={settings.length} and batch_size={settings.batch_size}; lower one of them"]
    lengths = training_lengths(settings, data)
    if not len(lengths):
        what = f"{name}: truncation=remove with max_length={settings.max_length} leaves no training text"
        return [f"{what}; raise max_length, or set truncation=post"]
    scheme = padding_of({TRAIN: lengths}, settings)
    if not batch_count(lengths, scheme, settings.batch_size, drop_remainder=settings.drop_remainder):
        what = f"{name}: drop_remainder=true leaves no batch: no {settings.batch_size} training texts share one"
        return [f"{what}; lower batch_size, or set drop_remainder=false"]
    return []


def phase(settings: Settings, data: Encoded) -> Phase:
    """Returns the batches, the loss and the measures, for settings without `refusals`."""
    import tensorflow as tf

    texts = {name: with_ends(data.split(name), settings.vocab_size) for name in SPLITS}
    texts[TRAIN] = training_texts(settings, data)
    of_ids = tf.TensorSpec([None, None], tf.int32)
    how = _of_stream(settings, texts[TRAIN].ids) if is_stream(settings) else _of_texts(settings, texts[TRAIN])
    return Phase(
        held_out={name: _held_out(settings, texts[name]) for name in (VALIDATION, TEST)},
        signature=(of_ids, of_ids),
        measure=measure,
        positions=word_losses,
        shape=lambda ids: (int(ids.shape[0]), int(ids.shape[1]) - 1),
        is_eager=settings.implementation == "eager_loop",
        chance=unigram_perplexity(texts[TRAIN].ids, texts[VALIDATION].ids, settings.vocab_size),
        **how,
    )


def _padding(settings: Settings, lengths: np.ndarray) -> Padding:
    """Returns how the texts of a split form batches. A trial on a stream pads only held-out texts, in buckets.

    Each split has buckets of its own, because held-out texts may be longer than the truncated ones of training.
    """
    if not is_stream(settings):
        return padding_of({TRAIN: lengths}, settings)
    return padding(lengths, mode="batch", bucketing=True, side="post", longest=int(lengths.max()))


def _of_stream(settings: Settings, ids: np.ndarray) -> dict[str, Any]:
    """Returns the parts of a phase that trains on a stream."""
    stream = Stream(settings, ids)
    return {
        "training": lambda epoch: (_as_batch(*batch) for batch in stream.epoch(epoch)),
        "batches_per_epoch": stream.batches,
        "shapes": 2 if settings.stateful else 1,
    }


def _of_texts(settings: Settings, texts: Sequences) -> dict[str, Any]:
    """Returns the parts of a phase that trains on whole texts."""
    scheme, size, drop_remainder = _padding(settings, texts.lengths), settings.batch_size, settings.drop_remainder
    in_order = batches(texts, scheme, size, drop_remainder=drop_remainder)

    def training(epoch: int) -> Iterator[Any]:
        order = generator(settings.seed, "order", epoch).permutation(len(texts.labels))
        return ((ids, ids, rows) for ids, _, rows in in_order(order))

    return {
        "training": training,
        "batches_per_epoch": batch_count(texts.lengths, scheme, size, drop_remainder=drop_remainder),
        "real_positions": real_steps,
        "shapes": min(len(scheme.edges), MAX_BUCKETS),
    }


def _held_out(settings: Settings, texts: Sequences) -> Callable[[], Iterable[Any]]:
    """Returns the batches of whole texts. None is truncated: all words count in every trial."""

    @functools.cache
    def pipeline() -> Callable[[np.ndarray], Iterator[Any]]:  # that of the test split is built when it is read
        return batches(texts, _padding(settings, texts.lengths), settings.batch_size)

    return lambda: ((ids, ids, rows) for ids, _, rows in pipeline()(np.arange(len(texts.labels))))


def _as_batch(ids: np.ndarray, rows: np.ndarray) -> tuple[Any, Any, Any]:
    import tensorflow as tf

    tensor = tf.convert_to_tensor(ids)
    return tensor, tensor, tf.convert_to_tensor(rows)


def real_steps(ids: Any) -> Any:
    """Returns the number of steps of a batch without padding: every id but the last of each text."""
    import tensorflow as tf

    return tf.math.count_nonzero(ids) - tf.shape(ids, tf.int64)[0]


def measure(outputs: Any, ids: Any) -> dict[str, Any]:
    """Returns the loss, with and without penalties, and the number of words of each text.

    Args:
      outputs: `losses` float32[B, T] of the words, and `penalty` float32[B] if the model has one.
      ids: int32[B, T + 1].
    """
    import tensorflow as tf

    words = tf.reduce_sum(tf.cast(ids[:, 1:] >= FIRST_PREDICTED, tf.float32), axis=1)
    total = tf.reduce_sum(outputs["losses"], axis=1)
    loss = total + outputs["penalty"] if "penalty" in outputs else total
    return {LOSS: (loss, words), CROSS_ENTROPY: (total, words)}


def word_losses(outputs: Any, ids: Any) -> dict[str, Any]:
    """Returns the losses of a batch, and which of them are those of words; `measure` has the arguments."""
    return {LOSSES: (outputs["losses"], ids[:, 1:] >= FIRST_PREDICTED)}


def unigram_perplexity(train: np.ndarray, held_out: np.ndarray, vocab_size: int) -> float:
    """Returns the perplexity of a constant guess: the shares of the words in training, plus one of each."""
    seen, asked = (
        np.bincount(words_of(ids), minlength=vocab_size)[FIRST_PREDICTED:].astype(float) for ids in (train, held_out)
    )
    shares = (seen + 1) / (seen.sum() + len(seen))
    return float(np.exp(-(asked * np.log(shares)).sum() / asked.sum()))


def unknown_shares(settings: Settings, data: Encoded) -> dict[str, float]:
    """Returns split → share of its words, ends included, that the model reads and predicts as the unknown word."""
    shares = {}
    for name in SPLITS:
        split = data.split(name)
        words = int((split.ids != START).sum()) + len(split.labels)
        unknown = int((split.ids >= settings.vocab_size).sum()) + int((split.ids == UNKNOWN).sum())
        shares[name] = unknown / words
    return shares


def word_counts(data: Encoded) -> dict[str, int]:
    """Returns split → number of words to predict: its words, and one end for each text."""
    return {name: int((data.split(name).ids != START).sum()) + len(data.split(name).labels) for name in SPLITS}
