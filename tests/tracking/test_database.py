from __future__ import annotations

import contextlib
import math
import sqlite3

import pytest
from sqlalchemy.exc import SQLAlchemyError

from src import paths
from src.spec.metric import IMPLIED
from src.tracking import database
from src.tracking.attempts import Run
from src.tracking.database import Database
from src.tracking.mlflow_replay import Store


def filled(store):
    """Gives a study trials of every kind (finished, failed, killed, running, superseded, deleted) and other runs."""

    def trial(identity, attempt, status="FINISHED", *, metrics=(("test/accuracy", 0.5),), **tags):
        named = {f"ablation.{key}": value for key, value in tags.items()}
        given = {"ablation.kind": "trial", "ablation.identity": identity, "ablation.attempt": attempt, **named}
        run_id = store.client.create_run(
            store.experiment_id, tags=given, run_name=f"run {attempt}", start_time=7
        ).info.run_id
        for key, value in metrics:
            store.client.log_metric(run_id, key, value, step=1)
        store.client.log_param(run_id, "cell", "gru")
        if status != "RUNNING":
            store.client.set_terminated(run_id, status=status)
        return run_id

    trial("a", "a1", "KILLED", error="stopped")
    trial("a", "a2", metrics=[("test/accuracy", math.nan), ("test/loss", math.inf), ("val/loss", -math.inf)])
    trial("b", "b1", superseded="true")
    trial("b", "b2", journal="b1", attempt_number="1")
    trial("b", "b3", "FAILED", journal="b1", attempt_number="2", error="no memory – ü")
    trial("c", "c1", "FAILED", journal="c1", attempt_number="0", error="e" * 4_000)
    trial("c", "c2", "KILLED", journal="c1", attempt_number="1")
    trial("d", "d1", "RUNNING", metrics=[])
    trial("e", "e1", superseded="true")
    store.client.delete_run(trial("f", "f1"))
    store.client.delete_run(trial("g", "g1", duplicate_of="x"))
    store.client.create_run(store.experiment_id, tags={"ablation.kind": "trial"})
    store.client.create_run(store.experiment_id, run_name="somebody's")
    other = store.client.create_experiment("other")
    store.client.create_run(other, tags={"ablation.kind": "trial", "ablation.identity": "z", "ablation.attempt": "z1"})
    return store


@pytest.fixture
def store(blank):
    return filled(Store(None, "s"))


def slow(store, monkeypatch):
    monkeypatch.setattr(database, "can_read", lambda uri: False)
    return store


def test_sql_and_mlflows_client_return_equal_outcomes(store, monkeypatch):
    fast, deleted = store.outcomes(IMPLIED), store.deleted_trials()
    theirs = slow(store, monkeypatch).outcomes(IMPLIED)

    assert {name: (one.attempt, one.status) for name, one in fast.items()} == {
        "a": ("a2", "FINISHED"), "b": ("b2", "FINISHED"), "c": ("c2", "KILLED"), "d": ("d1", None),
    }  # fmt: skip
    assert math.isnan(fast["a"].metrics.pop("test/accuracy")) and math.isnan(theirs["a"].metrics.pop("test/accuracy"))
    assert fast == theirs and fast["a"].metrics and fast["b"].run_id
    assert deleted == store.deleted_trials() and list(deleted.values()) == ["run f1"]


def test_sql_and_mlflows_client_return_equal_runs(store):
    ours = Database(store.uri).runs(store.experiment_id)
    theirs = {run.run_id: run for run in map(Run.from_client, store._search(""))}

    assert len(ours) == len(theirs) == 12
    for run in ours:
        for part in ("name", "status", "started", "ended", "tags", "params"):
            assert getattr(run, part) == getattr(theirs[run.run_id], part)
        assert run.metrics == pytest.approx(theirs[run.run_id].metrics, nan_ok=True, rel=0)


def test_duplicates_are_found_by_sql_as_by_the_client(store):
    for run in store._search("tags.`ablation.attempt` = 'a2'"):
        store.client.create_run(store.experiment_id, tags=run.data.tags)

    assert store.delete_duplicates() == 1
    assert store.outcomes(IMPLIED)["a"].status == "FINISHED" and store.delete_duplicates() == 0


def test_parts_that_are_not_requested_stay_empty(store):
    runs = Database(store.uri).runs(store.experiment_id, parts=[database.TAGS])

    assert all(run.tags for run in runs) and not any(run.params or run.metrics for run in runs)


def test_only_the_status_of_known_attempts_is_read(store):
    whole = store.outcomes(IMPLIED)

    brief = store.outcomes(IMPLIED, known={name: one.attempt for name, one in whole.items()})

    def told(outcomes):
        return {name: (one.attempt, one.status, one.run_id) for name, one in outcomes.items()}

    assert told(brief) == told(whole) and not any(one.metrics for one in brief.values())


@pytest.mark.parametrize("known", [{"a": "a1", "b": "b2", "c": "c2", "d": "d1"}, {"a": "a2", "b": "b2", "c": "c2"}])
def test_everything_is_read_if_an_unknown_attempt_counts(store, known):
    assert repr(store.outcomes(IMPLIED, known=known)) == repr(store.outcomes(IMPLIED))  # nan is not equal to itself


def test_a_server_gets_one_query_even_for_known_attempts(store, monkeypatch):
    queries, search = [], store._search
    monkeypatch.setattr(store, "_search", lambda text, **options: queries.append(text) or search(text, **options))

    assert slow(store, monkeypatch).outcomes(IMPLIED, known={"a": "a1"})["a"].attempt == "a2" and len(queries) == 1


def test_the_database_is_only_read(store, home):
    with pytest.raises(SQLAlchemyError, match="readonly"), Database(store.uri)._transaction() as connection:
        connection.exec_driver_sql("DELETE FROM runs")
    with pytest.raises(SQLAlchemyError, match="unable to open"):
        Database(f"sqlite:///{home / 'other.db'}").experiments()
    assert not (home / "other.db").exists()


def test_one_transaction_sees_one_state(store, home):
    with Database(store.uri)._transaction() as connection:
        before = connection.exec_driver_sql("SELECT COUNT(*) FROM runs").scalar()
        writer = sqlite3.connect(home / "mlflow.db", timeout=0, isolation_level=None)
        with contextlib.closing(writer), pytest.raises(sqlite3.OperationalError, match="locked"):
            writer.execute("DELETE FROM runs")
        assert connection.exec_driver_sql("SELECT COUNT(*) FROM runs").scalar() == before


@pytest.mark.parametrize(
    ("uri", "can"),
    [
        ("sqlite:////tmp/x.db", True), ("sqlite:///x.db", True), ("sqlite:///:memory:", False), ("sqlite://", False),
        ("sqlite:////tmp/x.db?mode=ro", False), ("sqlite+pysqlite:////tmp/x.db", False),
        ("postgresql+psycopg2://u@h/d", True), ("mysql+pymysql://u@h/d", True), ("http://h:5000", False),
        ("databricks", False),
    ],
)  # fmt: skip
def test_databases_can_be_read_by_sql(uri, can):
    assert database.can_read(uri) == can


@pytest.mark.parametrize("sign", ["?", "%20", "%2", " ", "ü", "#", "'"])
def test_a_database_file_may_have_any_characters_in_its_path(tmp_path, sign):
    folder = tmp_path / f"a{sign}b"
    folder.mkdir()
    sqlite3.connect(folder / "x.db").execute("CREATE TABLE t (x)").connection.commit()

    assert not Database(paths.sqlite_address(folder / "x.db")).is_mlflows()
