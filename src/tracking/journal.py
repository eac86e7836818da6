r"""The journal of a trial: one JSON object a line, appended and never changed.

A line counts once its newline is there; a torn one, from a crash in the middle of writing, is cut off when the journal is
opened again. A trial that is tried again appends to the same journal: every attempt begins with a `start` and, unless its
process was killed, ends with an `end`. An attempt that goes on from another's checkpoint repeats that one's records behind
its own `start`, with the times that they had: each attempt is a whole record. The writer holds a lock that the operating system
drops with the process, so whoever can take the lock knows that nobody is writing.

Every line ends with a checksum of what stands before it, so that a flipped digit is seen; lines of older journals have none. Whoever
remembers how far a journal was read keeps a `mark` of that place: a journal that lost its end in a power cut, and grew again, is another.
The `start` holds the address of the tracking store as it was typed, with the password that may be in it, for `src.sync`: a journal with
one is readable by its owner alone, and no journal is attached to MLflow.
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
from src.spec.record import END, EVALUATION, GRAPH, HISTOGRAMS, SAMPLES, START, STEP, SYSTEM, Record
from src.spec.record import FAILED as FAILED  # noqa: PLC0414  for those who read journals
from src.spec.record import FINISHED as FINISHED  # noqa: PLC0414  for those who read journals
from src.spec.record import KILLED as KILLED  # noqa: PLC0414  for those who read journals
from src.spec.record import end as end  # noqa: PLC0414  for those who read journals

FILE, LOCK = "journal.jsonl", "journal.lock"
TAIL = 16_384  # bytes in which the last line of a journal is, but for histograms
MARK = 4_096  # bytes before a place that tell it from others
KINDS = (START, GRAPH, STEP, EVALUATION, HISTOGRAMS, SYSTEM, SAMPLES, END)
CHECKSUM = re.compile(rb',"checksum":"([0-9a-f]{8})"}$')
ENCODER = json.JSONEncoder(separators=(",", ":"))


class Entry(NamedTuple):
    """One line: the record, when it was written (milliseconds since 1970), and the byte after it."""

    record: Record
    time_ms: int
    offset: int


class JournalError(OSError):
    """The journal cannot be written; what it held before is intact."""


class JournalBusy(JournalError):
    """Another process is writing the journal."""


class Journal:
    """An open journal, to append to. Use it in a `with` block."""

    def __init__(self, folder: Path) -> None:
        """Opens the journal of a trial's folder, which is created if need be.

        Raises:
          JournalBusy: another process is writing it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / FILE
        self._lock = _lock(folder)
        try:
            self._lock.acquire(timeout=0.5)  # somebody may just be asking whether it is held
        except Timeout:
            raise JournalBusy(f"{folder}: another process is training this trial; wait for it, or stop it") from None
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            os.ftruncate(self._file, _whole(self.path))
        except OSError as error:
            self._lock.release()
            raise JournalError(f"{self.path}: {error.strerror}; nothing was recorded") from error

    def append(self, record: Record, *, time_ms: int | None = None) -> None:
        """Writes one record; it survives the process from here on, and the machine from the next `sync` on.

        Args:
          record: what happened.
          time_ms: when, in milliseconds since 1970; now if left out.

        Raises:
          JournalError: nothing or half of it could be written, as on a full disk; the half is taken back.
        """
        happened = round(time.time() * 1_000) if time_ms is None else time_ms
        line = {"kind": record.kind, "time_ms": happened, "step": record.step}
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
    if not (folder / FILE).is_file():
        return False
    try:
        with _lock(folder).acquire(timeout=0):
            return False
    except Timeout:
        return True


def has_writer(folder: Path) -> bool:
    """Returns what `is_being_written` does, and neither makes nor writes a file: for whoever only looks on."""
    try:
        import fcntl
    except ImportError:  # Windows: the lock is asked for as by a writer
        return is_being_written(folder)
    try:
        with (folder / LOCK).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # dropped when the file is closed
    except BlockingIOError:
        return True
    except OSError:  # there is no lock yet, or it may not be read
        return False
    return False


def wait_for_writers(folders: Iterable[Path], *, seconds: float) -> None:
    """Waits until no process holds any of these journals, but no longer than so many seconds."""
    end = time.monotonic() + seconds
    for folder in folders:
        while is_being_written(folder) and time.monotonic() < end:
            time.sleep(0.1)


def mark(folder: Path, offset: int) -> str:
    """Returns what a later reader knows the place in a journal by, where the next line will begin."""
    with (folder / FILE).open("rb") as file:
        file.seek(max(0, offset - MARK))
        return digest(file.read(min(offset, MARK)).decode(errors="backslashreplace"))


def is_same(folder: Path, offset: int, known: str | None) -> bool:
    """Returns whether a line begins at this byte, and what stands before it is what it was when its `mark` was taken.

    A journal is shorter, or other, where the machine went down before the disk had it all, and an attempt after it went on.
    """
    if offset == 0:
        return True
    with (folder / FILE).open("rb") as file:
        file.seek(offset - 1)
        return file.read(1) == b"\n" and known in (
            None,
            mark(folder, offset),
        )  # what was remembered long ago has no mark


def entries(folder: Path, *, offset: int = 0, kinds: Sequence[str] | None = None) -> Iterator[Entry]:
    """Yields the whole lines of a journal from a byte on; none if there is no journal.

    Args:
      folder: of the trial.
      offset: where to begin.
      kinds: of records; all if left out. Others are skipped without being read: most lines are steps.
    """
    others = () if kinds is None else tuple(f'{{"kind":"{kind}",'.encode() for kind in KINDS if kind not in kinds)
    path = folder / FILE
    if not path.is_file():
        return
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            if line.startswith(others):
                continue
            values = _values(line, path)
            if kinds is not None and values["kind"] not in kinds:
                continue
            yield Entry(_record(values), values["time_ms"], offset)


def last(folder: Path) -> Record | None:
    """Returns the last whole line of a journal without reading the others; None if there is none."""
    path = folder / FILE
    with path.open("rb") as file:
        size, length = path.stat().st_size, TAIL
        while True:
            file.seek(max(0, size - length))
            lines = file.read(length).split(b"\n")[:-1]
            if len(lines) > 1 or (lines and length >= size):
                return _record(_values(lines[-1], path))
            if length >= size:
                return None
            length *= 8


def last_attempt(folder: Path, *, kinds: Sequence[str] | None = None) -> list[Entry]:
    """Returns the lines of the latest attempt, from its `start` on; empty if there is none. `kinds` as in `entries`."""
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
    """Ends the latest attempt as KILLED if it has no end and nobody writes any more; returns whether it did."""
    ended = last(folder) if (folder / FILE).is_file() else None
    if ended is None or ended.kind == END:
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
    """Returns whether trackers get this record: of the steps only every n-th, as its detail says; everything else always."""
    return entry.record.kind != STEP or bool(entry.record.detail["is_sent"])


def _values(line: bytes, path: Path) -> dict[str, Any]:
    try:
        values = json.loads(line)
        if isinstance(values, dict) and _is_record(values) and _is_as_written(line, values):
            return values
    except ValueError:
        pass
    raise JournalError(f"{path}: invalid line {line[:40]!r}; remove it, or move the folder away to retrain the trial")


def _with_checksum(data: bytes) -> bytes:
    """Returns the line of a JSON object, with the checksum of what stands before it as its last part."""
    begin = data.removesuffix(b"}")
    return begin + f',"checksum":"{zlib.crc32(begin):08x}"}}\n'.encode()


def _is_as_written(line: bytes, values: dict[str, Any]) -> bool:
    """Returns whether the checksum of a line is right; an older line has none, and nothing else beside the parts of a record."""
    found = CHECKSUM.search(line)
    if found is None:
        return values.keys() == {"kind", "time_ms", "step", "metrics", "detail"}
    return zlib.crc32(line[: found.start()]) == int(found[1], 16)


def _is_record(values: dict[str, Any]) -> bool:
    """Returns whether every part of a record is there and of its type."""
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


def _whole(path: Path) -> int:
    """Returns the size up to and with the last newline."""
    data = path.read_bytes()
    return data.rfind(b"\n") + 1
