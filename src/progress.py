"""How a trial looks while one waits: a bar where there is a terminal, plain lines where there is none."""

from __future__ import annotations

import time
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from src.training.records import EVALUATION, STEP, Record
from src.visible import one_line

LINE_EVERY_S = 30.0


class TrialProgress:
    """Shows the records of one trial. Use it in a `with` block."""

    def __init__(
        self,
        title: str,
        *,
        steps: int,
        epochs: int,
        is_alone: bool = True,
        done: int = 0,
        console: Console | None = None,
    ) -> None:
        """Takes what to show.

        Args:
          title: shown above.
          steps: how many optimizer steps there will be.
          epochs: how many epochs there will be.
          is_alone: whether no other trial shows itself.
          done: steps that an earlier process took.
          console: where to print.
        """
        self._console = console or Console(quiet=not is_alone)
        self._title, self._steps, self._epochs = one_line(title), steps, epochs
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._begin = self._said = time.monotonic()
        self._validation = ""
        self._batch_ms = 0.0
        self._done = done

    def __enter__(self) -> Self:
        """Starts the bar, or prints the title."""
        if self._console.is_terminal:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                TextColumn("{task.completed}/{task.total} {task.fields[text]}", markup=False),
            )
            self._bar = Progress(*columns, console=self._console)
            self._task = self._bar.add_task(self._title, total=self._steps, completed=self._done, text="")
            self._bar.start()
        else:
            self._say(f"{self._title}: {self._steps} steps")
        return self

    def __exit__(self, *error: object) -> None:
        """Leaves the last state of the bar on the screen."""
        if self._bar is not None:
            self._bar.stop()

    def show(self, record: Record) -> None:
        """Takes one record of the trial."""
        if record.kind == EVALUATION:
            self._validation = f" val_accuracy {record.metrics['val/accuracy']:.3f}"
            if record.detail["epoch"] is not None and self._bar is None:
                loss, accuracy, seconds = (record.metrics.get(name) for name in ("val/loss", "val/accuracy", "time/epoch_s"))
                took = "cut short by max_steps" if seconds is None else f"{seconds:.1f} s"
                self._say(f"  epoch {record.detail['epoch']}/{self._epochs}: val_loss {loss:.3f}  val_accuracy {accuracy:.3f}  {took}")
        if record.kind != STEP:
            return
        text = self._line(record)
        if self._bar is not None:
            self._bar.update(self._task, completed=record.step, text=text)
        elif time.monotonic() - self._said > LINE_EVERY_S:
            self._say(f"  step {record.step}/{self._steps}: {text}")

    def _line(self, record: Record) -> str:
        loss, accuracy = record.metrics["train/loss"], record.metrics["train/accuracy"]
        if not record.detail["is_first"] or not self._batch_ms:  # a step that traces says nothing about the others
            self._batch_ms = record.metrics["time/batch_ms"]
        left = (time.monotonic() - self._begin) / (record.step - self._done) * (self._steps - record.step)
        return f"loss {loss:.3f}  accuracy {accuracy:.3f}{self._validation}  {self._batch_ms:.0f} ms/batch  {clock(left)} left"

    def _say(self, text: str) -> None:
        self._said = time.monotonic()
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def clock(seconds: float) -> str:
    """Returns a duration as one reads it: `4:10`, `1:04:10`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"
