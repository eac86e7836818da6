"""Evaluates a model on a held-out split."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from src.spec.metric import Metric, on_validation
from src.training.phase import LOSS, Learner


class Evaluated:
    """The results of a model on one split, per example in the order of the split's rows.

    Attributes:
      values: quantity → float32[N], or bool[N] for a quantity that counts examples.
      weights: quantity → float32[N].
      predictions: name → [N, ...].
      positions: name → [P], the stored positions of the first example, then those of the second, …
      scores: name of a metric with `of_corpus` → its value.
    """

    def __init__(
        self,
        values: Mapping[str, np.ndarray],
        weights: Mapping[str, np.ndarray],
        predictions: Mapping[str, np.ndarray] | None = None,
        positions: Mapping[str, np.ndarray] | None = None,
        scores: Mapping[str, float] | None = None,
    ) -> None:
        """Copies the mappings."""
        self.values, self.weights = dict(values), dict(weights)
        self.predictions, self.positions = dict(predictions or {}), dict(positions or {})
        self.scores = {name: float(value) for name, value in (scores or {}).items()}

    def recorded(self, metrics: Sequence[Metric], *, prefix: str) -> dict[str, float]:
        """Returns the loss and the metrics of a task, with the prefix in front of their names.

        Raises:
          ValueError: a metric with `of_corpus` has no score.
        """
        measured = on_validation(metrics)
        if missing := [metric.name for metric in measured if metric.of_corpus and metric.name not in self.scores]:
            raise ValueError(f"the scores of the phase lack {', '.join(missing)}; they have {', '.join(self.scores)}")
        of_task = {
            f"{prefix}{metric.name}": metric.value(
                self.scores[metric.name] if metric.of_corpus else self.mean(metric.source)
            )
            for metric in measured
        }
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
        return dict(phase.predictions(outputs)), measured, dict(phase.positions(outputs, targets))

    evaluated = functools.partial(_evaluated, learner.as_graph(predict, input_signature=list(phase.signature)))

    def scores(split: str, predictions: Mapping[str, np.ndarray]) -> dict[str, float]:
        return {**phase.scores(split, predictions), **phase.scores_of_model(learner.model)}

    return {
        name: functools.partial(evaluated, batches, functools.partial(scores, name))
        for name, batches in phase.held_out.items()
    }


def _evaluated(
    predict: Callable[[Any, Any], Any],
    batches: Callable[[], Iterable[Any]],
    scores: Callable[[Mapping[str, np.ndarray]], Mapping[str, float]],
) -> Evaluated:
    rows, parts, positions = [], [], []
    for inputs, targets, numbers in batches():
        rows.append(np.asarray(numbers))
        *of_examples, of_positions = tf.nest.map_structure(np.asarray, predict(inputs, targets))
        parts.append(tuple(of_examples))
        positions.append({name: _stored(rows[-1], *pair) for name, pair in of_positions.items()})
    if not rows:
        raise ValueError("a held-out split has no batches; give validation and test at least one example each")
    order = np.argsort(np.concatenate(rows), kind="stable")
    if not np.array_equal(np.concatenate(rows)[order], np.arange(len(order))):
        rule = "the rows of a held-out split must be 0, 1, 2, …, each once"
        raise ValueError(f"{rule}; the task's batches repeat or omit some rows")
    predictions, measured = tf.nest.map_structure(lambda *arrays: np.concatenate(arrays)[order], *parts)
    values, weights = ({name: pair[place] for name, pair in measured.items()} for place in (0, 1))
    return Evaluated(values, weights, predictions, _in_order(positions), scores(predictions))


def _stored(rows: np.ndarray, values: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the stored positions of a batch: their values [P], and the numbers of their examples int64[P]."""
    return values[mask], np.repeat(rows, mask.sum(axis=1))


def _in_order(batches: Sequence[Mapping[str, tuple[np.ndarray, np.ndarray]]]) -> dict[str, np.ndarray]:
    """Returns name → values of the stored positions of all batches, in the order of their examples."""
    ordered = {}
    for name in batches[0]:
        values, rows = (np.concatenate(parts) for parts in zip(*(batch[name] for batch in batches), strict=True))
        ordered[name] = values[np.argsort(rows, kind="stable")]
    return ordered
