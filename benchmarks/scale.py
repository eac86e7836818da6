"""Waiting times of large studies without training: a plan, a resume, a table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import generated
from benchmarks.inside import Options
from benchmarks.processes import Measured, measured
from benchmarks.result import MEGABYTES, SECONDS, Goal, Result
from src import paths
from src.config.settings import checked
from src.spec.record import EVALUATION, START, STEP, Record
from src.study import planning
from src.study.plan import Study
from src.tracking import journal, replay_state
from src.tracking.journal import FINISHED, Journal
from src.tracking.mlflow_replay import Store

PLANNED = [
    "plan_only=true",
    "units=range(8,108)",
    "dropout=0.0,0.1,0.2,0.3,0.4",
    "depth=range(1,11)",
    "seed=range(0,20)",
]
STUDY = "resumed"
RESUME = """
import io
from rich.console import Console
from benchmarks import scale
from src.study import sweep
from src.study.job import Sweep
output = io.StringIO()
console = Console(file=output, width=160)
sweep.run(scale.resumed({tracking}), launch=lambda rows: 1 / 0, sweep=Sweep(1, "a", 0), console=console)
if "20,000 already done" not in output.getvalue() or "warning" in output.getvalue():
    raise SystemExit(output.getvalue()[:1_000])
"""


def measure(options: Options) -> Iterator[Result]:
    """Yields what it takes to plan 100,000 trials, to resume a study of 20,000 finished ones, and to compare these."""
    measured("-m", "src.run", "plan_only=true")  # fills the cache of the data
    planned = PLANNED if not options.is_quick else ["plan_only=true", "units=range(8,12)"]
    yield from _results("planned", "100,000 trials are planned", measured("-m", "src.run", *planned), 10.0, 500.0)
    _write_journals()
    offline, local = RESUME.format(tracking="{'name': 'offline'}"), RESUME.format(tracking="{}")
    first, again = (measured("-c", offline) for _ in range(2))
    yield from _results("read", "20,000 finished trials are resumed for the first time, without MLflow", first)
    yield from _results("resumed", "the same for the second time", again, 5.0, 500.0)
    _write_runs()
    first_stored, stored = (measured("-c", local) for _ in range(2))
    yield from _results("checked", "20,000 finished trials are resumed for the first time, with MLflow", first_stored)
    yield from _results("resumed_mlflow", "the same for the second time", stored, 5.0, 500.0)
    path = _database()
    table = measured("-m", "analysis", "table", "many", "--uri", f"sqlite:///{path}")
    yield from _results("compared", "20,000 trials are compared in a table", table, 20.0)


def _results(
    name: str, what: str, process: Measured, seconds: float | None = None, megabytes: float | None = None
) -> Iterator[Result]:
    """Yields the time and the memory of a process, with their largest allowed values."""
    details = {"cpu_seconds": round(process.cpu_seconds, 2)}
    most, room = (None if bound is None else Goal("at most", bound) for bound in (seconds, megabytes))
    yield Result(f"scale/{name}", what, process.seconds, SECONDS, goal=most, details=details)
    yield Result(f"scale/{name}_memory", f"{what}: peak memory", process.megabytes, MEGABYTES, goal=room)


def resumed(tracking: dict[str, Any]) -> Study:
    """Returns a study of 20,000 trials."""
    settings = checked({"study": STUDY, "tracking": tracking})
    levels: dict[str, list[Any]] = {
        "units": list(range(8, 108)),
        "dropout": [0.0, 0.1, 0.2, 0.3, 0.4],
        "cell": ["lstm", "gru"],
        "seed": list(range(20)),
    }
    return planning.study({}, levels, compose=lambda _: settings)


def _write_journals() -> None:
    """Writes journals of 40 steps for all trials of the resumed study."""
    study = resumed({})
    trials = [row.trial for row in study.rows(next(study.rounds())) if row.trial]
    first = _journal(trials[0].folder, trials[0].identity).splitlines(keepends=True)
    for trial in trials[1:]:
        trial.folder.mkdir(parents=True, exist_ok=True)
        lines = [_renamed(line, trials[0].identity.encode(), trial.identity.encode()) for line in first]
        (trial.folder / journal.FILE).write_bytes(b"".join(lines))


def _renamed(line: bytes, old: bytes, new: bytes) -> bytes:
    """Returns a line of a journal with another identity and a new checksum."""
    return journal._with_checksum(journal.CHECKSUM.sub(b"}", line.rstrip()).replace(old, new)) if old in line else line


def _write_runs() -> None:
    """Writes the same trials to an MLflow database, and for each trial the state of a complete replay."""
    study = resumed({})
    rows = {(row.label, row.seed): row for row in study.rows(next(study.rounds()))}
    path = generated.database(paths.home())

    def outcome(values: dict[str, Any], seed: int) -> dict[str, Any]:
        trial = rows[study.name(values), seed].trial
        assert trial is not None
        tags = {"identity": trial.identity, "attempt": trial.identity * 2}
        tags |= {"variant": study.name(values), "study": STUDY}
        return {"test/accuracy": 0.8, "test/loss": 0.4, "tags": tags}

    generated.study(path, STUDY, study.levels, outcome, seeds=study.seeds)
    store = Store(None, STUDY)
    for row in rows.values():
        assert row.trial is not None
        folder = row.trial.folder
        size = (folder / journal.FILE).stat().st_size
        state = {"offset": size, "run_id": None, "mark": journal.mark(folder, size)}
        replay_state.save(folder / "mlflow.json", {f"{store.uri} {store.study_run_id}": state})


def _journal(folder: Path, identity: str) -> bytes:
    """Writes the journal of a finished trial; returns it."""
    tags = {"ablation.kind": "trial", "ablation.identity": identity}
    with Journal(folder) as book:
        detail = {"attempt": identity * 2, "name": identity, "tags": tags, "params": {}, "process": "a 1"}
        book.append(Record(START, 0, detail=detail))
        running = {"train/loss": 0.5, "train/accuracy": 0.8, "time/batch_ms": 10.0}
        for step in range(1, 41):
            book.append(Record(STEP, step, running, {"is_sent": True}))
        book.append(Record(EVALUATION, 40, {"val/accuracy": 0.8, "val/loss": 0.4}, {"epoch": 1}))
        metrics = {"test/accuracy": 0.8, "test/loss": 0.4, "time/batch_ms_median": 10.0, "data/padding_fraction": 0.1}
        tags = {"ablation.weights": identity, "ablation.health": "ok"}
        book.append(journal.end(step=40, status=FINISHED, metrics=metrics, tags=tags))
    return (folder / journal.FILE).read_bytes()


def _database() -> Path:
    """Returns a new database with a study of 20,000 trials."""
    (paths.home() / "compared").mkdir()
    path = generated.database(paths.home() / "compared")

    def outcome(values: dict[str, Any], seed: int) -> dict[str, Any]:
        noise = (values["units"] * 7_919 + values["depth"] * 31 + seed * 104_729) % 1_000 / 1e5
        return {
            "test/accuracy": 0.8 + 0.001 * (values["units"] % 37) + noise,
            "validation": [0.6 + 0.01 * n for n in range(12)],
        }

    levels = {"units": list(range(8, 33)), "embedding_dim": list(range(8, 28)), "depth": [1, 2, 3, 4, 5]}
    generated.study(path, "many", levels, outcome, seeds=range(8))
    return path
