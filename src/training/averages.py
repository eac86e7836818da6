"""Averages of a model's weights over the steps or the epochs of training; see `phase.Averaging`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, final

import keras

from src.spec.settings import Settings
from src.training.phase import Averaging


def averages(optimizer: keras.optimizers.Optimizer, settings: Settings) -> Averaging | None:
    """Returns the averages of `averaging`, whose state is variables of the optimizer; None for none.

    Args:
      optimizer: from `update.new_optimizer`, with all of its variables created.
      settings: `averaging` and `epochs`.
    """
    if settings.averaging == "ema":
        return MovingAverage(optimizer)
    return EpochAverage(optimizer, epochs=settings.epochs) if settings.averaging == "swa" else None


@contextmanager
def swapped(variables: Sequence[Any], weights: Sequence[Any]) -> Iterator[None]:
    """Gives variables other values; at the end they get their own back."""
    own = [variable.numpy() for variable in variables]
    try:
        _give(variables, weights)
        yield
    finally:
        _give(variables, own)


def _give(variables: Sequence[Any], weights: Sequence[Any]) -> None:
    for variable, value in zip(variables, weights, strict=True):
        variable.assign(value)


@final
class MovingAverage:
    r"""The exponential moving average of the weights, which Keras' optimizer computes (`use_ema`).

    a_1 = w_1        a_s = m a_{s - 1} + (1 - m) w_s        m = ema_momentum, w_s the weights after step s
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer) -> None:
        """Takes an optimizer that was created with `use_ema=True`."""
        self._optimizer = optimizer

    def begins(self, *, steps: int) -> str | None:
        """Returns the first step whose weights are averaged."""
        return "step 1" if steps else None

    def epoch_ended(self, epoch: int) -> None:
        """Does nothing: each step has updated the average."""

    def trigger(self, validations: Sequence[float]) -> None:
        """Does nothing: averaging has begun."""

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Gives the model the averages; at the end it gets its trained weights back."""
        if not int(self._optimizer.iterations.numpy()):
            yield
            return
        with swapped(self._optimizer._trainable_variables, self._optimizer._model_variables_moving_average):
            yield


@final
class EpochAverage:
    r"""The mean of the weights after each epoch of the second half of training.

        a_e = (w_b + w_{b + 1} + … + w_e) / (e - b + 1)        b = floor(epochs / 2) + 1

    Source: Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", UAI 2018, Algorithm 1,
    with a cycle of one epoch. Ours, not the paper's: it begins after half of the epochs, and the learning rate is that
    of `schedule`. The statistics of batch normalisation are not computed again.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer, *, epochs: int) -> None:
        """Creates the averages and their number as variables of the optimizer."""
        self._variables = optimizer._trainable_variables
        self._averages = optimizer.add_optimizer_variables(self._variables, "epoch_average")
        self._count = optimizer.add_variable((), dtype="int32", name="averaged_epochs")
        self._first = math.floor(epochs / 2) + 1

    def begins(self, *, steps: int) -> str | None:
        """Returns the first epoch whose weights are averaged; None before averaging begins."""
        return f"epoch {self._first}" if int(self._count.numpy()) else None

    def epoch_ended(self, epoch: int) -> None:
        """Adds the weights after an epoch, counted from 1, if it is of the second half."""
        if epoch < self._first:
            return
        self._count.assign(self._count + 1)
        count = float(self._count.numpy())
        for average, variable in zip(self._averages, self._variables, strict=True):
            average.assign(average + (variable - average) / count)

    def trigger(self, validations: Sequence[float]) -> None:
        """Does nothing: the number of epochs decides when averaging begins."""

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Gives the model the averages, if averaging has begun; at the end it gets its trained weights back."""
        if not int(self._count.numpy()):
            yield
            return
        with swapped(self._variables, self._averages):
            yield
