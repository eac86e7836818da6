"""What a program reports: numbers by name, from JSON lines, from lines of its output, or from an MLflow run."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from src.spec.metric import BEST, STEPS_TO, TEST, TRAIN, VAL
from src.spec.record import EVALUATION, STEP, Record
from src.spec.section import SettingsError
from src.terminal.visible import echoed, shortened

MAX_LINE = 1 << 20  # bytes of a line of the report
MAX_REPORT = 1 << 28  # bytes of a report
MAX_SHOWN = 1 << 12  # bytes of a line of output in which patterns are searched
MAX_REMARKS = 20
MAX_STEP = 2**53
FINAL = (TEST, "time/", "memory/", "model/", "data/")  # names of the whole trial
ALIASES = {"val_": VAL, "valid_": VAL, "validation_": VAL, "test_": TEST, "train_": TRAIN, "training_": TRAIN}
OF_THE_CORE = (BEST, STEPS_TO)
NAME = re.compile(r"[\w.:/ -]{1,200}")


class Report:
    """The reports of one attempt.

    Attributes:
      step: the last step.
      finals: name → last value of each metric of the whole trial.
      last: name → last value of each metric over time.
      remarks: what was wrong with the report, at most 20 remarks.
    """

    def __init__(self, *, metrics: Sequence[str], names: Mapping[str, str]) -> None:
        """Begins an empty report.

        Args:
          metrics: the declared metrics, without a split.
          names: a name that the program reports → its name here.
        """
        self._metrics, self._names = metrics, names
        self.step, self._epoch, self._has_steps = 0, 0, False
        self.finals: dict[str, float] = {}
        self.last: dict[str, float] = {}
        self.remarks: list[str] = []
        self._seen: dict[tuple[str, int], float] = {}

    def line(self, data: bytes, number: int) -> Iterator[Record]:
        """Yields the records of a JSON line."""
        if not data.strip():
            return
        try:
            values = json.loads(data)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            text = echoed(shortened(data[:200].decode(errors="replace").strip(), 60))
            self.remark(f"line {number} of the metrics is no JSON object: {text}")
            return
        yield from self.values(values)

    def values(self, values: Mapping[str, Any]) -> Iterator[Record]:
        """Yields the records of numbers by name, which may include `step` and `epoch`; texts are left out."""
        self._move(values)
        curves: dict[str, dict[str, float]] = {STEP: {}, EVALUATION: {}}
        for given, value in values.items():
            if given in ("step", "epoch"):
                continue
            name = self.named(given)
            number = self._number(name, value)
            if number is None:
                continue
            if name.startswith(FINAL):
                self._final(name, number)
            elif self._is_new(name, number):
                curves[EVALUATION if name.startswith(VAL) else STEP][name] = number
                self.last[name] = number
        for kind, metrics in curves.items():
            if metrics:
                yield Record(kind, self.step, metrics, {"epoch": self._epoch})

    def named(self, name: str) -> str:
        """Returns a name as the core knows it: `val_loss` is val/loss, and a declared metric alone is of training."""
        if name in self._names:
            return self._names[name]
        for short, split in ALIASES.items():
            if name.startswith(short):
                return split + name.removeprefix(short)
        return f"{TRAIN}{name}" if name in self._metrics else name

    def remark(self, text: str) -> None:
        """Notes what is wrong with the report."""
        if text not in self.remarks and len(self.remarks) < MAX_REMARKS:
            self.remarks.append(text)

    def value(self, name: str) -> float | None:
        """Returns the last value of a metric; None if it was not reported."""
        return self.finals.get(name, self.last.get(name))

    @property
    def reported(self) -> str:
        """The names of the reported metrics."""
        names = sorted({*self.finals, *self.last})
        return ", ".join(names[:10]) + (f", … ({len(names)} in all)" if len(names) > 10 else "") if names else "nothing"

    def _move(self, values: Mapping[str, Any]) -> None:
        """Moves to the step and the epoch of the next values."""
        epoch, step = self._whole("epoch", values.get("epoch")), self._whole("step", values.get("step"))
        self._epoch = self._epoch if epoch is None else epoch
        self._has_steps |= step is not None
        if step is None:
            step = self.step if self._has_steps or epoch is None else epoch
        if step < self.step:
            self.remark(f"steps out of order: {step} came after {self.step}; each value is kept at its own step")
        self.step = step

    def _whole(self, key: str, value: Any) -> int | None:
        if value is None:
            return None
        try:
            whole = int(float(value)) if not isinstance(value, bool) else -1
        except (TypeError, ValueError, OverflowError):
            whole = -1
        if not 0 <= whole < MAX_STEP or whole != float(value):
            self.remark(
                f"{key} is {shortened(echoed(repr(value)), 40)}, which is no whole number from 0; it is left out"
            )
            return None
        return whole

    def _number(self, name: str, value: Any) -> float | None:
        if not NAME.fullmatch(name):
            self.remark(f"a metric is called {shortened(echoed(repr(name)), 60)}; allowed: letters, digits, _ . : / -")
        elif name.startswith(OF_THE_CORE):
            self.remark(f"{name} is computed from the validation values; the reported value is left out")
        elif isinstance(value, bool) or not isinstance(value, int | float):
            if name.startswith((TEST, VAL, TRAIN)):
                self.remark(f"{name} is {shortened(echoed(repr(value)), 40)}, which is not a number; it is left out")
        else:
            try:
                return float(value)
            except OverflowError:
                return math.inf
        return None

    def _final(self, name: str, value: float) -> None:
        before = self.finals.get(name)
        if before is not None and before != value:
            self.remark(f"{name} was reported more than once; the last value counts")
        self.finals[name] = value

    def _is_new(self, name: str, value: float) -> bool:
        """Returns whether a metric has no value at this step yet; a second one is left out."""
        before = self._seen.setdefault((name, self.step), value)
        is_new = len(self._seen) != self._count
        self._count = len(self._seen)
        if not is_new and before != value:
            self.remark(f"{name} was reported twice at step {self.step}; the first value counts")
        return is_new

    _count = 0


class Lines:
    """The JSON lines of a file that another process writes; reads what is new."""

    def __init__(self, path: Path) -> None:
        """Begins before the first line; the file need not exist yet."""
        self._path, self._offset, self._rest, self._number = path, 0, b"", 0

    def new(self, report: Report, *, is_last: bool = False) -> Iterator[Record]:
        """Yields the records of the lines that are complete now; with `is_last` also of a line without its end."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read(max(0, MAX_REPORT - self._offset))
        except FileNotFoundError:
            return
        self._offset += len(data)
        if self._offset >= MAX_REPORT:
            report.remark(f"the metrics have more than {MAX_REPORT:,} bytes; the rest is left out")
        *lines, self._rest = (self._rest + data).split(b"\n")
        if is_last:
            lines, self._rest = [*lines, self._rest], b""
        elif len(self._rest) > MAX_LINE:
            self._rest = b"(too long)"
        for line in lines:
            self._number += 1
            yield from report.line(line, self._number)


class Output:
    """Recognises metrics in lines of output."""

    def __init__(self, patterns: Iterable[str]) -> None:
        """Accepts checked patterns."""
        self._patterns, self._rest = [re.compile(pattern) for pattern in patterns], b""

    def new(self, data: bytes, report: Report) -> Iterator[Record]:
        """Yields the records of the lines that are complete with this output; a line feed ends the last line."""
        if not self._patterns:
            return
        *lines, self._rest = re.split(rb"[\r\n]", self._rest + data)  # progress bars end lines with \r
        self._rest = self._rest[:MAX_SHOWN]
        for line in lines:
            for values in self._found(line[:MAX_SHOWN].decode(errors="replace"), report):
                yield from report.values(values)

    def _found(self, line: str, report: Report) -> Iterator[dict[str, Any]]:
        for pattern in self._patterns:
            for match in pattern.finditer(line):
                groups = {name: text for name, text in match.groupdict().items() if text is not None}
                if {"name", "value"} <= groups.keys():
                    groups[groups.pop("name")] = groups.pop("value")
                values = {name: _parsed(text) for name, text in groups.items()}
                for name in [name for name, value in values.items() if value is None]:
                    text = echoed(shortened(groups[name], 40))
                    report.remark(f"the output has {name}={text}, which is not a number; it is left out")
                    del values[name]
                yield values


def check_patterns(patterns: Sequence[str]) -> str | None:
    """Returns why a pattern cannot be used; None if all can."""
    for pattern in patterns:
        try:
            names = set(re.compile(pattern).groupindex)
        except re.error as error:
            return f"program.patterns: {pattern!r} is no regular expression ({error}); see the `re` module of Python"
        if not names - {"step", "epoch"} or len(names & {"name", "value"}) == 1:
            return (
                f"program.patterns: {pattern!r} names no metric; "
                "write (?P<test_loss>…), or (?P<name>…) and (?P<value>…) together"
            )
    return None


def of_runs(folder: Path, report: Report) -> Iterator[Record]:
    """Yields the records of the MLflow run in a file store, in the order of the steps.

    Args:
      folder: the file store. Every version of MLflow writes it, whatever version the program uses.
      report: gets the values; of several runs, those of the last one without a parent count.

    Raises:
      SettingsError: the program wrote no run.
    """
    runs = [path.parent for path in folder.glob("*/*/meta.yaml") if (path.parent / "metrics").is_dir()]
    top = [run for run in runs if not (run / "tags" / "mlflow.parentRunId").exists()]
    if not top:
        raise SettingsError("the program wrote no MLflow run; does it set another tracking URI?")
    if len(top) > 1:
        report.remark(f"the program wrote {len(top)} MLflow runs; the last one counts")
    run = max(top, key=_started)
    by_step: dict[int, dict[str, float]] = {}
    names = {str(path.relative_to(run / "metrics")) for path in (run / "metrics").rglob("*")}
    for path in sorted((run / "metrics").rglob("*")):
        if path.name.startswith("validation_") and f"val_{path.name.removeprefix('validation_')}" in names:
            continue  # of `mlflow.keras.MlflowCallback`: every evaluation at step 0, beside the epochs' own values
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
            _, value, *rest = [*line.split(" "), "0"]
            number = _parsed(value)
            if number is not None and rest[0].lstrip("-").isdigit():
                by_step.setdefault(max(0, int(rest[0])), {})[str(path.relative_to(run / "metrics"))] = number
    for step, values in sorted(by_step.items()):
        yield from report.values({"step": step, **values})


def files_of_runs(folder: Path) -> list[Path]:
    """Returns the folders of artifacts of the runs in a file store that are not empty."""
    return [path for path in sorted(folder.glob("*/*/artifacts")) if any(path.iterdir())]


def _started(run: Path) -> int:
    match = re.search(r"^start_time: *(\d+)", (run / "meta.yaml").read_text(encoding="utf-8"), re.MULTILINE)
    return int(match[1]) if match else 0


def _parsed(text: str) -> float | None:
    """Returns the number in a text; None if there is none."""
    try:
        return float(text.strip().rstrip("%"))
    except ValueError:
        return None
