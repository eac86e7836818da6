"""Searches over many sentences at once: on a step whose probabilities are a table, and with a small model."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from src.models.attention import SCORES
from src.models.decoding import beam, penalty, walk
from src.models.encoder_decoder import Design, encoder_decoder
from src.models.translator import Translator

V, START, END, L = 4, 1, 3, 4  # every beginning of a translation has a number; that of the start alone is 1


class Table:
    """A step whose probabilities depend on the sentence and on all words before."""

    def __init__(self, sentences, *, seed=0, ends=0.0):
        logits = 1.5 * np.random.default_rng(seed).normal(size=(sentences, 2 * V**L, V))
        logits[:, :, END] += ends
        self.log_probs = (logits - np.log(np.exp(logits).sum(axis=2, keepdims=True))).astype(np.float32)
        self.sentences, self.calls = sentences, 0

    def start(self, repeats=1):
        """Returns the sentence and the number of the beginning of each row."""
        sentence = tf.repeat(tf.range(self.sentences), repeats)
        return sentence, tf.zeros_like(sentence)

    def step(self, words, states):
        self.calls += 1
        sentence, code = states[0], states[1] * V + words
        log_probs = tf.gather_nd(self.log_probs, tf.stack([sentence, code], axis=1))
        return log_probs, (sentence, code), tf.cast(tf.stack([sentence, code], axis=1), tf.float32)

    def beam(self, size, *, longest=L, length_penalty=1.0):
        return beam(
            self.step,
            self.start(size),
            START,
            END,
            size=size,
            longest=longest,
            positions=2,
            length_penalty=length_penalty,
        )

    def log_probability(self, sentence, words):
        code, total = START, 0.0
        for word in words:
            total, code = total + float(self.log_probs[sentence, code, word]), code * V + word
        return total

    def score(self, sentence, words, alpha):
        return self.log_probability(sentence, words) / ((5 + len(words)) / 6) ** alpha


def words_of(row):
    """Returns the words up to the end, or all."""
    row = row.tolist()
    return row[: row.index(END) + 1] if END in row else row


def all_translations(longest):
    for size in range(1, longest + 1):
        for words in itertools.product(range(END), repeat=size - 1):
            yield [*words, END]
    yield from (list(words) for words in itertools.product(range(END), repeat=longest))


def plain_beam(table, sentence, size, alpha, *, first_wins=False):
    """Returns the best of all that a beam search passes, without any rule that stops it early.

    Args:
      table: the probabilities.
      sentence: its number.
      size: of the beam.
      alpha: length penalty.
      first_wins: whether it stops as soon as the likeliest translation in the beam has ended, as many programs do.
    """
    live, found = [[]], []
    for _ in range(L):
        grown = [[*words, word] for words in live for word in range(V)]
        grown = sorted(grown, key=lambda words: -table.log_probability(sentence, words))[:size]
        ended = [words for words in grown if words[-1] == END or len(words) == L]
        found += ended
        live = [words for words in grown if words not in ended]
        if not live or (first_wins and ended and grown[0] is ended[0]):
            break
    return max(found, key=lambda words: table.score(sentence, words, alpha))


def test_greedy_takes_the_likeliest_word_at_every_step():
    table = Table(20)

    found = walk(table.step, table.start(), START, END, longest=L)

    for sentence, row in enumerate(found.ids.numpy()):
        code, expected = START, []
        while len(expected) < L and END not in expected:
            expected.append(int(table.log_probs[sentence, code].argmax()))
            code = code * V + expected[-1]
        assert row.tolist() == expected + [0] * (L - len(expected))


@pytest.mark.parametrize("size", [0, 1, 3])  # 0 is greedy
def test_log_probabilities_and_weights_are_those_of_the_written_words(size):
    table = Table(20)

    found = table.beam(size) if size else walk(table.step, table.start(), START, END, longest=L)

    for sentence, row in enumerate(found.ids.numpy()):
        words = words_of(row)
        assert float(found.log_probability[sentence]) == pytest.approx(table.log_probability(sentence, words), abs=1e-5)
        codes = list(itertools.accumulate([START, *words[:-1]], lambda code, word: code * V + word))
        expected = np.zeros((L, 2))
        expected[: len(words)] = [[sentence, code] for code in codes]
        np.testing.assert_array_equal(found.weights[sentence], expected)


def test_a_beam_of_one_is_greedy():
    for seed in range(5):
        table = Table(20, seed=seed)

        found, greedy = table.beam(1), walk(table.step, table.start(), START, END, longest=L)

        for one, other in zip(found, greedy, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0, 3.0])
def test_a_beam_that_holds_everything_finds_the_best_of_all_translations(alpha):
    table = Table(6)

    found = table.beam(V**L, length_penalty=alpha)

    for sentence, row in enumerate(found.ids.numpy()):
        best = max(all_translations(L), key=lambda words: table.score(sentence, words, alpha))
        assert words_of(row) == best


@pytest.mark.parametrize("alpha", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("size", [2, 3, 5])
def test_stopping_early_never_changes_what_is_found(size, alpha):
    for seed in range(4):
        table = Table(25, seed=seed, ends=0.7)

        found = table.beam(size, length_penalty=alpha)

        expected = [plain_beam(table, sentence, size, alpha) for sentence in range(25)]
        assert [words_of(row) for row in found.ids.numpy()] == expected


def test_a_translation_that_ends_first_is_beaten_by_a_longer_one_under_the_length_penalty():
    table = Table(25, ends=0.7)

    found = [words_of(row) for row in table.beam(3, length_penalty=4.0).ids.numpy()]

    stopped = [plain_beam(table, sentence, 3, 4.0, first_wins=True) for sentence in range(25)]
    assert found != stopped
    for sentence in range(25):
        assert table.score(sentence, found[sentence], 4.0) >= table.score(sentence, stopped[sentence], 4.0) - 1e-6


def test_searches_stop_when_nothing_better_can_come():
    for search in (lambda table: table.beam(2), lambda table: walk(table.step, table.start(), START, END, longest=L)):
        hurried, patient = Table(5, ends=20.0), Table(5, ends=-20.0)
        search(hurried), search(patient)
        assert (hurried.calls, patient.calls) == (1, L)


def test_the_length_penalty_is_that_of_wu_et_al():
    assert float(penalty(1, 0.6)) == pytest.approx(1)
    assert float(penalty(7, 0.6)) == pytest.approx(2**0.6)


def test_other_sentences_of_the_batch_change_nothing():
    table = Table(8)
    together = table.beam(3)

    for sentence in range(8):
        alone = beam(
            table.step, (tf.fill([3], sentence), tf.zeros([3], tf.int32)), START, END, size=3, longest=L, positions=2
        )
        np.testing.assert_array_equal(alone.ids[0], together.ids[sentence])


def test_draws_follow_the_probabilities_and_the_seed():
    table = Table(1)
    start = tf.zeros([4000], tf.int32), tf.zeros([4000], tf.int32)

    first, same, other = (walk(table.step, start, START, END, longest=2, seed=seed).ids.numpy() for seed in (1, 1, 2))

    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)
    np.testing.assert_allclose(np.bincount(first[:, 0]) / 4000, np.exp(table.log_probs[0, START]), atol=0.03)


@pytest.fixture
def eagerly():
    """Runs graphs step by step: a trace of each takes longer than a few small steps."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


SOURCE = np.array([[5, 6, 7, 3, 0], [8, 3, 0, 0, 0], [9, 9, 9, 9, 3]], np.int32)
KINDS = {
    **{score: {"attention": score} for score in SCORES},
    "none": {"attention": "none", "initial_state": "last", "cell": "lstm"},
    "not_fed": {"input_feeding": False, "depth": 2, "cell": "simple_rnn"},
    "padding_is_a_word": {"mask_loss": False, "tie_weights": True},
}


def model(**changes):
    """Returns a small model whose probabilities are not all alike."""
    longest_source = 6 if changes.get("attention") == "location" else None
    made = encoder_decoder(
        Design(20, 20, **{"embedding_dim": 8, "units": 12, "longest": 9, "longest_source": longest_source} | changes)
    )
    rng = np.random.default_rng(0)
    made.set_weights([rng.normal(0, 0.7, weight.shape) for weight in made.get_weights()])
    return made


def shifted(ids):
    """Returns what a decoder reads that writes these ids."""
    return np.concatenate([np.full((len(ids), 1), START, np.int32), ids[:, :-1]], axis=1)


@pytest.mark.parametrize("kind", KINDS)
def test_log_probabilities_are_those_of_reading_the_whole_translation(kind, eagerly):
    translator = Translator(model(**KINDS[kind]))

    for found in (
        translator.greedy(SOURCE, longest=7),
        translator.sample(SOURCE, longest=7, seed=1),
        translator.beam(SOURCE, longest=7, size=3),
    ):
        log_probability, weights = translator.score(SOURCE, shifted(found.ids), found.ids)
        np.testing.assert_allclose(found.log_probability, log_probability, atol=1e-4)
        if weights is not None:
            written = found.ids[:, :, None] != 0
            np.testing.assert_allclose(found.weights, weights * written, atol=1e-5)
        assert not np.isin(found.ids[:, 0], [0, START]).any()


def test_the_model_translates_as_the_translator_does():
    made = model()
    outputs = made({"source": SOURCE, "target": SOURCE, "labels": SOURCE}, training=False)

    found = Translator(made).greedy(SOURCE, longest=9)

    np.testing.assert_array_equal(outputs["translation"], found.ids)


def test_a_beam_finds_likelier_translations_than_a_greedy_search():
    source = np.random.default_rng(1).integers(4, 20, (40, 6)).astype(np.int32)
    translator = Translator(model())

    totals = [
        translator.beam(source, longest=7, size=size, length_penalty=0.0).log_probability.sum() for size in (1, 3, 10)
    ]

    assert totals[0] < totals[1] < totals[2]


@pytest.mark.parametrize("kind", ["additive", "dot", "location", "none"])
def test_more_padding_changes_no_translation(kind, eagerly):
    translator = Translator(model(**KINDS[kind]))
    padded = np.pad(SOURCE, [(0, 0), (0, 1)])

    for search in (lambda ids: translator.greedy(ids, longest=7), lambda ids: translator.beam(ids, longest=7, size=3)):
        found, same = search(SOURCE), search(padded)
        np.testing.assert_array_equal(found.ids, same.ids)
        np.testing.assert_allclose(found.log_probability, same.log_probability, atol=1e-5)
        assert (same.weights[:, :, 5] == 0).all()


def test_the_same_translation_comes_twice_unless_words_are_drawn(eagerly):
    translator = Translator(model())

    twice = [translator.greedy(SOURCE, longest=7).ids for _ in range(2)]
    drawn = [translator.sample(SOURCE, longest=7, seed=seed).ids for seed in (1, 2, 1)]

    np.testing.assert_array_equal(*twice)
    assert not np.array_equal(drawn[0], drawn[1])
    np.testing.assert_array_equal(drawn[0], drawn[2])


def test_what_does_not_fit_is_refused(eagerly):
    translator = Translator(model(attention="location"))
    with pytest.raises(ValueError, match="the source has 7 positions, the end included; the location score knows 6"):
        translator.greedy(np.pad(SOURCE, [(0, 0), (0, 2)]), longest=5)
    with pytest.raises(ValueError, match="the longest translation has 0 words; allowed: 1 or more"):
        translator.greedy(SOURCE, longest=0)
    with pytest.raises(ValueError, match=r"the size of the beam is 0; allowed: 1 or more \(1 is greedy\)"):
        translator.beam(SOURCE, longest=5, size=0)
    with pytest.raises(ValueError, match="the length penalty is -1; allowed: 0 or more"):
        translator.beam(SOURCE, longest=5, size=2, length_penalty=-1)
    inputs = keras.Input((3,))
    with pytest.raises(ValueError, match="a translation needs encoder and decoder"):
        Translator(keras.Model(inputs, keras.layers.Dense(2)(inputs)))


def test_a_model_without_finite_numbers_is_refused(eagerly):
    made = model()
    made.set_weights([np.full(weight.shape, np.nan) for weight in made.get_weights()])

    with pytest.raises(ValueError, match="not finite numbers"):
        Translator(made).greedy(SOURCE, longest=5)
