"""Why a trial has learnt nothing: what may be wrong with any model, by one batch and the record of its training.

Runs only for trials that were not better than a constant guess.
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

FEW = 100  # optimizer steps
ENOUGH = 64  # examples


@dataclass(frozen=True)
class Evidence:
    """What a diagnosis looks at.

    Attributes:
      learner: trained, with its phase and settings.
      untrained: its model with the first weights.
      losses: running mean of the loss after every step, of each epoch.
    """

    learner: Learner
    untrained: keras.Model
    losses: Sequence[Sequence[float]]

    @cached_property
    def batches(self) -> list[tuple[Any, Any]]:
        """The first batches of the first epoch, (inputs, targets)."""
        return first(self.learner.phase.training(1))

    @cached_property
    def batch(self) -> tuple[Any, Any]:
        """The largest of them."""
        return max(self.batches, key=lambda one: batch_size(one[0]))


def identical_inputs(evidence: Evidence, *, what: str = "examples", look_at: str = "the data") -> Iterator[str]:
    """Yields that all inputs are the same, where they are."""
    if are_equal([inputs for inputs, _ in evidence.batches]):
        yield f"inputs: all {what} are identical; check {look_at}"


def learning_rate(evidence: Evidence) -> Iterator[str]:
    """Yields that the learning rate is too high, or too low."""
    grown = max(epoch[-1] for epoch in evidence.losses) / mean_loss(
        evidence.learner, evidence.untrained, evidence.batches
    )
    if grown > 1.5:
        what = f"the loss grew to {grown:.3g} times its initial value"
        yield f"learning rate too high: {what}; lower learning_rate, or set clip_norm=1"
    moved = relative_change(evidence.learner.model.get_weights(), evidence.untrained.get_weights())
    if moved < 1e-3:
        what = f"training changed the weights by only {moved:.2g} of their norm"
        yield f"learning rate too low: {what}; raise learning_rate, or train longer"


def too_few_steps(evidence: Evidence) -> Iterator[str]:
    """Yields that there were few optimizer steps, where there were."""
    steps = sum(map(len, evidence.losses))
    if steps < FEW:
        yield f"too few steps: {steps} optimizer steps; train longer, or on more data"


def causes(evidence: Evidence) -> Iterator[str]:
    """Yields what stands out of any model, the likeliest cause first, each with its figure and what to try."""
    yield from identical_inputs(evidence)
    yield from learning_rate(evidence)
    yield from too_few_steps(evidence)


def first(batches: Iterable[Any]) -> list[tuple[Any, Any]]:
    """Returns the first batches, (inputs, targets), at least `ENOUGH` examples in all."""
    found: list[tuple[Any, Any]] = []
    for inputs, targets, _ in batches:
        found.append((inputs, targets))
        if sum(batch_size(one) for one, _ in found) >= ENOUGH:
            break
    return found


def are_equal(batches: Sequence[Any]) -> bool:
    """Returns whether batches, nests of [B, ...], hold two examples or more, and all of them are the same."""
    rows = [row for batch in batches for row in zip(*map(np.asarray, tf.nest.flatten(batch)), strict=True)]
    return len(rows) > 1 and all(
        np.array_equal(part, other) for row in rows for part, other in zip(row, rows[0], strict=True)
    )


def mean_loss(learner: Learner, model: keras.Model, batches: Sequence[tuple[Any, Any]]) -> float:
    """Returns the mean loss of a model over the examples of some batches, by weight."""
    phase = learner.phase

    def predict(inputs: Any) -> Any:
        return model(inputs, training=False)

    if not phase.is_eager:
        predict = tf.function(predict, autograph=False, input_signature=[phase.signature[0]])
    measured = [phase.measure(predict(inputs), targets)[LOSS] for inputs, targets in batches]
    values, weights = (np.concatenate([np.asarray(pair[place]) for pair in measured]) for place in (0, 1))
    return mean(values, weights)


def relative_change(now: Sequence[np.ndarray], before: Sequence[np.ndarray]) -> float:
    """Returns the largest |now - before| / |before| of any weight that was not zero, Euclidean."""
    sizes = [float(np.linalg.norm(old)) for old in before]
    return max(
        float(np.linalg.norm(new - old)) / size for new, old, size in zip(now, before, sizes, strict=True) if size
    )
