"""Trials of an older version stay finished, with equal results; `tests/stores/README.md` names the version."""

from __future__ import annotations

import csv
import json
import shlex
import subprocess
import sys
import tarfile
from collections import OrderedDict
from pathlib import Path

import pytest

from analysis import findings, load, store
from src import run
from src.artifacts import Artifacts
from src.trial.prepare import prepare

STORES = Path(__file__).parent / "stores"
COMMANDS = {  # in today's form; in the older version, a task's toggles had the prefix `task.`
    words.split("study=")[1].split()[0]: shlex.split(words.replace(" task.", " "))[1:]
    for words in (STORES / "README.md").read_text(encoding="utf-8").splitlines()
    if words.strip().startswith("python -m src.run")
}


@pytest.fixture
def old(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that an older version wrote in another folder."""
    cached = "mlflow.tracking._tracking_service.utils._artifact_repos_cache"
    monkeypatch.setattr(cached, OrderedDict())  # by run, and each test has the same runs in another folder
    with tarfile.open(STORES / "2026_11.tar.xz") as archive:
        archive.extractall(home, filter="data")
    return home


@pytest.mark.parametrize("study", COMMANDS)
def test_the_command_of_an_old_study_trains_nothing(old: Path, study: str) -> None:
    trials = len(list((old / "outputs" / study).glob("*/journal.jsonl")))

    planned = subprocess.run(
        [sys.executable, *COMMANDS[study], "plan_only=true"],
        capture_output=True,
        text=True,
        check=True,
        cwd=STORES.parents[1],
    )

    assert trials in (4, 8)
    assert f"= {trials} trials, {trials} already done" in planned.stdout, planned.stdout
    assert "to train" not in planned.stdout


@pytest.mark.parametrize("study", COMMANDS)
def test_the_numbers_of_an_old_study_do_not_change(old: Path, study: str) -> None:
    with (STORES / f"{study}.csv").open(encoding="utf-8", newline="") as file:
        wanted = list(csv.DictReader(file))

    summary = findings.find(load.study(study, store.connect(None))).summary

    assert list(summary["label"]) == [row["label"] for row in wanted]
    for name in wanted[0].keys() - {"label"}:
        numbers = [float(row[name]) if row[name] else float("nan") for row in wanted]
        assert list(summary[name].astype(float)) == pytest.approx(numbers, rel=1e-9, nan_ok=True), name


def test_the_settings_of_an_old_trial_are_those_of_its_task_today(old: Path) -> None:
    for folder in (old / "outputs" / "old_integration").glob("*/"):
        settings = Artifacts(folder).settings()

        assert (settings.task, settings.sequence_length) == ("integration", 10)
        assert prepare(settings).identity == folder.name


def test_an_old_trial_that_was_compiled_has_the_execution_xla(old: Path) -> None:
    for study in COMMANDS:
        folder = next((old / "outputs" / study).glob("*/"))
        path = folder / "settings.json"
        values = json.loads(path.read_text(encoding="utf-8"))
        assert values["jit_compile"] is False

        path.write_text(json.dumps({**values, "jit_compile": True}), encoding="utf-8")

        assert Artifacts(folder).settings().execution == "xla"


def with_old_key(home: Path, study: str) -> None:
    """Adds a varied toggle of the task to a study's plan, under its old name."""
    path = home / "outputs" / study / "plan.json"
    (plan,) = json.loads(path.read_text(encoding="utf-8"))
    plan["levels"]["task.sequence_length"] = [10]
    for values in (plan["reference"], *(row["values"] for row in plan["rows"])):
        values["task.sequence_length"] = 10
    for row in plan["rows"]:
        row["label"] += " task.sequence_length=10"
    path.write_text(json.dumps([plan]), encoding="utf-8")


def test_a_study_with_old_names_of_toggles_resumes_and_is_read_with_the_current_names(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_old_key(old, "old_integration")
    words = [word for word in COMMANDS["old_integration"][2:] if not word.startswith("sequence_length")]

    assert run.main([*words, "sequence_length=10"]) == 0

    assert "4 trials, 4 already done" in capsys.readouterr().out
    whole_study = load.study("old_integration", store.connect(None), every=True)
    assert all("task." not in label for label in findings.find(whole_study).summary["label"])
    assert list(whole_study.rows["status"]) == ["FINISHED"] * 4


@pytest.mark.training
def test_an_old_trial_stands_beside_new_ones_with_the_execution_that_it_had(old: Path) -> None:
    words = [word for word in COMMANDS["old_integration"][2:] if not word.startswith(("cell", "seed", "execution"))]

    assert run.main([*words, "cell=gru", "seed=0", "execution=graph,eager"]) == 0

    rows = load.study("old_integration", store.connect(None)).rows
    assert list(zip(rows["execution"], rows["kernel"], rows["status"], strict=True)) == [
        ("graph", "while_loop", "FINISHED"),
        ("eager", "python", "FINISHED"),
    ]
    every = load.study("old_integration", store.connect(None), every=True)
    assert sorted(every.rows["execution"]) == ["eager", *["graph"] * 4] and "jit_compile" not in every.rows
