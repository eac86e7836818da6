"""Texts from a model of the next word: the likeliest word at every step, random words, or a beam of texts.

The functions know the model only by a step: it takes the states of B texts and their last words, and returns the
log-probabilities of the next words and the new states. Letters: B texts, V ids, L words of a text.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, Protocol

import numpy as np

States = Sequence[np.ndarray]


class Step(Protocol):
    """One step of a model for B texts."""

    def __call__(self, states: States, words: np.ndarray) -> tuple[np.ndarray, States]:
        """Returns log p(next word) float[B, V] and the new states.

        Args:
          states: arrays whose first axis has B rows.
          words: int[B], the last word of each text.
        """


class Text(NamedTuple):
    """A generated text.

    Attributes:
      words: ids; the last one is the end if `has_ended`.
      log_probability: the sum of log p(word) over these words, given the words before each. It is the model's, whatever
        the way in which the words were chosen.
      has_ended: whether the text has an end; otherwise it has the largest allowed length.
    """

    words: list[int]
    log_probability: float
    has_ended: bool

    @property
    def per_word(self) -> float:
        """Log-probability per word."""
        return self.log_probability / len(self.words)


class Search(NamedTuple):
    """What texts are generated from, and where they stop.

    Attributes:
      step: step of the model.
      states: states of one text, before it reads `word`.
      word: the last word so far, which is not part of the generated texts.
      length: largest number of words of a text, at least 1.
      end: the id that ends a text.
      no_repeat: n; a text contains no n words in a row twice. 0 for no limit.
    """

    step: Step
    states: States
    word: int
    length: int
    end: int
    no_repeat: int = 0


def without(step: Step, ids: Collection[int]) -> Step:
    """Returns a step that never chooses some ids. The log-probabilities of the others stay the same."""
    excluded = np.array(sorted(ids), int)

    def excluding(states: States, words: np.ndarray) -> tuple[np.ndarray, States]:
        log_probs, states = step(states, words)
        log_probs = np.array(log_probs, np.float64)
        log_probs[:, excluded] = -np.inf
        return log_probs, states

    return excluding


def read(step: Step, states: States, words: Sequence[int]) -> States:
    """Returns the states of one text after it has read some words."""
    for word in words:
        _, states = step(states, np.array([word]))
    return states


def without_repeats(log_probs: np.ndarray, texts: np.ndarray, n: int) -> np.ndarray:
    """Returns log-probabilities with minus infinity for each word that would repeat n words of its text.

    A search for the likeliest text falls into loops (Holtzman et al., "The Curious Case of Neural Text Degeneration",
    ICLR 2020). Source of this remedy: Paulus, Xiong and Socher, "A Deep Reinforced Model for Abstractive
    Summarization", ICLR 2018, section 2.5.

    Args:
      log_probs: float[B, V] of the next words.
      texts: int[B, L], the words so far.
      n: words in a row that may not come twice; 0 changes nothing.
    """
    if n == 0 or texts.shape[1] < n:
        return log_probs
    grams = np.lib.stride_tricks.sliding_window_view(texts, n, axis=1)
    latest = texts[:, texts.shape[1] - n + 1 :]
    rows, places = np.nonzero((grams[:, :, :-1] == latest[:, None]).all(axis=2))
    allowed = np.array(log_probs)
    allowed[rows, grams[rows, places, -1]] = -np.inf
    return allowed


def greedy(search: Search) -> Text:
    """Returns the text that continues with the likeliest allowed word at every step; of equal ones, the lowest id."""
    return _walks(search, lambda log_probs: log_probs.argmax(axis=1), count=1)[0]


def sample(
    search: Search,
    *,
    count: int,
    seed: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
) -> list[Text]:
    r"""Returns texts of randomly drawn words. Every text has random numbers of its own: more texts change none of them.

        q(word) ∝ p(word)^(1 / temperature), over the words that remain

    First the k words of the largest q remain, and of these the fewest likeliest words whose share is at least `top_p`.

    Source of `top_k`: Fan, Lewis and Dauphin, "Hierarchical Neural Story Generation", ACL 2018; of `top_p`: Holtzman et
    al., "The Curious Case of Neural Text Degeneration", ICLR 2020.

    Args:
      search: where the texts begin and stop.
      count: number of texts.
      seed: of the random numbers.
      temperature: above 0; below 1 prefers likely words.
      top_k: k, at least 1; None for all words.
      top_p: in (0, 1]; 1 for all words.
    """
    draws = [np.random.default_rng([seed, row]) for row in range(count)]

    def drawn(log_probs: np.ndarray) -> np.ndarray:
        order, shares = _remaining(log_probs, temperature=temperature, top_k=top_k, top_p=top_p)
        passed = np.cumsum(shares, axis=1) <= np.array([draw.random() for draw in draws])[:, None]
        places = np.minimum(passed.sum(axis=1), (shares > 0).sum(axis=1) - 1)  # a sum may round to just below 1
        return np.take_along_axis(order, places[:, None], axis=1)[:, 0]

    return _walks(search, drawn, count=count)


def beam(search: Search, *, size: int, length_penalty: float = 1.0) -> list[Text]:
    r"""Returns the likeliest texts that a beam search finds, the best first: at most `size`, at least one.

        score(text) = log p(text) / n^length_penalty,    n words, the end included

    At each step, all next words of all texts in the beam compete, and the `size` likeliest texts stay. A text that ends
    leaves the beam, and its place is not filled again; so a beam of one text is a greedy search. The others end at
    `length` words.

    Source: Sutskever, Vinyals and Le, "Sequence to Sequence Learning with Neural Networks", NeurIPS 2014; the score is
    that of Wu et al., "Google's Neural Machine Translation System", 2016, without their constant 5.

    Args:
      search: where the texts begin and stop.
      size: texts in the beam, at least 1.
      length_penalty: at least 0: 0 compares log-probabilities of whole texts, 1 those per word.
    """
    states: States = search.states
    last = np.array([search.word])
    texts, totals, ended = np.zeros((1, 0), int), np.zeros(1), list[Text]()
    for _ in range(search.length):
        log_probs, states = search.step(states, last)
        allowed = without_repeats(log_probs, texts, search.no_repeat)
        parents, last, totals = _best(totals[:, None] + allowed, size - len(ended))
        texts = np.concatenate([texts[parents], last[:, None]], axis=1)
        has_ended = last == search.end
        ended += _texts(texts[has_ended], totals[has_ended], has_ended=True)
        texts, totals, last = texts[~has_ended], totals[~has_ended], last[~has_ended]
        states = [state[parents[~has_ended]] for state in states]
        if not len(last):
            break
    found = ended + _texts(texts, totals, has_ended=False)
    return sorted(found, key=lambda text: -text.log_probability / len(text.words) ** length_penalty)


def _texts(words: np.ndarray, totals: np.ndarray, *, has_ended: bool) -> list[Text]:
    return [Text(row, total, has_ended) for row, total in zip(words.tolist(), totals.tolist(), strict=True)]


def _walks(search: Search, choose: Callable[[np.ndarray], np.ndarray], *, count: int) -> list[Text]:
    """Returns texts that continue independently with the words that `choose` takes from log-probabilities [B, V]."""
    length, end = search.length, search.end
    states: States = [np.repeat(state, count, axis=0) for state in search.states]
    last = np.full(count, search.word)
    texts, is_running, totals = np.full((count, length), end), np.ones(count, bool), np.zeros(count)
    for place in range(length):
        log_probs, states = search.step(states, last)
        last = choose(without_repeats(log_probs, texts[:, :place], search.no_repeat))
        totals += np.where(is_running, np.take_along_axis(log_probs, last[:, None], axis=1)[:, 0], 0)
        texts[is_running, place] = last[is_running]
        is_running &= last != end
        if not is_running.any():
            break
    sizes = np.where(is_running, length, (texts == end).argmax(axis=1) + 1)
    rows = zip(texts, sizes, totals.tolist(), (~is_running).tolist(), strict=True)
    return [Text(words[:size].tolist(), total, has_ended) for words, size, total, has_ended in rows]


def _remaining(
    log_probs: np.ndarray, *, temperature: float, top_k: int | None, top_p: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ids that may be drawn, the likeliest first, and their shares: int[B, k] and float64[B, k]."""
    ids = np.broadcast_to(np.arange(log_probs.shape[1]), log_probs.shape)
    if top_k is not None and top_k < log_probs.shape[1]:  # to sort all words would take most of the time
        ids = np.sort(np.argpartition(-log_probs, top_k - 1, axis=1)[:, :top_k], axis=1)
    of_ids = np.take_along_axis(log_probs, ids, axis=1)
    order = np.take_along_axis(ids, np.argsort(-of_ids, axis=1, kind="stable"), axis=1)
    ranked = np.take_along_axis(log_probs, order, axis=1).astype(np.float64)
    with np.errstate(over="ignore"):  # at a temperature near 0 all but the likeliest become minus infinity
        shares = np.exp((ranked - ranked[:, :1]) / temperature)
    shares /= shares.sum(axis=1, keepdims=True)
    if top_p < 1:
        before = np.cumsum(shares, axis=1) - shares
        shares[:, 1:][before[:, 1:] >= top_p] = 0
    return order, shares / shares.sum(axis=1, keepdims=True)


def _best(scores: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns rows, ids and values of the largest scores of float[B, V], in falling order; of equal ones, the first."""
    flat = scores.ravel()
    count = min(count, int(np.count_nonzero(flat > -np.inf)))
    least = np.partition(flat, -count)[-count]
    places = np.flatnonzero(flat >= least)
    places = places[np.argsort(-flat[places], kind="stable")][:count]
    return places // scores.shape[1], places % scores.shape[1], flat[places]
