"""Removing models from the trials of a study."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from analysis import findings, load, tables
from analysis.store import connect
from src import paths, use
from src.spec.metric import Metric
from src.spec.section import SettingsError
from src.trial import locate, pruned
from tests.upkeep.conftest import Trial


def models(study):
    return {path.parent.name for path in paths.study_folder(study).glob("*/model.keras")}


def copies(study):
    return len(list((paths.artifacts() / study).glob("*/artifacts/model.keras")))


def table(study):
    return tables.ablation(findings.find(load.study(study, connect(None)))).markdown()


def test_the_best_seed_of_each_variant_by_validation_keeps_its_model(two, capsys):
    before, settled = table("a"), copies("a")

    code, out, _ = two.do(capsys, "prune", "a", "--yes")

    assert code == 0 and "remove the models of 1 trial of 3: 1 file, 1.0 kB" in out
    assert models("a") == {"aa01", "aa10"} and (settled, copies("a")) == (3, 2)
    assert table("a") == before and models("b") == {"aa10", "bb20"}


def test_of_a_metric_that_is_better_lower_the_lowest_is_the_best(world, capsys):
    world.study("p", Trial("aa00", "lstm", 0, 90.0), Trial("aa01", "lstm", 1, 80.0), metrics=(Metric("ppl", "lower"),))

    world.do(capsys, "prune", "p", "--yes")

    assert models("p") == {"aa01"}


def test_without_a_direction_no_seed_is_the_best_and_all_models_stay(world, capsys):
    world.study("n", Trial("aa00", "lstm", 0), Trial("aa01", "lstm", 1), metrics=(Metric("count", None),))

    out = world.do(capsys, "prune", "n", "--yes")[1]

    assert models("n") == {"aa00", "aa01"} and "keep all models of 1 variant: it has no best validation value" in out
    assert world.do(capsys, "prune", "n", "--keep-models", "none", "--yes")[0] == 0
    assert models("n") == set()


@pytest.mark.parametrize(
    ("where", "name"), [(pruned, "write"), (Path, "unlink"), (MlflowClient, "set_tag"), (MlflowClient, "get_run")]
)
def test_an_interrupted_pruning_is_finished_by_repeating_it(two, capsys, stopped, where, name):
    stopped(where, name)

    assert two.do(capsys, "prune", "a", "--keep-models", "none", "--yes")[0] == 130
    assert two.do(capsys, "prune", "a", "--keep-models", "none", "--yes")[0] == 0

    assert (models("a"), copies("a")) == (set(), 0)
    assert "nothing is left to do" in two.do(capsys, "prune", "a", "--keep-models", "none")[1]


def test_a_removed_model_is_explained_with_the_command_that_trains_it_again(two, capsys, tmp_path):
    two.do(capsys, "prune", "a", "--yes")

    with pytest.raises(SettingsError) as caught:
        locate.folder_of("aa00", uri=None, download_to=tmp_path)

    message = str(caught.value)
    assert "has no model.keras: its model was removed on 20" in message and "is kept: aa01" in message
    assert message.endswith("train it again: python -m src.run seed=0")
    assert use.main([str(paths.study_folder("a") / "aa00"), "predict", "x"]) == 2
    assert "its model was removed" in capsys.readouterr().err


def test_a_run_in_mlflow_says_that_its_model_was_removed(two, capsys, tmp_path):
    run = next(run for run in connect(None).runs(load.study("a", connect(None)).experiment_id)
               if run.tags.get("ablation.identity") == "aa00")  # fmt: skip
    two.do(capsys, "prune", "a", "--yes")

    with pytest.raises(SettingsError, match=r"has no model\.keras: its model was removed on"):
        locate.folder_of(run.run_id, uri=None, download_to=tmp_path)


def test_a_model_in_mlflows_registry_stays_there(two, capsys):
    client = MlflowClient(paths.default_tracking_uri())
    study = load.study("a", connect(None))
    run = str(study.rows.loc[study.rows["identity"] == "aa00", "run_id"].iloc[0])
    logged = client.create_logged_model(study.experiment_id, "model", run)
    client.set_logged_model_tags(logged.model_id, {"mlflow.modelVersions": "[1]"})

    out = two.do(capsys, "prune", "a", "--yes")[1]

    assert "keep MLflow's copies of 1 model in its registry" in out
    assert copies("a") == 3 and models("a") == {"aa01", "aa10"}
