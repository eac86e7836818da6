r"""The journal of a trial: one JSON object per line, appended and never changed.

A line is complete once its newline is written. A crash during a write leaves an incomplete line, which is cut off when
the journal is opened again. A repeated trial appends to the same journal: every attempt begins with a `start` and,
unless its process was killed, ends with an `end`. An attempt that resumes from the checkpoint of another one repeats
the other's records after its own `start`, with their original times, so each attempt is a complete record. The
operating system releases the writer's lock when its process ends; if the lock is free, nobody is writing.

Every line ends with a checksum of the rest of the line, which reveals a damaged digit; lines of older journals have
none. A reader that remembers how far it read keeps a `mark` of that place: a power cut may remove the end of a journal,
and new lines may follow. The `start` holds the address of the tracking store as the user typed it, for `src.sync`. The
address may contain a password: then only the owner can read the journal. No journal is attached to MLflow.
"""

from __future__ import annotations

import json
import os
import re
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from filelock import FileLock, Timeout

from src.files import digest
from src.spec.record import (
    END,
    EPOCH_SAMPLES,
    EVALUATION,
    FIRST_PHASE,
    GRAPH,
    HISTOGRAMS,
    PICTURES,
    SAMPLES,
    START,
    STEP,
    SYSTEM,
    Record,
)
from src.spec.record import FAILED as FAILED  # noqa: PLC0414  for readers of journals
from src.spec.record import FINISHED as FINISHED  # noqa: PLC0414  for readers of journals
from src.spec.record import KILLED as KILLED  # noqa: PLC0414  for readers of journals
from src.spec.record import end as end  # noqa: PLC0414  for readers of journals

FILE, LOCK = "journal.jsonl", "journal.lock"
TAIL_BYTES = 16_384  # the end of a journal that holds its last line, unless that is a line of histograms
MARK_BYTES = 4_096  # bytes before a place that its mark is computed from
KINDS = (START, FIRST_PHASE, GRAPH, STEP, EVALUATION, HISTOGRAMS, SYSTEM, EPOCH_SAMPLES, SAMPLES, PICTURES, END)
CHECKSUM = re.compile(rb',"checksum":"([0-9a-f]{8})"}$')
ENCODER = json.JSONEncoder(separators=(",", ":"))


class Entry(NamedTuple):
    """One line: the record, its time in milliseconds since 1970, and the offset of the byte after the line."""

    record: Record
    time_ms: int
    offset: int


class JournalError(OSError):
    """The journal cannot be written, or has an invalid line; its earlier lines are intact."""


class JournalBusy(JournalError):
    """Another process is writing the journal."""


class Journal:
    """An open journal, to append to. Use it in a `with` block."""

    def __init__(self, folder: Path) -> None:
        """Opens the journal in a trial's folder; creates both if they are missing.

        Raises:
          JournalBusy: another process is writing it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / FILE
        self._lock = _lock(folder)
        try:
            self._lock.acquire(timeout=0.5)  # `is_being_written` takes the lock for a moment
        except Timeout:
            raise JournalBusy(f"{folder}: another process is training this trial; wait for it, or stop it") from None
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            os.ftruncate(self._file, _size_of_whole_lines(self.path))
        except OSError as error:
            self._lock.release()
            raise JournalError(f"{self.path}: {error.strerror}; nothing was recorded") from error

    def append(self, record: Record, *, time_ms: int | None = None) -> None:
        """Writes one record. From now on it survives the process; from the next `sync` on it survives the machine.

        Args:
          record: the record to write.
          time_ms: time of the record, in milliseconds since 1970; the current time by default.

        Raises:
          JournalError: the record could not be written completely, as on a full disk; a written part is removed.
        """
        recorded_at = round(time.time() * 1_000) if time_ms is None else time_ms
        line = {"kind": record.kind, "time_ms": recorded_at, "step": record.step}
        line |= {"metrics": record.metrics, "detail": record.detail}
        data = _with_checksum(ENCODER.encode(line).encode())
        written = 0
        try:
            written = os.write(self._file, data)
            if written < len(data):
                raise OSError(28, "No space left on device")
        except OSError as error:
            os.ftruncate(self._file, os.fstat(self._file).st_size - written)
            raise JournalError(f"{self.path}: {error.strerror}; what was recorded before is kept") from error

    def sync(self) -> None:
        """Flushes the appended records to the disk."""
        os.fsync(self._file)

    def __enter__(self) -> Self:
        """Returns the journal."""
        return self

    def __exit__(self, *error: object) -> None:
        """Closes the file and releases the lock."""
        os.close(self._file)
        self._lock.release()


def folders(study: Path) -> list[Path]:
    """Returns the folders of a study's trials that have a journal, sorted by name."""
    return sorted(path.parent for path in study.glob(f"*/{FILE}"))


def is_being_written(folder: Path) -> bool:
    """Returns whether a process holds the journal's lock."""
    if not (folder / FILE).is_file():
        return False
    try:
        with _lock(folder).acquire(timeout=0):
            return False
    except Timeout:
        return True


def has_writer(folder: Path) -> bool:
    """Returns the same as `is_being_written`, but creates and writes no file: for readers without write access."""
    try:
        import fcntl
    except ImportError:  # Windows has no such lock
        return is_being_written(folder)
    try:
        with (folder / LOCK).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # closing the file releases it
    except BlockingIOError:
        return True
    except OSError:  # there is no lock file yet, or reading it is not permitted
        return False
    return False


def wait_for_writers(folders: Iterable[Path], *, seconds: float) -> None:
    """Waits until no process holds any of these journals, for at most `seconds` in all."""
    deadline = time.monotonic() + seconds
    for folder in folders:
        while is_being_written(folder) and time.monotonic() < deadline:
            time.sleep(0.1)


def mark(folder: Path, offset: int) -> str:
    """Returns a hash of the bytes before an offset, by which a later reader recognises the place."""
    with (folder / FILE).open("rb") as file:
        file.seek(max(0, offset - MARK_BYTES))
        return digest(file.read(min(offset, MARK_BYTES)).decode(errors="backslashreplace"))


def is_unchanged(folder: Path, offset: int, expected: str | None) -> bool:
    """Returns whether a line begins at this byte, and the bytes before it still have the `expected` mark.

    A journal can change when the machine fails before the disk has all of it, and a later attempt appends new lines.

    Args:
      folder: of the trial.
      offset: byte at which the reader stopped.
      expected: the `mark` of that place; None if the reader kept none, as in older versions.
    """
    if offset == 0:
        return True
    with (folder / FILE).open("rb") as file:
        file.seek(offset - 1)
        return file.read(1) == b"\n" and expected in (None, mark(folder, offset))


def entries(folder: Path, *, offset: int = 0, kinds: Sequence[str] | None = None) -> Iterator[Entry]:
    """Yields the complete lines of a journal from an offset on; none if there is no journal.

    Args:
      folder: of the trial.
      offset: byte at which to begin.
      kinds: kinds of records to yield; all by default. Lines of other kinds are not parsed, which saves time: most are
        steps.
    """
    skipped = () if kinds is None else tuple(f'{{"kind":"{kind}",'.encode() for kind in KINDS if kind not in kinds)
    path = folder / FILE
    if not path.is_file():
        return
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            if line.startswith(skipped):
                continue
            values = _values(line, path)
            if kinds is not None and values["kind"] not in kinds:
                continue
            yield Entry(_record(values), values["time_ms"], offset)


def last(folder: Path) -> Record | None:
    """Returns the last complete line of a journal without reading the whole file; None if there is none."""
    path = folder / FILE
    with path.open("rb") as file:
        size, length = path.stat().st_size, TAIL_BYTES
        while True:
            file.seek(max(0, size - length))
            lines = file.read(length).split(b"\n")[:-1]
            if len(lines) > 1 or (lines and length >= size):
                return _record(_values(lines[-1], path))
            if length >= size:
                return None
            length *= 8


def last_attempt(folder: Path, *, kinds: Sequence[str] | None = None) -> list[Entry]:
    """Returns the lines of the latest attempt, with its `start`; empty if there is none. `kinds` is as in `entries`."""
    lines: list[Entry] = []
    for entry in entries(folder, kinds=kinds):
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
    """Ends the latest attempt as KILLED if it has no end and no process writes it; returns whether it did."""
    last_record = last(folder) if (folder / FILE).is_file() else None
    if last_record is None or last_record.kind == END:
        return False
    try:
        with Journal(folder) as journal:
            attempt = last_attempt(folder)
            if not attempt or status(attempt) is not None:
                return False
            error = "the process ended without an error message (killed, out of memory or power loss)"
            journal.append(end(step=attempt[-1].record.step, status=KILLED, error=error))
            return True
    except JournalError:
        return False


def is_sent(entry: Entry) -> bool:
    """Returns whether trackers get this record: every n-th step, as its detail says, and all records of other kinds."""
    return entry.record.kind != STEP or bool(entry.record.detail["is_sent"])


def _values(line: bytes, path: Path) -> dict[str, Any]:
    try:
        values = json.loads(line)
        if isinstance(values, dict) and _is_record(values) and _has_valid_checksum(line, values):
            return values
    except ValueError:
        pass
    raise JournalError(f"{path}: invalid line {line[:40]!r}; remove it, or move the folder away to retrain the trial")


def _with_checksum(data: bytes) -> bytes:
    """Returns a JSON object as a line, with the checksum of all other parts as its last part."""
    parts = data.removesuffix(b"}")
    return parts + f',"checksum":"{zlib.crc32(parts):08x}"}}\n'.encode()


def _has_valid_checksum(line: bytes, values: dict[str, Any]) -> bool:
    """Returns whether a line's checksum is right; an older line has none, and must have exactly a record's parts."""
    checksum = CHECKSUM.search(line)
    if checksum is None:
        return values.keys() == {"kind", "time_ms", "step", "metrics", "detail"}
    return zlib.crc32(line[: checksum.start()]) == int(checksum[1], 16)


def _is_record(values: dict[str, Any]) -> bool:
    """Returns whether every part of a record is present and has its type."""
    metrics, detail = values.get("metrics"), values.get("detail")
    return (
        all(isinstance(values.get(key), int) for key in ("time_ms", "step"))
        and isinstance(metrics, dict)
        and all(isinstance(value, int | float) for value in metrics.values())
        and isinstance(detail, dict)
        and "kind" in values
    )


def _record(values: dict[str, Any]) -> Record:
    return Record(values["kind"], values["step"], values["metrics"], values["detail"])


def _lock(folder: Path) -> FileLock:
    return FileLock(folder / LOCK)


def _size_of_whole_lines(path: Path) -> int:
    """Returns the size of a file up to and including its last newline."""
    data = path.read_bytes()
    return data.rfind(b"\n") + 1
