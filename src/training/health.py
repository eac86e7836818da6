"""Whether a trial's result means anything."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

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


def judge(*, accuracies: Sequence[float], labels: np.ndarray, traces: int, expected: int = 2) -> str:
    """Returns the tag `ablation.health` of a trial that came to its end.

    Args:
      accuracies: validation accuracy after each epoch, at least one.
      labels: int[N] of the validation split.
      traces: how often the training step was traced or, under XLA, compiled.
      expected: how often that is in order: once for whole batches and once for smaller ones, of every bucket under XLA.

    Returns:
      `no_learning`: the best accuracy is less than two standard errors above the share p of the largest class,
      sqrt(p (1 - p) / N) each; `retracing`: more traces than expected; `ok` otherwise.
    """
    largest = np.bincount(labels).max() / len(labels)
    noise = 2 * math.sqrt(largest * (1 - largest) / len(labels))
    if max(accuracies) < largest + noise:
        return NO_LEARNING
    return RETRACING if traces > expected else OK
