"""What every task hands to training: batches of inputs with what is to be learnt of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from src.data.batching import Padding

Loss = Literal["sigmoid", "softmax", "squared"]


@dataclass(frozen=True)
class HeldOut:
    """A split that a model is measured on.

    Attributes:
      labels: int32[N], classes counted from 0.
      batches: (inputs, targets, rows int64[B]), every row once.
    """

    labels: np.ndarray
    batches: Callable[[], Iterable[Any]]


@dataclass(frozen=True)
class Problem:
    """What a trial trains on.

    Attributes:
      training: epoch, from 1 → its batches (inputs, targets, rows), in an order or a draw of its own.
      batches_per_epoch: of training.
      held_out: the splits `validation` and `test`.
      loss: what the model's outputs and the targets are compared by.
      padding: how sequences of ids become inputs; None where there are none.
    """

    training: Callable[[int], Iterable[Any]]
    batches_per_epoch: int
    held_out: dict[str, HeldOut]
    loss: Loss
    padding: Padding | None

    @property
    def shapes(self) -> int:
        """How many lengths full batches may have; without buckets a batch may have any."""
        return len(self.padding.edges) if self.padding else 1
