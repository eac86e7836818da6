"""Deleting a study."""

from __future__ import annotations

import os

import pytest
from mlflow.tracking import MlflowClient

from analysis.__main__ import app
from src import paths
from src.study import running
from src.tracking import experiments
from src.tracking.journal import Journal
from tests.upkeep.conftest import Trial


def experiment(name):
    return MlflowClient(paths.default_tracking_uri()).get_experiment_by_name(name)


def test_without_yes_a_command_says_what_it_would_do_and_changes_nothing(two, capsys):
    code, out, _ = two.do(capsys, "delete", "a")

    assert code == 0 and "nothing was changed; add --yes" in out
    assert f"remove {paths.study_folder('a')}: 3 trials (3 finished), " in out
    assert "move 4 runs to the trash of sqlite:" in out and "mlflow experiments restore --experiment-id" in out
    assert len(two.runs("a")) == 3 and paths.study_folder("a").is_dir()


def test_a_deleted_study_is_gone_here_and_can_be_restored_in_mlflow(two, capsys):
    code, out, _ = two.do(capsys, "delete", "a", "--yes")

    assert code == 0 and "study a was deleted" in out
    assert sorted(path.name for path in paths.outputs().iterdir() if path.name[0] != ".") == ["b"]
    assert experiment("a").lifecycle_stage == "deleted" and experiment("b").lifecycle_stage == "active"
    MlflowClient(paths.default_tracking_uri()).restore_experiment(experiment("a").experiment_id)
    assert len(two.runs("a")) == 3


def test_a_deletion_that_is_repeated_has_nothing_left_to_do(two, capsys):
    two.do(capsys, "delete", "a", "--yes")

    code, out, _ = two.do(capsys, "delete", "a", "--yes")

    assert code == 0 and "already in the trash" in out and "nothing is left to do" in out


@pytest.mark.parametrize(("where", "name"), [(experiments.Experiment, "delete"), (os, "replace"), (os, "rmdir")])
def test_an_interrupted_deletion_is_finished_by_repeating_it(two, capsys, stopped, where, name):
    stopped(where, name)

    assert two.do(capsys, "delete", "a", "--yes")[0] == 130
    assert two.do(capsys, "delete", "a", "--yes")[0] == 0

    assert not paths.study_folder("a").exists() and experiment("a").lifecycle_stage == "deleted"
    assert list((paths.outputs() / ".removing").iterdir()) == []


def test_trials_that_no_store_has_are_announced_as_lost(world, capsys):
    world.study("offline", Trial("aa00", "lstm", 0), is_sent=False)

    _, out, _ = world.do(capsys, "delete", "offline")

    assert "1 trial cannot be restored, because no MLflow store has them; `python -m src.sync offline`" in out


@pytest.mark.parametrize("command", [["delete", "a"], ["rename", "a", "n"], ["prune", "a"], ["merge", "a", "b"]])
def test_a_study_that_is_being_trained_is_not_touched(two, capsys, command):
    command = [*command, *(["--into", "n"] if command[0] == "merge" else []), "--yes"]
    with Journal(paths.study_folder("a") / "aa01"):
        code, _, error = two.do(capsys, *command)
    assert code == 2 and "trial aa01 of study a is being trained; wait until it has ended" in error
    with running.held(paths.study_folder("a")):
        code, _, error = two.do(capsys, *command)
    assert code == 2 and "a sweep of study a runs" in error
    assert len(two.runs("a")) == 3 and (paths.study_folder("a") / "aa01" / "model.keras").is_file()


def test_an_unknown_study_is_an_error_with_the_nearest_name(two, capsys):
    code, _, error = two.do(capsys, "delete", "aa", "--yes")

    assert code == 2 and "no study 'aa'" in error and "did you mean a?" in error


def test_an_adopted_study_is_deleted_and_renamed_in_its_own_folder(world, capsys, tmp_path):
    from typer.testing import CliRunner

    lines = [f"{lr},{seed},{lr + seed / 100}" for lr in (0.1, 0.2) for seed in (0, 1)]
    (tmp_path / "runs.csv").write_text("\n".join(["lr,seed,score", *lines]), encoding="utf-8")
    words = "--toggles lr --seed seed --metric score:higher --name mine".split()
    assert CliRunner().invoke(app, ["adopt", str(tmp_path / "runs.csv"), *words]).exit_code == 0

    assert world.do(capsys, "rename", "mine", "yours", "--yes")[0] == 0
    assert CliRunner().invoke(app, ["table", "yours"]).exit_code == 0
    assert world.do(capsys, "delete", "yours", "--yes")[0] == 0
    assert not (paths.adopted() / "mine").exists() and not (paths.adopted() / "yours").exists()
    assert "yours" not in CliRunner().invoke(app, ["studies"]).output
