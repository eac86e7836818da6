from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.data import word_pairs
from src.data.tokens import SENTENCE, sentences
from src.data.word_pairs import NONE, Noise, Texts


def texts_of(*lists):
    return Texts(
        np.array([id_ for ids in lists for id_ in ids], np.int32), np.cumsum([0, *map(len, lists)]).astype(np.int64)
    )


def plain_pairs(texts, reach):
    """Returns the pairs of all texts with one loop inside another."""
    found, place = [], 0
    for begin, end in zip(texts.starts[:-1], texts.starts[1:], strict=True):
        for i in range(begin, end):
            for j in range(max(begin, i - reach[i]), min(end, i + reach[i] + 1)):
                if i != j:
                    found.append((int(texts.ids[i]), int(texts.ids[j])))
            place += 1
    return sorted(found)


some_texts = st.lists(st.lists(st.integers(0, 9), max_size=12), min_size=1, max_size=6)


def test_the_sentence_of_the_course_has_14_pairs():
    words = dict(enumerate("I like to cuddle dogs".split()))
    texts = texts_of(list(words))

    one, other = word_pairs.pairs(texts, word_pairs.reaches(5, 2, None))

    assert len(one) == word_pairs.pair_count(texts, word_pairs.reaches(5, 2, None)) == 14
    assert sorted((words[a], words[b]) for a, b in zip(one.tolist(), other.tolist(), strict=True)) == sorted(
        [
            *[("I", "like"), ("I", "to"), ("like", "I"), ("like", "to"), ("like", "cuddle")],
            *[("to", "I"), ("to", "like"), ("to", "cuddle"), ("to", "dogs")],
            *[("cuddle", "like"), ("cuddle", "to"), ("cuddle", "dogs"), ("dogs", "to"), ("dogs", "cuddle")],
        ]
    )


@given(some_texts, st.integers(1, 6), st.booleans(), st.integers(0, 9))
def test_pairs_are_those_of_plain_loops(lists, window, is_drawn, seed):
    texts = texts_of(*lists)
    reach = word_pairs.reaches(len(texts.ids), window, np.random.default_rng(seed) if is_drawn else None)

    pairs = word_pairs.pairs(texts, reach)

    assert sorted(zip(*(part.tolist() for part in pairs), strict=True)) == plain_pairs(texts, reach)
    assert word_pairs.pair_count(texts, reach) == len(pairs[0])


@given(some_texts, st.integers(1, 6), st.integers(0, 9))
def test_contexts_hold_the_pairs_of_each_word(lists, window, seed):
    texts = texts_of(*lists)
    reach = word_pairs.reaches(len(texts.ids), window, np.random.default_rng(seed))

    words, around = word_pairs.contexts(texts, reach, window)

    assert around.shape == (len(words), 2 * window)
    found = [
        (word, one) for word, row in zip(words.tolist(), around.tolist(), strict=True) for one in row if one != NONE
    ]
    assert sorted(found) == plain_pairs(texts, reach)
    assert (around != NONE).any(axis=1).all()


def test_windows_reach_every_distance_equally_often():
    reach = word_pairs.reaches(30_000, 3, np.random.default_rng(0))

    np.testing.assert_allclose(np.bincount(reach)[1:] / 30_000, 1 / 3, atol=0.02)


def test_a_removed_word_makes_its_neighbours_neighbours():
    texts = texts_of([1, 2, 3], [4, 5], [6])

    left = texts.only(np.array([True, False, True, False, True, False]))

    assert left.ids.tolist() == [1, 3, 5]
    assert left.starts.tolist() == [0, 2, 3, 3]


def test_texts_come_in_another_order_and_with_padding():
    texts = texts_of([1, 2, 3], [], [4, 5])

    assert texts.in_order(np.array([2, 0, 1])).ids.tolist() == [4, 5, 1, 2, 3]
    assert texts.in_order(np.array([2, 0, 1])).starts.tolist() == [0, 2, 5, 5]
    assert texts.padded(2, 9).ids.tolist() == [1, 2, 3, 9, 9, 9, 9, 4, 5, 9, 9]
    assert texts.padded(2, 9).starts.tolist() == [0, 5, 7, 11]


@given(some_texts, st.integers(1, 20))
def test_chunks_are_the_texts(lists, size):
    texts = texts_of(*lists)

    parts = list(word_pairs.chunks(texts, size))

    assert np.concatenate([part.ids for part in parts]).tolist() == texts.ids.tolist()
    assert np.concatenate([np.diff(part.starts) for part in parts]).tolist() == np.diff(texts.starts).tolist()


def test_the_share_that_is_kept_is_that_of_the_code_not_that_of_the_paper():
    counts, t = np.array([600, 300, 90, 10]), 1e-2
    f = counts / 1000

    kept, of_paper = word_pairs.kept_shares(counts, t), word_pairs.kept_shares_of_paper(counts, t)

    np.testing.assert_allclose(kept, [min(1, (np.sqrt(x / t) + 1) * t / x) for x in f])
    np.testing.assert_allclose(of_paper, [1 - max(0, 1 - np.sqrt(t / x)) for x in f])
    assert (of_paper[:3] < kept[:3]).all()
    assert kept[3] == of_paper[3] == 1
    assert (word_pairs.kept_shares(counts, 0) == 1).all()


def test_subsampling_keeps_gensims_shares():
    from gensim.models import Word2Vec

    texts = [["a"] * 50 + ["b"] * 20 + ["c"] * 5 + ["d"]] * 20
    peer = Word2Vec(min_count=1, sample=1e-2)
    peer.build_vocab(texts)
    counts = np.array([1_000, 400, 100, 20])

    of_peer = [peer.wv.get_vecattr(word, "sample_int") / 2**32 for word in "abcd"]

    np.testing.assert_allclose(word_pairs.kept_shares(counts, 1e-2), of_peer, rtol=1e-6)


@pytest.mark.parametrize("kind", ["unigram", "log_uniform", "uniform"])
def test_negatives_are_drawn_with_the_shares_of_their_noise(kind):
    counts = np.array([500, 200, 60, 9, 1])
    plain = {
        "unigram": counts**0.75,
        "log_uniform": [np.log(rank + 2) - np.log(rank + 1) for rank in range(5)],
        "uniform": np.ones(5),
    }[kind]
    noise = Noise(word_pairs.noise_weights(kind, counts, 0.75))

    drawn = noise.of(np.random.default_rng(1).integers(0, 2**64, 200_000, np.uint64))

    np.testing.assert_allclose(noise.shares, plain / np.sum(plain))
    np.testing.assert_allclose(np.bincount(drawn, minlength=5) / 200_000, noise.shares, atol=0.005)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=30).filter(lambda weights: sum(weights) > 1e-3))
def test_the_tables_of_the_alias_method_hold_the_shares(weights):
    noise = Noise(np.array(weights))

    held = noise._chance.copy()
    np.add.at(held, noise._other, 1 - noise._chance)

    np.testing.assert_allclose(held / len(weights), noise.shares, atol=1e-9)


def test_mixed_bits_depend_only_on_their_numbers_and_are_uniform():
    numbers = np.arange(100_000)

    bits = word_pairs.mixed(7, numbers)

    assert (word_pairs.mixed(7, numbers[::-1])[::-1] == bits).all()
    assert (word_pairs.mixed(8, numbers) != bits).all()
    assert len(np.unique(bits)) == len(bits)
    np.testing.assert_allclose(np.histogram(bits / 2.0**64, 10, (0, 1))[0] / len(bits), 0.1, atol=0.005)


def test_sentences_end_with_marks_lines_and_breaks():
    text = 'It was 3.5 good! "Really?" she said.\nNext line<br />and a third… Fine'

    assert sentences(text) == [
        *["it", "was", "3", "5", "good", SENTENCE, "really", SENTENCE, "she", "said", SENTENCE, "next", "line"],
        *[SENTENCE, "and", "a", "third", SENTENCE, "fine"],
    ]
    assert sentences("!!") == []
