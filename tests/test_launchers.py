from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from omegaconf import OmegaConf

from hydra_plugins.ablation_sweeper import launchers
from src.paths import REPOSITORY
from src.spec.section import SettingsError

JOBLIB = {
    "_target_": "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher",
    "n_jobs": -1,
    "batch_size": "auto",
}
RAY = {
    "_target_": "hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher",
    "ray": {"init": {"address": None}, "remote": {}},
}
BASIC = {"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher"}


def configured(values):
    return launchers.configured(OmegaConf.create(values))


@pytest.mark.parametrize(
    ("values", "workers"),
    [
        (BASIC, 1),
        (JOBLIB, os.cpu_count()),
        ({**JOBLIB, "n_jobs": 3}, 3),
        ({**RAY, "ray": {"init": {"num_cpus": 8}, "remote": {"num_cpus": 2}}}, 4),
        ({"_target_": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"}, 1),
    ],
)
def test_the_number_of_parallel_trials_follows_from_the_launcher(values, workers):
    assert launchers.workers(configured(values)) == workers


def test_joblib_dispatches_one_trial_per_worker_and_no_more():
    assert (configured(JOBLIB).batch_size, configured(JOBLIB).pre_dispatch) == (1, "n_jobs")


def test_ray_uses_one_core_per_trial_and_keeps_the_users_options():
    remote = configured({**RAY, "ray": {"init": {"address": "auto"}, "remote": {"num_gpus": 1, "max_calls": 1}}}).ray

    assert (remote.remote.num_cpus, remote.remote.num_gpus, remote.remote.max_calls, remote.remote.max_retries) == (
        1,
        1,
        1,
        0,
    )
    assert remote.init.address == "auto" and remote.init.include_dashboard is False
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


DRIVER = """
import os, sys, time
import joblib, numpy
from hydra_plugins.ablation_sweeper import launchers

def train(numbers, seconds):
    open(f"began {os.getpid()}", "w").close()
    time.sleep(seconds)

jobs = [joblib.delayed(train)(numpy.zeros(1_000_000), float(seconds)) for seconds in sys.argv[1:]]
options = {"batch_size": 1, "pre_dispatch": "n_jobs", **launchers.of_workers(os.getpid())}
joblib.Parallel(n_jobs=2, backend="loky", **options)(jobs)
open("done", "w").close()
time.sleep(60)
"""


def left_behind(pid):
    """Returns the names that a process with joblib has in shared memory."""
    return [
        name
        for name in os.listdir("/dev/shm")
        if name.startswith((f"sem.loky-{pid}-", f"joblib_memmapping_folder_{pid}_"))
    ]


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="shared memory is not a folder here")
@pytest.mark.parametrize(
    ("seconds", "moment"),
    [(["60"], "one worker never had a trial"), (["60", "60"], "both have one"), (["0", "0"], "all trials are over")],
)
def test_a_killed_sweep_leaves_no_processes_and_no_shared_memory(tmp_path, seconds, moment):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, *seconds], cwd=tmp_path, env=environment)
    end = time.monotonic() + 60
    while len(list(tmp_path.glob("began *"))) < len(set(seconds)) or (
        moment.startswith("all") and not (tmp_path / "done").exists()
    ):
        assert time.monotonic() < end and driver.poll() is None
        time.sleep(0.1)
    others = psutil.Process(driver.pid).children(recursive=True)
    assert len(others) >= 3 and left_behind(driver.pid)  # two workers and loky's tracker

    driver.kill()
    driver.wait()

    assert psutil.wait_procs(others, timeout=20)[1] == []
    assert left_behind(driver.pid) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (None, "hydra.launcher: got null; a launcher is chosen by name, as in hydra/launcher=basic"),
        ("joblib", "hydra.launcher: got joblib; a launcher is chosen by name"),
        ({"n_jobs": 2}, "hydra.launcher: got {'n_jobs': 2}; a launcher is chosen by name"),
        ({**JOBLIB, "n_jobs": 0}, "hydra.launcher.n_jobs: got 0; allowed: 1 or more workers, or -1 for one per core"),
        (
            {**RAY, "ray": {"init": {}, "remote": {"num_cpus": 0}}},
            "hydra.launcher.ray.remote.num_cpus: got 0; allowed: a number above 0",
        ),
        ({**RAY, "ray": {"init": {}, "remote": {"num_cpus": "x"}}}, "hydra.launcher.ray.remote.num_cpus: got x"),
        ({**RAY, "ray": {"init": {"num_cpus": 0}, "remote": {}}}, "hydra.launcher.ray.init.num_cpus: got 0"),
    ],
)
def test_a_launcher_that_cannot_train_is_refused(values, message):
    with pytest.raises(SettingsError) as caught:
        launchers.configured(OmegaConf.create({"launcher": values}).launcher)

    assert message in str(caught.value)
