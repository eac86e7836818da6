"""Two ways of training take turns, and only the batches that count on both sides are compared."""

from __future__ import annotations

import itertools
import math

import pytest

from benchmarks import training
from benchmarks.training import in_turn, ratio

nan = math.nan


def test_sides_take_turns_after_a_warm_up():
    sides = {"a": iter([[number] for number in range(9)]), "b": iter([[10 * number] for number in range(9)])}

    assert in_turn(sides, 2) == {"a": [[1], [2]], "b": [[10], [20]]}


def test_a_batch_without_a_time_on_one_side_counts_on_neither():
    estimate = ratio([[nan, 4.0, 9.0], [8.0, 4.0, 100.0]], [[1.0, 2.0, nan], [4.0, 2.0, 50.0]])

    assert estimate.value == pytest.approx(math.sqrt(4 / 2 * 112 / 56))


def test_a_side_with_fewer_batches_is_compared_on_these():
    assert ratio([[6.0, 6.0]], [[2.0, 2.0, 500.0]]).value == pytest.approx(3.0)
    assert ratio([[2.0, 2.0, 500.0]], [[6.0, 6.0]]).value == pytest.approx(1 / 3)


def test_a_round_without_a_common_batch_is_an_error():
    with pytest.raises(ValueError, match="take more batches a round"):
        ratio([[nan, 1.0]], [[1.0, nan]])


def test_steps_that_do_not_count_have_the_mean_time_in_an_epoch():
    assert training.epoch_ms([nan, 2.0, 4.0]) == 9.0


@pytest.mark.training
def test_rounds_are_the_first_batches_of_each_epoch_or_always_the_same(home):
    trial = training.prepared("images", width=2, depth=1, **{"data.limit": 192, "batch_size": 32})

    first, second = itertools.islice(training.timings(trial, 4), 2)
    (again,) = itertools.islice(training.timings(trial, 3, repeats=True), 1, 2)

    assert [timing.examples for timing in (*first, *second, *again)] == [32] * 11
    assert [timing.is_first for timing in (*first, *second)] == [True, *[False] * 7]
    assert training.shapes(trial, 2) == [(32, 28, 28, 1)] * 2
