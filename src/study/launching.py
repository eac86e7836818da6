"""Trains trials with a launcher, even if workers die; the journals say how each trial ended."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from src.study import LaunchFailed
from src.study.plan import Row
from src.terminal.errors import FULL, first_line
from src.terminal.visible import counted
from src.tracking import journal, outcome
from src.tracking.journal import KILLED

Launch = Callable[[Sequence[Row]], Mapping[str, str]]
Say = Callable[[str], None]

MAX_STALLS = 2
POLL_S = 1.0
ROOM = 1 << 18  # bytes that a study's folder must have free for trials to continue
GRACE_S = 10.0  # time for launchers to kill the processes that a dead worker leaves behind

_log = logging.getLogger(__name__)


def train(rows: Sequence[Row], *, launch: Launch, say: Say) -> dict[str, str]:
    """Trains one trial per row; returns once every trial that could start has ended.

    When a worker dies (out of memory, killed), launchers abandon all of their trials. The interrupted trials are then
    retried, each alone, so that a trial which kills its worker interrupts no other. Trials that had not started are
    launched again. If another process trains a trial, this waits for it. One that found the disk full is not retried.

    Args:
      rows: rows with different identities.
      launch: trains rows until all have ended; returns identity → error of those that could not start.
      say: prints a message for the user.

    Returns:
      Identity → error of the trials that could not start.

    Raises:
      LaunchFailed: the launcher raises repeatedly, or there is no room for the files of trials.
    """
    remaining, stalls, errors = list(rows), 0, dict[str, str]()
    while remaining:
        earlier_attempts = {row: outcome.attempt(_folder(row)) for row in remaining}
        error = _launch(launch, remaining, errors)
        if error is not None:
            journal.wait_for_writers([_folder(row) for row in remaining], seconds=GRACE_S)
        busy = [row for row in remaining if journal.is_being_written(_folder(row))]
        started = [
            row for row in remaining if row not in busy and outcome.attempt(_folder(row)) != earlier_attempts[row]
        ]
        died = [row for row in started if _status(row) in (None, KILLED) and not _found_disk_full(row)]
        if error is not None or died or len(started) + len(busy) < len(remaining):
            _refuse_full(_folder(remaining[0]).parent)
        if error is None and not died:
            remaining = _wait_for(busy, say)
            continue
        if not started:
            stalls += 1
            if stalls > MAX_STALLS and error is not None:
                raise LaunchFailed(
                    f"the workers stop before they start a trial ({type(error).__name__}: {first_line(error)})"
                ) from error
        remaining = [row for row in remaining if row not in started] if error is not None else busy
        say(_warning(error, died, remaining))
        for row in died:
            journal.close_if_dead(_folder(row))
            if second_error := _launch(launch, [row], errors):
                _log.debug("%s died again", row.label, exc_info=second_error)
            journal.wait_for_writers([_folder(row)], seconds=GRACE_S)
            journal.close_if_dead(_folder(row))
    return errors


def _launch(launch: Launch, rows: Sequence[Row], errors: dict[str, str]) -> Exception | None:
    try:
        errors |= launch(rows)
    except Exception as error:  # launchers raise what their libraries raise
        return error
    return None


def _refuse_full(folder: Path) -> None:
    """Raises `LaunchFailed` if a study's folder cannot be written: then the disk, not a worker, is the cause."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(ROOM))
    except OSError as error:
        raise LaunchFailed(f"{folder}: {error.strerror or first_line(error)}; no trial can be recorded") from None


def _warning(error: Exception | None, died: Sequence[Row], remaining: Sequence[Row]) -> str:
    why = f" ({type(error).__name__}: {first_line(error)})" if error else ""
    if not died:
        verb = "is" if len(remaining) == 1 else "are"
        return f"warning: the workers stopped{why}; {counted(len(remaining), 'trial')} {verb} launched again"
    names = "".join(f"\n  retrying alone: {row.name}" for row in died)
    retried = counted(len(died), "interrupted trial")
    return f"warning: a worker died{why}; retrying {retried}, then the {len(remaining):,} others{names}"


def _wait_for(busy: Sequence[Row], say: Say) -> list[Row]:
    """Waits for trials that another process is training; returns those that did not finish there."""
    if busy:
        say(f"waiting for {counted(len(busy), 'trial')} that another process is training")
    for row in busy:
        while journal.is_being_written(_folder(row)):
            time.sleep(POLL_S)
        journal.close_if_dead(_folder(row))
    return [row for row in busy if _status(row) in (None, KILLED)]


def _status(row: Row) -> str | None:
    latest = outcome.of_journal(_folder(row))
    return latest.status if latest else None


def _found_disk_full(row: Row) -> bool:
    latest = outcome.of_journal(_folder(row))
    return latest is not None and (latest.error or "").startswith(FULL)


def _folder(row: Row) -> Path:
    assert row.trial is not None
    return row.trial.folder
