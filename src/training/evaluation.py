"""Evaluates a model on a held-out split."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from src.spec.metric import Metric
from src.training.phase import LOSS, Learner


class Evaluated:
    """The results of a model on one split, per example in the order of the split's rows.

    Attributes:
      values: quantity → float32[N], or bool[N] for a quantity that counts examples.
      weights: quantity → float32[N].
      predictions: name → [N, ...].
    """

    def __init__(
        self,
        values: Mapping[str, np.ndarray],
        weights: Mapping[str, np.ndarray],
        predictions: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Copies the mappings."""
        self.values, self.weights, self.predictions = dict(values), dict(weights), dict(predictions or {})

    def recorded(self, metrics: Sequence[Metric], *, prefix: str) -> dict[str, float]:
        """Returns the loss and the metrics of a task, with the prefix in front of their names."""
        of_task = {f"{prefix}{metric.name}": metric.value(self.mean(metric.source)) for metric in metrics}
        return {f"{prefix}{LOSS}": self.mean(LOSS), **of_task}

    def mean(self, quantity: str) -> float:
        """Returns the weighted mean of a quantity."""
        return mean(self.values[quantity], self.weights[quantity])


def mean(values: np.ndarray, weights: np.ndarray) -> float:
    """Returns sum(values) / sum(weights), in the precision of the values, or as an exact fraction for counts.

    The result is NaN if the sum of the weights is zero.
    """
    total = weights.sum(dtype=np.float64)
    if not total:
        return math.nan
    with np.errstate(invalid="ignore"):
        ratio = values.sum() / total
    return float(values.dtype.type(ratio) if np.issubdtype(values.dtype, np.floating) else ratio)


def evaluators(learner: Learner) -> dict[str, Callable[[], Evaluated]]:
    """Returns for each held-out split a function that evaluates the model with its current weights.

    The split is batched and padded as in training, because a model without a mask also reads the padding.
    """
    phase = learner.phase

    def predict(inputs: Any, targets: Any) -> Any:
        outputs = learner.model(inputs, training=False)
        measured = {name: tuple(pair) for name, pair in learner.measure(outputs, targets).items()}
        return dict(phase.predictions(outputs)), measured

    evaluated = functools.partial(_evaluated, learner.as_graph(predict, input_signature=list(phase.signature)))
    return {name: functools.partial(evaluated, batches) for name, batches in phase.held_out.items()}


def _evaluated(predict: Callable[[Any, Any], Any], batches: Callable[[], Iterable[Any]]) -> Evaluated:
    rows, parts = [], []
    for inputs, targets, numbers in batches():
        rows.append(np.asarray(numbers))
        parts.append(tf.nest.map_structure(np.asarray, predict(inputs, targets)))
    if not rows:
        raise ValueError("a held-out split has no batches; give validation and test at least one example each")
    order = np.argsort(np.concatenate(rows), kind="stable")
    if not np.array_equal(np.concatenate(rows)[order], np.arange(len(order))):
        rule = "the rows of a held-out split must be 0, 1, 2, …, each once"
        raise ValueError(f"{rule}; the task's batches repeat or omit some rows")
    predictions, measured = tf.nest.map_structure(lambda *arrays: np.concatenate(arrays)[order], *parts)
    values, weights = ({name: pair[place] for name, pair in measured.items()} for place in (0, 1))
    return Evaluated(values, weights, predictions)
