"""Sweeps on several worker processes: equal results, and no loss when workers are killed."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest
from mlflow.tracking import MlflowClient

from src.paths import REPOSITORY
from src.tracking import journal, outcome
from src.tracking.journal import FINISHED
from tests.conftest import tiny_trial, write_table
from tests.test_launchers import left_behind
from tests.test_run import command, trials

# Tests that need the uninterrupted sweep come first: pytest's processes take two tests each, so only one trains it.
pytestmark = [pytest.mark.training, pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.usefixtures("blank")]

# Wide enough for TensorFlow to use several threads.
WIDE = ["units=64", "embedding_dim=64", "batch_size=70", "epochs=3"]
TWO = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]


def start(home, *overrides):
    """Starts a sweep in a new process; its output goes to a file beside its home."""
    with home.with_suffix(".log").open("w") as log:
        environment = {**os.environ, "ABLATION_HOME": str(home)}
        return subprocess.Popen(command(*overrides), cwd=REPOSITORY, env=environment, stdout=log, stderr=log)


@pytest.fixture(autouse=True)
def no_sweep_outlives_its_test():
    """Kills sweeps that a failed test has left running."""
    yield
    for child in psutil.Process().children():
        if "src.run" in command_of(child):
            child.kill()


def finish(process, home):
    code = process.wait(timeout=500)
    return code, home.with_suffix(".log").read_text(encoding="utf-8")


def results(home, study="adhoc"):
    """Returns identity → status, hash of the weights and metrics without times, of every trial's last attempt.

    It leaves out the numbers of traces, because two processes trace a resumed trial.
    """
    outcomes = {folder.name: outcome.of_journal(folder) for folder in journal.folders(home / "outputs" / study)}
    return {
        name: (
            latest.status,
            latest.tags.get("ablation.weights"),
            {
                key: value
                for key, value in latest.metrics.items()
                if not key.startswith(("time/", "memory/", "data/traces"))
            },
        )
        for name, latest in outcomes.items()
        if latest is not None
    }


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Overrides of a sweep of twelve trials."""
    table = write_table(tmp_path_factory.mktemp("sweep") / "table.csv")
    fastest = ["cell=simple_rnn"]  # to trace
    return ["-m", *tiny_trial(table), *WIDE, *fastest, "masking=true,false", "seed=0,1,2,3,4,5"]


@pytest.fixture(scope="module")
def undisturbed(sweep, tmp_path_factory):
    """The results of that sweep in one uninterrupted process."""
    home = tmp_path_factory.mktemp("alone") / "home"
    code, out = finish(start(home, *sweep), home)
    assert code == 0, out
    return results(home)


def running(home, study="adhoc"):
    """Returns process id → number of journal lines, of the trials that run now."""
    lines = {}
    for folder in journal.folders(home / "outputs" / study):
        attempt = journal.last_attempt(folder)
        if attempt and journal.status(attempt) is None and journal.is_being_written(folder):
            lines[int(attempt[0].record.detail["process"].split()[1])] = len(attempt)
    return lines


def test_two_workers_that_are_killed_at_random_have_the_results_of_one_uninterrupted_worker_bit_for_bit(
    sweep, undisturbed, home
):
    """Kills the driver or a worker at random moments and repeats the command; `CHAOS_KILLS=10` is the long version."""
    rng, process, hits = random.Random(os.environ.get("CHAOS_SEED", "1")), None, 0
    while hits < int(os.environ.get("CHAOS_KILLS", "3")):
        if process is None or process.poll() is not None:
            assert len([status for status, *_ in results(home).values() if status == FINISHED]) < 12, (
                f"done after {hits} kills"
            )
            process = start(home, *sweep, *TWO)
        end = time.monotonic() + rng.uniform(0, 15)  # while it plans, starts, trains, or between two trials
        while time.monotonic() < end and not (running(home) and rng.random() < 0.05):
            time.sleep(0.1)
        victim = rng.choice([process.pid, *running(home)])
        if process.poll() is None:
            os.kill(victim, signal.SIGKILL)
            hits += 1
        if victim == process.pid:
            process.wait()
    process.kill()
    process.wait()

    code, out = finish(start(home, *sweep, *TWO), home)

    assert code == 0, out
    assert results(home) == undisturbed
    client, runs = trials()
    finished = [run.data.tags["ablation.identity"] for run in runs if run.info.status == "FINISHED"]
    assert {run.data.tags["ablation.workers"] for run in runs} == {"2"} and {
        run.data.tags["ablation.threads"] for run in runs
    } == {"1"}
    assert sorted(finished) == sorted(results(home)) and not [run for run in runs if run.info.status == "RUNNING"]
    for run in runs:
        steps = [point.step for point in client.get_metric_history(run.info.run_id, "train/loss")]
        assert len(steps) == len(set(steps))
    code, out = finish(start(home, *sweep, *TWO), home)
    assert code == 0 and "12 trials, 12 already done" in out and len(trials()[1]) == len(runs)


def test_a_ray_cluster_of_two_nodes_gives_the_same_numbers(sweep, undisturbed, home):
    pytest.importorskip("ray", reason="ray is an extra: pip install 'ablation[ray]'")
    program = """
import json, subprocess, sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
cluster.add_node(num_cpus=1)
words = json.loads(sys.argv[1]) + [f"hydra.launcher.ray.init.address={cluster.address!r}"]
done = subprocess.run(words, stderr=subprocess.STDOUT)
cluster.shutdown()
sys.exit(done.returncode)
"""
    environment = {**os.environ, "ABLATION_HOME": str(home), "RAY_USAGE_STATS_ENABLED": "0"}
    words = [sys.executable, "-c", program, json.dumps(command(*sweep, "hydra/launcher=ray", "seed=0,1"))]
    done = subprocess.run(
        words, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=500, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert results(home) == {name: undisturbed[name] for name in results(home)} and len(results(home)) == 4


def test_a_killed_worker_is_noticed_and_its_trials_are_trained_again(sweep, home):
    process = start(home, *sweep, *TWO, "masking=true", "seed=0,1", "epochs=10")
    end = time.monotonic() + 120
    while not (alive := {pid: steps for pid, steps in running(home).items() if steps > 6}):
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.2)
    os.kill(next(iter(alive)), signal.SIGKILL)

    code, out = finish(process, home)

    assert code == 0, out
    assert "a worker died" in out and "retrying alone: " in out
    assert {status for status, *_ in results(home).values()} == {FINISHED} and len(results(home)) == 2
    statuses = [run.info.status for run in trials()[1]]
    assert statuses.count("FINISHED") == 2 and set(statuses) == {"FINISHED", "KILLED"}


def test_workers_end_with_the_process_of_the_sweep(sweep, home):
    process = start(home, *sweep, *TWO, "masking=true", "seed=0,1", "epochs=5000")
    end = time.monotonic() + 120
    while len(started := running(home)) < 2:
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.2)
    workers = [psutil.Process(pid) for pid in started]
    process.kill()
    process.wait()

    for folder in journal.folders(home / "outputs" / "adhoc"):
        while journal.is_being_written(folder):
            assert time.monotonic() < end + 30
            time.sleep(0.2)
    assert {status for status, *_ in results(home).values()} == {"KILLED"}
    psutil.wait_procs(workers, timeout=30)
    assert not [worker for worker in workers if worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE]


def command_of(process):
    """Returns the command line of a process; empty if it has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="shared memory is not a folder here")
@pytest.mark.parametrize("moment", ["before a trial starts", "while two trials train"])
def test_a_killed_sweep_leaves_no_process_and_no_shared_memory(sweep, home, moment):
    process = start(home, *sweep, *TWO, "masking=true", "seed=0,1", "epochs=5000")
    end, count = time.monotonic() + 240, 2 if moment == "while two trials train" else 0
    children = []
    while len(running(home)) < count or len([child for child in children if "loky" in command_of(child)]) < 3:
        assert time.monotonic() < end and process.poll() is None
        children = psutil.Process(process.pid).children(recursive=True)
        time.sleep(0.1)
    process.kill()
    process.wait()

    assert psutil.wait_procs(children, timeout=60)[1] == []
    assert left_behind(process.pid) == []


def test_names_that_look_like_numbers_reach_the_workers_as_text(home, tmp_path):
    (tmp_path / "2024_01").mkdir()
    table = write_table(tmp_path / "2024_01" / "007.csv")
    table.write_text(table.read_text(encoding="utf-8").replace("text,label", "1_1,1e3"), encoding="utf-8")
    names = ["study=2024_01", "data.text_column=1_1", "data.label_column=1e3", "plan.question=1:30"]

    code, out = finish(start(home, "-m", *tiny_trial(table), *names, "cell=simple_rnn,gru", "epochs=1", *TWO), home)

    assert code == 0, out
    assert [status for status, *_ in results(home, "2024_01").values()] == [FINISHED] * 2
    assert [path.name for path in (home / "outputs").iterdir() if not path.name.startswith(".")] == ["2024_01"]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture
def server(tmp_path):
    """A tracking server on this machine."""
    port = free_port()
    words = [
        "server",
        "--backend-store-uri",
        f"sqlite:///{tmp_path}/server.db",
        "--artifacts-destination",
        str(tmp_path / "artifacts"),
    ]
    words += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words],
            env=environment,
            stdout=log,
            stderr=log,
            cwd=tmp_path,
            start_new_session=True,
        )
        try:
            for _ in range(240):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                    break
                except OSError:
                    assert process.poll() is None, (tmp_path / "server.log").read_text()
                    time.sleep(0.5)
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=60)


def test_four_workers_write_to_one_tracking_server(sweep, home, server):
    four = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=4", "seed=0,1", f"tracking.uri={server}"]
    code, out = finish(start(home, *sweep, *four), home)

    assert code == 0, out
    client, runs = trials(uri=server)
    assert [run.info.status for run in runs] == ["FINISHED"] * 4
    assert len({run.data.tags["ablation.identity"] for run in runs}) == 4
    study = MlflowClient(server).search_runs([runs[0].info.experiment_id], "tags.`ablation.kind` = 'study'")
    assert len(study) == 1 and {run.data.tags["mlflow.parentRunId"] for run in runs} == {study[0].info.run_id}
    for run in runs:
        steps = [point.step for point in client.get_metric_history(run.info.run_id, "train/loss")]
        assert steps == list(range(1, len(steps) + 1))
