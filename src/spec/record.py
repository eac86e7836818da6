"""What training says while it goes on: plain records, named as the contract names their metrics."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

START, GRAPH, STEP, EVALUATION, HISTOGRAMS, SYSTEM, SAMPLES, END = (
    "start",
    "graph",
    "step",
    "evaluation",
    "histograms",
    "system",
    "samples",
    "end",
)
FINISHED, FAILED, KILLED = "FINISHED", "FAILED", "KILLED"  # how an attempt ended
GRADIENT_NORM = "train/gradient_norm"
ADDRESS = "tracking_uri"  # part of a start's detail: the store that the trial is meant for, null for the default one
EXTRAS = "tensorboard"  # folder within a trial's: files that TensorBoard shows and that are no events
METRICS = "metrics"  # part of a start's detail: what the task's metrics mean, as `metric.as_records` writes them


@dataclass(frozen=True)
class Record:
    """One thing that happened.

    Attributes:
      kind: `start`, `graph`, `step`, `evaluation`, `histograms`, `system`, `samples` or `end`.
      step: optimizer steps done by then.
      metrics: name → value; step of a metric = optimizer step.
      detail: what else the kind carries, plain values only.
    """

    kind: str
    step: int
    metrics: dict[str, float] = field(default_factory=dict)
    detail: dict[str, Any] = field(default_factory=dict)


def end(
    *, step: int, status: str, error: str | None = None, metrics: dict[str, float] | None = None, **detail: Any
) -> Record:
    """Returns the last record of an attempt.

    Args:
      step: optimizer steps done.
      status: FINISHED, FAILED or KILLED.
      error: one line that says why, unless it finished.
      metrics: of the whole trial.
      **detail: `tags` and `artifacts` (names of files in the trial's folder).
    """
    return Record(END, step, metrics or {}, {"status": status, "error": error, "tags": {}, "artifacts": [], **detail})
