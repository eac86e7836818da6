from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from src.paths import REPOSITORY
from src.tracking import journal
from src.tracking.journal import FINISHED, KILLED, Journal, JournalError, close_if_dead, end, entries, last_attempt, status
from src.training.records import END, START, STEP, Record


def step(number):
    return Record(STEP, number, {"train/loss": number / 7}, {"is_sent": True})


def start():
    return Record(START, 0, detail={"attempt": "a"})


def write(folder, *records):
    with Journal(folder) as book:
        for record in records:
            book.append(record)


def test_what_is_appended_is_read_back_in_order(tmp_path):
    records = [start(), step(1), step(2), end(step=2, status=FINISHED, metrics={"test/accuracy": 0.1})]

    write(tmp_path, *records)

    assert [entry.record for entry in entries(tmp_path)] == records


def test_reading_goes_on_from_a_byte(tmp_path):
    write(tmp_path, start(), step(1), step(2))
    offsets = [entry.offset for entry in entries(tmp_path)]

    assert [entry.record.step for entry in entries(tmp_path, offset=offsets[0])] == [1, 2]
    assert list(entries(tmp_path, offset=offsets[-1])) == []


def test_a_torn_last_line_does_not_count_and_is_cut_off_when_writing_goes_on(tmp_path):
    write(tmp_path, start(), step(1))
    with (tmp_path / journal.FILE).open("ab") as file:
        file.write(b'{"kind":"step","st')

    assert [entry.record.kind for entry in entries(tmp_path)] == [START, STEP]
    write(tmp_path, step(2))
    assert [entry.record.step for entry in entries(tmp_path)] == [0, 1, 2]


def test_a_full_disk_is_said_and_loses_nothing(tmp_path, monkeypatch):
    write_really = os.write
    with Journal(tmp_path) as book:
        book.append(step(1))
        monkeypatch.setattr(os, "write", lambda file, data: write_really(file, data[:10]))
        with pytest.raises(JournalError, match=r"journal\.jsonl: No space left on device; what was recorded before is kept"):
            book.append(step(2))
        monkeypatch.undo()
        book.append(step(3))

    assert [entry.record.step for entry in entries(tmp_path)] == [1, 3]


def test_two_writers_are_refused(tmp_path):
    with Journal(tmp_path), pytest.raises(JournalError, match="another process is training this trial"):
        Journal(tmp_path)


def test_only_the_latest_attempt_counts(tmp_path):
    write(tmp_path, start(), step(1), end(step=1, status=KILLED, error="x"), start(), step(1), step(2), end(step=2, status=FINISHED))

    assert [entry.record.kind for entry in last_attempt(tmp_path)] == [START, STEP, STEP, END]
    assert status(last_attempt(tmp_path)) == FINISHED


def test_no_journal_is_no_attempt(tmp_path):
    assert last_attempt(tmp_path) == [] and status([]) is None
    assert not close_if_dead(tmp_path)


def test_a_killed_writer_is_found_out_and_a_living_one_is_left_alone(tmp_path):
    program = f"""
        import pathlib, sys, time
        from src.tracking.journal import Journal
        from src.training.records import Record
        with Journal(pathlib.Path({str(tmp_path)!r})) as book:
            book.append(Record("start", 0, {{}}, {{}}))
            book.append(Record("step", 7, {{}}, {{}}))
            print("ready", flush=True)
            time.sleep(60)
    """
    writer = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], cwd=REPOSITORY, stdout=subprocess.PIPE)
    assert writer.stdout.readline() == b"ready\n"

    assert not close_if_dead(tmp_path)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    assert close_if_dead(tmp_path)

    last = last_attempt(tmp_path)[-1].record
    assert (last.step, last.detail["status"]) == (7, KILLED)
    assert not close_if_dead(tmp_path)
