"""Which variants are compared with which."""

from __future__ import annotations

import pandas as pd

from analysis import contrasts
from src.spec.metric import IMPLIED, meaning
from tests.study.test_sweep import TIE

VALIDATION = meaning("val/accuracy", IMPLIED)


def test_a_path_keeps_of_each_round_the_flip_that_validated_best():
    values = {
        "reference": (0, 0, 0),
        "a": (1, 0, 0),
        "b": (0, 1, 0),
        "c": (0, 0, 1),
        "ab": (1, 1, 0),
        "bc": (0, 1, 1),
        "abc": (1, 1, 1),
    }
    score = {"reference": 0.5, "a": 0.6, "b": 0.7, "c": 0.65, "ab": 0.7, "bc": 0.9, "abc": 0.8}
    rows = pd.DataFrame(
        [
            {"label": name, "x": x, "y": y, "z": z, "val/accuracy": score[name], "status": "FINISHED"}
            for name, (x, y, z) in values.items()
        ]
    )

    assert contrasts.chain(rows, "path", ["x", "y", "z"], validation=VALIDATION) == ["reference", "b", "bc", "abc"]
    assert contrasts.chain(rows[rows["label"] != "abc"], "path", ["x", "y", "z"], validation=VALIDATION) == [
        "reference",
        "b",
        "bc",
    ]
    rows.loc[rows["label"] == "b", "status"] = (
        "FAILED"  # like the sweep, `chain` does not choose a flip without all seeds
    )
    assert contrasts.chain(rows, "path", ["x", "y", "z"], validation=VALIDATION) == ["reference", "c", "bc", "abc"]


def test_of_flips_that_tie_the_path_keeps_the_first_as_the_sweep_does():
    right = {"reference": [1_250] * 8, **TIE, "ab": [2_100] * 8}
    places = {"reference": (0, 0), "a": (1, 0), "b": (0, 1), "ab": (1, 1)}
    rows = pd.DataFrame(
        [
            {"label": name, "x": x, "y": y, "val/accuracy": count / 2_500, "status": "FINISHED"}
            for name, (x, y) in places.items()
            for count in right[name]
        ]
    )

    assert contrasts.chain(rows, "path", ["x", "y"], validation=VALIDATION) == ["reference", "a", "ab"]


def test_within_values_each_variant_has_the_reference_of_its_own_values():
    variants = [(10, "none", "head"), (10, "pca", "head"), (10, "pca", "all"), (30, "none", "head"), (30, "pca", "all")]
    rows = pd.DataFrame(
        [
            {"labels": labels, "pretext": pretext, "tune": tune, "is_reference": place == 0, "label": str(place)}
            for place, (labels, pretext, tune) in enumerate(variants)
        ]
    )

    found = contrasts.within_values(rows, ["labels"], ["labels", "pretext", "tune"])

    assert list(found[["within", "label", "is_reference"]].itertuples(index=False, name=None)) == [
        ("labels=10", "reference", True),
        ("labels=10", "pretext=pca", False),
        ("labels=10", "pretext=pca tune=all", False),
        ("labels=30", "reference", True),
        ("labels=30", "pretext=pca tune=all", False),
    ]
