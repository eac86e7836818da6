"""Waiting times of large studies without training: a plan, a resume, a table."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import generated
from src import paths
from src.config.settings import checked
from src.paths import REPOSITORY
from src.spec.record import EVALUATION, START, STEP, Record
from src.study import plan
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


def figures() -> list[str]:
    """Measures planning 100,000 trials, resuming a study of 20,000 finished trials, and a table of 20,000 trials."""
    _measured(["-m", "src.run", "plan_only=true"])  # fills the cache of the data
    planned = _measured(["-m", "src.run", *PLANNED])
    _write_journals()
    offline, local = RESUME.format(tracking="{'name': 'offline'}"), RESUME.format(tracking="{}")
    first, again = (_measured(["-c", offline]) for _ in range(2))
    _write_runs()
    first_stored, stored = (_measured(["-c", local]) for _ in range(2))
    path = _database()
    table = _measured(["-m", "analysis", "table", "many", "--uri", f"sqlite:///{path}"])
    return [
        f"100,000 trials are planned in {planned} (target: under 10 s and 500 MB)",
        f"resuming a study of 20,000 finished trials, without MLflow, takes {again} (target: under 5 s and 500 MB)",
        f"the first time, when it reads all journals, it takes {first}",
        f"the same with MLflow takes {stored} (target: under 5 s and 500 MB)",
        f"the first time, when it checks each trial in MLflow, it takes {first_stored}",
        f"20,000 trials are compared in {table} (target: under 20 s)",
    ]


class _Measured(NamedTuple):
    """Seconds, seconds of processor time and peak memory in MB of a process."""

    seconds: float
    cpu_seconds: float
    megabytes: float

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s ({self.cpu_seconds:.1f} s of processor time) with {self.megabytes:,.0f} MB"


def _measured(words: list[str]) -> _Measured:
    """Runs Python in the repository and measures it."""
    program = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
    program += "used = resource.getrusage(resource.RUSAGE_CHILDREN); "
    program += "print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)"
    begin = time.perf_counter()
    command = [sys.executable, "-c", program, sys.executable, *words]
    process = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True)
    return _Measured(time.perf_counter() - begin, *map(float, process.stdout.split()))


def resumed(tracking: dict[str, Any]) -> Study:
    """Returns a study of 20,000 trials."""
    settings = checked({"study": STUDY, "tracking": tracking})
    levels: dict[str, list[Any]] = {
        "units": list(range(8, 108)),
        "dropout": [0.0, 0.1, 0.2, 0.3, 0.4],
        "cell": ["lstm", "gru"],
        "seed": list(range(20)),
    }
    return plan.study({}, levels, compose=lambda _: settings)


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
