r"""The journal of a trial: one JSON object a line, appended and never changed.

A line counts once its newline is there; a torn one, from a crash in the middle of writing, is cut off when the journal is
opened again. A trial that is tried again appends to the same journal: every attempt begins with a `start` and, unless its
process was killed, ends with an `end`. The writer holds a lock that the operating system drops with the process, so whoever
can take the lock knows that nobody is writing.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

from filelock import FileLock, Timeout

from src.training.records import END, START, STEP, Record

FILE = "journal.jsonl"
TAIL = 65_536  # bytes in which the last line of a journal is
FINISHED, FAILED, KILLED = "FINISHED", "FAILED", "KILLED"


class Entry(NamedTuple):
    """One line: the record, when it was written (milliseconds since 1970), and the byte after it."""

    record: Record
    time_ms: int
    offset: int


class JournalError(OSError):
    """The journal cannot be written; what it held before is intact."""


class Journal:
    """An open journal, to append to. Use it in a `with` block."""

    def __init__(self, folder: Path) -> None:
        """Opens the journal of a trial's folder, which is created if need be.

        Raises:
          JournalError: another process is writing it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / FILE
        self._lock = _lock(folder)
        try:
            self._lock.acquire(timeout=0.5)  # somebody may just be asking whether it is held
        except Timeout:
            raise JournalError(f"{folder}: another process is training this trial; wait for it, or stop it") from None
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        os.ftruncate(self._file, _whole(self.path))

    def append(self, record: Record) -> None:
        """Writes one record; it survives the process from here on, and the machine from the next `sync` on.

        Raises:
          JournalError: nothing or half of it could be written, as on a full disk; the half is taken back.
        """
        line = {"kind": record.kind, "time_ms": round(time.time() * 1_000), "step": record.step}
        line |= {"metrics": record.metrics, "detail": record.detail}
        data = (json.dumps(line, separators=(",", ":")) + "\n").encode()
        size = os.fstat(self._file).st_size
        try:
            written = os.write(self._file, data)
            if written < len(data):
                raise OSError(28, "No space left on device")
        except OSError as error:
            os.ftruncate(self._file, size)
            raise JournalError(f"{self.path}: {error.strerror}; what was recorded before is kept") from error

    def sync(self) -> None:
        """Brings what was appended to the disk itself."""
        os.fsync(self._file)

    def __enter__(self) -> Self:
        """Returns the journal."""
        return self

    def __exit__(self, *error: object) -> None:
        """Closes the file and lets go of the lock."""
        os.close(self._file)
        self._lock.release()


def folders(study: Path) -> list[Path]:
    """Returns the folders of a study's trials that have a journal, by name."""
    return sorted(path.parent for path in study.glob(f"*/{FILE}"))


def is_being_written(folder: Path) -> bool:
    """Returns whether a process holds the journal."""
    try:
        with _lock(folder).acquire(timeout=0):
            return False
    except Timeout:
        return True


def entries(folder: Path, *, offset: int = 0) -> Iterator[Entry]:
    """Yields the whole lines of a journal from a byte on; none if there is no journal."""
    path = folder / FILE
    if not path.is_file():
        return
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            values = json.loads(line)
            yield Entry(Record(values["kind"], values["step"], values["metrics"], values["detail"]), values["time_ms"], offset)


def last(folder: Path) -> Record | None:
    """Returns the last whole line of a journal without reading the others; None if there is none that is short enough."""
    path = folder / FILE
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        lines = file.read().split(b"\n")
    if len(lines) < 3:
        return None
    values = json.loads(lines[-2])
    return Record(values["kind"], values["step"], values["metrics"], values["detail"])


def last_attempt(folder: Path) -> list[Entry]:
    """Returns the lines of the latest attempt, from its `start` on; empty if there is none."""
    lines: list[Entry] = []
    for entry in entries(folder):
        if entry.record.kind == START:
            lines = []
        lines.append(entry)
    return lines


def status(attempt: list[Entry]) -> str | None:
    """Returns FINISHED, FAILED or KILLED, or None for an attempt without an end."""
    if not attempt or attempt[-1].record.kind != END:
        return None
    return str(attempt[-1].record.detail["status"])


def close_if_dead(folder: Path) -> bool:
    """Ends the latest attempt as KILLED if it has no end and nobody writes any more; returns whether it did."""
    if not (folder / FILE).is_file() or status(last_attempt(folder)) is not None:
        return False
    try:
        with Journal(folder) as journal:
            attempt = last_attempt(folder)
            if not attempt or status(attempt) is not None:
                return False
            error = "the process ended without a word (killed, or the machine went down)"
            journal.append(end(step=attempt[-1].record.step, status=KILLED, error=error))
            return True
    except JournalError:
        return False


def end(*, step: int, status: str, error: str | None = None, metrics: dict[str, float] | None = None, **detail: Any) -> Record:
    """Returns the last record of an attempt.

    Args:
      step: optimizer steps done.
      status: FINISHED, FAILED or KILLED.
      error: one line that says why, unless it finished.
      metrics: of the whole trial.
      **detail: `tags` and `artifacts` (names of files in the trial's folder).
    """
    return Record(END, step, metrics or {}, {"status": status, "error": error, "tags": {}, "artifacts": [], **detail})


def is_sent(entry: Entry) -> bool:
    """Returns whether trackers get this record: of the steps only every n-th, as its detail says; everything else always."""
    return entry.record.kind != STEP or bool(entry.record.detail["is_sent"])


def _lock(folder: Path) -> FileLock:
    return FileLock(folder / "journal.lock")


def _whole(path: Path) -> int:
    """Returns the size up to and with the last newline."""
    data = path.read_bytes()
    return data.rfind(b"\n") + 1
