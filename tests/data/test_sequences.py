from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.data.encoded import Sequences
from src.data.sequences import drop_longer, limit_vocabulary, truncate

some_lists = st.lists(st.lists(st.integers(4, 50), max_size=12), min_size=1, max_size=8)


def sequences(lists):
    lists = [[1, *ids] for ids in lists]
    starts = np.concatenate([[0], np.cumsum([len(ids) for ids in lists])]).astype(np.int64)
    return Sequences(np.concatenate(lists).astype(np.int32), starts, np.arange(len(lists), dtype=np.int32))


def as_lists(split):
    return [split.ids[a:b].tolist() for a, b in zip(split.starts, split.starts[1:], strict=False)]


@given(some_lists, st.integers(2, 15))
def test_truncation_keeps_the_start_id_and_the_chosen_end(lists, length):
    split = sequences(lists)

    pre, post = truncate(split, length, "pre"), truncate(split, length, "post")

    assert as_lists(pre) == [[1, *ids[len(ids) - min(len(ids), length - 1) :]] for ids in lists]
    assert as_lists(post) == [[1, *ids[: length - 1]] for ids in lists]
    np.testing.assert_array_equal(pre.labels, split.labels)


@pytest.mark.parametrize("side", ["pre", "post"])
def test_truncation_does_not_depend_on_the_size_of_its_blocks(monkeypatch, side):
    split = sequences([list(range(4, 4 + n)) for n in (9, 0, 3, 12, 5)])
    whole = truncate(split, 4, side)
    monkeypatch.setattr("src.data.sequences.BLOCK", 2)

    assert as_lists(truncate(split, 4, side)) == as_lists(whole)


@given(some_lists)
def test_without_a_limit_nothing_is_cut(lists):
    split = sequences(lists)

    assert truncate(split, None, "pre") is split
    assert drop_longer(split, None) is split


@given(some_lists, st.integers(2, 15))
def test_longer_sequences_are_dropped_with_their_labels(lists, length):
    kept = drop_longer(sequences(lists), length)

    expected = [(i, [1, *ids]) for i, ids in enumerate(lists) if len(ids) + 1 <= length]
    assert as_lists(kept) == [ids for _, ids in expected]
    assert kept.labels.tolist() == [i for i, _ in expected]


@pytest.mark.parametrize("size", [5, 10, 100])
def test_rare_words_become_unknown(size):
    split = limit_vocabulary(sequences([[4, 9, 30], [5]]), size)

    assert as_lists(split) == [[1, *(i if i < size else 2 for i in ids)] for ids in ([4, 9, 30], [5])]
