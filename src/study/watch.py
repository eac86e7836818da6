"""The progress of a running study: trials done, running and failed, the time left, and the best trial so far."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

from rich.console import Console

from src.spec.metric import TEST, VAL, Metric, meaning
from src.spec.record import END, STOPPED
from src.study.plan import Row
from src.terminal.progress import clock, fitted, say
from src.terminal.visible import one_line
from src.tracking import journal, outcome
from src.tracking.journal import FAILED, FINISHED
from src.tracking.outcome import Outcome, best_validated

EVERY_S = 1.0
SAY_EVERY_S = 60.0
NAME = 20  # minimum characters for a trial's name; with less room the name goes to the next line


class Budget(NamedTuple):
    """The time during which trials may start.

    Attributes:
      seconds: the time that remains.
      stop: the file that is written when the time is over; no trial starts after that.
    """

    seconds: float
    stop: Path


class StudyProgress:
    """Watches the journals of trials while a launcher trains them, in a thread. Use it in a `with` block."""

    def __init__(
        self,
        rows: Sequence[Row],
        *,
        metrics: Sequence[Metric],
        workers: int,
        budget: Budget | None,
        console: Console,
        compared: Metric | None = None,
    ) -> None:
        """Takes one row per trial.

        Args:
          rows: with the trials.
          metrics: of the task.
          workers: how many trials run side by side.
          budget: the time that remains; None for no limit.
          console: where to print.
          compared: the metric, by its full name, that is shown of a trial which has it; None for the test value of the
            metric that chose the best validation.
        """
        self._compared = compared
        self._first_metric, self._metrics = metrics[0], {metric.name: metric for metric in metrics}
        self._folders = {row.trial.folder: one_line(row.name) for row in rows if row.trial}
        self._old = {folder: outcome.attempt(folder) for folder in self._folders}
        self._workers, self._budget, self._console = workers, budget, console
        self._over: dict[Path, Outcome] = {}
        self._is_over = threading.Event()
        self._begin = self._said = time.monotonic()
        self._first = list(self._folders)[: 2 * workers if workers > 1 else 0]  # one of these starts before all others
        self._sizes = {folder: _size(folder) for folder in self._first}
        self._thread = threading.Thread(target=self._watch, daemon=True, name="study progress")

    def __enter__(self) -> Self:
        """Starts to watch."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stops to watch, and prints the last changes."""
        self._is_over.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._is_over.wait(EVERY_S):
            self._look()
            if (
                self._budget
                and time.monotonic() - self._begin > self._budget.seconds
                and not self._budget.stop.exists()
            ):
                self._budget.stop.write_text("plan.budget_minutes is used up", encoding="utf-8")
                self._say("plan.budget_minutes is used up: no further trial starts")

    def _look(self) -> None:
        ended = []
        if any(_size(folder) != self._sizes[folder] for folder in self._first):
            self._first = []
            self._say("the first trials are training")
        for folder in self._folders.keys() - self._over.keys():
            latest = _ended(folder)
            is_new = latest is not None and latest.attempt != self._old[folder]
            if latest and is_new and latest.status in (FINISHED, FAILED):  # killed trials are retried
                self._over[folder] = latest
                ended.append(folder)
        for folder in ended if len(self._folders) > 1 else []:
            self._say(
                f"{str(self._over[folder].status).lower()} ",
                self._folders[folder],
                f": {self._result(self._over[folder])}",
            )
        if len(self._folders) > 1 and (ended or time.monotonic() - self._said > SAY_EVERY_S):
            self._say(*self.line())

    def _result(self, ended: Outcome) -> str:
        if ended.status != FINISHED:
            return one_line(ended.error or "no error was recorded")
        metric = self._metrics.get(ended.first_metric, self._first_metric)
        shown = meaning(f"{TEST}{metric.name}", [metric])
        if self._compared is not None and self._compared.name in ended.metrics:
            shown = self._compared
        value = ended.metrics.get(shown.name)
        stopped = f"; stopped {ended.tags[STOPPED]}" if STOPPED in ended.tags else ""
        return f"{shown.title} {'unknown' if value is None else f'{value:.{shown.digits + 1}f}'}{stopped}"

    def line(self) -> tuple[str, str, str]:
        """Returns the progress in three parts, of which the second is the name of the best trial.

        `study: 3/12 done, 2 running, 4:10 left, best validation accuracy 0.861: cell=gru seed=1`
        """
        statuses = [ended.status for ended in self._over.values()]
        done, failed = statuses.count(FINISHED), statuses.count(FAILED)
        left = len(self._folders) - len(statuses)
        parts = [
            f"{done}/{len(self._folders)} done",
            f"{min(left, self._workers)} running",
            *([f"{failed} failed"] if failed else []),
        ]
        if statuses and left:
            parts.append(f"{clock((time.monotonic() - self._begin) / len(statuses) * left)} left")
        text, metric = "study: " + ", ".join(parts), self._first_metric
        best = best_validated(self._over, metric)
        if best is None:
            return text, "", ""
        title = meaning(f"{VAL}{metric.name}", [metric]).title
        return f"{text}, best {title} {self._over[best].best_validation:.{metric.digits}f}: ", self._folders[best], ""

    def _say(self, before: str, name: str = "", after: str = "") -> None:
        """Prints a line; on a terminal a trial's name is shortened to the room that is left."""
        self._said = time.monotonic()
        room = self._console.width - len(before) - len(after)
        room = self._console.width - len(after) - 4 if room < NAME else room  # the name goes to a new line
        say(self._console, f"{before}{fitted(name, room) if self._console.is_terminal else name}{after}")


def _ended(folder: Path) -> Outcome | None:
    """Returns the outcome of a trial; None before its end, or if its journal is unreadable: the sweep reports it."""
    try:
        last = journal.last(folder) if (folder / journal.FILE).is_file() else None
        return outcome.of_journal(folder) if last and last.kind == END else None
    except OSError:
        return None


def _size(folder: Path) -> int:
    """Returns the size of a trial's journal in bytes, 0 if there is none."""
    try:
        return (folder / journal.FILE).stat().st_size
    except OSError:
        return 0
