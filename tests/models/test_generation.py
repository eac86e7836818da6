"""Searches and draws, on a step whose probabilities are a table: every beginning of a text has its own row."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from src.models.generation import Search, beam, greedy, read, sample, without

V, END, FIRST = 4, 0, 1


def table(seed, code):
    """Returns log p(next word) for the beginning with this number, float64[V]."""
    logits = 2 * np.random.default_rng([seed, code]).normal(size=V)
    return logits - np.log(np.exp(logits).sum())


class Model:
    """A step; its only state is the number of the beginning."""

    def __init__(self, seed=0):
        self.seed, self.batches = seed, []

    def step(self, states, words):
        (codes,) = states
        codes = codes * V + words[:, None]
        self.batches.append(len(words))
        return np.stack([table(self.seed, int(code)) for code in codes[:, 0]]), [codes]

    def search(self, length):
        return Search(self.step, [np.zeros((1, 1), np.int64)], FIRST, length, END)

    def log_probability(self, words):
        code, total = FIRST, 0.0
        for word in words:
            total, code = total + table(self.seed, code)[word], code * V + word
        return total

    def all_texts(self, length):
        """Returns every text with its log-probability."""
        return {text: self.log_probability(text) for text in every_text(length)}


def every_text(length):
    """Yields all texts that end, or have this length."""
    for size in range(1, length + 1):
        for words in itertools.product(range(1, V), repeat=size - 1):
            yield (*words, END)
    yield from itertools.product(range(1, V), repeat=length)


class OneRow:
    """A step without memory, whose probabilities are given."""

    def __init__(self, probabilities):
        self.log_probs = np.log(np.array(probabilities))

    def search(self, length=1):
        return Search(lambda states, words: (np.tile(self.log_probs, (len(words), 1)), states), [], 0, length, -1)


def test_greedy_takes_the_likeliest_word_at_every_step():
    for seed in range(20):
        model = Model(seed)
        code, expected = FIRST, []
        while len(expected) < 5 and END not in expected:
            expected.append(int(table(seed, code).argmax()))
            code = code * V + expected[-1]

        found = greedy(model.search(5))

        assert (found.words, found.has_ended) == (expected, END in expected)


def test_log_probabilities_are_those_of_the_table_in_every_strategy():
    model = Model()

    texts = [greedy(model.search(6)), *beam(model.search(6), size=5)]
    texts += sample(model.search(6), count=30, seed=0, temperature=3.0, top_k=3)

    for text in texts:
        assert text.log_probability == pytest.approx(model.log_probability(text.words), rel=1e-12)
        assert text.per_word == pytest.approx(text.log_probability / len(text.words))
        assert END not in text.words[:-1] and text.has_ended == (text.words[-1] == END)
        assert text.has_ended or len(text.words) == 6
    assert len({text.has_ended for text in texts}) == 2


def test_a_beam_of_one_is_a_greedy_search():
    for seed in range(50):
        assert beam(Model(seed).search(6), size=1) == [greedy(Model(seed).search(6))]


def test_the_place_of_a_text_that_ends_is_not_filled_again():
    for seed in range(20):
        model = Model(seed)

        texts = beam(model.search(6), size=4)

        assert len(texts) <= 4
        for place, size in enumerate(model.batches[2:], 2):
            assert size == 4 - sum(text.has_ended and len(text.words) <= place for text in texts)


@pytest.mark.parametrize("length_penalty", [0.0, 0.5, 1.0, 3.0])
def test_a_beam_as_wide_as_all_texts_finds_the_best_ones_in_order(length_penalty):
    for seed in range(10):
        model = Model(seed)
        every = model.all_texts(3)
        ranked = sorted(every, key=lambda text: -every[text] / len(text) ** length_penalty)

        found = beam(model.search(3), size=V**3, length_penalty=length_penalty)

        assert [tuple(text.words) for text in found] == ranked


def test_a_beam_as_wide_as_the_vocabulary_finds_the_best_text_of_two_words():
    for seed in range(30):
        model = Model(seed)
        every = model.all_texts(2)

        assert tuple(beam(model.search(2), size=V, length_penalty=0)[0].words) == max(every, key=every.get)


def test_a_wider_beam_finds_more_of_the_probability_on_average():
    found = {size: [beam(Model(seed).search(6), size=size, length_penalty=0) for seed in range(60)]
             for size in (1, 2, 4, 8)}  # fmt: skip

    best = [np.mean([np.exp(texts[0].log_probability) for texts in found[size]]) for size in found]
    mass = [np.mean([sum(np.exp(text.log_probability) for text in texts) for texts in found[size]]) for size in found]
    assert best == sorted(best) and best[0] < best[-1]
    assert mass == sorted(mass) and mass[0] < mass[-1] / 2
    assert all(len({tuple(text.words) for text in texts}) == len(texts) for texts in found[8])


def test_all_beams_are_one_batch_and_each_word_is_one_step():
    model = Model(3)
    search = model.search(7)._replace(end=-1)

    beam(search, size=5)
    assert model.batches == [1, V, 5, 5, 5, 5, 5]

    model.batches.clear()
    sample(search, count=4, seed=0)
    assert model.batches == [4] * 7


@pytest.mark.parametrize(
    "limit", [{"temperature": 1e-6}, {"temperature": 1e-320}, {"top_k": 1}, {"top_p": 1e-9}], ids=str
)
def test_draws_from_the_likeliest_word_alone_are_greedy(limit):
    for seed in range(20):
        texts = sample(Model(seed).search(6), count=5, seed=seed, **limit)

        assert texts == [greedy(Model(seed).search(6))] * 5


def test_a_seed_decides_the_draws_and_more_texts_change_none_of_them():
    search = OneRow([0.1, 0.2, 0.3, 0.4]).search(6)

    first, again = (sample(search, count=20, seed=5) for _ in range(2))

    assert first == again == sample(search, count=30, seed=5)[:20]
    assert first != sample(search, count=20, seed=6)
    assert len({tuple(text.words) for text in first}) > 10


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.1, 0.4, 0.05, 0.25, 0.2]),
        ({"temperature": 0.5}, np.array([0.01, 0.16, 0.0025, 0.0625, 0.04]) / 0.275),
        ({"temperature": 2.0}, np.sqrt([0.1, 0.4, 0.05, 0.25, 0.2]) / np.sqrt([0.1, 0.4, 0.05, 0.25, 0.2]).sum()),
        ({"top_k": 3}, np.array([0, 0.4, 0, 0.25, 0.2]) / 0.85),
        ({"top_k": 99}, [0.1, 0.4, 0.05, 0.25, 0.2]),
        ({"top_p": 0.6}, np.array([0, 0.4, 0, 0.25, 0]) / 0.65),
        ({"top_p": 0.66}, np.array([0, 0.4, 0, 0.25, 0.2]) / 0.85),
        ({"top_k": 3, "top_p": 0.7}, np.array([0, 0.4, 0, 0.25, 0]) / 0.65),  # 0.65 / 0.85 of what top_k leaves
    ],
    ids=str,
)
def test_words_are_drawn_with_their_probabilities(options, expected):
    texts = sample(OneRow([0.1, 0.4, 0.05, 0.25, 0.2]).search(2), count=4_000, seed=0, **options)

    counts = np.bincount([word for text in texts for word in text.words], minlength=5)
    expected = 8_000 * np.array(expected)
    assert (counts[expected == 0] == 0).all()
    drawn = expected > 0
    chi_square = ((counts - expected)[drawn] ** 2 / expected[drawn]).sum()
    assert chi_square < 18.5  # 99.9 % of draws of five kinds are below it


def repeats(words, n):
    grams = [tuple(words[begin : begin + n]) for begin in range(len(words) - n + 1)]
    return len(grams) - len(set(grams))


@pytest.mark.parametrize("n", [1, 2, 3])
def test_no_words_in_a_row_come_twice(n):
    likely = [0.0, 0.5, 0.3, 0.2]  # the end, id 0, follows only when nothing else may
    search = OneRow([1e-9, *likely[1:]]).search(30)._replace(end=0, no_repeat=n)
    words = []
    for _ in range(30):  # the likeliest word that completes no earlier n words
        allowed = [word for word in (1, 2, 3) if not repeats([*words, word], n)]
        words.append(allowed[0] if allowed else 0)
        if not allowed:
            break

    found = greedy(search)

    assert found.words == words and (found.has_ended, repeats(words, n)) == (words[-1] == 0, 0)
    assert found.log_probability == pytest.approx(sum(np.log([1e-9, *likely[1:]][word]) for word in words))
    drawn = sample(search, count=5, seed=0)
    assert not any(repeats(text.words, n) for text in drawn) and len(drawn) == 5
    assert not any(repeats(text.words, n) for text in beam(search, size=4))


def test_without_a_limit_the_likeliest_word_comes_again_and_again():
    search = OneRow([1e-9, 0.5, 0.3, 0.2]).search(6)._replace(end=0)

    assert greedy(search).words == [1] * 6


def test_a_beam_of_texts_without_repeats_finds_the_best_of_them():
    model = Model()
    allowed = {text: value for text, value in model.all_texts(4).items() if not repeats(text, 1)}

    found = beam(model.search(4)._replace(no_repeat=1), size=100, length_penalty=0)

    assert tuple(found[0].words) == max(allowed, key=allowed.get)
    assert {tuple(text.words) for text in found} == set(allowed)


def test_an_excluded_word_is_never_chosen_and_changes_no_other_probability():
    plain = OneRow([0.1, 0.4, 0.5]).search(3)
    search = plain._replace(step=without(plain.step, {2}))

    texts = [greedy(search), *beam(search, size=4), *beam(search._replace(length=1), size=4)]
    texts += sample(search, count=50, seed=0)

    assert {word for text in texts for word in text.words} == {0, 1}
    for text in texts:
        assert text.log_probability == pytest.approx(sum(np.log([0.1, 0.4])[word] for word in text.words))


def test_a_prompt_is_read_word_by_word():
    model = Model()

    states = read(model.step, [np.zeros((1, 1), np.int64)], [FIRST, 3, 2])

    assert states[0].tolist() == [[(FIRST * V + 3) * V + 2]] and model.batches == [1, 1, 1]
