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


def test_the_time_of_training_includes_steps_that_trace_and_the_times_per_batch_do_not():
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


def test_the_time_of_an_epoch_includes_steps_that_trace():
    ten = [timing(100, first=place < 6) for place in range(10)]

    assert epoch_times(ten, 1)["time/epoch_s"] == pytest.approx(1.0)
    assert [epoch_times(STEPS, epoch)["time/epoch_s"] for epoch in (1, 2)] == pytest.approx([1.53, 0.03])


def test_a_steady_epoch_replaces_the_times_of_steps_that_trace_by_the_mean_of_the_others():
    assert [epoch_times(STEPS, epoch)["time/steady_epoch_s"] for epoch in (1, 2)] == pytest.approx([4 * 0.015, 0.03])


def test_an_epoch_in_which_every_step_traces_has_no_steady_time():
    assert epoch_times(STEPS[:1], 1) == {"time/epoch_s": 1.0}


def test_equal_shapes_in_equal_order_have_equal_hashes():
    assert shapes_digest(STEPS) == shapes_digest([timing(7, shape=step.shapes[0]) for step in STEPS])
    assert shapes_digest(STEPS) != shapes_digest(STEPS[::-1])


def test_the_peak_memory_can_be_reset():
    ballast = np.ones(40_000_000)
    with_ballast = peak_memory_mb()
    del ballast
    reset_peak_memory()

    assert peak_memory_mb() < with_ballast - 200
