from __future__ import annotations

import hashlib
import math
import sqlite3
import tempfile
from types import SimpleNamespace

import pandas as pd
import pytest
from mlflow.store.artifact import artifact_repository_registry

from analysis import store
from analysis.store import ClientStore, SqliteStore, StoreError
from benchmarks import generated


def test_the_fast_path_reads_what_mlflows_client_reads(uri):
    fast, client = SqliteStore(uri), ClientStore(uri)
    assert fast.experiments() == client.experiments()
    number = fast.experiments()["troubled"]
    ours, theirs = fast.runs(number), client.runs(number)

    assert len(ours) == 32 and {run.run_id for run in ours} == {run.run_id for run in theirs}
    by_id = {run.run_id: run for run in theirs}
    for run in ours:
        other = by_id[run.run_id]
        assert (run.status, run.started, run.ended, run.params) == (
            other.status,
            other.started,
            other.ended,
            other.params,
        )
        assert run.tags == dict(other.tags)
        assert run.metrics == pytest.approx(other.metrics, nan_ok=True)
    pd.testing.assert_frame_equal(fast.history(number, "val/accuracy"), client.history(number, "val/accuracy"))
    one = next(run.run_id for run in ours if run.status == "FINISHED" and fast.artifact(run.run_id, "steps.parquet"))
    assert fast.artifact(one, "steps.parquet").read_bytes() == client.artifact(one, "steps.parquet").read_bytes()
    assert fast.artifact(one, "nothing") is None and client.artifact(one, "nothing") is None


def test_reading_writes_nothing(database, uri):
    before = hashlib.sha256(database.read_bytes()).hexdigest()
    reader = store.connect(uri)
    for number in reader.experiments().values():
        reader.runs(number)

    assert hashlib.sha256(database.read_bytes()).hexdigest() == before


def test_nan_and_infinity_are_read_back_unchanged(own):
    generated.study(
        own,
        "s",
        {"cell": ["lstm", "gru"]},
        lambda values, seed: {"test/accuracy": math.nan, "test/loss": math.inf},
        seeds=[0],
    )
    reader = store.connect(f"sqlite:///{own}")
    metrics = reader.runs(reader.experiments()["s"])[-1].metrics

    assert math.isnan(metrics["test/accuracy"]) and metrics["test/loss"] == math.inf


def test_a_store_that_is_missing_is_not_created(home):
    with pytest.raises(StoreError, match=r"no MLflow database at .*; train something first"):
        store.connect(None)
    assert list(home.iterdir()) == []


def test_another_programs_database_is_named(tmp_path):
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE t (x)").connection.commit()
    with pytest.raises(StoreError, match="is not a database of MLflow's"):
        store.connect(f"sqlite:///{tmp_path / 'other.db'}")
    (tmp_path / "text.db").write_text("not a database at all, only text of some length")
    with pytest.raises(StoreError, match="cannot be read: file is not a database"):
        store.connect(f"sqlite:///{tmp_path / 'text.db'}")


@pytest.mark.parametrize("uri", ["foo", "file:/tmp/x", "ftp://x", "sqlite:", ""])
def test_an_invalid_store_is_an_error_that_names_the_valid_ones(uri, home):
    with pytest.raises(StoreError, match=r"is no MLflow store; allowed are sqlite:///PATH|no MLflow database"):
        store.connect(uri)


def test_an_unreachable_server_is_an_error_of_one_line():
    with pytest.raises(StoreError, match=r"http://127.0.0.1:9 cannot be read: [^\n]+$"):
        store.connect("http://127.0.0.1:9").experiments()


def test_a_name_that_is_nearly_right_is_recognised():
    assert store.nearest("forst", ["times", "forest"]) == "did you mean 'forest'? There are times, forest"
    assert store.nearest("x", []) == "there are none yet"


def test_the_note_on_an_unused_address_in_the_environment_hides_its_password(place, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@host:5000")

    assert "s" in store.connect(None).experiments()

    assert (
        capsys.readouterr().err
        == "note: MLFLOW_TRACKING_URI=http://…@host:5000 is not used; --uri names another store\n"
    )


class Server:
    """A replacement of MLflow's client with the answers of a hostile or broken tracking server."""

    def __init__(self, run_id="0" * 32, address="mlflow-artifacts:/1/x/artifacts"):
        info = SimpleNamespace(run_id=run_id, artifact_uri=address, status="FINISHED", start_time=0, end_time=1)
        self.run = SimpleNamespace(info=info, data=SimpleNamespace(tags={}, params={}, metrics={}))

    def get_run(self, run_id):
        return self.run

    def search_runs(self, *_, **__):
        class Page(list):
            token = None

        return Page([self.run])


@pytest.fixture
def served(monkeypatch, tmp_path):
    """Makes a store of a server, with a separate folder for its copies."""

    def make(uri="http://host:5000", **answers):
        monkeypatch.setattr(tempfile, "mkdtemp", lambda prefix: str(tmp_path / "deep" / "copies"))
        (tmp_path / "deep" / "copies").mkdir(parents=True, exist_ok=True)
        reader = ClientStore(uri)
        reader.client = Server(**answers)
        return reader

    return make


@pytest.mark.parametrize(
    "run_id", ["../../evil", "/tmp/evil", "", ".", "0" * 31, "0" * 33, "0" * 32 + "\n", "A" * 32, "g" * 32, "a/" * 16]
)
def test_an_invalid_run_id_is_refused_and_never_used_as_a_path(served, tmp_path, run_id):
    reader = served(run_id=run_id)

    for ask in (lambda: reader.runs("1"), lambda: reader.artifact(run_id, "plan.json")):
        with pytest.raises(
            StoreError, match=r"http://host:5000 returned the run id .*, but MLflow ids are 32 hexadecimal digits"
        ):
            ask()
    assert [path.name for path in tmp_path.rglob("*")] == ["deep", "copies"]


@pytest.mark.parametrize("address", ["file:///etc", "/etc", "etc", "FILE:/etc", "file:etc", "runs:/x/y", "models:/m/1"])
def test_a_server_whose_files_are_on_this_machine_is_refused(served, address):
    with pytest.raises(StoreError, match=r"are at .* on this machine; start the server with --artifacts-destination"):
        served(address=address).artifact("0" * 32, "hostname")


def test_a_database_may_have_its_files_on_this_machine(served, tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "plan.json").write_text("[]", encoding="utf-8")

    found = served(f"sqlite:///{tmp_path}/x.db", address=(tmp_path / "files").as_uri()).artifact("0" * 32, "plan.json")

    assert found.read_text(encoding="utf-8") == "[]" and found.is_relative_to(tmp_path / "deep" / "copies")


def test_a_file_name_that_leaves_its_folder_is_refused(served, tmp_path, monkeypatch):
    class Repository:
        def list_artifacts(self):
            return [SimpleNamespace(path="plan.json")]

        def download_artifacts(self, name, folder):
            return f"{folder}/../../outside"

    monkeypatch.setattr(
        artifact_repository_registry, "get_artifact_repository", lambda address, tracking_uri: Repository()
    )

    with pytest.raises(StoreError, match=r"the file plan\.json would be at .*outside"):
        served().artifact("0" * 32, "plan.json")
