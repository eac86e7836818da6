"""The events of a training run as plain records, with the metric names of the contract."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

START, FIRST_PHASE, GRAPH, STEP, EVALUATION, HISTOGRAMS, SYSTEM, EPOCH_SAMPLES, SAMPLES, PICTURES, END = (
    "start",
    "first_phase",
    "graph",
    "step",
    "evaluation",
    "histograms",
    "system",
    "epoch_samples",
    "samples",
    "pictures",
    "end",
)
FINISHED, FAILED, KILLED = "FINISHED", "FAILED", "KILLED"  # how an attempt ended
# The tag `ablation.health`; NO_LEARNING: the trial is no better than chance in validation.
OK, DIVERGED, NO_LEARNING, RETRACING = "ok", "diverged", "no_learning", "retracing"
STOPPED = "ablation.stopped"  # tag: after which epoch `patience` ended training, and why
GRADIENT_NORM = "train/gradient_norm"
ADDRESS = "tracking_uri"  # key of a start's detail: the trial's MLflow store, null for the default store
EXTRAS = "tensorboard"  # folder in a trial's folder: files for TensorBoard that are not event files
FILES = "files"  # key of a detail of pictures: name → PNG file in the trial's folder
METRICS = "metrics"  # key of a start's detail: the task's metrics, as `metric.as_records` writes them


class Diverged(ArithmeticError):
    """The loss or the gradient of training is not finite.

    Attributes:
      step: the optimizer step at which this happened.
      cause: the likely cause with its fix; None if none was found.
    """

    def __init__(self, step: int, what: str) -> None:
        """Creates the error; `what` is "the loss" or "the gradient"."""
        super().__init__(f"{what} is not finite at step {step}; try a smaller learning_rate, or set clip_norm=1")
        self.step = step
        self.cause: str | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One event of a trial.

    Attributes:
      kind: `start`, `first_phase`, `graph`, `step`, `evaluation`, `histograms`, `system`, `epoch_samples`, `samples`,
        `pictures` or `end`.
      step: optimizer steps done so far; of a `first_phase`, those of that phase.
      metrics: name → value; the step of a metric is the optimizer step.
      detail: other plain values, which depend on the kind.
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
      error: one line with the cause, unless it finished.
      metrics: of the whole trial.
      **detail: `tags` and `artifacts` (names of files in the trial's folder).
    """
    return Record(END, step, metrics or {}, {"status": status, "error": error, "tags": {}, "artifacts": [], **detail})
