"""The learning rate over the steps of training. Letters: S steps, W of them warm-up, r the learning rate."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops
from keras.optimizers.schedules import CosineDecay, LearningRateSchedule, PiecewiseConstantDecay, PolynomialDecay

from src.spec.settings import Settings

STEP_AT, STEP_BY = (0.5, 0.75), 10  # shares of the steps after which the rate is divided


@keras.saving.register_keras_serializable("ablation")
class WarmUp(LearningRateSchedule):
    r"""Raises the learning rate linearly, and then follows another schedule.

        r_s = r (s + 1) / W   for s < W        r_s = after_{s - W}   then,  for s = 0, 1, …

    Source: Goyal et al., "Accurate, Large Minibatch SGD", 2017, section 2.2: gradual warm-up. The first step is not
    lost at a rate of 0.
    """

    def __init__(self, rate: float, steps: int, after: LearningRateSchedule | None) -> None:
        """Creates the schedule.

        Args:
          rate: r.
          steps: W, at least 1.
          after: schedule of the steps that follow; None for a constant rate.
        """
        super().__init__()
        self._rate, self._steps, self._after = rate, steps, after

    def __call__(self, step: Any) -> Any:
        """Returns the learning rate of a step, counted from 0."""
        number = ops.cast(step, "float32")
        following = self._after(ops.maximum(number - self._steps, 0.0)) if self._after else self._rate
        return ops.where(number < self._steps, self._rate * (number + 1) / self._steps, following)

    def get_config(self) -> dict[str, Any]:
        """Returns the configuration that recreates the schedule."""
        return {"rate": self._rate, "steps": self._steps, "after": self._after}


def schedule(settings: Settings, *, steps: int) -> LearningRateSchedule | None:
    """Returns the learning rate of each of the S steps of training; None for a constant one.

    After the warm-up of W = round(S warmup) steps:

        linear:  r (1 - s / (S - W))
        cosine:  r (1 + cos(pi s / (S - W))) / 2     (Loshchilov and Hutter, "SGDR", ICLR 2017, without restarts)
        step:    r, r / 10, r / 100 from one half and from three quarters of the steps on, as He et al. (2016) do

    Args:
      settings: `schedule`, `warmup` and `learning_rate`.
      steps: S.
    """
    rate, warm = settings.learning_rate, round(settings.warmup * steps)
    rest = max(1, steps - warm)
    after = None
    if settings.schedule == "linear":
        after = PolynomialDecay(rate, rest, end_learning_rate=0.0)
    elif settings.schedule == "cosine":
        after = CosineDecay(rate, rest)
    elif settings.schedule == "step":
        # Keras changes the rate after a boundary; that of step s is the first one beyond it
        bounds = [round(share * rest) - 1 for share in STEP_AT]
        after = PiecewiseConstantDecay(bounds, [rate, rate / STEP_BY, rate / STEP_BY**2])
    return WarmUp(rate, warm, after) if warm else after
