from __future__ import annotations

import shutil
import sqlite3

import pytest
from mlflow.tracking import MlflowClient

from src import paths
from src.tracking import moved
from src.tracking.mlflow_replay import Store


@pytest.fixture
def sent(home, blank, tmp_path):
    """A store whose study run has a file."""
    store = Store(None, "s")
    (tmp_path / "a.json").write_text("{}", encoding="utf-8")
    store.attach(tmp_path / "a.json", tags={})
    return store


def addresses():
    with sqlite3.connect(paths.home() / "mlflow.db") as database:
        listed = database.execute(
            "SELECT artifact_location FROM experiments UNION SELECT artifact_uri FROM runs"
        ).fetchall()
    return {address for (address,) in listed}


def carry(how, home, to, monkeypatch):
    how(home, to)
    monkeypatch.setenv("ABLATION_HOME", str(to))


@pytest.mark.parametrize("name", ["there", "a b é"])
def test_the_addresses_of_a_moved_home_are_corrected_and_the_note_names_the_old_home(
    sent, home, tmp_path, monkeypatch, name
):
    carry(shutil.move, home, tmp_path / name, monkeypatch)

    again = Store(None, "s")

    assert (
        again.moved
        == f"note: ABLATION_HOME was {home}; MLflow's artifact paths (1 runs) now point to {tmp_path / name}"
    )
    assert {file.path for file in again.client.list_artifacts(again.study_run_id)} == {"a.json"}
    assert Store(None, "s").moved is None


def test_a_copied_home_uses_its_own_files_and_leaves_the_original_unchanged(sent, home, tmp_path, monkeypatch):
    before = addresses()
    carry(shutil.copytree, home, tmp_path / "copy", monkeypatch)

    Store(None, "s")

    ours = [address for address in addresses() if "mlartifacts" in address]
    assert len(ours) == 2 and all(address.startswith((tmp_path / "copy").as_uri()) for address in ours)
    monkeypatch.setenv("ABLATION_HOME", str(home))
    assert addresses() == before


def test_addresses_stay_if_the_files_did_not_move(sent, home, tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    shutil.copy(home / "mlflow.db", tmp_path / "there")
    monkeypatch.setenv("ABLATION_HOME", str(tmp_path / "there"))
    before = addresses()

    assert Store(None, "s").moved is None and addresses() == before


def test_a_database_outside_the_home_is_corrected_only_if_the_old_files_are_gone(home, blank, tmp_path, monkeypatch):
    shutil.copy(blank, tmp_path / "shared.db")
    uri = f"sqlite:///{tmp_path / 'shared.db'}"
    (tmp_path / "a.json").write_text("{}", encoding="utf-8")
    Store(uri, "s").attach(tmp_path / "a.json", tags={})
    carry(shutil.copytree, home, tmp_path / "copy", monkeypatch)

    assert Store(uri, "s").moved is None
    shutil.rmtree(home)
    assert f"ABLATION_HOME was {home}" in Store(uri, "s").moved


def test_a_moved_study_without_files_does_not_create_the_old_home(sent, home, tmp_path, monkeypatch):
    shutil.rmtree(home / "mlartifacts")
    carry(shutil.move, home, tmp_path / "there", monkeypatch)

    assert f"ABLATION_HOME was {home}" in Store(None, "s").moved


def test_other_addresses_stay(sent, home, tmp_path, monkeypatch):
    client = MlflowClient(paths.default_tracking_uri())
    for name, where in (("bucket", "s3://b/mlartifacts/s"), ("mine", (tmp_path / "elsewhere" / "s").as_uri())):
        client.create_experiment(name, artifact_location=where)
    carry(shutil.move, home, tmp_path / "there", monkeypatch)

    Store(None, "s")

    assert {"s3://b/mlartifacts/s", (tmp_path / "elsewhere" / "s").as_uri()} <= addresses()


def test_a_remote_address_has_no_local_path():
    assert moved.local_path("s3://bucket/x") is None and moved.local_path(None) is None and moved.local_path("") is None
    assert str(moved.local_path("file:///a%20b/c")) == "/a b/c" == str(moved.local_path("/a b/c"))
