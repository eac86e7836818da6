from __future__ import annotations

import math

import pytest

from src.spec.metric import Metric


@pytest.mark.parametrize(
    ("direction", "values", "best"),
    [
        ("higher", {"a": 0.1, "b": 0.3, "c": 0.2}, "b"),
        ("lower", {"a": 9.0, "b": 3.0, "c": 4.0}, "b"),
        ("lower", {"a": None, "b": 3.0}, "b"),
        ("higher", {"a": None, "b": -3.0}, "b"),
        ("lower", {"a": math.nan, "b": math.inf}, "b"),
        ("higher", {"a": 1.0, "b": 1.0}, "a"),
        ("lower", {"a": None, "b": math.nan}, None),
        (None, {"a": 1.0}, None),
        ("lower", {}, None),
    ],
)
def test_the_best_is_the_first_of_the_best_numbers_in_the_direction_of_the_metric(direction, values, best):
    assert Metric("m", direction).best_of(values) == best
