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
# highest of a trial, at whatever step: MLflow sorts by the last value of a metric, and val/accuracy is a curve
BEST_VALIDATION = "best/val_accuracy"
GRADIENT_NORM = "train/gradient_norm"


def steps_to(threshold: float) -> str:
    """Returns the name of the metric that says when validation accuracy reached a threshold: `steps_to/val_accuracy_0.80`."""
    return f"steps_to/val_accuracy_{max(f'{threshold:.2f}', f'{threshold:g}', key=len)}"


ADDRESS = "tracking_uri"  # part of a start's detail: the store that the trial is meant for, null for the default one


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
