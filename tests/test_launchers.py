from __future__ import annotations

import os

import pytest
from omegaconf import OmegaConf

from hydra_plugins.ablation_sweeper import launchers
from src.settings import SettingsError

JOBLIB = {"_target_": "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher", "n_jobs": -1, "batch_size": "auto"}
RAY = {"_target_": "hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher", "ray": {"init": {"address": None}, "remote": {}}}
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
def test_how_many_trials_run_side_by_side_is_known(values, workers):
    assert launchers.workers(configured(values)) == workers


def test_joblib_hands_out_one_trial_at_a_time_and_keeps_the_rest():
    assert (configured(JOBLIB).batch_size, configured(JOBLIB).pre_dispatch) == (1, "n_jobs")


def test_ray_takes_a_core_a_trial_and_what_the_user_set_stays():
    remote = configured({**RAY, "ray": {"init": {"address": "auto"}, "remote": {"num_gpus": 1, "max_calls": 1}}}).ray

    assert (remote.remote.num_cpus, remote.remote.num_gpus, remote.remote.max_calls, remote.remote.max_retries) == (1, 1, 1, 0)
    assert remote.init.address == "auto" and remote.init.include_dashboard is False
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (None, "hydra.launcher: got null; a launcher is chosen by its name. Try hydra/launcher=basic"),
        ("joblib", "hydra.launcher: got joblib; a launcher is chosen by its name"),
        ({"n_jobs": 2}, "hydra.launcher: got {'n_jobs': 2}; a launcher is chosen by its name"),
        ({**JOBLIB, "n_jobs": 0}, "hydra.launcher.n_jobs: got 0; allowed: a number of workers from 1, or -1 for all cores"),
        ({**RAY, "ray": {"init": {}, "remote": {"num_cpus": 0}}}, "hydra.launcher.ray.remote.num_cpus: got 0; allowed: a number above 0"),
        ({**RAY, "ray": {"init": {}, "remote": {"num_cpus": "x"}}}, "hydra.launcher.ray.remote.num_cpus: got x"),
        ({**RAY, "ray": {"init": {"num_cpus": 0}, "remote": {}}}, "hydra.launcher.ray.init.num_cpus: got 0"),
    ],
)
def test_a_launcher_that_cannot_train_is_refused(values, message):
    with pytest.raises(SettingsError) as caught:
        launchers.configured(OmegaConf.create({"launcher": values}).launcher)

    assert message in str(caught.value)
