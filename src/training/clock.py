"""Time per batch and peak memory, from the steps of a trial."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Timing:
    """One optimizer step on a clock.

    Attributes:
      epoch: counted from 1.
      batch_ms: milliseconds from asking for the first batch to the end of the step, input wait included.
      wait_ms: milliseconds of that spent waiting for input.
      shapes: (B, T) of its batches, several where gradients are accumulated.
      tokens: real positions in them; `positions` - tokens are padding.
      traces: how often it traced, or met a new shape under XLA, which compiles each shape.
      is_profiled: whether the profiler watched it.
    """

    epoch: int
    batch_ms: float
    wait_ms: float
    shapes: tuple[tuple[int, int], ...]
    tokens: int
    traces: int
    is_profiled: bool = False

    @property
    def is_first(self) -> bool:
        """Whether tracing, compiling or the profiler is in its time."""
        return self.traces > 0 or self.is_profiled

    @property
    def examples(self) -> int:
        """Examples in its batches."""
        return sum(rows for rows, _ in self.shapes)

    @property
    def positions(self) -> int:
        """Positions in its batches, real ones and padding."""
        return sum(rows * steps for rows, steps in self.shapes)


def summary(timings: Sequence[Timing], *, has_padding: bool = True) -> dict[str, float]:
    """Returns what the steps of a trial say of its times and its padding.

    `time/train_s` is what training took, with every step and its wait for input; `time/trace_s` is the part of it that
    went to steps which traced or compiled. The times per batch and the tokens per second are of the other steps alone:
    a steady state. Where every step traced, they are left out. Without a batch of sequences there are no tokens, and
    without padding no `data/padding_fraction`.

    Args:
      timings: all steps, at least one.
      has_padding: whether batches may hold padding.
    """
    times = np.array([timing.batch_ms for timing in timings])
    tokens = np.array([timing.tokens for timing in timings])
    positions = np.array([timing.positions for timing in timings])
    is_first = np.array([timing.is_first for timing in timings])
    metrics = {
        "time/train_s": times.sum() / 1_000,
        "time/trace_s": times[is_first].sum() / 1_000,
        **({"data/padding_fraction": 1 - tokens.sum() / positions.sum()} if has_padding else {}),
        "data/traces": sum(timing.traces for timing in timings),
    }
    steady = times[~is_first]
    if len(steady):
        metrics |= {
            "time/batch_ms_median": np.median(steady),
            "time/batch_ms_p10": np.quantile(steady, 0.1),
            "time/batch_ms_p90": np.quantile(steady, 0.9),
        }
        if any(steps > 1 for timing in timings for _, steps in timing.shapes):
            metrics["time/tokens_per_s"] = tokens[~is_first].sum() / steady.sum() * 1_000
    return {name: float(value) for name, value in metrics.items()}


def epoch_times(timings: Sequence[Timing], epoch: int) -> dict[str, float]:
    """Returns what an epoch's training took, and what it takes once nothing is traced any more.

    Args:
      timings: steps of a trial.
      epoch: counted from 1; at least one of the steps is of it.

    Returns:
      `time/epoch_s`, seconds of all its steps with their waits for input; `time/steady_epoch_s`, the same where each
      step that traced or compiled counts as the mean of those that did not. The second is left out where every step
      traced.
    """
    mine = [timing for timing in timings if timing.epoch == epoch]
    steady = [timing.batch_ms for timing in mine if not timing.is_first]
    times = {"time/epoch_s": sum(timing.batch_ms for timing in mine) / 1_000}
    return times | ({"time/steady_epoch_s": sum(steady) / len(steady) * len(mine) / 1_000} if steady else {})


def shapes_digest(timings: Sequence[Timing]) -> str:
    """Returns a hash of the batches' shapes in order, the tag `ablation.batches`."""
    return hashlib.blake2b(
        str([shape for timing in timings for shape in timing.shapes]).encode(), digest_size=8
    ).hexdigest()


def reset_peak_memory() -> None:
    """Resets the peak of this process, so that a worker's trial does not inherit its predecessor's (Linux only)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        pass  # elsewhere the peak is that of the whole process so far


def peak_memory_mb() -> float:
    """Returns the largest resident size since `reset_peak_memory`, in megabytes."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 2**20 if sys.platform == "darwin" else peak / 1024
