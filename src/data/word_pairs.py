"""Examples of word vectors: a word together with the words around it, made from texts while training.

Letters: N words of the texts, P examples, W the window, K negatives of an example, V words of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

NONE = -1  # no word: a place of a context beyond the text, or a negative that was dropped
CHUNK = 50_000  # words whose examples are shuffled together; about 20 MB with a window of 5


@dataclass(frozen=True)
class Texts:
    """Texts as ids, one after the other.

    Attributes:
      ids: int32[N], ranks in the vocabulary: 0 is the most frequent word.
      starts: int64[T + 1]; text i is `ids[starts[i]:starts[i + 1]]`. No example spans two texts.
    """

    ids: np.ndarray
    starts: np.ndarray

    @property
    def numbers(self) -> np.ndarray:
        """The text of each word, int64[N]."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))

    def only(self, is_kept: np.ndarray) -> Texts:
        """Returns the texts without some words, bool[N]; the words around a removed word become neighbours."""
        before = np.concatenate([[0], np.cumsum(is_kept)])
        return Texts(self.ids[is_kept], before[self.starts])

    def in_order(self, order: np.ndarray) -> Texts:
        """Returns some texts, int64[T], in this order."""
        lengths = np.diff(self.starts)[order]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        places = np.arange(starts[-1]) + np.repeat(self.starts[order] - starts[:-1], lengths)
        return Texts(self.ids[places], starts)

    def padded(self, count: int, padding: int) -> Texts:
        """Returns the texts with `count` padding words after each."""
        lengths = np.diff(self.starts)
        places = np.arange(len(self.ids)) + self.numbers * count
        ids = np.full(len(self.ids) + len(lengths) * count, padding, np.int32)
        ids[places] = self.ids
        return Texts(ids, self.starts + np.arange(len(self.starts)) * count)


def kept_shares(counts: np.ndarray, sample: float) -> np.ndarray:
    """Returns the probability that an occurrence of each word is kept, float64[V].

        p(w) = min(1, (sqrt(f / t) + 1) t / f) = min(1, sqrt(t / f) + t / f)

    where f is the word's share of all words and t is `sample`. This is the formula of the code of Mikolov et al. and of
    gensim. The paper ("Distributed Representations of Words and Phrases and their Compositionality", NIPS 2013) prints
    another one, `kept_shares_of_paper`, which keeps fewer words.

    Args:
      counts: int64[V] occurrences, each at least 1.
      sample: t; 0 keeps all.
    """
    if not sample:
        return np.ones(len(counts))
    ratio = sample * counts.sum() / counts
    return np.asarray(np.minimum(1.0, np.sqrt(ratio) + ratio))


def kept_shares_of_paper(counts: np.ndarray, sample: float) -> np.ndarray:
    """Returns 1 - max(0, 1 - sqrt(t / f)), the formula that the paper prints; arguments as of `kept_shares`."""
    return np.minimum(1.0, np.sqrt(sample * counts.sum() / counts)) if sample else np.ones(len(counts))


def reaches(count: int, window: int, draws: np.random.Generator | None) -> np.ndarray:
    """Returns how far each of `count` windows reaches, int64[N]: `window`, or drawn from 1 to `window`."""
    return np.full(count, window) if draws is None else draws.integers(1, window + 1, count)


def windows(
    texts: Texts, draws: np.random.Generator, *, kept: np.ndarray, window: int, is_drawn: bool
) -> Iterator[tuple[Texts, np.ndarray]]:
    """Yields runs of texts in a new order after subsampling, and the reach of each window.

    The words of a run are places in `texts`, int32, not ids.

    Args:
      texts: the texts.
      draws: for the order, subsampling and windows.
      kept: float64[V] probability that an occurrence of each word is kept.
      window: W.
      is_drawn: whether the reach is drawn from 1 to W.
    """
    places = Texts(np.arange(len(texts.ids), dtype=np.int32), texts.starts)
    for run in chunks(places.in_order(draws.permutation(len(texts.starts) - 1))):
        found = run if (kept >= 1).all() else run.only(draws.random(len(run.ids)) < kept[texts.ids[run.ids]])
        yield found, reaches(len(found.ids), window, draws if is_drawn else None)


def pair_count(texts: Texts, reach: np.ndarray) -> int:
    """Returns the number of pairs that `pairs` returns."""
    before, after = around(texts, reach)
    return int(before.sum() + after.sum())


def pairs(texts: Texts, reach: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns all pairs of a word and another one in its window (skip-gram).

    Args:
      texts: the texts.
      reach: int64[N], words that the window of each word reaches to either side.

    Returns:
      int32[P] words; int32[P] words around them.
    """
    before, after = around(texts, reach)
    words, others = [np.zeros(0, np.int32)], [np.zeros(0, np.int32)]
    for distance in range(1, int(reach.max(initial=0)) + 1):
        for has, signed in ((before, -distance), (after, distance)):
            place = np.flatnonzero(has >= distance)
            words.append(texts.ids[place])
            others.append(texts.ids[place + signed])
    return np.concatenate(words), np.concatenate(others)


def contexts(texts: Texts, reach: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns each word that has another one in its window, with all of these (continuous bag of words).

    Args:
      texts: the texts.
      reach: as of `pairs`.
      window: W.

    Returns:
      int32[P] words; int32[P, 2 W] words around them, `NONE` where there is none.
    """
    before, after = around(texts, reach)
    place = np.flatnonzero(before + after)
    filled = np.full((len(place), 2 * window), NONE, np.int32)
    for distance in range(1, window + 1):
        for has, signed, column in ((before, -distance, distance - 1), (after, distance, window + distance - 1)):
            rows = np.flatnonzero(has[place] >= distance)
            filled[rows, column] = texts.ids[place[rows] + signed]
    return texts.ids[place], filled


def around(texts: Texts, reach: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the number of words in the window before and after each word, int64[N] each."""
    lengths = np.diff(texts.starts)
    place = np.arange(len(texts.ids))
    before = place - np.repeat(texts.starts[:-1], lengths)
    after = np.repeat(texts.starts[1:], lengths) - 1 - place
    return np.minimum(before, reach), np.minimum(after, reach)


class Noise:
    """A distribution over words, from which negatives are drawn (Walker's alias method, exact and fast).

    Attributes:
      shares: float64[V] probability of each word.
    """

    def __init__(self, weights: np.ndarray) -> None:
        """Takes the weights of the words, float64[V], at least 0, of which one is above 0."""
        self.shares = weights / weights.sum()
        self._chance, self._other = _alias(self.shares)

    def of(self, bits: np.ndarray) -> np.ndarray:
        """Returns int32 draws, one for each uint64 of random bits."""
        count = np.uint64(len(self.shares))
        column = ((bits >> np.uint64(32)) * count >> np.uint64(32)).astype(np.int32)
        chance = (bits & np.uint64(0xFFFFFFFF)).astype(np.float64) * 2.0**-32
        return np.where(chance < self._chance[column], column, self._other[column])


def noise_weights(kind: str, counts: np.ndarray, exponent: float) -> np.ndarray:
    """Returns the weights of a noise distribution, float64[V].

    Args:
      kind: `unigram` = counts to the power of `exponent`; `log_uniform` = log((r + 2) / (r + 1)) for rank r, as
        `tf.random.log_uniform_candidate_sampler`, which assumes Zipf's law and never sees a count; `uniform`.
      counts: int64[V], most frequent first.
      exponent: 0.75 in Mikolov et al. (2013).
    """
    if kind == "unigram":
        return np.where(counts > 0, np.maximum(counts, 1) ** float(exponent), 0.0)
    ranks = np.arange(len(counts))
    return np.log((ranks + 2) / (ranks + 1)) if kind == "log_uniform" else np.ones(len(counts))


def _alias(shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the tables of the alias method: float64[V] chances of a column itself, int32[V] its other word."""
    chance, other = shares * len(shares), np.arange(len(shares), dtype=np.int32)
    small, large = np.flatnonzero(chance < 1).tolist(), np.flatnonzero(chance >= 1).tolist()
    while small and large:
        low, high = small.pop(), large[-1]
        other[low] = high
        chance[high] -= 1 - chance[low]
        if chance[high] < 1:
            small.append(large.pop())
    chance[small + large] = 1.0  # what rounding has left over
    return chance, other


def mixed(*parts: np.ndarray | int) -> np.ndarray:
    """Returns uint64 random bits that depend only on the numbers: the same numbers always give the same bits.

    The finaliser of SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014)
    is applied after each part; arrays are broadcast.
    """
    state = np.zeros((), np.uint64)
    with np.errstate(over="ignore"):
        for part in parts:
            state = state + np.asarray(part).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return np.asarray(state)


def chunks(texts: Texts, size: int = CHUNK) -> Iterator[Texts]:
    """Yields runs of whole texts with about `size` words each."""
    first, last = 0, len(texts.starts) - 1
    while first < last:
        end = int(np.searchsorted(texts.starts, texts.starts[first] + size, side="right")) - 1
        end = min(max(end, first + 1), last)
        begin, stop = int(texts.starts[first]), int(texts.starts[end])
        yield Texts(texts.ids[begin:stop], texts.starts[first : end + 1] - begin)
        first = end
