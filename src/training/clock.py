"""Times per batch and per epoch, and peak memory."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Timing:
    """The times of one optimizer step.

    Attributes:
      epoch: counted from 1.
      batch_ms: milliseconds from the request for the first batch to the end of the step, including input wait.
      wait_ms: input wait in milliseconds, a part of `batch_ms`.
      shapes: (B, T) of each batch; several if gradients are accumulated.
      tokens: real positions in the batches; `positions` - tokens are padding.
      traces: number of traces; under XLA, which compiles each shape, at least the number of new shapes.
      is_profiled: whether the profiler recorded the step.
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
        """Whether its time includes tracing, compilation or profiling."""
        return self.traces > 0 or self.is_profiled

    @property
    def examples(self) -> int:
        """Number of examples in its batches."""
        return sum(rows for rows, _ in self.shapes)

    @property
    def positions(self) -> int:
        """Number of positions in its batches, including padding."""
        return sum(rows * steps for rows, steps in self.shapes)


def summary(timings: Sequence[Timing], *, has_padding: bool = True) -> dict[str, float]:
    """Returns the metrics of a trial's times and padding.

    `time/train_s` is the time of all steps, including their input wait. `time/trace_s` is the part of it that belongs
    to steps with tracing, compilation or profiling. Times per batch and tokens per second are computed from the other
    steps, the steady state; they are left out if there is no such step. Tokens per second are also left out if no
    batch contains sequences, and `data/padding_fraction` is left out without padding.

    Args:
      timings: all steps, at least one.
      has_padding: whether batches may contain padding.
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
    """Returns the training time of an epoch, and its estimate for the steady state.

    Args:
      timings: steps of a trial.
      epoch: counted from 1; it has at least one step.

    Returns:
      `time/epoch_s`, the seconds of all its steps, including their input wait. `time/steady_epoch_s`, the same with
      the mean time of the steady steps in place of the time of each step with tracing, compilation or profiling; it
      is left out if there is no steady step.
    """
    of_epoch = [timing for timing in timings if timing.epoch == epoch]
    steady = [timing.batch_ms for timing in of_epoch if not timing.is_first]
    times = {"time/epoch_s": sum(timing.batch_ms for timing in of_epoch) / 1_000}
    return times | ({"time/steady_epoch_s": sum(steady) / len(steady) * len(of_epoch) / 1_000} if steady else {})


def shapes_digest(timings: Sequence[Timing]) -> str:
    """Returns a hash of the shapes of all batches in order, the tag `ablation.batches`."""
    return hashlib.blake2b(
        str([shape for timing in timings for shape in timing.shapes]).encode(), digest_size=8
    ).hexdigest()


def reset_peak_memory() -> None:
    """Resets the peak memory of this process, so that it does not include a worker's earlier trials (Linux only)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        pass  # on other systems the peak is that of the whole process


def peak_memory_mb() -> float:
    """Returns the peak resident set size since `reset_peak_memory`, in megabytes."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 2**20 if sys.platform == "darwin" else peak / 1024
