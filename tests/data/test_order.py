"""The three steps of an order against the documented behaviour of tf.data, and against tf.data itself."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data import order
from src.data.order import Epochs, Order

PIPELINES = ["_".join(steps) for steps in itertools.permutations(("shuffle", "batch", "repeat"))]
COUNT, SIZE, PASSES = 23, 4, 8  # the last batch of a pass has 3 examples


def draws(seed=0):
    return lambda iteration: np.random.default_rng([seed, iteration])


def ours(pipeline, buffer=None, drop=False):
    """Returns the rows of each batch of the first epochs."""
    stream = Order(pipeline, COUNT, SIZE, buffer, drop).stream(draws())
    return [[position % COUNT for position in batch] for batch in itertools.islice(stream, PASSES * 6)]


def of_tensorflow(pipeline, buffer=None, drop=False):
    """Returns the same number of batches of tf.data."""
    import tensorflow as tf

    dataset = tf.data.Dataset.range(COUNT)
    whole = 6 - drop if pipeline.index("batch") < pipeline.index("shuffle") else COUNT
    for step in pipeline.split("_"):
        dataset = {
            "shuffle": lambda before: before.shuffle(buffer or whole, seed=3),
            "batch": lambda before: before.batch(SIZE, drop_remainder=drop),
            "repeat": lambda before: before.repeat(),
        }[step](dataset)
    return [batch.tolist() for batch in dataset.take(PASSES * 6).as_numpy_iterator()]


def properties(batches):
    """Returns what a stream of batches shows of its order, whatever was drawn."""
    rows = [row for batch in batches for row in batch]
    parts = [rows[begin : begin + COUNT] for begin in range(0, len(rows) - COUNT + 1, COUNT)]
    ends = set(itertools.accumulate(map(len, batches)))
    return {
        "sizes": sorted({*map(len, batches)}),
        "every pass is whole": all(sorted(part) == list(range(COUNT)) for part in parts),
        "a batch ends with each pass": set(range(COUNT, len(rows) + 1, COUNT)) <= ends,
        "members are neighbours": all((b - a) % COUNT == 1 for batch in batches for a, b in itertools.pairwise(batch)),
        "members are the same in every pass": len({frozenset(batch) for batch in batches}) <= 6,
        "rows never seen": sorted({*range(COUNT)} - {*rows}),
    }


def expected(*, sizes=(4,), whole=False, ends=False, neighbours=False, same=False, never=()):
    return dict(zip(properties([[0]]), (list(sizes), whole, ends, neighbours, same, list(never)), strict=True))


EXPECTED = {
    "shuffle_batch_repeat": expected(sizes=(3, 4), whole=True, ends=True),
    "shuffle_repeat_batch": expected(whole=True),
    "batch_shuffle_repeat": expected(sizes=(3, 4), whole=True, ends=True, neighbours=True, same=True),
    "batch_repeat_shuffle": expected(sizes=(3, 4), neighbours=True, same=True),
    "repeat_shuffle_batch": expected(),
    "repeat_batch_shuffle": expected(neighbours=True),
}


@pytest.mark.parametrize("make", [ours, of_tensorflow])
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_each_order_has_the_properties_that_it_has_in_tensorflow(pipeline, make):
    assert properties(make(pipeline)) == EXPECTED[pipeline]


@pytest.mark.parametrize("make", [ours, of_tensorflow])
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_dropped_remainder_is_lost_only_where_passes_are_batched(pipeline, make):
    found = properties(make(pipeline, drop=True))

    # in stored order the same three examples are dropped in every pass
    assert found["sizes"] == [4]
    assert found["rows never seen"] == (
        [20, 21, 22] if EXPECTED[pipeline]["members are the same in every pass"] else []
    )


@pytest.mark.parametrize("make", [ours, of_tensorflow])
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_buffer_of_one_keeps_the_stored_order(pipeline, make):
    batches = make(pipeline, buffer=1)

    rows = [row for batch in batches for row in batch]
    assert rows == [row % COUNT for row in range(len(rows))]
    is_batched = pipeline.index("batch") < pipeline.index("repeat")
    assert [len(batch) for batch in batches] == [4, 4, 4, 4, 4, 3 if is_batched else 4] * PASSES


def test_an_element_comes_at_every_place_as_often_as_in_tensorflow():
    import tensorflow as tf

    many, count, buffer = 3_000, 6, 3
    shuffled = order.repeated(order.shuffled(order.passes(count), buffer, draws()))
    mine = np.fromiter(itertools.islice(shuffled(1), many * count), int).reshape(many, count) % count
    dataset = tf.data.Dataset.range(count).shuffle(buffer, seed=5).repeat(many).batch(many * count)
    theirs = next(dataset.as_numpy_iterator()).reshape(many, count)

    frequencies = [(found[:, :, None] == np.arange(count)).mean(0) for found in (mine, theirs)]
    np.testing.assert_allclose(*frequencies, atol=5 * math.sqrt(0.5 / many))
    np.testing.assert_array_equal(frequencies[0] == 0, frequencies[1] == 0)


@given(count=st.integers(1, 40), buffer=st.integers(1, 50), seed=st.integers(0, 99))
def test_an_element_comes_at_most_a_buffer_earlier_and_exactly_once(count, buffer, seed):
    found = list(order.shuffled(order.passes(count), buffer, draws(seed))(2))

    assert sorted(found) == list(range(count, 2 * count))
    assert all(place >= element - count - buffer + 1 for place, element in enumerate(found))


@given(count=st.integers(1, 40), size=st.integers(1, 50), drop=st.booleans())
def test_batches_hold_the_elements_in_their_order(count, size, drop):
    found = list(order.batched(order.passes(count), size, drop_remainder=drop)(1))

    kept = count // size * size if drop else count
    assert [row for batch in found for row in batch] == list(range(kept))
    assert all(len(batch) == size for batch in found[:-1]) and len(found) == math.ceil(kept / size)


@settings(deadline=None)
@given(
    pipeline=st.sampled_from(PIPELINES),
    sizes=st.tuples(st.integers(1, 30), st.integers(1, 7), st.none() | st.integers(1, 40)),
    drop=st.booleans(),
    asked=st.lists(st.integers(1, 5), min_size=1, max_size=6),
)
def test_an_epoch_depends_on_no_other_epoch_that_was_asked_for(pipeline, sizes, drop, asked):
    of_all = Order(pipeline, *sizes, drop_remainder=drop and sizes[0] >= sizes[1])
    in_order, epochs = Epochs(of_all, draws()), Epochs(of_all, draws())
    whole = {epoch: in_order.rows(epoch) for epoch in range(1, 6)}

    for epoch in asked:
        rows = epochs.rows(epoch)
        assert len(rows) == of_all.batches_per_epoch
        assert [found.tolist() for found in rows] == [found.tolist() for found in whole[epoch]]


def test_epochs_in_a_row_continue_one_stream():
    drawn = []

    def counting(iteration):
        drawn.append(iteration)
        return np.random.default_rng(iteration)

    epochs = Epochs(Order("shuffle_batch_repeat", 10, 3), counting)
    for epoch in range(1, 101):
        epochs.rows(epoch)

    assert drawn == list(range(1, 101))


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_the_measures_are_those_counted_by_hand(pipeline):
    labels = np.arange(COUNT) // 8  # three classes in stored order
    stream = list(itertools.islice(Order(pipeline, COUNT, SIZE).stream(draws()), 12))
    first, second = stream[:6], [sorted(position % COUNT for position in batch) for batch in stream[6:]]
    times = [sum(position % COUNT == row for batch in first for position in batch) for row in range(COUNT)]
    members = [sorted(position % COUNT for position in batch) for batch in first]
    entropies = []
    for batch in members:
        shares = [sum(labels[row] == label for row in batch) / len(batch) for label in range(3)]
        entropies.append(-sum(share * math.log(share, 3) for share in shares if share))

    assert order.measures(Order(pipeline, COUNT, SIZE), draws(), labels) == pytest.approx(
        {
            "seen_fraction": sum(time > 0 for time in times) / COUNT,
            "seen_once_fraction": sum(time == 1 for time in times) / COUNT,
            "straddling_batches": sum(len({position // COUNT for position in batch}) > 1 for batch in first),
            "repeated_batches_fraction": sum(batch in members for batch in second) / 6,
            "class_entropy": sum(entropies) / 6,
        }
    )


def test_the_measures_tell_the_six_orders_and_small_buffers_apart():
    labels = np.repeat(np.arange(10), 35)

    def measured(pipeline, buffer=None):
        return order.measures(Order(pipeline, 350, 16, buffer), draws(), labels)

    entropies = [measured(pipeline)["class_entropy"] for pipeline in PIPELINES]
    mixes_images = [pipeline.index("shuffle") < pipeline.index("batch") for pipeline in PIPELINES]
    assert [value > 0.7 for value in entropies] == [not value < 0.2 for value in entropies] == mixes_images
    values = {tuple(round(value, 2) for value in measured(pipeline).values()) for pipeline in PIPELINES}
    assert len(values) == len(PIPELINES)
    by_buffer = [measured("shuffle_batch_repeat", buffer)["class_entropy"] for buffer in (1, 16, 100, None)]
    assert by_buffer == sorted(by_buffer) and by_buffer[0] < 0.1 < 0.8 < by_buffer[-1]


def test_members_in_another_order_are_the_same_members():
    of_one = Order("shuffle_batch_repeat", 9, 9)
    first, second = (Epochs(of_one, draws()).rows(epoch)[0] for epoch in (1, 2))

    assert first.tolist() != second.tolist()
    assert order.measures(of_one, draws(), np.arange(9) % 2)["repeated_batches_fraction"] == 1


@pytest.mark.parametrize(
    ("batches", "value"),
    [
        ([[0, 0, 0]], 0),
        ([[0, 1]], 1),  # two examples have at most two classes
        ([[0, 1, 2, 3]], 1),
        ([[0, 0, 1, 1]], 0.5),
        ([[0, 1], [2, 2]], 0.5),
        ([[0, 1], [2]], 1),
    ],
)
def test_the_entropy_of_classes_runs_from_one_class_to_equal_shares(batches, value):
    assert order.class_entropy([np.array(labels) for labels in batches], classes=4) == pytest.approx(value)


def test_batches_of_one_example_have_no_entropy():
    found = order.measures(Order("shuffle_batch_repeat", 6, 1), draws(), np.arange(6) % 2)

    assert "class_entropy" not in found and found["repeated_batches_fraction"] == 1
