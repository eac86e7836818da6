from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.data.encoded_pairs import Flat, Tokenisation, load
from src.data.pair_batches import PairIds, batches, count, pair_ids, reversed_each, source_ids
from src.data.pair_options import Dates
from src.data.tokens import END, START, UNKNOWN


def flat(sequences):
    values = np.concatenate([np.array(each, np.int32) for each in sequences])
    return Flat(values, np.cumsum([0, *map(len, sequences)]))


def as_pairs(sources, targets):
    return PairIds(flat([[*each, END] for each in sources]), flat([[START, *each, END] for each in targets]))


SOURCES = [[4, 5, 6], [7], [8, 9], [4, 4, 4, 4], [5]]
TARGETS = [[14], [15, 16, 17], [18, 19], [14, 14], [20]]


def test_a_source_has_its_end_and_a_target_is_read_one_step_before_it_is_predicted():
    (batch,) = batches(as_pairs(SOURCES, TARGETS), 5, bucketing=False)(np.arange(5))

    assert batch.source.tolist() == [
        [4, 5, 6, 3, 0],
        [7, 3, 0, 0, 0],
        [8, 9, 3, 0, 0],
        [4, 4, 4, 4, 3],
        [5, 3, 0, 0, 0],
    ]
    assert batch.read.tolist() == [[1, 14, 0, 0], [1, 15, 16, 17], [1, 18, 19, 0], [1, 14, 14, 0], [1, 20, 0, 0]]
    assert batch.predicted.tolist() == [[14, 3, 0, 0], [15, 16, 17, 3], [18, 19, 3, 0], [14, 14, 3, 0], [20, 3, 0, 0]]
    assert batch.rows.tolist() == [0, 1, 2, 3, 4]
    assert batch.aligned is None
    assert {part.dtype for part in batch[:3]} == {np.dtype(np.int32)}


lists = st.lists(st.integers(4, 30), min_size=1, max_size=12)


@given(st.lists(st.tuples(lists, lists), min_size=1, max_size=40), st.integers(1, 7), st.booleans(), st.integers(0, 9))
def test_every_pair_is_in_one_batch_without_change(pairs, size, bucketing, seed):
    sources, targets = zip(*pairs, strict=True)
    ids = as_pairs(sources, targets)
    order = np.random.default_rng(seed).permutation(len(pairs))

    found = list(batches(ids, size, bucketing=bucketing)(order))

    assert len(found) == count(ids, size, bucketing=bucketing)
    assert sorted(row for batch in found for row in batch.rows) == list(range(len(pairs)))
    for batch in found:
        for place, row in enumerate(batch.rows):
            assert batch.source[place][batch.source[place] > 0].tolist() == [*sources[row], END]
            assert batch.read[place][batch.read[place] > 0].tolist() == [START, *targets[row]]
            assert batch.predicted[place][batch.predicted[place] > 0].tolist() == [*targets[row], END]


def test_all_batches_of_a_bucket_have_one_shape_and_buckets_go_by_the_longer_side():
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 40, (500, 2))
    ids = as_pairs([[4] * n for n, _ in sizes], [[5] * n for _, n in sizes])

    found = list(batches(ids, 16, bucketing=True)(rng.permutation(500)))

    shapes = {(batch.source.shape[1], batch.read.shape[1]) for batch in found}
    longest = [sorted(max(sizes[row]) for row in batch.rows) for batch in found]
    by_shape = {}
    for batch, lengths in zip(found, longest, strict=True):
        by_shape.setdefault((batch.source.shape[1], batch.read.shape[1]), []).extend(lengths)
    assert 2 <= len(shapes) <= 10
    ranges = sorted((min(lengths), max(lengths)) for lengths in by_shape.values())
    assert all(first[1] < second[0] for first, second in itertools.pairwise(ranges))


def test_smaller_batches_are_dropped_on_demand():
    ids = as_pairs(SOURCES, TARGETS)

    found = list(batches(ids, 2, bucketing=False, drop_remainder=True)(np.arange(5)))

    assert [len(batch.rows) for batch in found] == [2, 2]
    assert count(ids, 2, bucketing=False, drop_remainder=True) == 2


@given(st.lists(st.lists(st.integers(4, 9), max_size=6), min_size=1, max_size=20))
def test_every_sequence_is_reversed_in_its_place(sequences):
    result = reversed_each(flat(sequences))

    expected = [sequence[::-1] for sequence in sequences]
    assert result.values.tolist() == [value for sequence in expected for value in sequence]


@pytest.fixture(scope="module")
def dates(shared_home):
    return load(Dates.model_validate({"train_pairs": 200}), Tokenisation())


def test_reversed_sources_keep_their_end_and_their_links(dates):
    forward, backward = (pair_ids(dates, "train", 1_000, reverse_source=reverse) for reverse in (False, True))
    order = np.arange(50)

    for one, other in zip(
        batches(forward, 8, bucketing=True)(order), batches(backward, 8, bucketing=True)(order), strict=True
    ):
        for place in range(len(one.rows)):
            words = np.count_nonzero(one.source[place]) - 1
            assert other.source[place, :words].tolist() == one.source[place, :words][::-1].tolist()
            assert other.source[place, words] == END
            np.testing.assert_array_equal(other.aligned[place][:, :words], one.aligned[place][:, :words][:, ::-1])
        np.testing.assert_array_equal(other.read, one.read)
        assert one.aligned.any()
        assert not one.aligned[one.predicted == END].any()
        assert not one.aligned.transpose(0, 2, 1)[one.source == END].any()


def test_a_source_at_hand_becomes_what_training_reads(dates):
    vocabulary = dates.vocabulary("source", 1_000)
    for reverse in (False, True):
        batch = next(batches(pair_ids(dates, "train", 1_000, reverse_source=reverse), 1, bucketing=False)(np.arange(1)))
        words = vocabulary.ids(vocabulary.divided(dates.texts("train", "source")[0]))

        assert source_ids(words, reverse_source=reverse).tolist() == batch.source[0].tolist()


def test_tokens_outside_the_vocabulary_are_unknown(dates):
    ids = pair_ids(dates, "train", 20)

    assert ids.source.values.max() < 20
    assert ids.target.values.max() < 20
    assert (ids.source.values == UNKNOWN).any()
