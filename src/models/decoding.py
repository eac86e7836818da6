r"""Translations from a model of the next word, for many sentences at once and as one graph.

The functions know the model only by a step: it takes the last words of B sentences and what it remembers of them, and
returns the log-probabilities of the next words, what it remembers now, and the attention weights. Letters: B sentences,
K beams, S source positions, L largest number of words, V ids.

`src.models.generation` continues one text, of any length, in NumPy, and returns all texts of its beam. There a text
that ends leaves the beam, and its place stays empty. Here a place is filled again, so the search has to know when no
unfinished translation can become the best one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

Step = Callable[[Any, Any], tuple[Any, Any, Any]]
WORST = -1e30  # log-probability of a place in the beam without a translation
IMPOSSIBLE = -1e8  # no translation of possible words is less likely


class Translations(NamedTuple):
    """One translation for each sentence.

    Attributes:
      ids: int32[B, L], the words with the end, then 0.
      log_probability: float32[B], the sum of log p(word) over these words. It is the model's, whatever the way in which
        the words were chosen.
      weights: float32[B, L, S], the attention while it wrote each word; 0 after the end.
    """

    ids: Any
    log_probability: Any
    weights: Any


def walk(step: Step, states: Any, start: int, end: int, *, longest: int, seed: Any = None) -> Translations:
    """Returns translations by the likeliest word at every step, or by a word that is drawn from the probabilities.

    It stops when all translations have ended, or have `longest` words.

    Args:
      step: (words int32[B], states) → log p float32[B, V], states, weights float32[B, S].
      states: nest of tensors [B, ...], before the first step.
      start: the id that the first step reads.
      end: the id that ends a translation.
      longest: L.
      seed: of the draws, a number; None for the likeliest words.
    """
    rows = tf.shape(tf.nest.flatten(states)[0])[0]

    def body(t: Any, last: Any, is_running: Any, total: Any, states: Any, arrays: Any) -> Any:
        log_probs, states, weights = step(last, states)
        if seed is None:
            words = tf.argmax(log_probs, axis=1, output_type=tf.int32)
        else:
            words = tf.random.stateless_categorical(log_probs, 1, [seed, t], tf.int32)[:, 0]
        total += tf.where(is_running, tf.gather(log_probs, words, batch_dims=1), 0.0)
        written = tf.where(is_running, words, 0), tf.where(is_running[:, None], weights, 0.0)
        arrays = [array.write(t, value) for array, value in zip(arrays, written, strict=True)]
        return t + 1, words, is_running & (words != end), total, states, arrays

    arrays = [
        tf.TensorArray(tf.int32, longest, element_shape=[None]),
        tf.TensorArray(tf.float32, longest, element_shape=[None, None]),
    ]
    begin = (tf.constant(0), tf.fill([rows], start), tf.fill([rows], True), tf.zeros([rows]), states, arrays)
    *_, total, _, arrays = tf.while_loop(
        lambda t, last, is_running, *_: tf.reduce_any(is_running), body, begin, maximum_iterations=longest
    )
    ids, weights = (array.stack() for array in arrays)
    return Translations(tf.transpose(ids), total, tf.transpose(weights, [1, 0, 2]))


def penalty(words: Any, alpha: float) -> Any:
    """Returns what the log-probability of a translation of n words is divided by, ((5 + n) / 6)^alpha.

    Source: Wu et al., "Google's Neural Machine Translation System", 2016, equation 14.
    """
    return ((5.0 + tf.cast(words, tf.float32)) / 6.0) ** alpha


class _Beam(NamedTuple):
    """Translations of each sentence that have not ended: [B, K, ...] of each; `total` is `WORST` in an empty place."""

    ids: Any
    total: Any
    weights: Any


def beam(  # noqa: PLR0913 - a search has that many properties
    step: Step,
    states: Any,
    start: int,
    end: int,
    *,
    size: int,
    longest: int,
    positions: Any,
    length_penalty: float = 1.0,
) -> Translations:
    r"""Returns the best translation that a beam search finds for each sentence.

        score(y) = log p(y) / penalty(n),    n words, the end included

    At each step all next words of all K beams compete, and the K likeliest translations stay. One that has ended makes
    room for others at the next step; so a beam of 1 is `walk`. At `longest` words all end. A sentence is finished when
    the best score so far cannot be beaten: log p only falls, so no unfinished translation can score more than its
    log p / penalty(longest).

    Args:
      step: as in `walk`, for B K rows: the beams of the first sentence, then those of the second, …
      states: nest of tensors [B K, ...], before the first step, the same for all beams of a sentence.
      start: the id that the first step reads.
      end: the id that ends a translation.
      size: K.
      longest: L.
      positions: S.
      length_penalty: alpha of `penalty`, at least 0.
    """
    rows = tf.shape(tf.nest.flatten(states)[0])[0]
    sentences = rows // size
    is_first = tf.tile(tf.range(size)[None] == 0, [sentences, 1])  # the beams are equal, so only one competes

    def body(t: Any, last: Any, states: Any, live: _Beam, best: Translations, score: Any) -> Any:
        log_probs, states, weights = step(last, states)
        ids = tf.shape(log_probs)[1]
        totals = live.total[:, :, None] + tf.reshape(log_probs, [sentences, size, ids])
        totals, places = tf.math.top_k(tf.reshape(totals, [sentences, size * ids]), size)
        parents, words = places // ids, places % ids
        is_now = tf.range(longest) == t
        grown = _Beam(
            tf.where(is_now, words[:, :, None], _chosen(live.ids, parents)),
            totals,
            tf.where(
                is_now[:, None],
                _chosen(tf.reshape(weights, [sentences, size, 1, positions]), parents),
                _chosen(live.weights, parents),
            ),
        )
        states = tf.nest.map_structure(
            lambda state: tf.gather(state, tf.reshape(parents + size * tf.range(sentences)[:, None], [-1])), states
        )
        has_ended = ((words == end) | (t == longest - 1)) & _exists(totals)
        best, score = _better(grown, tf.where(has_ended, totals / penalty(t + 1, length_penalty), WORST), best, score)
        total = tf.where(has_ended, WORST, totals)
        cannot_win = total / penalty(longest, length_penalty) <= score[:, None]
        live = grown._replace(total=tf.where(cannot_win, WORST, total))
        return t + 1, tf.reshape(words, [-1]), states, live, best, score

    live = _Beam(
        tf.zeros([sentences, size, longest], tf.int32),
        tf.where(is_first, 0.0, WORST),
        tf.zeros([sentences, size, longest, positions]),
    )
    best = Translations(live.ids[:, 0], tf.zeros([sentences]), live.weights[:, 0])
    begin = (tf.constant(0), tf.fill([rows], start), states, live, best, tf.fill([sentences], 2 * WORST))
    *_, found, _ = tf.while_loop(
        lambda t, last, states, live, *_: tf.reduce_any(_exists(live.total)), body, begin, maximum_iterations=longest
    )
    return Translations(*found)


def _exists(total: Any) -> Any:
    """Returns whether there is a translation in a place of the beam; forbidden words have about `NEVER` too."""
    return total > IMPOSSIBLE


def _chosen(values: Any, parents: Any) -> Any:
    """Returns values [B, K, ...] of other beams of the same sentence; `parents` is int32[B, K]."""
    return tf.gather(values, parents, batch_dims=1)


def _better(beams: _Beam, scores: Any, best: Translations, score: Any) -> tuple[Translations, Any]:
    """Returns the best translations so far and their scores float32[B], after new ones with scores float32[B, K]."""
    place = tf.argmax(scores, axis=1, output_type=tf.int32)[:, None]
    new = [_chosen(values, place)[:, 0] for values in beams]
    reached = tf.reduce_max(scores, axis=1)
    is_better = reached > score

    def kept(new: Any, old: Any) -> Any:
        return tf.where(tf.reshape(is_better, [-1, *[1] * (new.shape.rank - 1)]), new, old)

    return Translations(*map(kept, new, best)), tf.maximum(reached, score)
