"""Shows the progress of studies, from a second terminal: `python -m src.status STUDY`.

It reads the journals of trials and the plans of studies, and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from rich.console import Console

from src import paths
from src.spec import metric
from src.spec.metric import IMPLIED, TEST, VAL, Metric, meaning
from src.spec.record import END, EVALUATION, METRICS, START
from src.spec.section import SettingsError
from src.study import halving, plan_record, running
from src.study.journals import Journals
from src.terminal.errors import nearest
from src.terminal.progress import clock, fitted, say
from src.terminal.visible import counted, one_line
from src.tracking import journal
from src.tracking.journal import FAILED, FINISHED
from src.tracking.outcome import Outcome

PLAN = "plan.json"
SAMPLE = 50  # finished trials in the estimate of the time left
SHOWN = 10  # listed trials per state
STARTING = "no trial is under way: its workers are starting (TensorFlow takes about 10 s) or between two trials"
DONE, RUNNING, FAILED_, STOPPED, WAITING, BROKEN = "done", "running", "failed", "stopped", "not begun", "unreadable"
KINDS = (DONE, RUNNING, FAILED_, STOPPED, WAITING, BROKEN)


@dataclass(frozen=True)
class Trial:
    """One trial of a study.

    Attributes:
      identity: name of its folder.
      name: its variant and seed, as in the plan; the identity without a plan.
      state: one of `KINDS`.
      is_planned: whether it is in the study's latest plan.
      error: why it failed or cannot be read, or None.
      step: optimizer steps done, if it runs.
      first_metric: name of the first metric of its task.
      best_validation: best validation value of that metric so far, or None.
      tested: test value of that metric; None before the trial's end.
    """

    identity: str
    name: str
    state: str
    is_planned: bool
    error: str | None = None
    step: int | None = None
    first_metric: str = IMPLIED[0].name
    best_validation: float | None = None
    tested: float | None = None

    def as_record(self) -> dict[str, Any]:
        """Returns the trial as plain values; the key of the test value contains the metric's name."""
        values = asdict(self)
        return values | {f"test_{self.first_metric}": values.pop("tested")}


@dataclass(frozen=True)
class Status:
    """The progress of a study.

    Attributes:
      study: its name.
      design: design of the latest plan, or None without a plan.
      first: first metric of the study's task, which chooses the best trial.
      trials: the trials of the plan in its order, then the others.
      seconds_left: estimated time for the remaining trials of the plan; None if it cannot be estimated.
      note: a problem with the plan's file, or None.
      is_swept: whether a sweep of the study runs, even if no trial has begun yet.
    """

    study: str
    design: str | None
    first: Metric
    trials: list[Trial]
    seconds_left: float | None
    note: str | None
    is_swept: bool = False

    def count(self, state: str) -> int:
        """Returns the number of trials in a state, of the latest plan or, without a plan, of the study."""
        return sum(trial.state == state for trial in self.counted)

    @property
    def counted(self) -> list[Trial]:
        """The trials of the latest plan, or all of them without one."""
        return [trial for trial in self.trials if trial.is_planned or self.design is None]

    @property
    def best(self) -> Trial | None:
        """The trial with the best validation value; None before the first evaluation."""
        return self.first.best_of(
            {trial: trial.best_validation for trial in self.counted if trial.first_metric == self.first.name}
        )

    @property
    def is_running(self) -> bool:
        """Whether a trial or a sweep of the study runs."""
        return self.is_swept or any(trial.state == RUNNING for trial in self.trials)

    def as_record(self) -> dict[str, Any]:
        """Returns the status as plain values."""
        best = self.best
        return {
            **{"study": self.study, "design": self.design, "trials": len(self.counted)},
            **{state.replace(" ", "_"): self.count(state) for state in KINDS},
            **{"seconds_left": self.seconds_left, "best": best.as_record() if best else None, "note": self.note},
            "sweep_is_running": self.is_swept,
            "running_trials": [trial.as_record() for trial in self.trials if trial.state == RUNNING],
            "failed_trials": [trial.as_record() for trial in self.trials if trial.state in (FAILED_, BROKEN)],
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns 0, or 2 for a study that does not exist."""
    parser = argparse.ArgumentParser(
        prog="python -m src.status", description="Shows the progress of studies. Reads only; safe while trials run."
    )
    parser.add_argument(
        "study",
        metavar="STUDY",
        nargs="?",
        help="name of a study (default: all studies; those that run in full, the others in brief)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
    parser.add_argument(
        "--watch", metavar="SECONDS", nargs="?", type=_seconds, const=5.0, help="repeat every n seconds (default: 5)"
    )
    options = parser.parse_args(arguments)
    console = Console(highlight=False, emoji=False)
    try:
        while True:
            _show(console, options.study, is_json=options.json, is_repeated=options.watch is not None)
            if options.watch is None:
                return 0
            time.sleep(options.watch)
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader has closed the pipe, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 0


def studies() -> list[str]:
    """Returns the names of the studies that have a plan or a trial."""
    if not paths.outputs().is_dir():
        return []
    folders = (path for path in paths.outputs().iterdir() if path.is_dir() and not path.name.startswith("."))
    return sorted(path.name for path in folders if (path / PLAN).is_file() or journal.folders(path))


def of(study: str) -> Status:
    """Returns the progress of a study.

    Args:
      study: its name.

    Raises:
      SettingsError: there is no such study.
    """
    existing = studies()
    if study not in existing:
        near = nearest(study, existing)
        rest = f"did you mean {near}?" if near else f"studies: {', '.join(existing) or 'none yet'}"
        raise SettingsError(f"no study {one_line(study)!r} in {paths.outputs()}; {rest}")
    folder = paths.study_folder(study)
    planned = _planned(folder / PLAN)
    names, unreadable = planned.names, dict[str, str]()
    outcomes = Journals(folder).outcomes(unreadable=unreadable)
    order = [*names, *(name for name in sorted(outcomes.keys() | unreadable.keys()) if name not in names)]
    first = planned.first or _first_metric(folder, outcomes)
    trials = [_trial(folder / name, names.get(name), outcomes.get(name), unreadable.get(name)) for name in order]
    return Status(study, planned.design, first, trials, _left(folder, trials), planned.note, running.is_held(folder))


class _Planned(NamedTuple):
    """The latest plan of a study: its design, identity → name, its first metric, and a problem with its file."""

    design: str | None = None
    names: Mapping[str, str] = MappingProxyType({})
    first: Metric | None = None
    note: str | None = None


def _planned(path: Path) -> _Planned:
    if not path.is_file():
        return _Planned(note=f"no {PLAN}")
    try:
        record = plan_record.from_text(path.read_text(encoding="utf-8"))[-1]
        every = [*halving.trials_of(record), *record["rows"]]
        rows = [row for row in every if isinstance(row, dict) and isinstance(row.get("identity"), str)]
    except (OSError, ValueError, LookupError, TypeError):
        return _Planned(note=f"{PLAN} cannot be read")
    names: dict[str, str] = {}
    for row in rows:
        names.setdefault(row["identity"], f"{row.get('label')} seed={row.get('seed')}")
    if not names:
        return _Planned(note=f"{PLAN} names no trials")
    return _Planned(str(record.get("design")), names, metric.of_plan(record)[0])


def _first_metric(folder: Path, outcomes: Mapping[str, Outcome]) -> Metric:
    """Returns the first metric of a study without a plan, from one of its journals."""
    for name in outcomes:
        try:
            begun = journal.last_attempt(folder / name, kinds=(START,))
        except OSError:
            continue
        if begun:
            return metric.of_records(begun[-1].record.detail.get(METRICS))[0]
    return IMPLIED[0]


def _trial(folder: Path, name: str | None, outcome: Outcome | None, why_not: str | None) -> Trial:
    title, is_planned = name or folder.name, name is not None
    if why_not is not None:
        return Trial(folder.name, title, BROKEN, is_planned, error=why_not)
    if outcome is None:
        return Trial(folder.name, title, WAITING, is_planned)
    state, step = {FINISHED: DONE, FAILED: FAILED_}.get(outcome.status or "", STOPPED), None
    if outcome.status is None and journal.has_writer(folder):
        state, step = RUNNING, _step(folder)
    return Trial(
        folder.name,
        title,
        state,
        is_planned,
        error=outcome.error,
        step=step,
        first_metric=outcome.first_metric,
        best_validation=outcome.best_validation,
        tested=outcome.metrics.get(f"{TEST}{outcome.first_metric}"),
    )


def _step(folder: Path) -> int:
    try:
        last = journal.last(folder)
        return last.step if last else 0
    except OSError:  # a line is being written
        return 0


def _left(folder: Path, trials: Sequence[Trial]) -> float | None:
    """Returns the seconds until the plan is trained: mean duration × remaining trials / trials that run at a time."""
    planned = [trial for trial in trials if trial.is_planned]
    running = [trial for trial in planned if trial.state == RUNNING]
    missing = sum(trial.state in (WAITING, STOPPED) for trial in planned)
    finished = [trial.identity for trial in planned if trial.state == DONE]
    times = [took for name in finished[-SAMPLE:] if (took := _seconds_of(folder / name)) is not None]
    if not running or not times:
        return None
    mean = sum(times) / len(times)
    under_way = sum(max(0.0, mean - (_seconds_of(folder / trial.identity) or 0.0)) for trial in running)
    return (missing * mean + under_way) / len(running)


def _seconds_of(folder: Path) -> float | None:
    """Returns the duration of a trial's latest attempt, up to now if it has not ended; None without a start."""
    try:
        lines = journal.last_attempt(folder, kinds=(START, EVALUATION, END))
    except OSError:
        return None
    if not lines:
        return None
    end_ms = lines[-1].time_ms if lines[-1].record.kind == END else time.time() * 1_000
    return max(0.0, (end_ms - lines[0].time_ms) / 1_000)


def _show(console: Console, study: str | None, *, is_json: bool, is_repeated: bool) -> None:
    """Prints the status of a study, or of all."""
    statuses = [of(name) for name in ([study] if study else studies())]
    if is_json:
        records = [status.as_record() for status in statuses]
        print(json.dumps(records[0] if study else records, indent=None if is_repeated else 1), flush=True)
        return
    if is_repeated and console.is_terminal:
        console.clear()
    say(
        console,
        "\n".join(_lines(statuses, width=console.width if console.is_terminal else None, is_named=study is not None)),
    )


def _lines(statuses: Sequence[Status], *, width: int | None, is_named: bool) -> Iterator[str]:
    """Yields the lines of studies: in full if a study is named or runs, one line for each other study."""
    if not statuses:
        yield f"no studies in {paths.outputs()}"
    whole = [status for status in statuses if is_named or status.is_running]
    for status in whole:
        yield from _in_full(status, width)
    others = [status for status in statuses if status not in whole]
    if others and not whole:
        yield "nothing is running"
    longest = max((len(status.study) for status in others), default=0)
    for status in others:
        yield f"{status.study:<{longest}}  {_summary(status)}"


def _in_full(status: Status, width: int | None) -> Iterator[str]:
    design = f", design {status.design}" if status.design else ""
    yield f"study {status.study}{design}{f' ({status.note})' if status.note else ''}"
    yield f"  {_summary(status)}"
    if status.seconds_left is not None:
        unit = "h:mm:ss" if status.seconds_left >= 3_600 else "m:ss"
        more = ", then the next round" if status.design in ("path", halving.NAME) else ""
        yield f"  time left: about {clock(status.seconds_left)} ({unit}){more}"
    first = status.first
    if best := status.best:
        tested = (
            f", {meaning(f'{TEST}{first.name}', [first]).title} {best.tested:.{first.digits}f}"
            if best.tested is not None
            else ""
        )
        yield _row("best", best, f"{_validated(best, first)}{tested}", width)
    if status.is_swept and not any(trial.state == RUNNING for trial in status.trials):
        yield f"  the sweep is running; {STARTING}"
    for state in (RUNNING, FAILED_, BROKEN):
        trials = [trial for trial in status.trials if trial.state == state]
        for trial in trials[:SHOWN]:
            yield _row(state, trial, _detail(trial, first), width)
        if len(trials) > SHOWN:
            yield f"  {state}: … and {len(trials) - SHOWN:,} more"
    earlier = len(status.trials) - len(status.counted)
    if earlier:
        yield f"  {counted(earlier, 'more trial')} of earlier plans"


def _detail(trial: Trial, first: Metric) -> str:
    if trial.state != RUNNING:
        return one_line(trial.error or "no error was recorded")
    validated = f", {_validated(trial, first)}" if trial.best_validation is not None else ""
    return f"step {trial.step:,}{validated}"


def _validated(trial: Trial, first: Metric) -> str:
    own = first if trial.first_metric == first.name else Metric(trial.first_metric, None)
    return f"{meaning(f'{VAL}{own.name}', [own]).title} {trial.best_validation:.{own.digits}f}"


def _row(title: str, trial: Trial, text: str, width: int | None) -> str:
    """Returns a line about a trial; its name gets the remaining width, at least a third."""
    begin, name = f"  {title}: ", one_line(trial.name)
    room = len(name) if width is None else max(width // 3, width - len(begin) - len(text) - 2)
    return f"{begin}{fitted(name, room)}: {text}"


def _summary(status: Status) -> str:
    counts: Mapping[str, int] = {state: status.count(state) for state in KINDS}
    parts = [f"{count:,} {state}" for state, count in counts.items() if count]
    return f"{counted(len(status.counted), 'trial')}: {', '.join(parts) or 'none'}"


def _seconds(text: str) -> float:
    """Returns a number of seconds between 0.1 and one day, for argparse."""
    seconds = float(text)
    if not 0.1 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"got {text}; allowed: 0.1 to 86400 seconds")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
