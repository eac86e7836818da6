from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from src.paths import REPOSITORY
from src.spec.record import END, EVALUATION, START, STEP, Record
from src.tracking import journal
from src.tracking.journal import (
    FINISHED,
    KILLED,
    Journal,
    JournalError,
    close_if_dead,
    end,
    entries,
    last_attempt,
    status,
)


def step(number):
    return Record(STEP, number, {"train/loss": number / 7}, {"is_sent": True})


def start():
    return Record(START, 0, detail={"attempt": "a"})


def write(folder, *records):
    with Journal(folder) as book:
        for record in records:
            book.append(record)


def test_appended_records_are_read_back_in_order(tmp_path):
    records = [start(), step(1), step(2), end(step=2, status=FINISHED, metrics={"test/accuracy": 0.1})]

    write(tmp_path, *records)

    assert [entry.record for entry in entries(tmp_path)] == records


def test_reading_can_start_at_an_offset(tmp_path):
    write(tmp_path, start(), step(1), step(2))
    offsets = [entry.offset for entry in entries(tmp_path)]

    assert [entry.record.step for entry in entries(tmp_path, offset=offsets[0])] == [1, 2]
    assert list(entries(tmp_path, offset=offsets[-1])) == []


def test_an_incomplete_last_line_does_not_count_and_the_next_writer_removes_it(tmp_path):
    write(tmp_path, start(), step(1))
    with (tmp_path / journal.FILE).open("ab") as file:
        file.write(b'{"kind":"step","st')

    assert [entry.record.kind for entry in entries(tmp_path)] == [START, STEP]
    write(tmp_path, step(2))
    assert [entry.record.step for entry in entries(tmp_path)] == [0, 1, 2]


def test_a_full_disk_is_an_error_and_loses_nothing(tmp_path, monkeypatch):
    write_really = os.write
    with Journal(tmp_path) as book:
        book.append(step(1))
        monkeypatch.setattr(os, "write", lambda file, data: write_really(file, data[:10]))
        with pytest.raises(
            JournalError, match=r"journal\.jsonl: No space left on device; what was recorded before is kept"
        ):
            book.append(step(2))
        monkeypatch.undo()
        book.append(step(3))

    assert [entry.record.step for entry in entries(tmp_path)] == [1, 3]


def test_a_record_takes_one_system_call(tmp_path, monkeypatch):
    """Between training steps the processor's caches are cold: a call takes ten times as long as in a loop."""
    calls = []
    with Journal(tmp_path) as book, monkeypatch.context() as patch:
        for name in ("write", "fstat", "lseek", "ftruncate", "fsync"):
            really = getattr(os, name)
            patch.setattr(os, name, lambda *args, name=name, really=really: calls.append(name) or really(*args))
        book.append(step(1))

    assert calls == ["write"]


def test_two_writers_are_refused(tmp_path):
    with Journal(tmp_path), pytest.raises(JournalError, match="another process is training this trial"):
        Journal(tmp_path)


def test_only_the_latest_attempt_counts(tmp_path):
    write(
        tmp_path,
        start(),
        step(1),
        end(step=1, status=KILLED, error="x"),
        start(),
        step(1),
        step(2),
        end(step=2, status=FINISHED),
    )

    assert [entry.record.kind for entry in last_attempt(tmp_path)] == [START, STEP, STEP, END]
    assert status(last_attempt(tmp_path)) == FINISHED


def test_no_journal_is_no_attempt(tmp_path):
    assert last_attempt(tmp_path) == [] and status([]) is None
    assert not close_if_dead(tmp_path)


def test_a_killed_attempt_is_closed_and_a_running_one_is_not(tmp_path):
    program = f"""
        import pathlib, sys, time
        from src.tracking.journal import Journal
        from src.spec.record import Record
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


def raw(folder):
    return (folder / journal.FILE).read_bytes()


def test_a_flipped_bit_anywhere_in_a_line_is_an_error(tmp_path):
    write(tmp_path, start(), Record(EVALUATION, 7, {"val/accuracy": 0.8125}, {"epoch": 1}))
    first, line = raw(tmp_path).splitlines(keepends=True)

    for place in range(len(line) - 1):
        flipped = line[:place] + bytes([line[place] ^ 1]) + line[place + 1 :]
        (tmp_path / journal.FILE).write_bytes(first + flipped)
        for read in (journal.last, last_attempt, lambda folder: last_attempt(folder, kinds=(START, EVALUATION, END))):
            with pytest.raises(JournalError, match=r"journal\.jsonl: invalid line"):
                read(tmp_path)


def test_older_lines_without_a_checksum_are_read(tmp_path):
    (tmp_path / journal.FILE).write_bytes(b'{"kind":"step","time_ms":1,"step":3,"metrics":{"a":NaN},"detail":{}}\n')
    write(tmp_path, step(4))

    assert [entry.record.step for entry in entries(tmp_path)] == [3, 4]


def test_a_mark_stays_valid_while_the_journal_grows(tmp_path):
    for record in (start(), step(1), step(2)):
        write(tmp_path, record)
        offset = len(raw(tmp_path))
        mark = journal.mark(tmp_path, offset)
        write(tmp_path, step(9))
        assert journal.is_unchanged(tmp_path, offset, mark)
    assert journal.is_unchanged(tmp_path, 0, None)


@pytest.mark.parametrize("damage", ["cut", "zeros", "other lines"])
def test_a_mark_is_invalid_after_the_journal_shrank_and_grew_again(tmp_path, damage):
    write(tmp_path, start(), *(step(number) for number in range(1, 9)))
    whole = raw(tmp_path)
    mark = journal.mark(tmp_path, len(whole))
    half = whole[: whole.index(b"\n", len(whole) // 2) + 1]
    left = {"cut": half, "zeros": half + bytes(len(whole) - len(half)), "other lines": half[:-40]}[damage]
    (tmp_path / journal.FILE).write_bytes(left)
    assert not journal.is_unchanged(tmp_path, len(whole), mark)

    while len(raw(tmp_path)) < 2 * len(whole):
        write(tmp_path, step(5))

    assert not journal.is_unchanged(tmp_path, len(whole), mark)


def test_an_offset_without_a_mark_must_begin_a_line(tmp_path):
    write(tmp_path, start(), step(1))

    assert journal.is_unchanged(tmp_path, len(raw(tmp_path)), None)
    assert not journal.is_unchanged(tmp_path, len(raw(tmp_path)) - 3, None)


def test_a_repeated_record_keeps_its_time(tmp_path):
    with Journal(tmp_path) as book:
        book.append(step(1), time_ms=5)
        book.append(step(2))

    times = [entry.time_ms for entry in entries(tmp_path)]
    assert times[0] == 5 and times[1] > 10**12
