"""Renaming a study."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from mlflow.tracking import MlflowClient

from analysis import load
from analysis.store import StoreError, connect
from src import paths
from src.spec.section import SettingsError
from src.tracking.mlflow_replay import Store
from src.upkeep.rename import renamed_command
from tests.upkeep.conftest import Trial


def test_a_renamed_study_has_its_new_name_in_outputs_and_in_mlflow(two, capsys):
    before = load.study("a", connect(None)).rows

    code, out, _ = two.do(capsys, "rename", "a", "first", "--yes")

    assert code == 0 and "study a is now first" in out
    after = load.study("first", connect(None)).rows
    assert list(after["identity"]) == list(before["identity"]) and list(after["run_id"]) == list(before["run_id"])
    tags = two.runs("first")
    assert {tag["ablation.study"] for tag in tags} == {"first"}
    assert all(tag["mlflow.note.content"].startswith("Trial of study **first** with seed") for tag in tags)
    [plan] = json.loads((paths.study_folder("first") / "plan.json").read_text(encoding="utf-8"))
    assert plan["commands"][0]["command"] == "python -m src.run -m study=first cell=lstm,gru"
    assert load.study("first", connect(None)).plan["commands"] == plan["commands"]


def test_the_old_name_is_remembered(two, capsys):
    two.do(capsys, "rename", "a", "first", "--yes")

    with pytest.raises(StoreError, match=r"no study 'a' in .*; it was renamed to first"):
        load.study("a", connect(None))
    assert "it was renamed to first" in two.do(capsys, "delete", "a")[2]


def test_a_renamed_study_sends_nothing_twice_and_another_store_gets_its_new_name(two, capsys, empty, tmp_path):
    two.do(capsys, "rename", "a", "first", "--yes")
    assert two.send("first") == 0

    other = Store(f"sqlite:///{shutil.copy(empty, tmp_path / 'other.db')}", "first")
    other.replay(paths.study_folder("first") / "aa00")

    assert [run.tags["ablation.study"] for run in other._trials()] == ["first"]


@pytest.mark.parametrize(
    ("where", "name", "at"),
    [(MlflowClient, "set_tag", 4), (MlflowClient, "rename_experiment", 1), (os, "rename", 1)],
)
def test_an_interrupted_rename_stops_other_commands_until_it_is_repeated(two, capsys, stopped, where, name, at):
    stopped(where, name, at=at)

    assert two.do(capsys, "rename", "a", "first", "--yes")[0] == 130
    with pytest.raises(SettingsError, match=r"`python -m src.studies rename a first --yes` to finish it"):
        Store(None, "a")
    assert two.do(capsys, "rename", "a", "other", "--yes")[0] == 2
    assert two.do(capsys, "rename", "a", "first", "--yes")[0] == 0

    assert {tag["ablation.study"] for tag in two.runs("first")} == {"first"} and len(two.runs("first")) == 3
    assert not paths.study_folder("a").exists()
    with pytest.raises(LookupError):
        Store(None, "a", is_new=False)


def test_a_study_can_get_its_old_name_back(two, capsys):
    two.do(capsys, "rename", "a", "first", "--yes")

    assert two.do(capsys, "rename", "first", "a", "--yes")[0] == 0
    assert len(two.runs("a")) == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("b", "study 'b' exists"),
        ("A b", "allowed: text of a-z, 0-9, _ and -"),
        ("x" * 101, "up to 100 characters"),
        ("gone", "study 'gone' is in the trash of"),
    ],
)
def test_a_name_that_is_taken_or_not_allowed_is_refused(two, capsys, name, message):
    two.study("gone", Trial("cc00", "lstm", 0))
    two.do(capsys, "delete", "gone", "--yes")

    code, _, error = two.do(capsys, "rename", "a", name, "--yes")

    assert code == 2 and message in error and len(two.runs("a")) == 3


@pytest.mark.parametrize(
    ("command", "renamed"),
    [
        ("python -m src.run -m study=a cell=lstm,gru", "python -m src.run -m study=new cell=lstm,gru"),
        ("python -m src.run -m +experiments=a 'x=[1, 2]'", "python -m src.run -m +experiments=a 'x=[1, 2]' study=new"),
        ("python -m src.run -m study=new", "python -m src.run -m study=new"),
        ("make study 'open", "make study 'open"),
    ],
)
def test_the_command_of_a_renamed_study_continues_it(command, renamed):
    assert renamed_command(command, "a", "new") == renamed
