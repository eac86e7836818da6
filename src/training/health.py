"""The health of a trial: did it learn or retrace?"""

from __future__ import annotations

from collections.abc import Sequence

from src.spec.metric import Metric
from src.spec.record import NO_LEARNING, OK, RETRACING


def judge(metric: Metric, values: Sequence[float], *, chance: float | None, traces: int, expected: int = 2) -> str:
    """Returns the tag `ablation.health` of a finished trial.

    Args:
      metric: the task's first metric.
      values: its validation value after each epoch, at least one.
      chance: value that a constant guess may reach by chance; None if unknown.
      traces: how often the training step was traced or, under XLA, compiled.
      expected: the normal number of traces: one for full batches and one for smaller ones; under XLA, as many for each
        shape.

    Returns:
      `no_learning`: the best value is not better than chance; `retracing`: more traces than expected; `ok` otherwise.
    """
    if chance is not None and not any(metric.is_better(value, chance) for value in values):
        return NO_LEARNING
    return RETRACING if traces > expected else OK
