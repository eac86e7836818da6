"""Finds faults of classifiers: in the order of the labels, in the labels, and in the loss.

Targets are labels int[B], counted from 0. Letters: N examples, B in a batch, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from src.data.splits import VALIDATION
from src.training.diagnosis import ENOUGH, MOST, Batch, Evidence, affordable, first
from src.training.phase import LOSS

SEVERAL = 8  # least number of examples of a batch, of which chance seldom makes one class
MIXED = 0.6  # most that the largest class has of the held-out examples, so that batches should be mixed


def batches_of_one_class(evidence: Evidence) -> Iterator[str]:
    """Yields a cause if the largest class of a batch has nine tenths of it, and less than 0.6 of held-out examples.

    Each step then learns that everything is of one class. The mean is over the first batches of the first epoch; in
    shuffled batches of 8, chance gives nine tenths to one of several classes less than once in a million. It is
    certain.
    """
    shares = [
        np.bincount(labels).max() / len(labels)
        for labels in (np.asarray(targets) for _, targets in evidence.examples)
        if len(labels) >= SEVERAL
    ]
    if len(shares) < 2 or np.mean(shares) < MOST:
        return
    held_out = _labels(_held_out(evidence))
    largest = np.bincount(held_out).max() / len(held_out)
    if largest <= MIXED:
        finding = (
            f"the largest class has {np.mean(shares):.0%} of a batch, and {largest:.0%} of the validation examples"
        )
        yield f"batches of one class: {finding}; shuffle the training examples"


def labels_independent_of_inputs(evidence: Evidence) -> Iterator[str]:
    """Yields a cause if the classes explain no more of the inputs' variance than chance does.

        R² = sum_k n_k |mean_k - mean|² / sum_i |x_i - mean|²,  by chance (K - 1) / (N - 1)

    It must be less than 1.5 times that of chance in training, and 3 times in validation: then the cause is certain, as
    the same classes do show in other examples. If they show in neither split, it is named only if the trial learnt
    nothing, for classes may differ in what means do not show. Inputs must be floats of one shape.
    """
    ratios = []
    for batches in (evidence.examples, _held_out(evidence)):
        inputs = np.concatenate([np.asarray(part).reshape(len(part), -1) for part, _ in batches])
        labels = _labels(batches)
        if len(labels) < 4 * ENOUGH or len(np.unique(labels)) < 2:
            return
        ratios.append((explained(inputs, labels), (len(np.unique(labels)) - 1) / (len(labels) - 1)))
    (ours, chance), (theirs, of_theirs) = ratios
    is_seen = theirs > 3 * of_theirs
    if ours < 1.5 * chance and (is_seen or not evidence.has_learnt):
        finding = f"the class explains {ours:.2%} of the variance of the training inputs, by chance {chance:.2%}"
        other = f", and {theirs:.2%} in validation" if is_seen else ""
        yield f"labels independent of inputs: {finding}{other}; keep each input with its own label"


def loss_of_other_targets(evidence: Evidence) -> Iterator[str]:
    """Yields a cause if the loss does not raise the output of an example's own class.

    The gradient of the loss with respect to the outputs before training says which output each example raises most.
    Cross-entropy, squared error on one-hot vectors and margin losses raise that of the own class; less than half of the
    examples is certain to be a wrong loss.
    """
    labels = evidence.batch[1]
    with tf.GradientTape() as tape:
        tape.watch(evidence.outputs)
        values, _ = evidence.learner.phase.measure(evidence.outputs, labels)[LOSS]
        value = tf.reduce_sum(values)
    gradient = np.asarray(tape.gradient(value, evidence.outputs))
    by_class = np.hstack([-gradient, gradient]) if gradient.shape[1] == 1 else gradient
    share = float((by_class.argmin(axis=1) == np.asarray(labels)).mean())
    if share < 0.5:
        finding = f"it raises the output of the example's own class in only {share:.0%} of the examples"
        yield f"wrong loss: {finding}; use the cross-entropy of logits and class numbers"


def softmax_twice(evidence: Evidence) -> Iterator[str]:
    """Yields a cause if the outputs are probabilities of the classes, and the loss applies a softmax to them.

    The outputs of each example must be from 0 to 1 and add up to 1, and the loss must be the cross-entropy of their
    softmax, both to a thousandth; a loss of probabilities would be -log p. It is certain. Between 0 and 1, a softmax
    cannot give more than e / (e + K - 1) to a class, so that the loss stays above log(1 + (K - 1) / e).
    """
    outputs, labels = np.asarray(evidence.outputs, np.float64), np.asarray(evidence.batch[1])
    if outputs.shape[1] < 2 or outputs.min() < 0 or np.abs(outputs.sum(axis=1) - 1).max() > 1e-3:
        return
    rows = np.arange(len(labels))
    of_softmax = np.log(np.exp(outputs).sum(axis=1)) - outputs[rows, labels]
    losses = np.asarray(evidence.learner.phase.measure(evidence.outputs, evidence.batch[1])[LOSS][0])
    if np.allclose(losses, of_softmax, rtol=1e-3):
        least = math.log(1 + (outputs.shape[1] - 1) / math.e)
        finding = f"the outputs are probabilities already, so that the loss cannot fall below {least:.3f}"
        yield f"softmax applied twice: {finding}; give the loss the logits"


def explained(inputs: np.ndarray, labels: np.ndarray) -> float:
    """Returns the share of the variance of inputs float[N, D] that lies between the means of the classes, 0 to 1."""
    centred = inputs - inputs.mean(axis=0)
    whole = float(np.square(centred).sum())
    classes = [centred[labels == label] for label in np.unique(labels)]
    between = sum(float(np.square(mine.sum(axis=0)).sum()) / len(mine) for mine in classes)
    return between / whole if whole else 0.0


def _held_out(evidence: Evidence) -> list[Batch]:
    return first(evidence.learner.phase.held_out[VALIDATION](), affordable(evidence.batch[0]))


def _labels(batches: Sequence[Batch]) -> np.ndarray:
    return np.concatenate([np.asarray(targets) for _, targets in batches])
