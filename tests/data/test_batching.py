from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.batching import MAX_BUCKETS, Padding, batch_count, batches, bucket_edges, padding
from src.data.encoded import Sequences

many_lengths = st.lists(st.integers(1, 30), min_size=1, max_size=60).map(np.array)


def sequences(lengths):
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Sequences(np.arange(1, starts[-1] + 1, dtype=np.int32), starts, np.arange(len(lengths), dtype=np.int32) % 2)


def padded_steps(lengths, edges):
    edges = np.array(edges)
    return int(edges[np.searchsorted(edges, lengths)].sum())


@given(st.lists(st.integers(1, 9), min_size=1, max_size=25).map(np.array), st.integers(1, 4))
def test_no_choice_of_bucket_edges_needs_less_padding(lengths, buckets):
    edges = bucket_edges(lengths, buckets=buckets)

    distinct = sorted(set(lengths.tolist()))
    choices = itertools.combinations(distinct[:-1], min(buckets, len(distinct)) - 1)
    best = min(padded_steps(lengths, (*chosen, distinct[-1])) for chosen in choices)
    assert padded_steps(lengths, edges) == best
    assert len(edges) <= buckets and list(edges) == sorted(set(edges)) and edges[-1] == distinct[-1]


def test_thousands_of_distinct_lengths_give_ten_buckets():
    lengths = np.random.default_rng(0).integers(10, 3_000, 5_000)

    edges = bucket_edges(lengths)

    assert len(edges) == MAX_BUCKETS and edges[-1] == lengths.max()


MODES = [("dataset", False), ("batch", False), ("batch", True), ("equal", False)]


@pytest.mark.parametrize(("mode", "bucketing"), MODES)
@pytest.mark.parametrize("side", ["post", "pre"])
@given(lengths=many_lengths, batch_size=st.integers(1, 9), seed=st.integers(0, 99))
@settings(max_examples=6)
def test_every_example_is_whole_in_exactly_one_batch_and_padded_on_the_chosen_side(
    mode, bucketing, side, lengths, batch_size, seed
):
    split = sequences(lengths)
    scheme = padding(lengths, mode=mode, bucketing=bucketing, side=side, longest=int(lengths.max()))
    order = np.random.default_rng(seed).permutation(len(lengths))

    all_batches = [tuple(part.numpy() for part in batch) for batch in batches(split, scheme, batch_size)(order)]

    rows = np.concatenate([rows for _, _, rows in all_batches])
    assert sorted(rows) == list(range(len(lengths)))
    assert len(all_batches) == batch_count(lengths, scheme, batch_size)
    for ids, labels, rows in all_batches:
        assert len(rows) <= batch_size
        for sequence, label, row in zip(ids, labels, rows, strict=True):
            real = split.ids[split.starts[row] : split.starts[row + 1]]
            empty = np.zeros(ids.shape[1] - len(real), np.int32)
            np.testing.assert_array_equal(sequence, np.concatenate([real, empty] if side == "post" else [empty, real]))
            assert label == split.labels[row]


@given(lengths=many_lengths)
@settings(max_examples=6)
def test_each_mode_pads_to_its_length(lengths):
    split, longest = sequences(lengths), int(lengths.max())

    def shapes(mode, bucketing):
        scheme = padding(lengths, mode=mode, bucketing=bucketing, side="post", longest=longest)
        return [
            (ids.shape[1], lengths[rows.numpy()]) for ids, _, rows in batches(split, scheme, 4)(np.arange(len(lengths)))
        ]

    assert all(steps == longest for steps, _ in shapes("dataset", False))
    assert all(steps == real.max() for steps, real in shapes("batch", False))
    assert all((real == steps).all() for steps, real in shapes("equal", False))
    edges = np.array(bucket_edges(lengths))
    assert all(steps == edges[np.searchsorted(edges, real.max())] for steps, real in shapes("batch", True))


def test_a_longer_sequence_of_another_split_fits_the_last_bucket():
    scheme = padding(np.array([3, 5, 9]), mode="batch", bucketing=True, side="post", longest=12)

    assert scheme == Padding((3, 5, 12), False, "post")


def test_with_padding_equal_longer_texts_than_in_training_are_not_padded():
    scheme = padding(np.array([2, 3]), mode="equal", bucketing=False, side="post", longest=3).up_to(6)
    split = sequences(np.array([3, 4, 6]))  # a model without a mask must not see a padded step

    assert [ids.shape for ids, _, _ in batches(split, scheme, 2)(np.arange(3))] == [(1, 3), (1, 4), (1, 6)]


def test_equal_orders_give_equal_batches_and_another_order_gives_others():
    split = sequences(np.random.default_rng(0).integers(1, 20, 50))
    scheme = padding(split.lengths, mode="batch", bucketing=True, side="post", longest=20)
    batches_in = batches(split, scheme, 8)
    order = np.random.default_rng(1).permutation(50)

    def rows(order):
        return [rows.numpy().tolist() for _, _, rows in batches_in(order)]

    assert rows(order) == rows(order)
    assert rows(order) != rows(order[::-1].copy())


@pytest.mark.parametrize("side", ["pre", "post"])
@given(
    lengths=many_lengths, batch_size=st.integers(1, 9), drop_remainder=st.booleans(), edges=st.sets(st.integers(1, 9))
)
@settings(max_examples=6)
def test_batches_are_those_of_bucket_by_sequence_length(side, lengths, batch_size, drop_remainder, edges):
    scheme = Padding((*sorted(edges), max(9, int(lengths.max()))), False, side)
    split = sequences(lengths)
    order = np.random.default_rng(0).permutation(len(lengths))
    texts = [split.ids[a:b] for a, b in itertools.pairwise(split.starts)]

    expected = tf.data.Dataset.from_generator(
        lambda: ((texts[row][:: -1 if side == "pre" else 1], row) for row in order),
        output_signature=(tf.TensorSpec([None], tf.int32), tf.TensorSpec([], tf.int64)),
    ).bucket_by_sequence_length(
        lambda ids, row: tf.shape(ids)[0],
        [edge + 1 for edge in scheme.edges],
        [batch_size] * (len(scheme.edges) + 1),
        pad_to_bucket_boundary=True,
        drop_remainder=drop_remainder,
    )

    got = list(batches(split, scheme, batch_size, drop_remainder=drop_remainder)(order))
    assert len(got) == len(list(expected))
    for (ids, _, rows), (their_ids, their_rows) in zip(got, expected, strict=True):
        np.testing.assert_array_equal(ids, their_ids[:, :: -1 if side == "pre" else 1])
        np.testing.assert_array_equal(rows, their_rows)
