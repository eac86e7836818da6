"""Whether a trial's result means anything."""

from __future__ import annotations

from collections.abc import Sequence

from src.spec.metric import Metric

OK, DIVERGED, NO_LEARNING, RETRACING = "ok", "diverged", "no_learning", "retracing"


class Diverged(ArithmeticError):
    """Training met a number that is not finite.

    Attributes:
      step: the optimizer step at which it did.
    """

    def __init__(self, step: int, what: str) -> None:
        """Says at which step, and what was not finite."""
        super().__init__(f"{what} is not finite at step {step}; try a smaller learning_rate, or set clip_norm=1")
        self.step = step


def judge(metric: Metric, values: Sequence[float], *, chance: float | None, traces: int, expected: int = 2) -> str:
    """Returns the tag `ablation.health` of a trial that came to its end.

    Args:
      metric: the task's first one.
      values: its validation value after each epoch, at least one.
      chance: value that a constant guess may reach by chance; None where nobody knows it.
      traces: how often the training step was traced or, under XLA, compiled.
      expected: how often that is in order: once for whole batches and once for smaller ones, of every shape under XLA.

    Returns:
      `no_learning`: the best value is not better than chance; `retracing`: more traces than expected; `ok` otherwise.
    """
    if chance is not None and not any(metric.is_better(value, chance) for value in values):
        return NO_LEARNING
    return RETRACING if traces > expected else OK
