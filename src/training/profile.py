"""A profile of some optimizer steps, for TensorBoard's profile page."""

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

BEFORE = 10  # steps, in which graphs are traced and caches filled


def profiled(
    records: Iterator[Record], count: int | None, folder: Path, *, of: int, timings: list[Timing]
) -> Iterator[Record]:
    """Yields the records of training, and profiles the steps after the first ten, or the last ones of a short trial.

    A profiled step takes longer: its record and its time say that it is none of a steady state. A trial that goes on
    where some of these steps are done, and no process has finished the profile, profiles those that come next; its
    first step is left out, because it traces.

    Args:
      records: of training.
      count: how many steps to profile; None for none.
      folder: where the profile is written, as `profile`.
      of: how many steps the trial has.
      timings: one a step, as training fills them; it has those that another process took.
    """
    if count is None:
        yield from records
        return
    first, done = min(BEFORE, max(1, of - count)) + 1, len(timings)
    if done and done >= first + count - 1 and (folder / "profile").is_dir():  # a process before has profiled them
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
                for old in ("plugins", "profile"):  # of a process that was killed after its last checkpoint
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
    """Returns the next record, or None; what made it is a step of the profile where it has a number."""
    with contextlib.nullcontext() if step is None else tf.profiler.experimental.Trace("train", step_num=step, _r=1):
        return next(records, None)


def _stop(folder: Path) -> None:
    """Writes the profile where TensorBoard does not look: it is shown once, under the trial's name."""
    tf.profiler.experimental.stop()
    os.replace(folder / "plugins" / "profile", folder / "profile")
