"""What a study looks like while it runs: how many trials are done, running, failed, the time left, the best so far."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

from rich.console import Console

from src.spec.metric import TEST, VAL, Metric, meaning
from src.spec.record import END
from src.study.plan import Row
from src.terminal.progress import clock, fitted, say
from src.terminal.visible import one_line
from src.tracking import journal, outcome
from src.tracking.journal import FAILED, FINISHED
from src.tracking.outcome import Outcome, best_validated

EVERY_S = 1.0
SAY_EVERY_S = 60.0
NAME = 20  # characters that a trial's name has at least, and in a line of its own if need be


class Budget(NamedTuple):
    """How long trials may begin.

    Attributes:
      seconds: from now on.
      stop: file that is written when they are over; no trial begins then.
    """

    seconds: float
    stop: Path


class StudyProgress:
    """Watches the journals of the trials that are to be trained, in a thread. Use it in a `with` block."""

    def __init__(
        self, rows: Sequence[Row], *, metrics: Sequence[Metric], workers: int, budget: Budget | None, console: Console
    ) -> None:
        """Takes one row a trial, the metrics of the study's task, how many trials run side by side, and when the last one may begin."""
        self._first_metric, self._metrics = metrics[0], {metric.name: metric for metric in metrics}
        self._folders = {row.trial.folder: one_line(row.name) for row in rows if row.trial}
        self._old = {folder: outcome.attempt(folder) for folder in self._folders}
        self._workers, self._budget, self._console = workers, budget, console
        self._over: dict[Path, Outcome] = {}
        self._is_over = threading.Event()
        self._begin = self._said = time.monotonic()
        self._first = list(self._folders)[: 2 * workers if workers > 1 else 0]  # of which one is begun before any other
        self._sizes = {folder: _size(folder) for folder in self._first}
        self._thread = threading.Thread(target=self._watch, daemon=True, name="study progress")

    def __enter__(self) -> Self:
        """Begins to watch."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Says how it ended."""
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
                self._say("plan.budget_minutes is used up: no further trial begins")

    def _look(self) -> None:
        ended = []
        if any(_size(folder) != self._sizes[folder] for folder in self._first):
            self._first = []
            self._say("the first trials are training")
        for folder in self._folders.keys() - self._over.keys():
            latest = _ended(folder)
            if (
                latest and latest.attempt != self._old[folder] and latest.status in (FINISHED, FAILED)
            ):  # what was killed is tried again
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
        tested = ended.metrics.get(name := f"{TEST}{metric.name}")
        return f"{meaning(name, [metric]).title} {'unknown' if tested is None else f'{tested:.{metric.digits + 1}f}'}"

    def line(self) -> tuple[str, str, str]:
        """Returns where the study is: `study: 3/12 done, 2 running, 4:10 left, best validation accuracy 0.861: cell=gru seed=1`.

        The name of the best trial is the second of its parts.
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
        """Prints a line; on a terminal a trial's name takes what room the rest leaves."""
        self._said = time.monotonic()
        room = self._console.width - len(before) - len(after)
        room = self._console.width - len(after) - 4 if room < NAME else room  # it begins a line of its own
        say(self._console, f"{before}{fitted(name, room) if self._console.is_terminal else name}{after}")


def _ended(folder: Path) -> Outcome | None:
    """Returns what became of a trial that is over; None for one that is not, or whose journal cannot be read: the sweep says so."""
    try:
        last = journal.last(folder) if (folder / journal.FILE).is_file() else None
        return outcome.of_journal(folder) if last and last.kind == END else None
    except OSError:
        return None


def _size(folder: Path) -> int:
    """Returns the bytes of a trial's journal, 0 where there is none."""
    try:
        return (folder / journal.FILE).stat().st_size
    except OSError:
        return 0
