"""The health of a trial: did it learn or retrace?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from src.spec.metric import VAL, Metric
from src.spec.record import NO_LEARNING, OK, RETRACING


def judge(
    chances: Mapping[Metric, float], epochs: Sequence[Mapping[str, float]], *, traces: int, expected: int = 2
) -> str:
    """Returns the tag `ablation.health` of a finished trial.

    Args:
      chances: metric → value that a trial which learnt nothing may reach by chance; empty if unknown.
      epochs: the validation values of all metrics after each epoch, at least one.
      traces: how often the training step was traced or, under XLA, compiled.
      expected: the normal number of traces: one for full batches and one for smaller ones; under XLA, as many for each
        shape.

    Returns:
      `no_learning`: no value of these metrics is better than chance; `retracing`: more traces than expected; `ok`
      otherwise.
    """
    if chances and not any(is_better_than_chance(chances, epoch, VAL) for epoch in epochs):
        return NO_LEARNING
    return RETRACING if traces > expected else OK


def is_better_than_chance(chances: Mapping[Metric, float], values: Mapping[str, float], split: str) -> bool:
    """Returns whether one of the metrics of a split (`val/`, `test/`) is better than chance, or chance is unknown."""
    return not chances or any(metric.is_better(values[f"{split}{metric.name}"], by) for metric, by in chances.items())
