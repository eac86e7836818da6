from __future__ import annotations

import math

import pytest

from src.spec.metric import Metric
from src.training.health import judge

ACCURACY, PERPLEXITY = Metric("accuracy", "higher"), Metric("perplexity", "lower", of="loss", finish="exp")


@pytest.mark.parametrize(
    ("metric", "values", "chance", "traces", "expected"),
    [
        (ACCURACY, [0.50, 0.53], 0.5316, 1, "no_learning"),
        (ACCURACY, [0.54, 0.50], 0.5316, 1, "ok"),
        (ACCURACY, [0.5], 0.5, 1, "no_learning"),  # not better than chance
        (ACCURACY, [0.80], 0.5316, 2, "ok"),
        (ACCURACY, [0.80], 0.5316, 3, "retracing"),
        (ACCURACY, [0.50], 0.5316, 3, "no_learning"),
        (PERPLEXITY, [900.0, 950.0], 800.0, 1, "no_learning"),
        (PERPLEXITY, [900.0, 750.0, 990.0], 800.0, 1, "ok"),
        (PERPLEXITY, [math.nan, math.inf], 800.0, 1, "no_learning"),
        (PERPLEXITY, [900.0], None, 1, "ok"),  # chance is unknown
    ],
)
def test_a_trial_has_learnt_if_its_best_validation_is_better_than_chance(metric, values, chance, traces, expected):
    epochs = [{f"val/{metric.name}": value} for value in values]
    assert judge({} if chance is None else {metric: chance}, epochs, traces=traces) == expected


def test_a_trial_has_learnt_if_one_of_its_metrics_is_better_than_chance():
    chances = {ACCURACY: 0.95, Metric("roc_auc", "higher"): 0.8}
    assert judge(chances, [{"val/accuracy": 0.9, "val/roc_auc": 0.85}], traces=1) == "ok"
    assert judge(chances, [{"val/accuracy": 0.9, "val/roc_auc": 0.75}], traces=1) == "no_learning"


def test_compiling_every_shape_once_does_not_count_as_retracing():
    epochs = [{"val/accuracy": 0.8}]
    assert judge({ACCURACY: 0.5}, epochs, traces=20, expected=20) == "ok"
    assert judge({ACCURACY: 0.5}, epochs, traces=21, expected=20) == "retracing"
