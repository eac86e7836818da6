"""One job of a sweep: it trains one trial in a process of Hydra's launcher."""

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

from src import own_code, paths, registry
from src.config.settings import from_hydra
from src.terminal.errors import FULL
from src.tracking.journal import FAILED, KILLED
from src.trial import run as trial
from src.trial.signals import Stopped

STOP = "stop"
# Environment variables of a job; VARIANT and CHANGES are percent-encoded.
POSITION = "ABLATION_POSITION"  # position of the trial in the order of its plan
VARIANT = "ABLATION_VARIANT"  # name of the trial in the plan, without its seed
CHANGES = "ABLATION_CHANGES"  # how the trial differs from the reference of its plan
ENDED = "ABLATION_ENDED"  # the attempt of the trial that had ended when the plan was made; empty for none
IDENTITY = "ABLATION_IDENTITY"  # identity of the trial in the plan
SKIPPED = "SKIPPED"

_training = threading.Lock()


class Sweep(NamedTuple):
    """What a job knows about its sweep. Every launcher passes it to its workers in `hydra.job.env_set`.

    Attributes:
      workers: number of trials that run at the same time on one machine.
      name: unique name of the sweep; random, because clocks can go back.
      parent: process id of the sweep if the workers are its children and end with it; otherwise 0.
    """

    workers: int
    name: str
    parent: int

    def as_environment(self) -> dict[str, str]:
        """Returns the sweep as environment variables; with several workers, each TensorFlow gets one thread."""
        threads = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"} if self.workers > 1 else {}
        return {f"ABLATION_{name.upper()}": str(value) for name, value in self._asdict().items()} | threads

    @classmethod
    def of_environment(cls, values: Mapping[str, str]) -> Sweep:
        """Returns the sweep that `as_environment` wrote."""
        return cls(int(values["ABLATION_WORKERS"]), values["ABLATION_NAME"], int(values["ABLATION_PARENT"]))

    def stop_file(self, study: Path) -> Path:
        """Returns the file in a study's folder that stops this sweep alone from starting further trials."""
        return study / f"{STOP}.{self.name}"

    def why_stopped(self, study: Path) -> str | None:
        """Returns why no further trial may start, or None; a user's file `stop` stops every sweep of the study."""
        if (study / STOP).exists():
            return f"the file {study / STOP} exists; remove it"
        own = self.stop_file(study)
        if not own.exists():
            return None
        return own.read_text(encoding="utf-8") or FULL  # on a full disk the file is created without its text


def run(cfg: DictConfig) -> str:
    """Trains the trial of a composed configuration; returns its status, or SKIPPED if the study was stopped.

    Raises:
      KeyboardInterrupt: the sweep itself was stopped. If SIGTERM stops a worker alone, the result is KILLED and the
        sweep continues.
    """
    if HydraConfig.initialized():
        words = HydraConfig.get().overrides.task
        registry.named(words)  # a worker's process has another command line
        own_code.named(words)
    settings, sweep = from_hydra(cfg), Sweep.of_environment(os.environ)
    study = paths.study_folder(settings.study)
    is_child = sweep.parent not in (0, os.getpid())  # with one worker, joblib trains in the process of the sweep
    if is_child:
        end_with(sweep.parent)
    if sweep.why_stopped(study):
        return SKIPPED
    try:
        with _training:
            ended, planned = os.environ.get(ENDED, ""), os.environ.get(IDENTITY)
            status = trial.run(settings, place=_place(sweep), ended_before=ended, planned=planned)
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
    if status == KILLED:  # the disk is full: later trials would train for hours and could not write their files
        _stop(sweep, study, FULL)
    return status


def _place(sweep: Sweep) -> trial.Place:
    """Returns the place of the job's trial in its study, read from the environment."""
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
    """Ends this worker when the process of the sweep has ended; a trial that runs is stopped and recorded first.

    joblib's workers call it when they start. Otherwise workers without a trial would never end and would keep
    semaphores and folders in shared memory. loky's tracker process removes those once the last worker has ended.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        is_idle = _training.acquire(blocking=False)
        while not is_idle:
            os.kill(os.getpid(), signal.SIGTERM)
            is_idle = _training.acquire(timeout=30)  # time for a trial to write its end
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent watch").start()
