"""The simulation of workers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.scheduling import Trial, drawn_in_seeds, idle, longest_first, makespan, recorded

TIMES = st.lists(st.floats(0.1, 100), min_size=1, max_size=40)


def test_a_free_worker_takes_the_next_trial():
    # the first worker: 3, then 2; the second: 1, 1, 1, then 4
    assert makespan([3, 1, 1, 1, 2, 4], 2) == 7


def test_the_longest_trial_at_the_end_leaves_workers_idle():
    assert idle([1, 1, 1, 1, 4], 2) == pytest.approx(1 - 8 / (2 * 6))
    assert idle([4, 1, 1, 1, 1], 2) == 0


@given(TIMES, st.integers(1, 64))
def test_a_round_takes_at_least_its_work_and_at_most_what_graham_proves(times, workers):
    least = max(sum(times) / workers, *times)

    assert least * (1 - 1e-9) <= makespan(times, workers) <= (2 - 1 / workers) * least * (1 + 1e-9)


@given(TIMES)
def test_one_worker_is_never_idle(times):
    assert idle(times, 1) == pytest.approx(0, abs=1e-9)


def test_orders_have_the_same_trials():
    trials = [Trial("a", 0, 1, 1.0), Trial("b", 0, 2, 5.0), Trial("a", 1, 3, 2.0), Trial("b", 1, 4, 6.0)]

    drawn = drawn_in_seeds(trials, np.random.default_rng(0))

    assert longest_first(trials) == [5.0, 6.0, 1.0, 2.0]
    assert sorted(drawn[:2]) == [1.0, 5.0]
    assert sorted(drawn[2:]) == [2.0, 6.0]


def test_a_trial_of_several_rows_counts_once_and_a_failed_one_not(tmp_path):
    head = "label,seed,identity,status,position,time/train_s\n"
    rows = ["a,0,x,FINISHED,2,1.5", "b,0,x,FINISHED,2,1.5", "c,0,y,FAILED,3,", "c,1,z,FINISHED,1,2.5"]
    (tmp_path / "trials.csv").write_text(head + "\n".join(rows), encoding="utf-8")

    assert [trial.seconds for trial in recorded(tmp_path / "trials.csv")] == [2.5, 1.5]
