"""Where the time of a trial and of a study goes, from journals with known times."""

from __future__ import annotations

import pytest

from benchmarks import breakdown
from src.spec.record import EVALUATION, GRAPH, HISTOGRAMS, START, STEP, Record
from src.tracking import journal
from src.tracking.journal import FINISHED, Journal


def write(folder, *, begin, process="a 1"):
    """Writes a trial of two steps that begins at a second and takes 11 s."""
    with Journal(folder) as book:

        def add(second, record):
            book.append(record, time_ms=round(1e3 * (begin + second)))

        add(0, Record(START, 0, detail={"process": process}))
        add(1, Record(GRAPH, 0))
        add(4, Record(STEP, 1, {"time/batch_ms": 2_000.0}, {"is_first": True}))
        add(5, Record(STEP, 2, {"time/batch_ms": 900.0}, {"is_first": False}))
        add(7, Record(HISTOGRAMS, 2))
        add(8, Record(EVALUATION, 2))
        add(11, journal.end(step=2, status=FINISHED))


def test_the_parts_of_a_trial_add_up_to_its_time(tmp_path):
    write(tmp_path / "a", begin=100)

    seconds = breakdown.of_trial(journal.last_attempt(tmp_path / "a"))

    expected = {"model": 1.0, "tracing": 2.0, "steps": 0.9, "recording": 1.1, "validation": 3.0, "test": 3.0}
    assert seconds == pytest.approx(expected)


def test_the_parts_of_a_study_add_up_to_the_time_of_its_workers(tmp_path):
    write(tmp_path / "a", begin=110, process="a 1")
    write(tmp_path / "b", begin=112, process="a 2")
    write(tmp_path / "c", begin=122, process="a 1")

    seconds = breakdown.of_study(tmp_path, begin=100, end=135, workers=2)

    assert seconds == pytest.approx({"start": 22.0, "trials": 33.0, "gaps": 1.0, "idle": 10.0, "end": 4.0})
    assert sum(seconds.values()) == pytest.approx(2 * 35)


def test_a_worker_without_a_trial_is_idle(tmp_path):
    write(tmp_path / "a", begin=110)

    seconds = breakdown.of_study(tmp_path, begin=100, end=121, workers=2)

    assert seconds["idle"] == 21
