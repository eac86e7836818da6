"""Finds why a trial did not learn: general causes, from a few batches and the losses of training.

It runs only for trials that were not better than a constant guess.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from src.training.evaluation import mean
from src.training.phase import LOSS, Learner
from src.training.update import batch_size

FEW = 100  # with fewer optimizer steps than this, their number is reported as a cause
ENOUGH = 64  # least number of examples to look at


@dataclass(frozen=True)
class Evidence:
    """The input of a diagnosis.

    Attributes:
      learner: the trained learner, with its phase and settings.
      untrained: the same model with its initial weights.
      losses: for each epoch, the running mean of the loss after every step.
    """

    learner: Learner
    untrained: keras.Model
    losses: Sequence[Sequence[float]]

    @cached_property
    def batches(self) -> list[tuple[Any, Any]]:
        """The first batches of the first epoch, each (inputs, targets)."""
        return first(self.learner.phase.training(1))

    @cached_property
    def batch(self) -> tuple[Any, Any]:
        """The largest of them."""
        return max(self.batches, key=lambda batch: batch_size(batch[0]))


def identical_inputs(evidence: Evidence, *, what: str = "examples", look_at: str = "the data") -> Iterator[str]:
    """Yields a cause if all inputs are identical.

    Args:
      evidence: of the trial.
      what: plural noun for the examples.
      look_at: what the user should check.
    """
    if are_equal([inputs for inputs, _ in evidence.batches]):
        yield f"inputs: all {what} are identical; check {look_at}"


def learning_rate(evidence: Evidence) -> Iterator[str]:
    """Yields a cause if the learning rate is too high or too low."""
    initial = mean_loss(evidence.learner, evidence.untrained, evidence.batches)
    growth = max(epoch[-1] for epoch in evidence.losses) / initial
    if growth > 1.5:
        finding = f"the loss grew to {growth:.3g} times its initial value"
        yield f"learning rate too high: {finding}; lower learning_rate, or set clip_norm=1"
    change = relative_change(evidence.learner.model.get_weights(), evidence.untrained.get_weights())
    if change < 1e-3:
        finding = f"training changed the weights by only {change:.2g} of their norm"
        yield f"learning rate too low: {finding}; raise learning_rate, or train longer"


def too_few_steps(evidence: Evidence) -> Iterator[str]:
    """Yields a cause if there were few optimizer steps."""
    steps = sum(map(len, evidence.losses))
    if steps < FEW:
        yield f"too few steps: {steps} optimizer steps; train longer, or on more data"


def causes(evidence: Evidence) -> Iterator[str]:
    """Yields the general causes, the likeliest first; each names a number and a fix."""
    yield from identical_inputs(evidence)
    yield from learning_rate(evidence)
    yield from too_few_steps(evidence)


def first(batches: Iterable[Any]) -> list[tuple[Any, Any]]:
    """Returns the first batches, each (inputs, targets): as many as have `ENOUGH` examples, or all."""
    taken: list[tuple[Any, Any]] = []
    for inputs, targets, _ in batches:
        taken.append((inputs, targets))
        if sum(batch_size(each) for each, _ in taken) >= ENOUGH:
            break
    return taken


def are_equal(batches: Sequence[Any]) -> bool:
    """Returns whether batches, nests of [B, ...], contain at least two examples and all examples are identical."""
    rows = [row for batch in batches for row in zip(*map(np.asarray, tf.nest.flatten(batch)), strict=True)]
    return len(rows) > 1 and all(
        np.array_equal(part, of_first) for row in rows for part, of_first in zip(row, rows[0], strict=True)
    )


def mean_loss(learner: Learner, model: keras.Model, batches: Sequence[tuple[Any, Any]]) -> float:
    """Returns the weighted mean loss of a model over the examples of the batches."""
    phase = learner.phase

    def predict(inputs: Any) -> Any:
        return model(inputs, training=False)

    if not learner.is_eager:
        predict = tf.function(predict, autograph=False, input_signature=[phase.signature[0]])
    measured = [phase.measure(predict(inputs), targets)[LOSS] for inputs, targets in batches]
    values, weights = (np.concatenate([np.asarray(pair[place]) for pair in measured]) for place in (0, 1))
    return mean(values, weights)


def relative_change(now: Sequence[np.ndarray], before: Sequence[np.ndarray]) -> float:
    """Returns the largest |now - before| / |before| of any weight that was not zero, in Euclidean norm."""
    sizes = [float(np.linalg.norm(old)) for old in before]
    return max(
        float(np.linalg.norm(new - old)) / size for new, old, size in zip(now, before, sizes, strict=True) if size
    )
