from __future__ import annotations

import numpy as np
import pytest

from src.training.health import judge

EVEN, SKEWED = np.array([0, 1] * 500), np.array([0] * 900 + [1] * 100)


@pytest.mark.parametrize(
    ("accuracies", "labels", "traces", "expected"),
    [
        ([0.50, 0.53], EVEN, 1, "no_learning"),  # two standard errors above 0.5 are 0.5316 for 1,000 examples
        ([0.54, 0.50], EVEN, 1, "ok"),
        ([0.91], SKEWED, 1, "no_learning"),
        ([0.93], SKEWED, 1, "ok"),
        ([0.80], EVEN, 2, "ok"),
        ([0.80], EVEN, 3, "retracing"),
        ([0.50], EVEN, 3, "no_learning"),
    ],
)
def test_a_result_is_judged_against_the_largest_class_and_its_noise(accuracies, labels, traces, expected):
    assert judge(accuracies=accuracies, labels=labels, traces=traces) == expected


def test_compiling_every_bucket_once_is_in_order():
    assert judge(accuracies=[0.8], labels=EVEN, traces=20, expected=20) == "ok"
    assert judge(accuracies=[0.8], labels=EVEN, traces=21, expected=20) == "retracing"
