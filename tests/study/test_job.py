from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from src import paths, registry
from src.config.settings import checked, edited
from src.spec.record import START, Record
from src.study import job
from src.tasks.sentiment.settings import Settings
from src.tracking import journal, outcome
from src.tracking.journal import FAILED, FINISHED, Journal, end
from src.training import startup
from src.trial import checkpoint
from src.trial import run as trial
from src.trial.log_file import logging_to
from src.trial.prepare import prepare

START_RECORD = Record(START, 0, detail={"attempt": "a", "tags": {}})


@pytest.fixture
def calls(home, monkeypatch):
    """A job whose trial only records its call; the list of calls."""
    settings, calls = edited(Settings(), {"study": "s"}), []
    paths.study_folder("s").mkdir(parents=True)
    for name, value in job.Sweep(workers=2, name="a", parent=0).as_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(job, "from_hydra", lambda cfg: settings if not cfg else edited(settings, cfg))
    monkeypatch.setattr(trial, "run", lambda settings, **arguments: calls.append(arguments) or FAILED)
    return calls


def test_a_job_reads_its_sweep_and_its_position_from_the_environment(calls, monkeypatch):
    monkeypatch.setenv(job.POSITION, "5")
    monkeypatch.setenv(job.ENDED, "an attempt")
    monkeypatch.setenv(job.IDENTITY, "0a")

    assert job.run({}) == FAILED
    assert calls == [{"place": trial.Place(workers=2, position=5), "ended_before": "an attempt", "planned": "0a"}]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_sweep_survives_the_round_trip_through_the_environment(workers):
    sweep = job.Sweep(workers=workers, name="0e12", parent=99)
    environment = sweep.as_environment()

    assert job.Sweep.of_environment(environment) == sweep
    assert environment.get("TF_NUM_INTRAOP_THREADS") == (None if workers == 1 else "1")


def test_a_stopped_study_starts_no_trial(calls):
    (paths.study_folder("s") / job.STOP).write_text("enough", encoding="utf-8")

    assert job.run({}) == job.SKIPPED
    assert calls == []


def test_a_failure_stops_the_study_only_with_fail_fast(calls):
    job.run({})
    assert job.run({}) == FAILED

    assert job.run({"fail_fast": True}) == FAILED
    assert job.run({}) == job.SKIPPED
    assert job.Sweep(1, name="b", parent=0).why_stopped(paths.study_folder("s")) is None  # another sweep continues


def test_a_stopped_worker_does_not_end_the_sweep_but_a_stopped_sweep_ends(calls, monkeypatch):
    def stopped(*_, **__):
        raise trial.Stopped

    monkeypatch.setattr(trial, "run", stopped)
    with pytest.raises(trial.Stopped):
        job.run({})
    monkeypatch.setenv("ABLATION_PARENT", str(os.getppid()))
    monkeypatch.setattr(job, "end_with", lambda parent: None)
    assert job.run({}) == "KILLED"


def test_a_trial_stays_finished_if_it_is_stopped_after_its_end_was_recorded(home, tmp_path, monkeypatch):
    prepared = SimpleNamespace(settings=Settings(), folder=tmp_path, identity="cafe", task=registry.task("sentiment"))
    monkeypatch.setattr(startup, "import_tensorflow", lambda: None)
    monkeypatch.setattr(trial, "records", lambda *_, **__: iter([START_RECORD, end(step=0, status=FINISHED)]))

    def sync(book):
        if journal.status(journal.last_attempt(tmp_path)) == FINISHED:
            raise trial.Stopped

    monkeypatch.setattr(Journal, "sync", sync)
    with Journal(tmp_path) as book, pytest.raises(trial.Stopped):
        trial._attempt(prepared, book, SimpleNamespace(is_due=False, update=lambda: None), place=trial.ALONE)

    assert journal.status(journal.last_attempt(tmp_path)) == FINISHED


def test_a_trial_that_fails_before_its_record_begins_raises_the_reason_to_its_launcher(home, monkeypatch):
    def broken():
        raise ImportError("libcudart.so: no such file")

    monkeypatch.setattr(startup, "import_tensorflow", broken)
    settings = checked({"task": "integration"})
    folder = prepare(settings).folder
    monkeypatch.setattr(trial.Follower, "update", lambda self, **_: None)

    with pytest.raises(
        trial.NotBegun, match=r"failed before the first step: ImportError: libcudart\.so: no such file; see the log"
    ):
        trial.run(settings)
    assert not journal.last_attempt(folder) and "Traceback" in (folder / "trial.log").read_text(encoding="utf-8")


def test_an_error_after_the_end_is_not_reported_as_one_before_the_first_step(home, tmp_path, monkeypatch):
    prepared = SimpleNamespace(settings=Settings(), folder=tmp_path, identity="cafe", task=registry.task("sentiment"))

    def records(*_, **__):
        yield from (START_RECORD, end(step=0, status=FINISHED))
        raise ValueError("late")

    monkeypatch.setattr(startup, "import_tensorflow", lambda: None)
    monkeypatch.setattr(trial, "records", records)
    with Journal(tmp_path) as book:
        assert (
            trial._attempt(prepared, book, SimpleNamespace(is_due=False, update=lambda: None), place=trial.ALONE)
            == FAILED
        )
    assert journal.status(journal.last_attempt(tmp_path)) == FINISHED


def caused(by):
    """Returns an error that another error has caused."""
    error = ValueError("the file cannot be closed")
    error.__cause__ = by
    return error


@pytest.fixture
def raising(home, tmp_path, monkeypatch):
    """Makes a trial raise an error after its start; returns its status, and the end in its journal."""

    def attempt(error):
        def records(*_, **__):
            yield START_RECORD
            (tmp_path / checkpoint.FILE).touch()
            raise error

        monkeypatch.setattr(startup, "import_tensorflow", lambda: None)
        monkeypatch.setattr(trial, "records", records)
        prepared = SimpleNamespace(
            settings=Settings(), folder=tmp_path, identity="cafe", task=registry.task("sentiment")
        )
        with Journal(tmp_path) as book:
            status = trial._attempt(
                prepared, book, SimpleNamespace(is_due=False, update=lambda: None), place=trial.ALONE
            )
        return status, journal.last(tmp_path).detail

    return attempt


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "model.keras"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("ResourceExhaustedError: events.v2; No space left on device"),  # TensorFlow's message
        caused(OSError(errno.ENOSPC, "No space left on device")),
    ],
)
def test_a_trial_that_finds_the_disk_full_is_killed_and_its_error_gives_the_fix(raising, error):
    status, ended = raising(error)

    assert (status, ended["status"]) == ("KILLED", "KILLED")
    assert ended["error"].startswith(f"the disk is full ({type(error).__name__}: ")
    assert ended["error"].endswith("); free some space, then run the same command again")


@pytest.mark.parametrize(
    "error", [OSError(errno.EACCES, "Permission denied"), MemoryError(), caused(None), caused(OSError(5, "I/O"))]
)
def test_a_trial_that_fails_for_another_reason_is_failed(raising, error):
    status, ended = raising(error)

    assert (status, ended["status"]) == (FAILED, FAILED) and "full" not in ended["error"]


def test_an_error_that_is_its_own_cause_is_recorded(raising):
    error = ValueError("odd")
    error.__cause__ = error

    assert raising(error)[0] == FAILED


@pytest.mark.parametrize(("number", "is_kept"), [(errno.ENOSPC, True), (errno.EIO, False)])
def test_the_checkpoint_is_kept_if_the_disk_is_full_and_removed_after_another_error(raising, tmp_path, number, is_kept):
    raising(OSError(number, os.strerror(number)))

    assert (tmp_path / checkpoint.FILE).exists() == is_kept


@pytest.mark.parametrize("has_room_for_text", [True, False])
def test_a_full_disk_stops_the_study_before_further_trials_start(calls, monkeypatch, has_room_for_text):
    monkeypatch.setattr(trial, "run", lambda *_, **__: "KILLED")
    if not has_room_for_text:

        def write(path, *_, **__):
            path.touch()
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Path, "write_text", write)

    assert job.run({}) == "KILLED"
    assert job.run({}) == job.SKIPPED
    assert job.Sweep(2, name="a", parent=0).why_stopped(paths.study_folder("s")) == "the disk is full"


@pytest.mark.parametrize("fail_fast", [True, False])
def test_a_trial_that_cannot_start_stops_the_study_only_with_fail_fast(calls, monkeypatch, fail_fast):
    def broken(*_, **__):
        raise trial.NotBegun("failed before the first step")

    monkeypatch.setattr(trial, "run", broken)
    with pytest.raises(trial.NotBegun):
        job.run({"fail_fast": fail_fast})
    assert (job.run({}) == job.SKIPPED) if fail_fast else not list(paths.study_folder("s").glob("stop*"))


WORKER = """
import contextlib, pathlib, sys, time
from src.trial import run as trial
from src.tasks.sentiment.settings import Settings
from src.study import job

def train(settings, **_):
    with trial.terminable():
        pathlib.Path("began").touch()
        with contextlib.suppress(KeyboardInterrupt):
            time.sleep(60 if sys.argv[1] == "busy" else 0)
            return "FINISHED"
        pathlib.Path("recorded").touch()
        raise trial.Stopped

trial.run, job.from_hydra = train, lambda cfg: Settings()
job.run({})
time.sleep(60)
"""
SWEEPER = """
import os, subprocess, sys
subprocess.run([sys.executable, "-c", sys.argv[1], sys.argv[2]], env=os.environ | {"ABLATION_PARENT": str(os.getpid())})
"""


@pytest.mark.parametrize("doing", ["busy", "idle"])
def test_a_worker_ends_with_the_sweep_after_it_recorded_its_trial(calls, tmp_path, doing):
    environment = {**os.environ, "PYTHONPATH": str(paths.REPOSITORY)}
    sweeper = subprocess.Popen([sys.executable, "-c", SWEEPER, WORKER, doing], cwd=tmp_path, env=environment)
    end = time.monotonic() + 30
    while not (tmp_path / "began").exists():
        assert time.monotonic() < end and sweeper.poll() is None
        time.sleep(0.05)
    (worker,) = psutil.Process(sweeper.pid).children()

    sweeper.kill()
    sweeper.wait()

    worker.wait(timeout=10)
    assert (tmp_path / "recorded").exists() == (doing == "busy")


def ended(folder, status, attempt="a"):
    with Journal(folder) as book:
        book.append(Record(START, 0, detail={"attempt": attempt, "tags": {}}))
        book.append(end(step=0, status=status))


@pytest.mark.parametrize(
    ("status", "before", "expected"),
    [(FINISHED, "", FINISHED), (FINISHED, "a", None), (FAILED, "b", FAILED), ("KILLED", "", None)],
)
def test_a_trial_that_has_ended_since_planning_is_not_trained_again(tmp_path, status, before, expected):
    ended(tmp_path, status)
    assert trial._ended_since(before, tmp_path) == expected


def test_attempts_and_not_clocks_decide_whether_a_trial_has_ended_since_planning(tmp_path, monkeypatch):
    ended(tmp_path, FINISHED, "earlier")
    monkeypatch.setattr(time, "time", lambda: 0.0)  # a clock that went back, or a node whose clock lags
    ended(tmp_path, FINISHED, "later")

    assert trial._ended_since("earlier", tmp_path) == FINISHED
    assert trial._ended_since("later", tmp_path) is None


def test_the_last_line_is_found_after_long_lines(tmp_path):
    with Journal(tmp_path) as book:
        assert journal.last(tmp_path) is None
        for length in (10, 100_000, 1_000_000):
            book.append(Record("histograms", length, detail={"long": "x" * length}))
            assert journal.last(tmp_path).step == length
            book.append(Record("step", length + 1))
            assert journal.last(tmp_path) == Record("step", length + 1)


@pytest.mark.parametrize(
    "line",
    [
        b"garbage\n",
        b"{}\n",
        b"[1]\n",
        b"\xff\xfe\n",
        b'{"kind":"step","time_ms":1,"step":1,"metrics":null,"detail":{}}\n',
        b'{"kind":"step","time_ms":1,"step":1,"metrics":{"a":"x"},"detail":{}}\n',
        b'{"kind":"step","time_ms":1,"step":null,"metrics":{},"detail":{}}\n',
    ],
)
def test_the_error_for_an_invalid_line_names_its_file(tmp_path, line):
    ended(tmp_path, FINISHED)
    with (tmp_path / journal.FILE).open("ab") as file:
        file.write(line)

    for read in (journal.last, journal.last_attempt):
        with pytest.raises(journal.JournalError, match=r"journal\.jsonl: invalid line"):
            read(tmp_path)


@pytest.mark.parametrize(("kind", "missing"), [("start", "attempt"), ("end", "status")])
def test_the_error_for_an_incomplete_record_names_file_and_missing_key(tmp_path, kind, missing):
    with Journal(tmp_path) as book:
        if kind == "end":
            book.append(START_RECORD)
        book.append(Record(kind, 0))

    with pytest.raises(journal.JournalError, match=rf"journal\.jsonl: a record has no '{missing}'"):
        outcome.of_journal(tmp_path)


def test_only_records_of_the_given_kinds_are_read(tmp_path):
    ended(tmp_path, FINISHED)
    assert [entry.record.kind for entry in journal.entries(tmp_path, kinds=("end",))] == ["end"]
    assert journal.last_attempt(tmp_path, kinds=("start",))[0].record.kind == "start"


def test_a_log_on_a_full_disk_prints_no_errors(capfd):
    with logging_to(Path("/dev/full")):
        for _ in range(100):
            trial._log.info("a line")
        trial._log.warning("heard")

    assert capfd.readouterr() == ("", "heard\n")


@pytest.mark.parametrize("is_full_from", ["the first record", "the model's files"])
def test_a_trial_on_a_full_disk_fails_with_one_line(home, monkeypatch, capfd, is_full_from):
    no_space = OSError(28, "No space left on device")
    sent, is_full = [], []

    def fail(book, record):
        if is_full or is_full_from == "the first record":
            raise journal.JournalError(
                f"{book.path}: {no_space.strerror}; what was recorded before is kept"
            ) from no_space
        sent.append(record)

    def records(*_, **__):
        yield START_RECORD
        is_full.append(True)
        raise no_space

    monkeypatch.setattr(startup, "import_tensorflow", lambda: None)
    monkeypatch.setattr(
        trial,
        "prepare",
        lambda settings: SimpleNamespace(
            settings=settings, folder=home / "cafe", identity="cafe", task=registry.task("sentiment")
        ),
    )
    monkeypatch.setattr(trial, "records", records)
    monkeypatch.setattr(Journal, "append", fail)
    monkeypatch.setattr(
        trial.Follower, "update", lambda self, **_: trial._log.warning("MLflow cannot be used now") if is_full else None
    )

    assert trial.run(Settings()) == FAILED
    assert capfd.readouterr() == (
        "",
        f"{home / 'cafe' / journal.FILE}: No space left on device; what was recorded before is kept\n",
    )
