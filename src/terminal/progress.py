"""Progress of a trial: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from src.spec.metric import IMPLIED, LOSS, TRAIN, VAL, Metric, on_every_split
from src.spec.record import END, EVALUATION, STEP, STOPPED, Record
from src.terminal.visible import counted, one_line, visible

LINE_EVERY_S = 30.0
BAR = 10  # minimal width of the bar


class TrialProgress:
    """Shows the records of one trial. Use it in a `with` block."""

    def __init__(
        self,
        title: str,
        *,
        steps: int,
        epochs: int,
        metrics: Sequence[Metric] = IMPLIED,
        is_alone: bool = True,
        done: int = 0,
        console: Console | None = None,
    ) -> None:
        """Prepares the display.

        Args:
          title: shown above the bar.
          steps: total number of optimizer steps.
          epochs: total number of epochs.
          metrics: the task's metrics; the first one is shown beside the loss.
          is_alone: whether no other trial shows its progress.
          done: steps that an earlier process took.
          console: where to print.
        """
        self._console = console or Console(quiet=not is_alone, emoji=False)
        self._title, self._steps, self._epochs = one_line(title), steps, epochs
        self._metric, self._loss = metrics[0], next((metric for metric in metrics if metric.name == LOSS.name), LOSS)
        self._is_in_training = metrics[0] in on_every_split(metrics) and metrics[0].name != LOSS.name
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._begin = self._last_line = time.monotonic()
        self._validation = ""
        self._batch_ms = 0.0
        self._done = done

    def __enter__(self) -> Self:
        """Starts the bar, or prints the title."""
        if self._console.is_terminal:
            self._say(fitted(self._title, self._console.width))
            self._bar = Progress(
                BarColumn(bar_width=None),
                TextColumn("{task.description}", markup=False),
                console=self._console,
                expand=True,
            )
            self._task = self._bar.add_task(f"{self._done}/{self._steps}", total=self._steps, completed=self._done)
            self._bar.start()
        else:
            self._say(f"{self._title}: {counted(self._steps, 'step')}")
        return self

    def __exit__(self, *error: object) -> None:
        """Stops the bar; its last state stays on the screen."""
        if self._bar is not None:
            self._bar.stop()

    def show(self, record: Record) -> None:
        """Shows one record of the trial."""
        if record.kind == EVALUATION:
            self._validation = _shown(self._metric, record, VAL)
            if record.detail["epoch"] is not None and self._bar is None:
                seconds = record.metrics.get("time/epoch_s")
                # An epoch that was interrupted and resumed has no duration.
                duration = [] if seconds is None else [f"{seconds:.1f} s"]
                # `dict.fromkeys` shows the loss once if it is the first metric.
                values = dict.fromkeys((_shown(self._loss, record, VAL), self._validation))
                self._say(f"  epoch {record.detail['epoch']}/{self._epochs}: {'  '.join([*values, *duration])}")
        if record.kind == END and (why := record.detail["tags"].get(STOPPED)):
            self._say(f"  stopped {why}")
        if record.kind != STEP:
            return
        if self._bar is not None:
            self._bar.update(
                self._task, completed=record.step, description=self._line(record, width=self._console.width - BAR)
            )
        elif time.monotonic() - self._last_line > LINE_EVERY_S:
            self._say(f"  step {self._line(record)}")

    def _line(self, record: Record, *, width: int | None = None) -> str:
        """Returns the state of the trial in fewer than `width` characters; omits the least informative parts first."""
        if not record.detail["is_first"] or not self._batch_ms:  # the time of a step that traces is not typical
            self._batch_ms = record.metrics["time/batch_ms"]
        left = (time.monotonic() - self._begin) / (record.step - self._done) * (self._steps - record.step)
        parts = {
            "step": f"{record.step}/{self._steps}",
            "loss": _shown(self._loss, record, TRAIN),
            **({"metric": _shown(self._metric, record, TRAIN)} if self._is_in_training else {}),
            "validation": self._validation,
            "speed": f"{self._batch_ms:.0f} ms/batch",
            "left": f"{clock(left)} left",
        }
        for name in ("", "metric", "speed", "loss", "validation", "left"):
            parts.pop(name, None)
            line = "  ".join(filter(None, parts.values()))
            if width is None or len(line) < width:
                break
        return line

    def _say(self, text: str) -> None:
        self._last_line = time.monotonic()
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def _shown(metric: Metric, record: Record, prefix: str) -> str:
    """Returns a metric as readers see it: `title 0.750` in training, `val_title 0.750` in validation."""
    value = f"{record.metrics[f'{prefix}{metric.name}']:.{metric.digits}f}{f' {metric.unit}' if metric.unit else ''}"
    return f"{'val_' if prefix == VAL else ''}{metric.shown} {value}"


def say(console: Console, text: str) -> None:
    """Prints a text; a terminal wraps long lines between words with an indent, and paths stay whole."""
    lines = visible(text).split("\n")
    if console.is_terminal:
        lines = [part for line in lines for part in _broken(line, console.width)]
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def fitted(title: str, width: int) -> str:
    """Returns a trial's name in at most `width` characters: it keeps the seed and the first toggles that fit."""
    if len(title) <= width:
        return title
    rest, _, seed = title.rpartition(" seed=")
    end = f"… seed={seed}" if rest else "…"
    words = (rest or title).split(" ")
    while words and len(" ".join([*words, end])) > width:
        words.pop()
    return " ".join([*words, end]) if words else f"{(rest or title)[: max(0, width - len(end))]}{end}"


@contextmanager
def waiting(text: str, *, is_alone: bool = True) -> Iterator[None]:
    """Shows a text on a terminal while the block runs, unless other trials run."""
    # A notebook is not a terminal, even if its environment claims so.
    if not is_alone or not Console().is_terminal or os.environ.get("TERM") == "dumb":
        yield
        return
    sys.stdout.write(f"{text} …")
    sys.stdout.flush()
    try:
        yield
    finally:
        sys.stdout.write("\r\x1b[2K")
        sys.stdout.flush()


def _broken(line: str, width: int) -> list[str]:
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    if len(line) <= width:
        return [line]
    return textwrap.wrap(
        line, width, subsequent_indent=indent, drop_whitespace=True, break_long_words=False, break_on_hyphens=False
    )


def clock(seconds: float) -> str:
    """Returns a duration as `4:10` or `1:04:10`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"
