"""Has a launcher train trials, whatever happens to its workers, and leaves it to the journals to say what became of them."""

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
ROOM = 1 << 18  # bytes that a study's folder must take for its trials to go on
GRACE_S = 10.0  # in which launchers kill what a dead worker leaves behind

_log = logging.getLogger(__name__)


def train(rows: Sequence[Row], *, launch: Launch, say: Say) -> dict[str, str]:
    """Trains one trial per row; returns once every trial that could start has ended.

    When a worker dies (out of memory, killed), launchers give up on all that they run. The trials that were under way are then
    tried again, one after the other and alone, so that a trial which kills its worker takes no other with it; what had not begun
    is launched again. A trial that another process trains is waited for. One that found the disk full is left to the next command.

    Args:
      rows: of different identities.
      launch: has a launcher train rows, and returns when all are over: identity → error of those that could not even begin.
      say: tells the user.

    Returns:
      Identity → error of the trials that could not begin.

    Raises:
      LaunchFailed: the launcher raises, and launching again does not help; or there is no room for what trials write.
    """
    left, stalls, refused = list(rows), 0, dict[str, str]()
    while left:
        before = {row: outcome.attempt(_folder(row)) for row in left}
        error = _launched(launch, left, refused)
        if error is not None:
            journal.wait_for_writers([_folder(row) for row in left], seconds=GRACE_S)
        busy = [row for row in left if journal.is_being_written(_folder(row))]
        begun = [row for row in left if row not in busy and outcome.attempt(_folder(row)) != before[row]]
        died = [row for row in begun if _status(row) in (None, KILLED) and not _found_no_room(row)]
        if error is not None or died or len(begun) + len(busy) < len(left):
            _refuse_full(_folder(left[0]).parent)
        if error is None and not died:
            left = _waited_for(busy, say)
            continue
        if not begun:
            stalls += 1
            if stalls > MAX_STALLS and error is not None:
                raise LaunchFailed(
                    f"the workers stop before they begin a trial ({type(error).__name__}: {first_line(error)})"
                ) from error
        left = [row for row in left if row not in begun] if error is not None else busy
        say(_news(error, died, left))
        for row in died:
            journal.close_if_dead(_folder(row))
            if again := _launched(launch, [row], refused):
                _log.debug("%s died again", row.label, exc_info=again)
            journal.wait_for_writers([_folder(row)], seconds=GRACE_S)
            journal.close_if_dead(_folder(row))
    return refused


def _launched(launch: Launch, rows: Sequence[Row], refused: dict[str, str]) -> Exception | None:
    try:
        refused |= launch(rows)
    except Exception as error:  # launchers raise what their libraries raise
        return error
    return None


def _refuse_full(folder: Path) -> None:
    """Raises `LaunchFailed` if nothing can be written in a study's folder: then no worker died, and none gets further."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(ROOM))
    except OSError as error:
        raise LaunchFailed(f"{folder}: {error.strerror or first_line(error)}; no trial can be recorded") from None


def _news(error: Exception | None, died: Sequence[Row], left: Sequence[Row]) -> str:
    why = f" ({type(error).__name__}: {first_line(error)})" if error else ""
    if not died:
        return f"warning: the workers stopped{why}; {counted(len(left), 'trial')} {'is' if len(left) == 1 else 'are'} launched again"
    names = "".join(f"\n  retrying alone: {row.name}" for row in died)
    return f"warning: a worker died{why}; retrying {counted(len(died), 'interrupted trial')}, then the {len(left):,} others{names}"


def _waited_for(busy: Sequence[Row], say: Say) -> list[Row]:
    """Waits for trials that another process is training; returns those that it left unfinished."""
    if busy:
        say(f"waiting for {counted(len(busy), 'trial')} that another process is training")
    for row in busy:
        while journal.is_being_written(_folder(row)):
            time.sleep(POLL_S)
        journal.close_if_dead(_folder(row))
    return [row for row in busy if _status(row) in (None, KILLED)]


def _status(row: Row) -> str | None:
    found = outcome.of_journal(_folder(row))
    return found.status if found else None


def _found_no_room(row: Row) -> bool:
    found = outcome.of_journal(_folder(row))
    return found is not None and (found.error or "").startswith(FULL)


def _folder(row: Row) -> Path:
    assert row.trial is not None
    return row.trial.folder
