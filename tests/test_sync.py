from __future__ import annotations

import json

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST

from src import paths, sync
from src.tracking.journal import FINISHED, Journal, end
from src.tracking.mlflow_replay import Store
from src.training.records import START, Record

PLAN = [{"rows": [{"label": "defaults"}], "commands": [{"command": "x", "time": "now"}]}]


@pytest.fixture
def attached(home, monkeypatch):
    """What is attached to the study run of a study with one offline trial."""
    names = []

    class Store:
        def __init__(self, uri, study):
            self.uri, self.moved = "store", None

        def replay(self, folder):
            return 2

        def attach(self, file, *, tags):
            names.append(file.name)

        def end_study_if_running(self, status):
            pass

        def deleted_trials(self):
            return {}

    monkeypatch.setattr(sync, "Store", Store)
    with Journal(paths.study_folder("s") / "cafe") as book:
        book.append(Record(START, 0, detail={"attempt": "a", "name": "x", "tags": {}, "params": {}}))
        book.append(end(step=0, status=FINISHED))
    return names


def test_a_plan_is_attached_to_its_study(attached, capsys):
    (paths.study_folder("s") / "plan.json").write_text(json.dumps(PLAN), encoding="utf-8")

    assert sync.main([]) == 0
    assert attached == ["plan.json"] and "s: 2 records sent to store" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["{", "", "null", "[1]", "[{}]", '[{"rows": 1, "commands": []}]', "\udcff"])
def test_a_broken_plan_is_named_and_not_attached(attached, capsys, content):
    path = paths.study_folder("s") / "plan.json"
    path.write_bytes(content.encode(errors="surrogateescape"))

    assert sync.main([]) == 1

    out, err = capsys.readouterr()
    assert not attached and "s: 2 records sent to store" in out
    assert f"error: {path}: this is no plan, and is not sent; move it away" in err


@pytest.mark.parametrize("content", ["[]", '{"tracking": 3}', "{"])
def test_a_trial_with_broken_settings_is_sent_to_the_default_store(attached, content):
    (paths.study_folder("s") / "cafe" / "settings.json").write_text(content, encoding="utf-8")

    assert sync.main([]) == 0


@pytest.fixture
def sent(home, blank):
    """A study that was sent to MLflow, and its store."""
    with Journal(paths.study_folder("s") / "cafe") as book:
        tags = {"ablation.kind": "trial", "ablation.identity": "cafe"}
        book.append(Record(START, 0, detail={"attempt": "a", "name": "cell=gru seed=0", "tags": tags, "params": {}}))
        book.append(end(step=0, status=FINISHED))
    assert sync.main([]) == 0
    return Store(None, "s")


def runs(store, view=1):
    return [run.info.run_id for run in store._search("tags.`ablation.kind` = 'trial'", view=view)]


def test_what_was_deleted_in_mlflow_stays_so_and_the_way_back_is_said(sent, capsys):
    (run_id,) = runs(sent)
    sent.client.delete_run(run_id)

    for _ in range(2):
        assert sync.main([]) == 0
        out = capsys.readouterr().out
        assert f"'cell=gru seed=0' was deleted in MLflow, and stays so; this restores it: MLFLOW_TRACKING_URI={sent.uri} mlflow runs" in out
    assert runs(sent) == [] and runs(sent, view=3) == [run_id]


@pytest.mark.parametrize("what", ["experiment", "study run"])
def test_a_study_that_was_deleted_in_mlflow_stays_so_and_the_way_back_is_said(sent, capsys, what):
    if what == "experiment":
        sent.client.delete_experiment(sent.experiment_id)
    else:
        sent.client.delete_run(sent.study_run_id)

    assert sync.main([]) == 0

    out = capsys.readouterr().out
    assert "s: nothing is sent: " in out and "was deleted in MLflow" in out and " mlflow " in out and "restore" in out
    assert sent.client.get_run(sent.study_run_id).info.lifecycle_stage == "deleted"
    assert len(sent.client.search_runs([sent.experiment_id], "", run_view_type=3)) == 2


def test_a_moved_homes_addresses_are_mended_and_it_is_said(sent, home, tmp_path, monkeypatch, capsys):
    (home / "mlartifacts" / "s").mkdir(parents=True)
    home.rename(tmp_path / "there")
    monkeypatch.setenv("ABLATION_HOME", str(tmp_path / "there"))

    assert sync.main([]) == 0

    assert (
        f"s: the home was {home}; MLflow's addresses of the files of 2 runs are now below {tmp_path / 'there'}" in capsys.readouterr().out
    )
    assert runs(Store(None, "s")) == runs(sent)


def test_a_record_that_is_refused_is_not_promised_for_later(sent, capsys, monkeypatch):
    def refused(*_):
        raise MlflowException("value too long", BAD_REQUEST)

    monkeypatch.setattr(Store, "replay", refused)

    assert sync.main([]) == 1
    err = capsys.readouterr().err
    assert "is refused (value too long); nothing is lost; mend that and try again" in err and "later" not in err
