from __future__ import annotations

import io
import time
from types import SimpleNamespace

import pytest
from rich.console import Console

from src.spec.metric import IMPLIED, Metric, as_records, meaning
from src.spec.record import EVALUATION, METRICS, START, Record
from src.study import watch
from src.tracking import journal
from src.tracking.journal import FINISHED, Journal, end

BROKEN = [
    "garbage\n",
    '{"kind":"end","time_ms":1,"step":1,"metrics":null,"detail":{}}\n',
    '{"kind":"end","time_ms":1,"step":1,"metrics":{},"detail":{}}\n',
    '{"kind":"end","time_ms":1,"step":1,"metrics":{"time/batch_ms_median":"x"},"detail":{}}\n',
]


@pytest.fixture
def watched(tmp_path, monkeypatch):
    """The progress of two trials, with a budget that is over at once, and its console."""
    monkeypatch.setattr(watch, "EVERY_S", 0.01)
    said = Console(record=True, width=200, file=io.StringIO())
    rows = [
        SimpleNamespace(trial=SimpleNamespace(folder=tmp_path / name), name=f"{name} seed=0") for name in ("one", "two")
    ]
    return watch.StudyProgress(
        rows, metrics=IMPLIED, workers=1, budget=watch.Budget(0.0, tmp_path / "stop.1"), console=said
    ), said


def finish(folder, **metrics):
    with Journal(folder) as book:
        book.append(Record(START, 0, detail={"attempt": "a", "tags": {}}))
        if metrics:
            book.append(Record(EVALUATION, 1, {"val/accuracy": 0.7}, {"epoch": 1}))
        book.append(end(step=1, status=FINISHED, metrics=metrics))


@pytest.mark.parametrize("line", BROKEN)
def test_a_broken_journal_affects_neither_the_lines_of_other_trials_nor_the_budget(watched, tmp_path, line):
    shown, said = watched
    (tmp_path / "one").mkdir()
    with shown:
        (tmp_path / "one" / journal.FILE).write_text(line, encoding="utf-8")
        finish(tmp_path / "two", **{"test/accuracy": 0.9})
        end_s = time.monotonic() + 10
        while not (tmp_path / "stop.1").exists() and time.monotonic() < end_s:
            time.sleep(0.01)

    assert (tmp_path / "stop.1").exists()
    text = said.export_text()
    assert (
        "finished two seed=0: test accuracy 0.9000" in text and "study: 1/2 done" in text and "accuracy 0.700" in text
    )


def test_a_finished_trial_is_shown_by_the_metric_of_the_study_and_with_what_stopped_it(watched, tmp_path):
    shown, said = watched
    shown._compared = meaning("test/loss", IMPLIED)
    with shown:
        finish(tmp_path / "one", **{"test/accuracy": 0.9, "test/loss": 0.25})
        with Journal(tmp_path / "two") as book:
            book.append(Record(START, 0, detail={"attempt": "a", "tags": {}}))
            stopped = {"ablation.stopped": "after epoch 2 of 9: val/accuracy was best after epoch 1, patience=1"}
            book.append(end(step=1, status=FINISHED, metrics={"test/accuracy": 0.8}, tags=stopped))

    text = said.export_text()
    assert "finished one seed=0: test loss 0.2500\n" in text
    assert "finished two seed=0: test accuracy 0.8000; stopped after epoch 2 of 9: val/accuracy was best" in text


def test_a_trial_that_ended_without_metrics_is_shown_without_them(watched, tmp_path):
    shown, said = watched
    with shown:
        finish(tmp_path / "one")

    assert "finished one seed=0" in said.export_text()


@pytest.mark.parametrize(("workers", "count"), [(2, 1), (1, 0)])
def test_with_several_workers_the_start_of_the_first_trials_is_printed_once(tmp_path, monkeypatch, workers, count):
    monkeypatch.setattr(watch, "EVERY_S", 0.01)
    said = Console(record=True, width=200, file=io.StringIO())
    rows = [
        SimpleNamespace(trial=SimpleNamespace(folder=tmp_path / name), name=f"{name} seed=0") for name in ("one", "two")
    ]
    with watch.StudyProgress(rows, metrics=IMPLIED, workers=workers, budget=None, console=said):
        time.sleep(0.1)
        assert said.export_text(clear=False) == ""
        for name in ("one", "two"):
            with Journal(tmp_path / name) as book:
                book.append(Record(START, 0, detail={"attempt": "a", "tags": {}}))
            time.sleep(0.1)

    assert said.export_text().count("the first trials are training") == count


@pytest.mark.parametrize("width", [80, 60])
def test_the_progress_of_a_study_fits_the_terminal(tmp_path, width):
    text = io.StringIO()
    label = "implementation=packed_loop padding=batch vocab_size=10000 data.path=a_rather_long_name_of_a_file.csv"
    rows = [
        SimpleNamespace(trial=SimpleNamespace(folder=tmp_path / str(seed)), name=f"{label} seed={seed}")
        for seed in (1, 2)
    ]
    shown = Console(file=text, width=width, force_terminal=True, color_system=None)
    with watch.StudyProgress(rows, metrics=IMPLIED, workers=1, budget=None, console=shown):
        finish(tmp_path / "1", **{"test/accuracy": 0.9})

    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= width and any("… seed=1: test accuracy 0.9000" in line for line in lines)


PERPLEXITY = Metric("perplexity", "lower", digits=1)


def test_if_lower_is_better_the_best_trial_so_far_has_the_lowest_value(tmp_path):
    said = Console(record=True, width=200, file=io.StringIO())
    rows = [
        SimpleNamespace(trial=SimpleNamespace(folder=tmp_path / name), name=f"{name} seed=0")
        for name in ("one", "two", "three")
    ]
    with watch.StudyProgress(rows, metrics=[PERPLEXITY], workers=1, budget=None, console=said):
        for name, value in (("one", 80.0), ("two", 40.04)):
            with Journal(tmp_path / name) as book:
                book.append(Record(START, 0, detail={"attempt": "a", "tags": {}, METRICS: as_records([PERPLEXITY])}))
                book.append(Record(EVALUATION, 1, {"val/perplexity": value}, {"epoch": 1}))
                book.append(end(step=1, status=FINISHED, metrics={"test/perplexity": value + 1}))
        finish(tmp_path / "three")  # its journal has another metric

    text = said.export_text()
    assert (
        "finished one seed=0: test perplexity 81.00" in text and "best validation perplexity 40.0: two seed=0" in text
    )
