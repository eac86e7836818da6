"""Measures of classifiers: losses, accuracy, probabilities, and the accuracy of a constant guess.

Letters: B examples, K outputs. The functions import TensorFlow when training calls them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from src.artifacts import PREDICTION, PROBABILITIES
from src.files import replaced
from src.parts.classes.probabilities import decided, of_every_class
from src.parts.classes.toggles import ACCURACY, BALANCED_ACCURACY, ROC_AUC, Classes
from src.training.phase import LOSS
from src.training.task import Trained

Measure = Callable[[Any, Any], Mapping[str, tuple[Any, Any]]]  # (outputs, targets) → quantity → values and weights
UNEQUAL_SIZES = 1.5  # examples of the largest class for one of the smallest, from which accuracy alone says too little
PROBABILITY = "probability"  # name of the predictions that are stored for each example


def chances(labels: np.ndarray) -> dict[str, float]:
    """Returns `Phase.chances`: what guesses that do not depend on the example may reach by chance.

    Where classes are of unequal sizes, the accuracy of a constant guess is high, and a model that learnt may be below
    it. There, metrics that do not depend on the sizes count, too, each with a guess's mean plus two standard errors.

        accuracy:               p + 2 sqrt(p (1 - p) / N), p the share of the largest class
        balanced accuracy:      1/K + 2/K sqrt((1/j) (1 - 1/j) sum_k 1/n_k), the most over guesses among j rare classes
        ROC AUC of two classes: 1/2 + 2 sqrt((N + 1) / (12 n_0 n_1)), by the variance of Mann and Whitney (1947)

    Args:
      labels: int[N], the labels of the evaluated split; classes are counted from 0.
    """
    p = float(np.bincount(labels).max() / len(labels))
    found = {ACCURACY.name: p + 2 * math.sqrt(p * (1 - p) / len(labels))}
    counts = np.sort([count for count in np.bincount(labels).tolist() if count])
    if len(counts) < 2 or counts[-1] < UNEQUAL_SIZES * counts[0]:
        return found
    spreads = [(1 / j) * (1 - 1 / j) * (1 / counts[:j]).sum() for j in range(2, len(counts) + 1)]
    found[BALANCED_ACCURACY.name] = (1 + 2 * math.sqrt(max(spreads))) / len(counts)
    if len(counts) == 2:
        found[ROC_AUC.name] = 0.5 + 2 * math.sqrt((len(labels) + 1) / (12 * counts[0] * counts[1]))
    return found


def measure_sigmoid(logits: Any, classes: Any) -> Mapping[str, tuple[Any, Any]]:
    """Returns cross-entropy and accuracy of logits float32[B, 1] of class 1, for classes int32[B] of 0 and 1."""
    import tensorflow as tf

    loss = tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(classes, tf.float32), logits[:, 0])
    return _measured(loss, tf.equal(tf.cast(logits[:, 0] > 0.0, tf.int32), classes))


def measure_softmax(logits: Any, classes: Any) -> Mapping[str, tuple[Any, Any]]:
    """Returns cross-entropy and accuracy of logits float32[B, K], for classes int32[B]."""
    import tensorflow as tf

    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits)
    return _measured(loss, tf.equal(tf.argmax(logits, -1, tf.int32), classes))


def measure_squared(outputs: Any, values: Any) -> Mapping[str, tuple[Any, Any]]:
    """Returns squared error, and whether the sign is correct, of outputs float32[B, 1] for values float32[B]."""
    import tensorflow as tf

    correct = tf.equal(tf.cast(outputs[:, 0] > 0.0, tf.int32), tf.cast(values > 0, tf.int32))
    return _measured(tf.square(outputs[:, 0] - values), correct)


def weights_of(labels: np.ndarray, classes: int) -> np.ndarray:
    """Returns the weight of each class, float64[K]: N / (K n_k), where n_k of N examples have it; 1 for no example.

    They are scikit-learn's `balanced` ones, whose mean over the examples is 1.

    Args:
      labels: int[N] of training.
      classes: K.
    """
    counts = np.bincount(labels, minlength=classes)
    return np.where(counts > 0, len(labels) / (classes * np.maximum(counts, 1)), 1.0)


def weighted(measure: Measure, weights: np.ndarray) -> Measure:
    """Returns a measure whose loss of each example is multiplied by the weight of its class.

    The mean loss of a batch is still divided by its number of examples, as Keras' `class_weight` does.

    Args:
      measure: of classes int32[B].
      weights: float[K].
    """

    def measured(outputs: Any, classes: Any) -> Mapping[str, tuple[Any, Any]]:
        import tensorflow as tf

        found = dict(measure(outputs, classes))
        values, ones = found[LOSS]
        return {**found, LOSS: (values * tf.gather(tf.constant(weights, tf.float32), classes), ones)}

    return measured


MEASURES: dict[str, Measure] = {
    "sigmoid": measure_sigmoid,
    "softmax": measure_softmax,
    "squared": measure_squared,
}


def measure_of(settings: Classes, labels: np.ndarray, classes: int) -> Measure:
    """Returns the measure of the head, with the class weights of the settings.

    Args:
      settings: resolved settings.
      labels: int[N] of the training examples.
      classes: K.
    """
    measure = MEASURES[settings.head]
    return measure if settings.class_weights == "none" else weighted(measure, weights_of(labels, classes))


def predictions(outputs: Any) -> Mapping[str, Any]:
    """Returns the probability of every class, float32[B, K].

    A single output is the logit of class 1. A model trained with squared error has no probabilities; sigmoid(output)
    then only shows the predicted class, being above 1/2 for class 1.
    """
    import tensorflow as tf

    return {PROBABILITY: tf.sigmoid(outputs) if outputs.shape[-1] == 1 else tf.nn.softmax(outputs)}


def write_probabilities(folder: Path, trained: Trained, labels: np.ndarray, *, threshold: float = 0.5) -> str:
    """Writes one row per test example, in order: its class, the predicted class, and the probability of every class.

    Args:
      folder: folder of the trial.
      trained: the trained model; the single probability of a sigmoid head is that of class 1.
      labels: int32[N], the labels of the test split.
      threshold: probability from which on class 1 of two is predicted.

    Returns:
      The name of the file.
    """
    import pandas as pd

    probabilities = of_every_class(trained.test.predictions[PROBABILITY])
    columns = {f"probability_{number}": probabilities[:, number] for number in range(probabilities.shape[1])}
    table = {"row": np.arange(len(labels)), "label": labels, PREDICTION: decided(probabilities, threshold), **columns}
    with replaced(folder / PROBABILITIES) as path:
        pd.DataFrame(table).to_parquet(path, index=False)
    return PROBABILITIES


def _measured(loss: Any, correct: Any) -> Mapping[str, tuple[Any, Any]]:
    """Returns both quantities, with weight 1 for every example."""
    import tensorflow as tf

    ones = tf.ones_like(loss)
    return {LOSS: (loss, ones), ACCURACY.name: (correct, ones)}
