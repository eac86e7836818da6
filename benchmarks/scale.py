"""How long large studies keep their user waiting where nothing is to be trained: a plan, a resume, a table."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import generated
from src import paths
from src.paths import REPOSITORY
from src.settings import checked
from src.study import plan
from src.study.plan import Study
from src.tracking import journal
from src.tracking.journal import FINISHED, Journal
from src.training.records import EVALUATION, START, STEP, Record

PLANNED = ["plan_only=true", "units=range(8,108)", "dropout=0.0,0.1,0.2,0.3,0.4", "depth=range(1,11)", "seed=range(0,20)"]
RESUME = """
import io
from rich.console import Console
from benchmarks import scale
from src.study import sweep
from src.study.job import Sweep
console = Console(file=io.StringIO(), width=160)
sweep.run(scale.resumed(), launch=lambda rows: 1 / 0, sweep=Sweep(1, "a", 0), console=console)
"""


def figures() -> list[str]:
    """Seconds and megabytes of planning 100,000 trials, of going on with 20,000 that are done, and of a table of 20,000."""
    _measured(["-m", "src.run", "plan_only=true"])  # reads the data, once and for all
    planned = _measured(["-m", "src.run", *PLANNED])
    _write_journals()
    first, again = (_measured(["-c", RESUME]) for _ in range(2))
    path = _database()
    table = _measured(["-m", "analysis", "table", "many", "--uri", f"sqlite:///{path}"])
    return [
        f"100,000 trials are planned in {_shown(planned)} (target: under 10 s and 500 MB)",
        f"20,000 trials that are done are found to be so in {_shown(again)} (target: under 5 s and 500 MB)",
        f"the first time, with all of their journals to be read, in {_shown(first)}",
        f"20,000 trials are compared in {_shown(table)} (target: under 20 s)",
    ]


def _measured(words: list[str]) -> tuple[float, float]:
    """Runs Python in the repository; returns seconds and megabytes at most."""
    program = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
    program += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)"
    begin = time.perf_counter()
    command = [sys.executable, "-c", program, sys.executable, *words]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return time.perf_counter() - begin, float(done.stdout)


def _shown(measured: tuple[float, float]) -> str:
    return f"{measured[0]:.1f} s with {measured[1]:,.0f} MB"


def resumed() -> Study:
    """Returns a study of 20,000 trials."""
    settings = checked({"study": "resumed", "tracking": {"name": "offline"}})
    levels: dict[str, list[Any]] = {
        "units": list(range(8, 108)),
        "dropout": [0.0, 0.1, 0.2, 0.3, 0.4],
        "cell": ["lstm", "gru"],
        "seed": list(range(20)),
    }
    return plan.study({}, levels, compose=lambda _: settings)


def _write_journals() -> None:
    """Writes journals of 40 steps for all trials of the study that is gone on with."""
    study = resumed()
    trials = [row.trial for row in study.rows(next(study.rounds())) if row.trial]
    first = _journal(trials[0].folder, trials[0].identity)
    for trial in trials[1:]:
        trial.folder.mkdir(parents=True, exist_ok=True)
        (trial.folder / journal.FILE).write_bytes(first.replace(trials[0].identity.encode(), trial.identity.encode()))


def _journal(folder: Path, identity: str) -> bytes:
    """Writes the journal of a finished trial; returns it."""
    tags = {"ablation.kind": "trial", "ablation.identity": identity}
    with Journal(folder) as book:
        book.append(Record(START, 0, detail={"attempt": identity * 2, "name": identity, "tags": tags, "params": {}, "process": "a 1"}))
        for step in range(1, 41):
            book.append(Record(STEP, step, {"train/loss": 0.5, "train/accuracy": 0.8, "time/batch_ms": 10.0}, {"is_sent": True}))
        book.append(Record(EVALUATION, 40, {"val/accuracy": 0.8, "val/loss": 0.4}, {"epoch": 1}))
        metrics = {"test/accuracy": 0.8, "test/loss": 0.4, "time/batch_ms_median": 10.0, "data/padding_fraction": 0.1}
        book.append(journal.end(step=40, status=FINISHED, metrics=metrics, tags={"ablation.weights": identity, "ablation.health": "ok"}))
    return (folder / journal.FILE).read_bytes()


def _database() -> Path:
    """Returns a new database with a study of 20,000 trials."""
    (paths.home() / "compared").mkdir()
    path = generated.database(paths.home() / "compared")

    def outcome(values: dict[str, Any], seed: int) -> dict[str, Any]:
        drawn = (values["units"] * 7_919 + values["depth"] * 31 + seed * 104_729) % 1_000 / 1e5
        return {"test/accuracy": 0.8 + 0.001 * (values["units"] % 37) + drawn, "validation": [0.6 + 0.01 * n for n in range(12)]}

    levels = {"units": list(range(8, 33)), "embedding_dim": list(range(8, 28)), "depth": [1, 2, 3, 4, 5]}
    generated.study(path, "many", levels, outcome, seeds=range(8))
    return path
