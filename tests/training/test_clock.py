from __future__ import annotations

import numpy as np
import pytest

from src.training.clock import Timing, epoch_times, peak_memory_mb, reset_peak_memory, shapes_digest, summary


def timing(ms, *, epoch=1, shape=(4, 10), tokens=30, first=False):
    return Timing(epoch, ms, 1.0, (shape,), tokens, int(first))


STEPS = [
    timing(1_000, first=True),
    timing(10),
    timing(20),
    timing(500, first=True, shape=(2, 10), tokens=20),
    timing(30, epoch=2),
]


def test_training_took_what_all_of_its_steps_took_and_steps_that_traced_are_in_no_time_per_batch():
    metrics = summary(STEPS)

    assert metrics["time/batch_ms_median"] == 20
    assert metrics["time/batch_ms_p10"] == pytest.approx(12)
    assert metrics["time/batch_ms_p90"] == pytest.approx(28)
    assert metrics["time/trace_s"] == 1.5
    assert metrics["time/train_s"] == 1.56
    assert metrics["time/tokens_per_s"] == pytest.approx(90 / 0.060)


def test_padding_and_batches_count_every_step():
    metrics = summary(STEPS)

    assert metrics["data/padding_fraction"] == pytest.approx(1 - (30 * 4 + 20) / (40 * 4 + 20))
    assert metrics["data/traces"] == 2


def test_without_steady_steps_there_are_no_batch_times():
    assert "time/batch_ms_median" not in summary(STEPS[:1])


def test_an_epoch_takes_what_its_steps_take_those_that_traced_too():
    ten = [timing(100, first=place < 6) for place in range(10)]

    assert epoch_times(ten, 1)["time/epoch_s"] == pytest.approx(1.0)
    assert [epoch_times(STEPS, epoch)["time/epoch_s"] for epoch in (1, 2)] == pytest.approx([1.53, 0.03])


def test_a_steady_epoch_has_as_many_steps_none_of_which_traces():
    assert [epoch_times(STEPS, epoch)["time/steady_epoch_s"] for epoch in (1, 2)] == pytest.approx([4 * 0.015, 0.03])


def test_an_epoch_of_nothing_but_traces_took_its_time_and_says_nothing_of_a_steady_one():
    assert epoch_times(STEPS[:1], 1) == {"time/epoch_s": 1.0}


def test_equal_shapes_in_equal_order_have_equal_hashes():
    assert shapes_digest(STEPS) == shapes_digest([timing(7, shape=step.shapes[0]) for step in STEPS])
    assert shapes_digest(STEPS) != shapes_digest(STEPS[::-1])


def test_the_peak_of_memory_starts_anew():
    ballast = np.ones(40_000_000)
    with_ballast = peak_memory_mb()
    del ballast
    reset_peak_memory()

    assert peak_memory_mb() < with_ballast - 200
