"""The records that the core adds for every task."""

from __future__ import annotations

import math

import pytest

from src.spec.metric import Metric
from src.spec.record import EVALUATION, Record
from src.spec.settings import Plan, Settings
from src.trial.run import _validated

ACCURACY = Metric("accuracy", "higher", target=0.8)
PERPLEXITY = Metric("perplexity", "lower", target=100.0)


def added(metric, values, threshold=None):
    records = [Record(EVALUATION, 10 * place, {f"val/{metric.name}": value}) for place, value in enumerate(values, 1)]
    return _validated(metric, records, Settings(task="any", plan=Plan(threshold=threshold)))


@pytest.mark.parametrize(
    ("metric", "values", "threshold", "expected"),
    [
        (ACCURACY, [0.7, 0.8, 0.9], None, {"best/val_accuracy": 0.9, "steps_to/val_accuracy_0.80": 20.0}),
        (ACCURACY, [0.7, 0.8, 0.9], 0.9, {"best/val_accuracy": 0.9, "steps_to/val_accuracy_0.90": 30.0}),
        (ACCURACY, [0.7, 1.0], 1.0, {"best/val_accuracy": 1.0, "steps_to/val_accuracy_1.00": 20.0}),
        (ACCURACY, [0.7, 0.6], None, {"best/val_accuracy": 0.7}),
        (PERPLEXITY, [300.0, 100.0, 90.0], None, {"best/val_perplexity": 90.0, "steps_to/val_perplexity_100": 20.0}),
        (PERPLEXITY, [300.0, 95.0, 99.0], 99.0, {"best/val_perplexity": 95.0, "steps_to/val_perplexity_99": 20.0}),
        (PERPLEXITY, [math.nan, math.inf], None, {"best/val_perplexity": math.inf}),
        (PERPLEXITY, [math.nan], None, {}),
        (Metric("loss", "lower"), [0.5, 0.4], None, {"best/val_loss": 0.4}),
        (Metric("size", None, target=3.0), [0.5, 0.4], None, {}),
    ],
)
def test_the_best_validation_and_the_step_of_the_threshold_follow_the_metrics_direction(
    metric, values, threshold, expected
):
    assert added(metric, values, threshold) == expected
