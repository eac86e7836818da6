"""SGD that averages its weights once validation has stalled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf


class NTASGD(keras.optimizers.SGD):
    r"""Non-monotonically triggered averaged SGD, NT-ASGD.

        average = (w_T + w_{T+1} + … + w_k) / (k - T + 1)

    w_k are the weights after k steps of SGD, which averaging does not change. T is the step of the first validation at
    which `has_stalled` holds. All state is variables of the optimizer, so that a checkpoint holds it.

    Source: Merity, Keskar and Socher, "Regularizing and Optimizing LSTM Language Models", ICLR 2018, Algorithm 1. The
    logging interval L is up to the caller, who calls `trigger` after each validation.
    """

    def __init__(self, *args: Any, interval: int, **options: Any) -> None:
        """Creates the optimizer.

        Args:
          *args: those of Keras' SGD.
          interval: the non-monotone interval n, at least 1; see `has_stalled`.
          **options: those of Keras' SGD.
        """
        super().__init__(*args, **options)
        self._interval = interval

    def build(self, variables: Sequence[Any]) -> None:
        """Creates the averages and the number of averaged weights."""
        if self.built:
            return
        super().build(variables)
        self._averages = self.add_optimizer_variables(variables, "average")
        self._count = self.add_variable((), dtype="int32", name="count")

    @property
    def count(self) -> int:
        """The number of averaged weights, k - T + 1; 0 before averaging begins."""
        return int(self._count.numpy())

    def begins(self, *, steps: int) -> str | None:
        """Returns the step whose weights are the first averaged ones, after `steps`; None before averaging begins."""
        return f"step {steps - self.count + 1}" if self.count else None

    def epoch_ended(self, epoch: int) -> None:
        """Does nothing: each step has updated the averages."""

    def trigger(self, validations: Sequence[float]) -> None:
        """Begins to average, with the current weights, if validation has stalled.

        Args:
          validations: the value of every validation so far; lower is better.
        """
        if not self.count and has_stalled(validations, self._interval):
            self._add()

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        """Takes a step of SGD and, if averaging has begun, adds the new weights to the averages."""
        super().apply(grads, trainable_variables)
        tf.cond(self._count.value > 0, self._add, lambda: tf.constant(0))

    def _add(self) -> Any:
        self._count.assign_add(1)
        count = tf.cast(self._count.value, tf.float32)
        for average, variable in zip(self._averages, self._trainable_variables, strict=True):
            average.assign_add((variable.value - average.value) / count)
        return tf.constant(0)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Gives the model the averages, if averaging has begun; at the end it gets its trained weights back."""
        if not self.count:
            yield
            return
        trained = [variable.numpy() for variable in self._trainable_variables]
        try:
            self._give(self._averages)
            yield
        finally:
            self._give(trained)

    def _give(self, weights: Sequence[Any]) -> None:
        for variable, value in zip(self._trainable_variables, weights, strict=True):
            variable.assign(value)


def has_stalled(validations: Sequence[float], interval: int) -> bool:
    """Returns whether the last value is above the lowest one of those before it, the latest `interval` left out.

    With `interval` earlier values or fewer there is nothing to compare with, and the result is false.
    """
    *earlier, last = validations
    return len(earlier) > interval and last > min(earlier[:-interval])
