"""Profiles a few optimizer steps for TensorBoard's profile page."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from src.spec.record import STEP, Record
from src.training.clock import Timing

BEFORE = 10  # steps before the profile, which trace graphs and fill caches
COUNT = 10  # steps of `tracking.profile=true`


def profiled(
    records: Iterator[Record], count: int | bool | None, folder: Path, *, of: int, timings: list[Timing]
) -> Iterator[Record]:
    """Yields the records of training, and profiles the steps after the first ten, or the last steps of a short trial.

    A profiled step takes longer, so its record and its timing mark it as not steady. If a trial resumes after some of
    these steps and the profile is not finished, it profiles the next steps, except its first one, which traces.

    Args:
      records: records of training.
      count: number of steps to profile; True means ten, False and None disable profiling.
      folder: parent folder of the profile, whose name is `profile`.
      of: number of steps of the trial.
      timings: one per step, updated by training; it includes the steps of earlier processes.
    """
    if not count:
        yield from records
        return
    count = COUNT if count is True else count
    first, done = min(BEFORE, max(1, of - count)) + 1, len(timings)
    if done and done >= first + count - 1 and (folder / "profile").is_dir():  # an earlier process has profiled them
        yield from records
        return
    if done and done >= first - 1:
        first = done + 2
    last, is_open = min(of, first + count - 1), False
    try:
        while (record := _next(records, step=len(timings) + 1 if is_open else None)) is not None:
            if record.kind == STEP and is_open:
                timings[-1] = dataclasses.replace(timings[-1], is_profiled=True)
                record.detail["is_first"] = True
            if record.kind == STEP and record.step == first - 1:
                for old in ("plugins", "profile"):  # left by a process that was killed after its last checkpoint
                    shutil.rmtree(folder / old, ignore_errors=True)
                tf.profiler.experimental.start(str(folder))
                is_open = True
            elif record.kind == STEP and record.step == last and is_open:
                _stop(folder)
                is_open = False
            yield record
    finally:
        if is_open:
            _stop(folder)


def _next(records: Iterator[Record], *, step: int | None) -> Record | None:
    """Returns the next record, or None at the end; if `step` is given, the profile shows the work as that step."""
    with contextlib.nullcontext() if step is None else tf.profiler.experimental.Trace("train", step_num=step, _r=1):
        return next(records, None)


def _stop(folder: Path) -> None:
    """Stops the profiler and moves its files to a folder that TensorBoard does not read.

    The replay copies them to the trial's run, so that TensorBoard shows them only once.
    """
    tf.profiler.experimental.stop()
    os.replace(folder / "plugins" / "profile", folder / "profile")
