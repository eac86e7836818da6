"""Metrics of a classifier that are no means over examples, and the tables of its test, from scikit-learn.

Letters: N examples, K classes, M bins.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from src.data.splits import TEST, VALIDATION
from src.files import replaced
from src.parts.classes.measures import PROBABILITY, write_probabilities
from src.parts.classes.probabilities import decided, of_every_class
from src.parts.classes.toggles import (
    ACCURACY,
    AVERAGE_PRECISION,
    BALANCED_ACCURACY,
    CALIBRATION_ERROR,
    LOG_LOSS,
    MACRO_F1,
    OF_CLASSES,
    ROC_AUC,
    Classes,
)
from src.training.task import Trained

BINS = 15  # M, as in Guo et al.
FILE = "classes_test.csv"
Labels = Callable[[str], np.ndarray]  # split → int[N], classes counted from 0


def of_phase(labels: Labels, *, are_probabilities: bool = True) -> Callable[[str, Mapping[str, Any]], dict[str, float]]:
    """Returns `Phase.scores`: the metrics `OF_CLASSES` of a split.

    Args:
      labels: of a held-out split.
      are_probabilities: whether the predictions are probabilities, and not only in their order.
    """

    def scores(split: str, predictions: Mapping[str, Any]) -> dict[str, float]:
        found = of_predictions(of_every_class(predictions[PROBABILITY]), labels(split))
        return found if are_probabilities else {**found, LOG_LOSS.name: math.nan, CALIBRATION_ERROR.name: math.nan}

    return scores


def of_predictions(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Returns metric → value.

    `roc_auc` and `average_precision` are those of class 1 of two, and of several classes the mean of each against the
    others, over the classes that are neither missing nor alone; NaN without such a class. All values are NaN if a
    probability is not finite.

    Args:
      probabilities: float[N, K].
      labels: int[N].
    """
    if not np.isfinite(probabilities).all():
        return {metric.name: math.nan for metric in OF_CLASSES}
    from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

    shares = probabilities.astype(np.float64)
    shares /= shares.sum(axis=1, keepdims=True)
    numbers = range(shares.shape[1])
    return {
        **of_decisions(shares.argmax(axis=1), labels),
        ROC_AUC.name: _against_others(roc_auc_score, shares, labels),
        AVERAGE_PRECISION.name: _against_others(average_precision_score, shares, labels),
        LOG_LOSS.name: float(log_loss(labels, shares, labels=list(numbers))),
        CALIBRATION_ERROR.name: calibration_error(reliability_of(shares, labels)),
    }


def of_decisions(decisions: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Returns the metrics of decisions int[N]; a class without examples does not count for the balanced accuracy."""
    from sklearn.metrics import f1_score, recall_score

    return {
        MACRO_F1.name: float(f1_score(labels, decisions, average="macro", zero_division=0)),
        BALANCED_ACCURACY.name: float(
            recall_score(labels, decisions, labels=np.unique(labels), average="macro", zero_division=0)
        ),
    }


def _against_others(score: Callable[..., float], shares: np.ndarray, labels: np.ndarray) -> float:
    numbers = range(shares.shape[1]) if shares.shape[1] > 2 else (1,)
    values = [float(score(is_class, shares[:, k])) for k in numbers if 0 < (is_class := labels == k).mean() < 1]
    return float(np.mean(values)) if values else math.nan


def reliability_of(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns float64[M, 3]: examples, mean probability of the predicted class, and share of right predictions.

    A bin has the predictions with a probability above (m - 1) / M and up to m / M; without examples, the means are NaN.

    Args:
      probabilities: float[N, K].
      labels: int[N].
    """
    best, is_right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    place = np.clip(np.ceil(best * BINS).astype(int) - 1, 0, BINS - 1)
    counts, sums, right = (np.bincount(place, weights, BINS) for weights in (None, best, is_right))
    with np.errstate(invalid="ignore"):
        return np.column_stack([counts, sums / counts, right / counts])


def calibration_error(bins: np.ndarray) -> float:
    """Returns the expected calibration error of bins float64[M, 3], those of `reliability_of`.

        sum_m n_m / N |right_m - probability_m|

    Source: Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, equation 3.
    """
    counts, mean, right = bins[bins[:, 0] > 0].T
    return float((counts * np.abs(right - mean)).sum() / counts.sum())


def threshold_of(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Returns the probability of class 1 from which on that class has the highest balanced accuracy.

    It is a probability of an example; of equally good ones, the one nearest to 1/2; and 1/2 where none is better, or
    where the examples have only one class.

    Args:
      probabilities: float[N, 2].
      labels: int[N], 0 and 1.
    """
    if len(np.unique(labels)) < 2 or not np.isfinite(probabilities).all():
        return 0.5
    from sklearn.metrics import roc_curve

    false, true, thresholds = roc_curve(labels, probabilities[:, 1], drop_intermediate=False)
    is_second = probabilities[:, 1] > 0.5
    at_half = is_second[labels == 1].mean() - is_second[labels == 0].mean()
    gains = true - false
    best = thresholds[gains >= gains.max() - 1e-12]
    return float(best[np.abs(best - 0.5).argmin()]) if gains.max() > at_half + 1e-12 else 0.5


def test_values(settings: Classes, trained: Trained, labels: Labels) -> dict[str, float]:
    """Returns what the test measures with a threshold that validation chose, and the threshold; empty for 1/2.

    Args:
      settings: resolved settings.
      trained: the trained model.
      labels: of a held-out split.
    """
    if settings.decision_threshold == "half":
        return {}
    threshold, of_test = decision_threshold(settings, trained, labels), labels(TEST)
    decisions = decided(of_every_class(trained.test.predictions[PROBABILITY]), threshold)
    right = {ACCURACY.name: float((decisions == of_test).mean())}
    return {**right, **of_decisions(decisions, of_test), "decision_threshold": threshold}


def decision_threshold(settings: Classes, trained: Trained, labels: Labels) -> float:
    """Returns the probability from which on class 1 of two is predicted in the test.

    Args:
      settings: resolved settings.
      trained: the trained model.
      labels: of a held-out split.
    """
    if settings.decision_threshold == "half":
        return 0.5
    return threshold_of(of_every_class(trained.validation.predictions[PROBABILITY]), labels(VALIDATION))


def write_files(
    folder: Path, settings: Classes, trained: Trained, labels: Labels, classes: Sequence[str]
) -> tuple[list[str], float]:
    """Writes the test probabilities and the table of classes; returns their names, and the decision threshold."""
    threshold, of_test = decision_threshold(settings, trained, labels), labels(TEST)
    probabilities = of_every_class(trained.test.predictions[PROBABILITY])
    written = write(folder, probabilities, of_test, classes, threshold=threshold)
    return [write_probabilities(folder, trained, of_test, threshold=threshold), written], threshold


def write(
    folder: Path, probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str], *, threshold: float = 0.5
) -> str:
    """Writes a row for each class: its test examples, its predictions, and precision, recall, F1, AUC and AP.

    Args:
      folder: of the trial.
      probabilities: float[N, K] of the test.
      labels: int[N].
      classes: name of each class.
      threshold: probability from which on class 1 of two is predicted.

    Returns:
      The name of the file.
    """
    import pandas as pd
    from sklearn.metrics import average_precision_score, precision_recall_fscore_support, roc_auc_score

    numbers = list(range(len(classes)))
    decisions = decided(probabilities, threshold)
    precision, recall, f1, support = precision_recall_fscore_support(labels, decisions, labels=numbers, zero_division=0)
    is_known = [0 < (labels == k).mean() < 1 and np.isfinite(probabilities).all() for k in numbers]
    of_others = {
        name: [float(score(labels == k, probabilities[:, k])) if is_known[k] else math.nan for k in numbers]
        for name, score in ((ROC_AUC.name, roc_auc_score), (AVERAGE_PRECISION.name, average_precision_score))
    }
    predicted = np.bincount(decisions, minlength=len(classes))
    table = {"class": list(classes), "examples": support, "predicted": predicted}
    table |= {"precision": precision, "recall": recall, "f1": f1, **of_others}
    with replaced(folder / FILE) as path:
        pd.DataFrame(table).to_csv(path, index=False)
    return FILE
