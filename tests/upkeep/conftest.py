"""Small studies with journals and files in a real MLflow store, without training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from src import paths, studies
from src.artifacts import Artifacts
from src.config.settings import checked
from src.spec.metric import IMPLIED, Metric, as_records
from src.spec.record import EVALUATION, METRICS, START, Record
from src.tracking.journal import FINISHED, Journal, end
from src.tracking.mlflow_replay import Store

DATA = "d" * 16


class Trial(NamedTuple):
    """A trial: its identity, the toggle that varies, its seed, its best validation, and how it ended."""

    identity: str
    cell: str
    seed: int
    validation: float = 0.5
    status: str = FINISHED


class World:
    """The home of a test."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def study(
        self,
        name: str,
        *trials: Trial,
        data: str = DATA,
        task: str = "sentiment",
        metrics: tuple[Metric, ...] = IMPLIED,
        is_sent: bool = True,
        **plan: Any,
    ) -> Path:
        """Writes a study with its plan, and sends it to MLflow."""
        folder = paths.study_folder(name)
        for trial in trials:
            _write(folder / trial.identity, name, trial, data=data, task=task, metrics=metrics)
        (folder / "plan.json").write_text(json.dumps([_plan(name, trials, task, metrics, plan)]), encoding="utf-8")
        if is_sent:
            self.send(name)
        return folder

    def send(self, name: str) -> int:
        """Sends what MLflow lacks of a study; returns the number of records."""
        store = Store(None, name)
        sent = sum(store.replay(path.parent) for path in sorted(paths.study_folder(name).glob("*/journal.jsonl")))
        store.attach(paths.study_folder(name) / "plan.json", tags={})
        return sent

    def runs(self, name: str) -> list[Mapping[str, str]]:
        """Returns the tags of a study's active trials in MLflow."""
        store = Store(None, name, is_new=False)
        return [run.tags for run in store._trials()]

    def do(self, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
        """Runs a command; returns its exit code and what it printed."""
        capsys.readouterr()
        code = studies.main(list(words))
        out, err = capsys.readouterr()
        return code, out, err


def _plan(
    name: str, trials: tuple[Trial, ...], task: str, metrics: tuple[Metric, ...], plan: Mapping[str, Any]
) -> dict[str, Any]:
    cells = list(dict.fromkeys(trial.cell for trial in trials))
    rows = [
        {"label": f"cell={trial.cell}", "role": "reference" if trial.cell == cells[0] else "variant",
         "values": {"cell": trial.cell}, "seed": trial.seed, "identity": trial.identity, "normalised": [],
         "dropped": None}
        for trial in trials
    ]  # fmt: skip
    return {
        "design": "grid", "task": task, "metric": f"test/{metrics[0].name}", "threshold": None,
        "metrics": as_records(metrics), "levels": {"cell": cells}, "reference": {"cell": cells[0]}, "fixed": {},
        "seeds": sorted({trial.seed for trial in trials}), "aliases": [], "rows": rows,
        "commands": [{"command": f"python -m src.run -m study={name} cell={','.join(cells)}", "time": "2026"}], **plan,
    }  # fmt: skip


def _write(folder: Path, study: str, trial: Trial, *, data: str, task: str, metrics: tuple[Metric, ...]) -> None:
    settings = checked({"study": study, "cell": trial.cell, "seed": trial.seed})
    first = metrics[0].name
    tags = {
        "ablation.kind": "trial", "ablation.study": study, "ablation.identity": trial.identity, "ablation.data": data,
        "ablation.task": task,
    }  # fmt: skip
    detail = {
        "attempt": f"{study}-{trial.identity}", "name": f"cell={trial.cell} seed={trial.seed}", "tags": tags,
        "params": {"cell": trial.cell, "seed": trial.seed}, METRICS: as_records(metrics), "tracking_uri": None,
        "description": f"Trial of study **{study}** with seed {trial.seed}: the reference.",
    }  # fmt: skip
    with Journal(folder) as book:
        book.append(Record(START, 0, detail=detail))
        Artifacts(folder).write_settings(settings)
        book.append(Record(EVALUATION, 5, {f"val/{first}": trial.validation}, {"epoch": 1}))
        (folder / "model.keras").write_bytes(b"m" * 1_000)
        found = {f"test/{first}": trial.validation - 0.01, f"best/val_{first}": trial.validation}
        book.append(end(step=5, status=trial.status, metrics=found, artifacts=["settings.json", "model.keras"]))


@pytest.fixture
def world(home, blank):
    return World(home)


@pytest.fixture
def two(world):
    """A world with the studies `a` and `b`, of which `b` has one trial of `a`."""
    world.study("a", Trial("aa00", "lstm", 0, 0.5), Trial("aa01", "lstm", 1, 0.7), Trial("aa10", "gru", 0, 0.8))
    world.study("b", Trial("aa10", "gru", 0, 0.8), Trial("bb20", "simple_rnn", 0, 0.6))
    return world


@pytest.fixture
def stopped(monkeypatch):
    """A function that makes a function fail once, as if its process were killed before it."""

    def stop(where: Any, name: str, *, at: int = 1) -> None:
        original, calls = getattr(where, name), []

        def fails(*arguments: Any, **options: Any) -> Any:
            calls.append(name)
            if len(calls) == at:
                raise KeyboardInterrupt
            return original(*arguments, **options)

        monkeypatch.setattr(where, name, fails)

    return stop
