"""One job of a sweep: a trial, in whatever process Hydra's launcher gives it."""

from __future__ import annotations

import os
import signal
import threading
import time
import urllib.parse
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from src import paths, registry
from src.config.settings import from_hydra
from src.terminal.errors import FULL
from src.tracking.journal import FAILED, KILLED
from src.trial import run as trial
from src.trial.signals import Stopped

STOP = "stop"
POSITION = "ABLATION_POSITION"  # environment variable: where the job's trial stands in the order of its plan
VARIANT = (
    "ABLATION_VARIANT"  # environment variable: what the plan calls the job's trial, without its seed; percent-encoded
)
CHANGES = "ABLATION_CHANGES"  # environment variable: what the job's trial changes of the reference of its plan; percent-encoded
ENDED = "ABLATION_ENDED"  # environment variable: the attempt of the job's trial that had ended when it was planned; empty for none
SKIPPED = "SKIPPED"

_training = threading.Lock()


class Sweep(NamedTuple):
    """What a job knows of its sweep; it travels in `hydra.job.env_set`, which every launcher carries to its workers.

    Attributes:
      workers: trials that run side by side on one machine.
      name: of this sweep and no other; drawn by chance, for clocks go back.
      parent: process id of the sweep whose children the workers are, and with which they end; 0 if they are not.
    """

    workers: int
    name: str
    parent: int

    def as_environment(self) -> dict[str, str]:
        """Returns the sweep as environment variables; side by side, each TensorFlow gets one thread."""
        threads = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"} if self.workers > 1 else {}
        return {f"ABLATION_{name.upper()}": str(value) for name, value in self._asdict().items()} | threads

    @classmethod
    def of_environment(cls, values: Mapping[str, str]) -> Sweep:
        """Returns the sweep that `as_environment` wrote."""
        return cls(int(values["ABLATION_WORKERS"]), values["ABLATION_NAME"], int(values["ABLATION_PARENT"]))

    def stop_file(self, study: Path) -> Path:
        """Returns the file in a study's folder that keeps this sweep, and no other, from beginning further trials."""
        return study / f"{STOP}.{self.name}"

    def why_stopped(self, study: Path) -> str | None:
        """Returns why no further trial may begin, or None; a file `stop` that a user made stops every sweep of the study."""
        if (study / STOP).exists():
            return f"the file {study / STOP} exists; remove it"
        own = self.stop_file(study)
        return (
            (own.read_text(encoding="utf-8") or FULL) if own.exists() else None
        )  # a full disk takes a file without its text


def run(cfg: DictConfig) -> str:
    """Trains the trial of a composed configuration; returns what became of it, or SKIPPED where the study has been stopped.

    Raises:
      KeyboardInterrupt: the sweep itself is to end. A worker alone that is told to stop (SIGTERM) returns KILLED: the sweep goes on.
    """
    if HydraConfig.initialized():
        registry.named(HydraConfig.get().overrides.task)  # in a worker's process, which has another command line
    settings, sweep = from_hydra(cfg), Sweep.of_environment(os.environ)
    study = paths.study_folder(settings.study)
    is_child = sweep.parent not in (0, os.getpid())  # with one worker, joblib stays in the process that sweeps
    if is_child:
        end_with(sweep.parent)
    if sweep.why_stopped(study):
        return SKIPPED
    try:
        with _training:
            status = trial.run(settings, place=_place(sweep), ended_before=os.environ.get(ENDED, ""))
    except Stopped:
        if not is_child:
            raise
        return KILLED
    except Exception:
        if settings.fail_fast:
            _stop(sweep, study, "a trial failed and fail_fast=true")
        raise
    if status == FAILED and settings.fail_fast:
        _stop(sweep, study, "a trial failed and fail_fast=true")
    if status == KILLED:  # the next ones would train for hours, and then have no room for their files either
        _stop(sweep, study, FULL)
    return status


def _place(sweep: Sweep) -> trial.Place:
    """Returns where the job's trial stands in its study, as the environment says."""
    position = int(os.environ[POSITION]) if POSITION in os.environ else None
    variant, changes = (
        urllib.parse.unquote(os.environ[name]) if name in os.environ else None for name in (VARIANT, CHANGES)
    )
    return trial.Place(sweep.workers, position, variant, changes)


def _stop(sweep: Sweep, study: Path, why: str) -> None:
    with suppress(OSError):  # the disk may be full
        sweep.stop_file(study).write_text(why, encoding="utf-8")


@cache
def end_with(parent: int) -> None:
    """Ends this worker when the process that sweeps is gone, after the record of a trial that is under way: nobody would know of either.

    joblib's workers begin with it: without it those that never had a trial would stay for ever, with semaphores and folders in shared
    memory. What is left behind there is removed by loky's tracker process, as soon as the last worker is gone.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        is_idle = _training.acquire(blocking=False)
        while not is_idle:
            os.kill(os.getpid(), signal.SIGTERM)
            is_idle = _training.acquire(timeout=30)  # in which a trial writes its end
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent watch").start()
