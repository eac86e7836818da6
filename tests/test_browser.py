"""The pages of MLflow and TensorBoard in a real browser."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from src import run
from tests.conftest import tiny_trial, write_table

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.training,
    pytest.mark.skipif(CHROMIUM is None and "CI" not in os.environ, reason="no Chromium on this machine"),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory, empty):
    folder = tmp_path_factory.mktemp("home")
    shutil.copy(empty, folder / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ABLATION_HOME", str(folder))
        assert run.main([*tiny_trial(write_table(folder / "table.csv")), "study=browsed", "cell=gru"]) == 0
    return folder


@contextlib.contextmanager
def serving(command, *, cwd):
    """Starts a server on a free local port, waits for its first response, and stops it at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    server = subprocess.Popen(
        [sys.executable, "-m", *command, "--port", str(port)],
        cwd=cwd,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(240):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(address, timeout=5).close()
                break
            time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=30)


def page(address, folder, *, text):
    """Returns the document of a page after its scripts have run; repeats until it contains the text."""
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += " --disable-component-update --disable-sync"
    command = [
        CHROMIUM,
        *flags.split(),
        f"--user-data-dir={folder}",
        "--virtual-time-budget=30000",
        "--dump-dom",
        address,
    ]
    for _ in range(4):  # on a busy machine, the first attempt may end before the server responds
        document = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
        if text in document:
            break
    return document


def test_mlflow_shows_the_study_run(home, tmp_path):
    with serving(["mlflow", "ui", "--workers", "1"], cwd=home) as address:
        assert "study browsed" in page(f"{address}/#/experiments/1/runs", tmp_path, text="study browsed")


def test_tensorboard_shows_the_trial_by_its_toggles(home, tmp_path):
    with serving(["tensorboard.main", "--logdir", "outputs"], cwd=home) as address:
        assert "bucketing=false" in page(f"{address}/#timeseries", tmp_path, text="bucketing=false")
