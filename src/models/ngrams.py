r"""Interpolated Kneser-Ney language models of any order, over sorted arrays. A unigram model is one of order 1.

Chen and Goodman, "An empirical study of smoothing techniques for language modeling", Computer Speech and Language 13,
1999, sections 3 and 4.1; Kneser and Ney, "Improved backing-off for M-gram language modeling", ICASSP 1995. For a word w
after the history h of n - 1 words, h' being h without its first word, V the size of the vocabulary and K the order of
the model:

    p_n(w | h) = (a(hw) - D_n(a(hw))) / A(h) + R(h) / A(h) * p_{n-1}(w | h'),    p_0(w) = 1 / V
    A(h) = sum_w a(hw),    R(h) = sum_w D_n(a(hw))
    a(g) = how often g occurs in training,                    if n = K or g begins a text
    a(g) = how many different words precede g in training,    otherwise

If h was never followed by a word, p_n(w | h) = p_{n-1}(w | h'). The discount D_n(a) is 0 for a = 0, and D1, D2 or D3+
of order n for a = 1, a = 2 or a >= 3 (modified form); the plain form has one D for every a > 0. If n_r n-grams of the
order have a = r:

    modified:  Y = n_1 / (n_1 + 2 n_2),    D1 = 1 - 2 Y n_2 / n_1,    D2 = 2 - 3 Y n_3 / n_2,    D3+ = 3 - 4 Y n_4 / n_3
    plain:     D = n_1 / (n_1 + 2 n_2)

What is counted: every word and every end of a text, each after the words before it in its own text. The end of the
previous text is the only symbol before the first word of a text, as `<s>` in KenLM (Heafield et al., "Scalable modified
Kneser-Ney language model estimation", ACL 2013). Chen and Goodman repeat such a symbol n - 1 times; every n-gram that
begins a text would then have the count 1 in the lower orders.

Where the formulas fail (some n_r is 0, or a discount is not positive), the order has KenLM's fixed discounts 0.5, 1 and
1.5; in the plain form 0.5. At order 1 of a limited vocabulary this is the rule, because its words are frequent, and it
changes almost nothing there: every word gives and gets the same amount.

Letters: N words of a stream, G_n different n-grams of order n, C_n of them as contexts: C_1 = 1 and C_n = G_{n-1}.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np

COUNTING = "1"  # for cache keys: increment it when `count` or the stored arrays change
MODIFIED_FALLBACK, PLAIN_FALLBACK = (0.5, 1.0, 1.5), 0.5
_BOUND = 600.0  # of the logarithm of a ratio of probabilities: sums of exp(600) do not overflow


class Counts(NamedTuple):
    """The n-grams of a training text, of all orders n from 1 up; position n - 1 of each tuple is that of order n.

    The number of an n-gram is V times the index of its first n - 1 words among the n-grams of order n - 1, plus its
    last word.

    Attributes:
      vocab_size: V; words are ids from 0 to V - 1.
      end: id of the end of a text.
      keys: int64[G_n] sorted numbers of the n-grams; those of order 1 are all V ids.
      raw: int32[G_n] how often each occurs.
      adjusted: int32[G_n] the count a(g) that it has in a model of a higher order; one tuple shorter than the others.
    """

    vocab_size: int
    end: int
    keys: tuple[np.ndarray, ...]
    raw: tuple[np.ndarray, ...]
    adjusted: tuple[np.ndarray, ...]


def count(ids: np.ndarray, *, vocab_size: int, end: int, order: int = 5) -> Counts:
    """Returns the n-grams of a training text.

    Args:
      ids: int[N] texts one after the other, each followed by `end`.
      vocab_size: V, at least 1.
      end: id of the end of a text.
      order: the longest n-grams, at least 1 word.

    Raises:
      ValueError: there is no word, or an id or the order is out of range.
    """
    if order < 1:
        raise ValueError(f"order={order}; allowed: 1 or more")
    words = _stream(ids, vocab_size, end)
    if len(words) == 1:
        raise ValueError("the training text is empty; at least one id is required")
    keys, raw, adjusted = [np.arange(vocab_size)], [np.bincount(words[1:], minlength=vocab_size)], []
    at = words  # index of the n-gram that ends with each word, -1 where the text is too short for one
    for n in range(2, order + 1):
        contexts = _contexts(at, words, end, n)
        inside = np.flatnonzero(contexts >= 0)
        found, first, inverse, occurrences = np.unique(
            contexts[inside] * vocab_size + words[1:][inside],
            return_index=True,
            return_inverse=True,
            return_counts=True,
        )
        preceding = np.bincount(at[1:][inside[first]], minlength=len(keys[-1]))
        adjusted.append(np.where(preceding > 0, preceding, raw[-1]))
        keys.append(found)
        raw.append(occurrences)
        at = np.full(len(words), -1)
        at[1 + inside] = inverse
    return Counts(vocab_size, end, tuple(keys), _small(raw), _small(adjusted))


def modified_discounts(counts: np.ndarray) -> tuple[float, float, float]:
    """Returns D1, D2 and D3+ of one order from its counts a(g), int[G] (Chen and Goodman 1999, equation 26)."""
    n1, n2, n3, n4 = (int(np.count_nonzero(counts == r)) for r in (1, 2, 3, 4))
    if not min(n1, n2, n3, n4):
        return MODIFIED_FALLBACK
    y = n1 / (n1 + 2 * n2)
    discounts = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    return discounts if min(discounts) > 0 else MODIFIED_FALLBACK


def plain_discounts(counts: np.ndarray) -> tuple[float, float, float]:
    """Returns three times the discount D of one order from its counts a(g), int[G]."""
    n1, n2 = (int(np.count_nonzero(counts == r)) for r in (1, 2))
    discount = n1 / (n1 + 2 * n2) if min(n1, n2) else PLAIN_FALLBACK
    return discount, discount, discount


FORMS: dict[str, Callable[[np.ndarray], tuple[float, float, float]]] = {
    "modified": modified_discounts,
    "plain": plain_discounts,
}


class _Level(NamedTuple):
    """The quantities of one order n: int64[G_n] keys, int32[G_n] a(g), float64[4] D(0) to D(3+), and those of contexts.

    `total` float64[C_n] is A(h), 0 for a context that no word followed; `reserved` float64[C_n] is R(h).
    """

    keys: np.ndarray
    counts: np.ndarray
    discounts: np.ndarray
    total: np.ndarray
    reserved: np.ndarray


class KneserNey:
    """An interpolated Kneser-Ney model of some order; the equations are at the top of this module.

    With positive discounts every word has a positive probability after every history.
    """

    def __init__(
        self,
        counts: Counts,
        *,
        order: int | None = None,
        form: Literal["modified", "plain"] = "modified",
        discounts: Sequence[Sequence[float]] | None = None,
    ) -> None:
        """Estimates the discounts, and sums the counts of every context.

        Args:
          counts: counts of the training text.
          order: order of the model, from 1 to that of the counts; None means that of the counts.
          form: a key of `FORMS`: how the discounts of each order are estimated.
          discounts: D1, D2 and D3+ of each order, used instead of estimates: D1 from 0 to 1, D2 to 2, D3+ to 3.

        Raises:
          ValueError: the order, the form or a discount is not allowed.
        """
        self.order = len(counts.keys) if order is None else order
        if not 1 <= self.order <= len(counts.keys):
            raise ValueError(f"order={self.order}; allowed: 1 to {len(counts.keys)}, the order of the counts")
        if form not in FORMS:
            raise ValueError(f"form={form!r}; allowed: {', '.join(FORMS)}")
        adjusted = (*counts.adjusted[: self.order - 1], counts.raw[self.order - 1])
        self.discounts = _checked(
            [FORMS[form](each) for each in adjusted] if discounts is None else discounts, self.order
        )
        self._vocab_size, self._end = counts.vocab_size, counts.end
        contexts = (1, *map(len, counts.keys))
        self._levels = [
            _level(*each, vocab_size=counts.vocab_size)
            for each in zip(counts.keys, adjusted, self.discounts, contexts, strict=False)
        ]

    def log_probabilities(self, ids: np.ndarray) -> np.ndarray:
        """Returns the natural logarithm of the probability of every word given the words before it in its text.

        Args:
          ids: int[N] texts one after the other, each followed by the end of a text; the first word begins a text.

        Returns:
          float64[N], one for each id, ends of texts included; -inf only where a discount of 0 was given.

        Raises:
          ValueError: an id is out of range.
        """
        words = _stream(ids, self._vocab_size, self._end)
        probability = np.full(len(words) - 1, 1 / self._vocab_size)
        at = words
        for n, level in enumerate(self._levels, 1):
            contexts = _contexts(at, words, self._end, n)
            found = np.flatnonzero(contexts >= 0)
            found = found[level.total[contexts[found]] > 0]
            context = contexts[found]
            ngram = _indices(level.keys, context * self._vocab_size + words[1:][found])
            counts = np.where(ngram >= 0, level.counts[ngram], 0)
            own = counts - level.discounts[np.minimum(counts, 3)]
            probability[found] = (own + level.reserved[context] * probability[found]) / level.total[context]
            if n > 1:
                at = np.full(len(words), -1)
                at[1 + found] = ngram
        with np.errstate(divide="ignore"):
            logarithms: np.ndarray = np.log(probability)
        return logarithms


def perplexity(log_probabilities: np.ndarray) -> float:
    """Returns exp(-mean log p) of float[N] natural logarithms; from 1 up, lower is better.

    Raises:
      ValueError: there is no word.
    """
    if not len(log_probabilities):
        raise ValueError("got no words; perplexity is a mean over at least one")
    return float(np.exp(-np.mean(log_probabilities, dtype=np.float64)))


def mixture_weight(log_p: np.ndarray, log_q: np.ndarray) -> float:
    """Returns the weight w of p that maximises the likelihood of w p + (1 - w) q.

    Jelinek and Mercer, "Interpolated estimation of Markov source parameters from sparse data", 1980, with one weight.
    The mean log-likelihood is concave in w: its derivative, mean((p - q) / (w p + (1 - w) q)), has at most one root.

    Args:
      log_p: float[N] natural logarithms of the probabilities of held-out words under one model.
      log_q: float[N] those of the same words under the other model.

    Returns:
      A number from 0 to 1. On the same words the mixture is at least as likely as either model.

    Raises:
      ValueError: the lengths differ or are 0, or a word has the probability 0 under both models.
    """
    from scipy.optimize import brentq  # 0.3 s

    if len(log_p) != len(log_q) or not len(log_p):
        raise ValueError(
            f"got {len(log_p):,} and {len(log_q):,} words; both models must give the same words, at least one"
        )
    log_p, log_q = np.asarray(log_p, np.float64), np.asarray(log_q, np.float64)
    if not np.isfinite(np.maximum(log_p, log_q)).all():
        raise ValueError("a word has the probability 0, or none, under both models; no mixture can repair this")
    ratio = np.exp(np.clip(log_p - log_q, -_BOUND, _BOUND))

    def slope(weight: float) -> float:
        return float(np.mean((ratio - 1) / (weight * ratio + (1 - weight))))

    if slope(0) <= 0:
        return 0.0
    return 1.0 if slope(1) >= 0 else float(brentq(slope, 0, 1, xtol=1e-12))


def mixed(log_p: np.ndarray, log_q: np.ndarray, weight: float) -> np.ndarray:
    """Returns log(weight p + (1 - weight) q), float64[N], of natural logarithms float[N]; the weight is from 0 to 1."""
    if not 0 <= weight <= 1:
        raise ValueError(f"weight={weight}; allowed: 0 to 1")
    with np.errstate(divide="ignore"):
        share, rest = np.log(np.float64(weight)), np.log1p(-np.float64(weight))
    logarithms: np.ndarray = np.logaddexp(share + np.asarray(log_p, np.float64), rest + np.asarray(log_q, np.float64))
    return logarithms


def _stream(ids: np.ndarray, vocab_size: int, end: int) -> np.ndarray:
    """Returns int64[N + 1]: the words after the symbol that begins the first text."""
    ids = np.asarray(ids)
    if vocab_size < 1 or not 0 <= end < vocab_size:
        raise ValueError(f"vocab_size={vocab_size}, end={end}; allowed: a vocab_size of at least 1, an end below it")
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"ids: got {ids.dtype}{list(ids.shape)}; allowed: one row of integers")
    if len(ids) and not (ids.min() >= 0 and ids.max() < vocab_size):
        raise ValueError(f"ids: got {ids.min()} to {ids.max()}; allowed: 0 to {vocab_size - 1}, below vocab_size")
    return np.concatenate([[end], ids]).astype(np.int64)


def _contexts(at: np.ndarray, words: np.ndarray, end: int, n: int) -> np.ndarray:
    """Returns int64[N]: for each word the index of the n - 1 words before it; -1 if unknown, or of two texts."""
    if n == 1:
        return np.zeros(len(words) - 1, np.int64)
    if n == 2:
        return at[:-1]
    return np.where(words[:-1] == end, -1, at[:-1])


def _indices(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Returns int64[M]: the index of each wanted key among sorted keys; -1 if it is not there."""
    index = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[index] == wanted, index, -1)


def _level(keys: np.ndarray, counts: np.ndarray, discounts: np.ndarray, contexts: int, *, vocab_size: int) -> _Level:
    discounts = np.concatenate([[0.0], discounts])
    context = keys // vocab_size
    total = np.bincount(context, counts, minlength=contexts)
    reserved = np.bincount(context, discounts[np.minimum(counts, 3)], minlength=contexts)
    return _Level(keys, counts, discounts, total, reserved)


def _checked(discounts: Sequence[Sequence[float]], order: int) -> np.ndarray:
    """Returns float64[order, 3]; refuses discounts that would make a probability negative."""
    array = np.asarray(discounts, np.float64)
    if array.shape != (order, 3) or not ((array >= 0) & (array <= [1, 2, 3])).all():
        raise ValueError(
            f"discounts={discounts}; allowed: for each of {order} orders D1 to 1, D2 to 2 and D3+ to 3, from 0"
        )
    return array


def _small(arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    return tuple(array.astype(np.int32) for array in arrays)
