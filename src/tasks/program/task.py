"""The task `program`: any script or command as a trial."""

from __future__ import annotations

import json
import logging
import math
import os
import shlex
import shutil
import signal
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any, ClassVar, final

from src.spec.metric import LOSS, TEST, TRAIN, VAL, Metric
from src.spec.record import DIVERGED, FAILED, FINISHED, KILLED, OK, START, Record, end
from src.spec.rules import Change
from src.spec.section import SettingsError, as_typed
from src.spec.task import Task, Trial
from src.tasks.program import command, declared, report, sources, study_file
from src.tasks.program.process import Ended, Log, Process
from src.tasks.program.report import Report
from src.tasks.program.settings import Meaning, Settings
from src.tasks.program.sources import Sources
from src.terminal.visible import echoed, shortened

REPORT, VALUES, ARTIFACTS, OUTPUT, RUNS = "metrics.jsonl", "toggles.json", "artifacts", "output.log", "mlruns"
SECONDS = "time/train_s"
STOPPING = {signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGTERM}  # from outside: the trial may run again
MEGABYTE = 1_000_000

_log = logging.getLogger(__name__)


@final
class ProgramTask(Task[Settings, Sources]):
    """A command that gets toggles and a seed, and reports metrics."""

    name = "program"
    about = "any script or command: it gets toggles and a seed, and reports metrics"
    examples: ClassVar = {
        "-m task=program command='python train.py --lr {lr} --seed {seed}' toggles.lr=0.1,0.01 seed='range(0,8)'": (
            "a script of yours"
        ),
        "task=program study=mine --init": "a study file to start from",
    }
    settings = Settings
    metrics = (Metric("accuracy", "higher"), LOSS)

    def metrics_of(self, settings: Settings) -> tuple[Metric, ...]:
        """Returns the declared metrics; without any, accuracy and loss."""
        meanings = settings.program.metrics
        if not meanings:
            return self.metrics
        metrics = tuple(_metric(name, meaning) for name, meaning in meanings.items())
        if not metrics[0].sign:
            raise SettingsError(
                f"program.metrics: the first metric, {metrics[0].name}, has no direction, but studies compare by it; "
                "write higher or lower, or put another metric first"
            )
        return metrics

    def check_setup(self) -> None:
        """Checks that the system has process groups."""
        if os.name != "posix":
            raise SettingsError(
                "task=program needs Linux or macOS: elsewhere the processes of a program cannot be ended"
            )

    def load(self, settings: Settings) -> Sources:
        """Returns the files and the commit of the program."""
        return sources.of(settings)

    def source(self, settings: Settings) -> Hashable:
        """Returns the command, the folder and the names of the files."""
        return settings.command, settings.program.folder, tuple(settings.program.files)

    def resolve(self, settings: Settings, data: Sources) -> tuple[Settings, list[Change]]:
        """Returns the settings with whole numbers as floats where a toggle is declared as one."""
        return settings.model_copy(update={"toggles": declared.typed(settings)}), []

    def refusals(self, settings: Settings, data: Sources) -> list[str]:
        """Returns why the command cannot run, or a toggle has no effect."""
        return declared.refusals(settings, sources.folder_of(settings))

    def hashed(self, values: dict[str, Any]) -> dict[str, Any]:
        """Returns what decides the result: the command, the toggles, the seed, and how the metrics are read."""
        how = {key: value for key in ("patterns", "names", "mlflow") if (value := values["program"][key])}
        return {key: values[key] for key in ("task", "command", "toggles", "seed")} | ({"read": how} if how else {})

    def dataset(self, settings: Settings, data: Sources) -> dict[str, Any]:
        """Returns the program's files and commit."""
        files = [f"{name} {content[:12]}" for name, content in data.files.items()]
        return {
            "name": "program",
            "digest": data.digest,
            "source": settings.command,
            "rows": {"train": 0},
            "commit": data.version,
            "files": files,
        }

    def summary(self, settings: Any, data: Sources) -> list[str]:
        """Returns the command, its files and its commit."""
        files = ", ".join(list(data.files)[:5]) or "none; name them in program.files"
        return [
            f"command: {echoed(shortened(settings[0].command, 200))}",
            f"files in the identity: {echoed(files)}{' …' if len(data.files) > 5 else ''}; git: {data.version}",
        ]

    def records(self, trial: Trial[Settings, Sources]) -> Iterator[Record]:
        """Runs the program; yields what it reports, and how it ended."""
        words = command.filled(command.words_of(trial.settings.command), _values(trial))
        tags = {"ablation.command_line": shlex.join(words), "ablation.program_version": trial.data.version}
        yield Record(START, 0, detail={"tags": tags})
        _make_room(trial)
        told = Report(
            metrics=[metric.name for metric in self.metrics_of(trial.settings)], names=trial.settings.program.names
        )
        ended = yield from _running(trial, words, told)
        yield _end(trial, ended, told, self.metrics_of(trial.settings)[0])

    def study_file(self, study: str) -> str:
        """Returns a commented study file of a program."""
        return study_file.TEXT.format(study=study)


def _metric(name: str, meaning: str | Meaning) -> Metric:
    if isinstance(meaning, str):
        meaning = Meaning(direction=meaning)  # type: ignore[arg-type]
    direction = None if meaning.direction == "none" else meaning.direction
    return Metric(
        name, direction, meaning.unit, meaning.title, meaning.digits, margin=meaning.margin, target=meaning.target
    )


def _values(trial: Trial[Settings, Sources]) -> dict[str, str]:
    """Returns name → text for the command."""
    paths = {"metrics": REPORT, "settings": VALUES, "artifacts": ARTIFACTS}
    toggles = {name: as_typed(value) for name, value in trial.settings.toggles.items()}
    return {
        **toggles,
        "seed": str(trial.settings.seed),
        **{name: str(trial.folder.absolute() / file) for name, file in paths.items()},
    }


def _environment(trial: Trial[Settings, Sources]) -> dict[str, str]:
    """Returns the environment of the program: that of this process, the toggles, the seed and the paths."""
    values = _values(trial)
    own = {
        "ABLATION_SEED": values["seed"],
        "ABLATION_METRICS": values["metrics"],
        "ABLATION_SETTINGS": values["settings"],
        "ABLATION_ARTIFACTS": values["artifacts"],
        **{f"ABLATION_TOGGLE_{name}": values[name] for name in trial.settings.toggles},
    }
    usual = {"PYTHONUNBUFFERED": "1"} | ({} if trial.is_alone else {"OMP_NUM_THREADS": "1"})
    environment = usual | dict(os.environ) | own
    if trial.settings.program.mlflow:
        environment |= {
            "MLFLOW_TRACKING_URI": (trial.folder.absolute() / RUNS).as_uri(),
            "MLFLOW_ALLOW_FILE_STORE": "true",  # newer versions refuse it otherwise
        }
        for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_REGISTRY_URI"):
            environment.pop(name, None)
    return environment


def _make_room(trial: Trial[Settings, Sources]) -> None:
    """Removes what an earlier attempt left, and writes the toggles."""
    for name in (ARTIFACTS, RUNS):
        shutil.rmtree(trial.folder / name, ignore_errors=True)
    (trial.folder / REPORT).unlink(missing_ok=True)
    (trial.folder / ARTIFACTS).mkdir()
    values = {**trial.settings.toggles, "seed": trial.settings.seed}
    (trial.folder / VALUES).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def _running(trial: Trial[Settings, Sources], words: list[str], told: Report) -> Any:
    """Yields the records of the running program; returns how it ended."""
    program, log = trial.settings.program, Log(trial.folder / OUTPUT, trial.settings.program.log_mb * MEGABYTE)
    lines, output = report.Lines(trial.folder / REPORT), report.Output(program.patterns)
    _log.info("runs: %s", shlex.join(words))
    folder = sources.folder_of(trial.settings)
    try:
        with Process(words, folder=folder, environment=_environment(trial), mark=trial.attempt) as process:
            limit = None if program.timeout_minutes is None else program.timeout_minutes * 60
            for data in process.output(seconds=limit):
                if data:
                    log.write(data)
                    yield from output.new(data, told)
                else:
                    yield from lines.new(told)
            ended = process.ended()
        yield from output.new(b"\n", told)
        yield from lines.new(told, is_last=True)
        if program.mlflow and ended.code == 0:
            try:
                yield from report.of_runs(trial.folder / RUNS, told)
            except SettingsError as error:
                told.remark(str(error))
        return ended
    finally:
        log.close()


def _end(trial: Trial[Settings, Sources], ended: Ended, told: Report, first: Metric) -> Record:
    """Returns the last record: the outcome, the final metrics and the files."""
    for remark in told.remarks:
        _log.warning("%s: %s", trial.name, remark)
    status, how, error = _outcome(trial, ended, told, first)
    metrics = {SECONDS: ended.seconds} | told.finals
    if ended.peak_mb is not None:
        metrics = {"memory/peak_mb": ended.peak_mb} | metrics
    tags = {
        "ablation.outcome": how,
        "ablation.times": "reported by the program" if SECONDS in told.finals else "wall time of the process",
        "ablation.health": DIVERGED if how == "not a number" else OK,
    }
    if told.remarks:
        tags["ablation.remarks"] = "; ".join(told.remarks)
    if error:
        _log.error("%s: %s (see %s)", trial.name, error, trial.folder / OUTPUT)
        _log.info("its last lines:\n%s", "\n".join(_last_lines(trial.folder)))
    return end(
        step=told.step, status=status, error=error, metrics=metrics, tags=tags, artifacts=_artifacts(trial.folder)
    )


def _outcome(trial: Trial[Settings, Sources], ended: Ended, told: Report, first: Metric) -> tuple[str, str, str | None]:
    """Returns the status, the outcome in a few words, and the error of a program that has ended."""
    if ended.error is not None:
        return FAILED, "not started", f"the command cannot be started: {ended.error}"
    if ended.is_late:
        limit = f"{trial.settings.program.timeout_minutes:g}"
        fix = "the program never ended; raise program.timeout_minutes, or shorten its work"
        return FAILED, "timeout", f"ended after {limit} minutes: {fix}"
    if ended.code is None:
        return KILLED, "killed", "the program was killed together with its supervisor; the same command runs it again"
    number = -ended.code if ended.code < 0 else ended.code - 128  # a shell adds 128 to the signal of its child
    last = next(iter(_last_lines(trial.folder)[::-1]), "")
    said = f"; its last line: {echoed(shortened(last, 200))}" if last else ""
    if number in STOPPING:
        name = signal.Signals(number).name
        return KILLED, f"signal {name}", f"the program was ended by {name}{said}; the same command runs it again"
    if ended.code < 0:
        name = signal.Signals(number).name if number in set(signal.Signals) else str(number)
        return FAILED, f"signal {name}", f"the program was ended by {name}{said}"
    if ended.code > 0:
        return FAILED, f"exit code {ended.code}", f"the program ended with exit code {ended.code}{said}"
    if names := sources.changed(trial.data, trial.settings):
        fix = "a trial must not change what the next one reads; let it write to {artifacts} instead"
        return FAILED, "changed its files", f"{', '.join(names[:3])} changed while the program ran: {fix}"
    return _final(trial.settings, told, first)


def _final(settings: Settings, told: Report, first: Metric) -> tuple[str, str, str | None]:
    """Returns the outcome of a program that ended well: it needs a finite value of the study's metric."""
    wanted = settings.plan.metric or ""
    name = wanted if wanted.startswith((TEST, VAL, TRAIN)) else f"{TEST}{first.name}"
    value = told.value(name)
    if value is None:
        remark = f"; {told.remarks[0]}" if told.remarks else ""
        fix = f'a JSON line {{"{name}": …}} in $ABLATION_METRICS, or declare program.metrics or program.names'
        return FAILED, "no final metric", f"the program reported no {name} (it reported {told.reported}{remark}); {fix}"
    if not math.isfinite(value):
        return FAILED, "not a number", f"{name} is {value:g}: the program ended, but its training diverged"
    return FINISHED, "finished", None


def _last_lines(folder: Path) -> list[str]:
    """Returns the last lines of the output that are not empty, at most 20."""
    path = folder / OUTPUT
    if not path.is_file():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 8_192))
        lines = file.read().decode(errors="replace").splitlines()
    return [line for line in lines if line.strip()][-20:]


def _artifacts(folder: Path) -> list[str]:
    """Returns the files of the trial: its toggles, its output, its report and what the program left."""
    for place in report.files_of_runs(folder / RUNS):
        shutil.copytree(place, folder / ARTIFACTS, dirs_exist_ok=True)
    own = [name for name in (VALUES, OUTPUT, REPORT) if (folder / name).is_file()]
    return own + ([ARTIFACTS] if any((folder / ARTIFACTS).iterdir()) else [])


TASK = ProgramTask()
