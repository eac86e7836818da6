"""Has a launcher train trials, whatever happens to its workers, and leaves it to the journals to say what became of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from src.errors import first_line
from src.study import LaunchFailed
from src.study.plan import Row
from src.tracking import journal, outcome
from src.tracking.journal import KILLED
from src.trial import Prepared

Launch = Callable[[Sequence[Row]], None]
Say = Callable[[str], None]

MAX_STALLS = 2
POLL_S = 1.0

_log = logging.getLogger(__name__)


def train(rows: Sequence[Row], *, launch: Launch, say: Say) -> None:
    """Trains one trial a row; every one that can be is over when this returns.

    When a worker dies (out of memory, killed), launchers give up on all that they run. The trials that were under way are then
    tried again, one after the other and alone, so that a trial which kills its worker takes no other with it; what had not begun
    is launched again. A trial that another process trains is waited for.

    Args:
      rows: of different identities.
      launch: has a launcher train rows; returns when all are over, or raises.
      say: tells the user.

    Raises:
      LaunchFailed: the launcher raises, and launching again does not help.
    """
    left, stalls = list(rows), 0
    while left:
        before = {row: _attempt(row) for row in left}
        error = _launched(launch, left)
        died = [row for row in left if _attempt(row) != before[row] and _has_died(row)]
        left = [row for row in left if _attempt(row) == before[row]]
        if error is None and not died:
            left = _waited_for(left, say)
            continue
        if len(left) == len(before):
            stalls += 1
            if stalls > MAX_STALLS and error is not None:
                raise LaunchFailed(f"no worker gets as far as its trial ({type(error).__name__}: {first_line(error)})") from error
        say(_news(error, died, left))
        for row in died:
            journal.close_if_dead(_trial(row).folder)
            if error := _launched(launch, [row]):
                _log.debug("%s died again", row.label, exc_info=error)
            journal.close_if_dead(_trial(row).folder)


def _launched(launch: Launch, rows: Sequence[Row]) -> Exception | None:
    try:
        launch(rows)
    except Exception as error:  # launchers raise what their libraries raise
        return error
    return None


def _news(error: Exception | None, died: Sequence[Row], left: Sequence[Row]) -> str:
    why = f" ({type(error).__name__}: {first_line(error)})" if error else ""
    if not died:
        return f"warning: the workers stopped{why}; {len(left)} trials are launched again"
    names = "".join(f"\n  again, alone: {row.label} seed={row.seed}" for row in died)
    return f"warning: a worker died{why}; {len(died)} trials that it may have taken with it and {len(left)} others go on{names}"


def _waited_for(rows: Sequence[Row], say: Say) -> list[Row]:
    """Returns the rows whose trial another process was training, and left unfinished."""
    busy = [row for row in rows if journal.is_being_written(_trial(row).folder)]
    if busy:
        say(f"waiting for {len(busy)} trials that another process is training")
    for row in busy:
        while journal.is_being_written(_trial(row).folder):
            time.sleep(POLL_S)
        journal.close_if_dead(_trial(row).folder)
    return [row for row in busy if (found := outcome.of_journal(_trial(row).folder)) is None or found.status == KILLED]


def _attempt(row: Row) -> str | None:
    found = outcome.of_journal(_trial(row).folder)
    return found.attempt if found else None


def _has_died(row: Row) -> bool:
    """Whether the latest attempt has no end; its writer, if a sibling of it is still being killed, is given a moment."""
    folder: Path = _trial(row).folder
    end = time.monotonic() + 10
    while journal.is_being_written(folder) and time.monotonic() < end:
        time.sleep(0.1)
    found = outcome.of_journal(folder)
    return found is not None and found.status is None


def _trial(row: Row) -> Prepared:
    assert row.trial is not None
    return row.trial
