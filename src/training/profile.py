"""A profile of some optimizer steps, for TensorBoard's profile page."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from src.training.clock import Timing
from src.training.records import STEP, Record

BEFORE = 10  # steps, in which graphs are traced and caches filled


def profiled(records: Iterator[Record], count: int | None, folder: Path, *, of: int, timings: list[Timing]) -> Iterator[Record]:
    """Yields the records of training, and profiles the steps after the first ten, or the last ones where a trial has fewer.

    A profiled step takes longer: its record and its time say that it is none of a steady state.

    Args:
      records: of training.
      count: how many steps to profile; None for none.
      folder: where the profile is written.
      of: how many steps the trial has.
      timings: one a step, as training fills them.
    """
    if count is None:
        yield from records
        return
    first = min(BEFORE, max(1, of - count)) + 1
    last, is_open = min(of, first + count - 1), False
    try:
        for record in records:
            if record.kind == STEP and is_open:
                timings[-1] = dataclasses.replace(timings[-1], is_profiled=True)
                record.detail["is_first"] = True
            if record.kind == STEP and record.step == first - 1:
                tf.profiler.experimental.start(str(folder))
                is_open = True
            elif record.kind == STEP and record.step == last and is_open:
                tf.profiler.experimental.stop()
                is_open = False
            yield record
    finally:
        if is_open:
            tf.profiler.experimental.stop()
