from __future__ import annotations

import hashlib
import math
import sqlite3

import pandas as pd
import pytest

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
        assert (run.status, run.started, run.ended, run.params) == (other.status, other.started, other.ended, other.params)
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


def test_not_a_number_and_infinity_come_back_as_they_were(own):
    generated.study(own, "s", {"cell": ["lstm", "gru"]}, lambda values, seed: {"test/accuracy": math.nan, "test/loss": math.inf}, seeds=[0])
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
def test_what_is_no_store_is_answered_with_what_is(uri, home):
    with pytest.raises(StoreError, match=r"is no MLflow store; allowed are sqlite:///PATH|no MLflow database"):
        store.connect(uri)


def test_a_server_that_is_away_is_one_line():
    with pytest.raises(StoreError, match=r"http://127.0.0.1:9 cannot be read: [^\n]+$"):
        store.connect("http://127.0.0.1:9").experiments()


def test_a_name_that_is_nearly_right_is_recognised():
    assert store.nearest("forst", ["times", "forest"]) == "did you mean 'forest'? There are times, forest"
    assert store.nearest("x", []) == "there are none yet"


def test_an_address_in_the_environment_is_said_not_to_be_used_without_its_password(place, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@host:5000")

    assert "s" in store.connect(None).experiments()

    assert capsys.readouterr().err == "note: MLFLOW_TRACKING_URI=http://…@host:5000 is not used; --uri names another store\n"
