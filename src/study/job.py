"""One job of a sweep: a trial, in whatever process Hydra's launcher gives it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from omegaconf import DictConfig

from src import paths, trial
from src.settings import from_hydra
from src.tracking.journal import FAILED

STOP = "stop"
SKIPPED = "SKIPPED"


class Sweep(NamedTuple):
    """What a job knows of its sweep; it travels in `hydra.job.env_set`, which every launcher carries to its workers.

    Attributes:
      workers: trials that run side by side on one machine.
      planned_ms: when the sweep was planned, in milliseconds since 1970. What has finished since then is not trained again.
      is_child: whether the worker is a child of the process that sweeps, and ends with it.
    """

    workers: int
    planned_ms: int
    is_child: bool

    def as_environment(self) -> dict[str, str]:
        """Returns the sweep as environment variables; side by side, each TensorFlow gets one thread."""
        threads = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"} if self.workers > 1 else {}
        return {f"ABLATION_{name.upper()}": str(int(value)) for name, value in self._asdict().items()} | threads

    @classmethod
    def of_environment(cls, values: Mapping[str, str]) -> Sweep:
        """Returns the sweep that `as_environment` wrote."""
        number = {name: int(values[f"ABLATION_{name.upper()}"]) for name in cls._fields}
        return cls(number["workers"], number["planned_ms"], bool(number["is_child"]))


def run(cfg: DictConfig) -> str:
    """Trains the trial of a composed configuration; returns FINISHED, FAILED, or SKIPPED where the study has been stopped."""
    settings, sweep = from_hydra(cfg), Sweep.of_environment(os.environ)
    stop = paths.study_folder(settings.study) / STOP
    if stop.exists():
        return SKIPPED
    with _ending_with_its_parent(sweep.is_child):
        status = trial.run(settings, workers=sweep.workers, planned_ms=sweep.planned_ms)
    if status == FAILED and settings.fail_fast:
        stop.write_text("a trial failed, and fail_fast=true", encoding="utf-8")
    return status


@contextmanager
def _ending_with_its_parent(is_child: bool) -> Iterator[None]:
    """Stops the trial with a record when the process that sweeps is gone: nobody would know that it still runs."""
    if not is_child:
        yield
        return
    parent, is_over = os.getppid(), threading.Event()

    def watch() -> None:
        while not is_over.wait(1.0):
            if os.getppid() != parent:
                os.kill(os.getpid(), signal.SIGTERM)
                return

    threading.Thread(target=watch, daemon=True, name="parent watch").start()
    try:
        yield
    finally:
        is_over.set()
