"""Options that a sweep sets in Hydra's launchers in place of their defaults."""

from __future__ import annotations

import os
from typing import Any

from omegaconf import DictConfig, OmegaConf

from src.config.admission import LAUNCHERS
from src.spec.section import SettingsError, as_typed

JOBLIB: dict[str, Any] = {
    "batch_size": 1,  # a worker takes the next trial when it is free
    "pre_dispatch": "n_jobs",  # waiting trials stay in the sweep's process, and end with it
}
RAY: dict[str, Any] = {
    "ray": {
        "init": {
            "include_dashboard": False,
            "log_to_driver": False,
            "configure_logging": False,
            "object_store_memory": None,  # Ray refuses the launcher's default if a cluster already runs
        },
        "remote": {
            "num_cpus": 1,
            "num_gpus": 0,
            "max_calls": 0,  # a worker process stays for many trials: TensorFlow is imported once
            "max_retries": 0,  # the sweep itself decides about retries
        },
    }
}


def configured(launcher: Any) -> DictConfig:
    """Returns a launcher's configuration with the sweep's options; the user's options of Ray take precedence.

    Raises:
      SettingsError: it is not a launcher, or has no workers.
    """
    if not isinstance(launcher, DictConfig) or "_target_" not in launcher:
        name = launcher if launcher in LAUNCHERS else "basic"
        raise SettingsError(
            f"hydra.launcher: got {as_typed(launcher)}; a launcher is chosen by name, as in hydra/launcher={name}"
        )
    if is_joblib(launcher):
        if launcher.n_jobs == 0:
            raise SettingsError("hydra.launcher.n_jobs: got 0; allowed: 1 or more workers, or -1 for one per core")
        return OmegaConf.merge(launcher, JOBLIB)  # type: ignore[return-value]
    if "RayLauncher" in launcher._target_:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        merged = OmegaConf.merge(RAY, OmegaConf.to_container(launcher))
        _refuse_no_cores("hydra.launcher.ray.remote.num_cpus", merged.ray.remote.num_cpus)
        if merged.ray.init.get("num_cpus") is not None:  # null: Ray counts the cores
            _refuse_no_cores("hydra.launcher.ray.init.num_cpus", merged.ray.init.num_cpus)
        return merged  # type: ignore[return-value]
    return launcher


def of_workers(parent: int) -> dict[str, Any]:
    """Returns arguments for joblib that end its workers with the sweep's process, including idle workers."""
    from src.study.job import end_with

    return {"initializer": end_with, "initargs": (parent,)}


def is_joblib(launcher: DictConfig) -> bool:
    """Returns whether trials run in joblib's child processes."""
    return "JoblibLauncher" in launcher._target_


def workers(launcher: DictConfig) -> int:
    """Returns the number of trials that a configured launcher runs in parallel on one machine."""
    if is_joblib(launcher):
        from joblib import effective_n_jobs

        return int(effective_n_jobs(launcher.n_jobs))
    if "RayLauncher" in launcher._target_:
        cores = launcher.ray.init.get("num_cpus") or os.cpu_count() or 1
        return max(1, int(cores // launcher.ray.remote.num_cpus))
    return 1  # Slurm gives each trial its own cores


def _refuse_no_cores(key: str, got: Any) -> None:
    if not isinstance(got, int | float) or got <= 0:
        raise SettingsError(f"{key}: got {as_typed(got)}; allowed: a number above 0, for example {key}=1")
