"""Studies on PostgreSQL, whose columns have a limited length: SQLite accepts everything, so it hides such errors."""

from __future__ import annotations

import importlib.util
import math
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from src import paths
from src.paths import REPOSITORY
from src.spec.metric import IMPLIED
from src.tracking import database, journal
from src.tracking.mlflow_replay import Store
from tests.conftest import tiny_trial, write_table
from tests.test_run import command
from tests.tracking.test_database import filled

INITDB = [*sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")), *map(Path, filter(None, [shutil.which("initdb")]))]
PROGRAMS = INITDB[0].resolve().parent if INITDB else None
HAS_DRIVER = any(importlib.util.find_spec(name) for name in paths.DRIVERS["postgresql"][0])
pytestmark = [
    pytest.mark.slow,
    pytest.mark.training,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        "CI" not in os.environ and not (PROGRAMS and HAS_DRIVER), reason="no PostgreSQL on this machine, or no driver"
    ),
]
USER = "postgres" if os.getuid() == 0 else None  # PostgreSQL refuses to run as root


@pytest.fixture(scope="module")
def server():
    """The address of a new PostgreSQL server with an empty database, without the name of the database."""
    assert PROGRAMS is not None, "CI needs Debian's package postgresql"
    folder = tempfile.mkdtemp(prefix="ablation-postgresql-")
    if USER:
        os.chown(folder, pwd.getpwnam(USER).pw_uid, -1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])

    def execute(program, *words):
        subprocess.run([PROGRAMS / program, *words], user=USER, cwd="/", check=True, stdout=subprocess.DEVNULL)

    options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder} -c fsync=off"
    try:
        execute("initdb", "-D", folder, "-A", "trust", "-U", "tester", "-E", "UTF8", "--locale=C")
        execute("pg_ctl", "-D", folder, "-l", f"{folder}/log", "-o", options, "-w", "start")
        try:
            execute("createdb", "-h", "127.0.0.1", "-p", port, "-U", "tester", "mlflow")
            yield f"postgresql://tester@127.0.0.1:{port}"
        finally:
            execute("pg_ctl", "-D", folder, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(*words, home):
    done = subprocess.run(
        [str(word) for word in words],
        cwd=REPOSITORY,
        env={**os.environ, "ABLATION_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def runs(uri, study, kind="trial"):
    client = MlflowClient(paths.tracking_uri(uri))
    having, by_start = f"tags.`ablation.kind` = '{kind}'", ["attributes.start_time ASC"]
    return client, client.search_runs([client.get_experiment_by_name(study).experiment_id], having, order_by=by_start)


def test_a_study_with_long_names_runs_and_is_reported_on_postgresql(server, home, tmp_path):
    uri, study = f"{server}/mlflow", "a_long_name_" * 8  # 96 characters
    column = "label_" + "x" * 400
    table = write_table(tmp_path / "table.csv")
    table.write_text(table.read_text(encoding="utf-8").replace("text,label", f"text,{column}"), encoding="utf-8")
    words = [
        "-m",
        *tiny_trial(table),
        f"data.label_column={column}",
        f"study={study}",
        f"tracking.uri={uri}",
        "epochs=1",
    ]
    words += ["cell=simple_rnn,gru", "seed=0,1", f"plan.question='{'why ' * 2_400}'"]  # the command is a tag, too

    code, out = run(*command(*words), home=home)
    assert code == 0 and "warning" not in out, out
    client, trials = runs(uri, study)
    assert [one.info.status for one in trials] == ["FINISHED"] * 4
    names = {one.info.run_name for one in trials}
    assert len(names) == 4 and all(len(name) <= 250 and name[-7:] in (" seed=0", " seed=1") for name in names)
    assert all("settings.json" in {file.path for file in client.list_artifacts(one.info.run_id)} for one in trials)

    code, out = run(*command(*words), home=home)
    assert code == 0 and "4 trials, 4 already done" in out and len(runs(uri, study)[1]) == 4, out

    code, out = run(sys.executable, "-m", "src.sync", home=home)
    assert code == 0 and f"{study}: 0 records sent" in out, out

    for name in ("table", "report"):
        code, out = run(sys.executable, "-m", "analysis", name, study, "--uri", uri, home=home)
        assert code == 0, out
    assert (home / "reports" / study / "report.html").is_file()
    assert "report" in {file.path for file in client.list_artifacts(runs(uri, study, "study")[1][0].info.run_id)}
    assert not (REPOSITORY / "mlruns").exists()


def test_sql_and_mlflows_client_return_equal_outcomes_on_postgresql(server, home, monkeypatch):
    store = filled(Store(f"{server}/mlflow", "read"))
    fast, deleted = store.outcomes(IMPLIED), store.deleted_trials()
    monkeypatch.setattr(database, "can_read", lambda uri: False)

    theirs = store.outcomes(IMPLIED)

    assert {name: one.attempt for name, one in fast.items()} == {"a": "a2", "b": "b2", "c": "c2", "d": "d1"}
    assert math.isnan(fast["a"].metrics.pop("test/accuracy")) and math.isnan(theirs["a"].metrics.pop("test/accuracy"))
    assert fast == theirs and deleted == store.deleted_trials() != {}


def test_offline_trials_are_sent_to_postgresql_and_deleted_ones_stay_deleted(server, home, tmp_path):
    uri, words = (
        f"{server}/mlflow",
        [*tiny_trial(write_table(tmp_path / "table.csv")), "study=later", "tracking=offline", "epochs=1"],
    )
    assert run(*command(*words, "cell=simple_rnn"), home=home)[0] == 0

    code, out = run(sys.executable, "-m", "src.sync", "--uri", uri, home=home)
    assert code == 0 and [one.info.status for one in runs(uri, "later")[1]] == ["FINISHED"], out

    client, (one,) = runs(uri, "later")
    client.delete_run(one.info.run_id)
    for folder in journal.folders(home / "outputs" / "later"):
        (folder / "mlflow.json").unlink()
    code, out = run(sys.executable, "-m", "src.sync", "--uri", uri, home=home)
    assert code == 0 and f"mlflow runs restore --run-id {one.info.run_id}" in out and not runs(uri, "later")[1], out


def test_the_addresses_of_a_moved_home_are_corrected_in_postgresql(server, home, tmp_path, monkeypatch):
    store = Store(f"{server}/mlflow", "moving")
    (tmp_path / "file.json").write_text("{}", encoding="utf-8")
    store.attach(tmp_path / "file.json", tags={})
    shutil.move(home, tmp_path / "there")
    monkeypatch.setenv("ABLATION_HOME", str(tmp_path / "there"))

    again = Store(f"{server}/mlflow", "moving")

    assert f"ABLATION_HOME was {home}" in again.moved
    assert again.client.get_run(again.study_run_id).info.artifact_uri.startswith((tmp_path / "there").as_uri())
    assert [file.path for file in again.client.list_artifacts(again.study_run_id)] == ["file.json"]


def test_a_home_whose_path_is_too_long_is_an_error_before_training(server, home, tmp_path, monkeypatch):
    deep = tmp_path / ("d" * 150)
    code, out = run(*command("data.limit=4", f"tracking.uri={server}/mlflow", "study=deep"), home=deep)

    assert (
        code == 2
        and "characters too long for this database" in out
        and not list(deep.glob("outputs/deep/*/journal.jsonl"))
    ), out
