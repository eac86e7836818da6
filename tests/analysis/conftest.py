"""Generated studies with known numbers in a real MLflow database, without training."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest

from benchmarks import generated
from src.spec.metric import IMPLIED, meaning

SEEDS = list(range(8))
WOBBLE = [0.001, -0.002, 0.003, -0.001, 0.002, -0.003, 0.0, 0.001]
ACCURACY = meaning("test/accuracy", IMPLIED)
GRID = {"masking": [True, False], "cell": ["lstm", "gru"]}


def accuracy(values, seed):
    """GRU adds 0.05, no mask costs 0.02, and both together cost another 0.03; seeds are shared, with a little noise."""
    gru, unmasked = values.get("cell") == "gru", values.get("masking") is False
    place = 2 * gru + unmasked
    wobble = WOBBLE[(seed + 3 * place) % 8]
    return 0.8 + 0.01 * (seed % 3) + 0.05 * gru - 0.02 * unmasked - 0.03 * gru * unmasked + wobble


def usual(values, seed):
    found = accuracy(values, seed)
    time = (
        50.0
        * (0.8 if values.get("masking") is False else 1.0)
        * (1 + 0.01 * (seed % 4) + 0.002 * (values.get("masking") is False) * (seed % 3))
    )
    padded = (
        {"data/padding_fraction": 0.05} if values.get("padding") == "batch" or values.get("max_length") == 50 else {}
    )
    return {
        "test/accuracy": found,
        "time/batch_ms_median": time,
        "validation": [found - 0.1, found, found - 0.01],
        **padded,
    }


def troubled(values, seed):
    """Outcomes in which some trials fail, diverge, are not run, or are unhealthy."""
    if values == {"masking": True, "cell": "gru"} and seed == 2:
        return {
            "test/accuracy": math.nan,
            "status": "FAILED",
            "tags": {"health": "diverged", "error": "the loss was nan at step 7"},
        }
    if values == {"masking": False, "cell": "lstm"} and seed == 1:
        return None
    return {**usual(values, seed), "tags": {"workers": "2", "health": "no_learning" if seed in (0, 3) else "ok"}}


@pytest.fixture
def own(empty, tmp_path):
    """An empty database that a test may write to."""
    return Path(shutil.copy(empty, tmp_path / "mlflow.db"))


@pytest.fixture(scope="session")
def database(empty, tmp_path_factory):
    """A store with the studies of all tests that only read."""
    path = Path(shutil.copy(empty, tmp_path_factory.mktemp("store") / "mlflow.db"))
    generated.study(
        path, "whole", GRID, usual, seeds=SEEDS, steps=120, examples=200, question="Does <b>it</b> work?", margin=0.005
    )
    generated.study(path, "troubled", GRID, troubled, seeds=SEEDS, steps=3)
    generated.study(path, "one_seed", GRID, usual, seeds=[0], steps=3)
    generated.study(path, "three_seeds", {"cell": ["lstm", "gru"]}, usual, seeds=[0, 1, 2], steps=3)
    generated.study(path, "alone", {}, usual, seeds=[0], steps=3)
    generated.study(
        path,
        "numbers",
        {"vocab_size": [100, 200], "max_length": [50, 100, 200]},
        usual,
        steps=3,
        metric="test/accuracy",
    )
    generated.study(
        path,
        "steps",
        {"padding": ["dataset", "batch"], "cell": ["lstm", "gru"]},
        usual,
        design="cumulative",
        seeds=SEEDS,
        steps=3,
    )
    generated.study(path, "way", GRID, usual, design="path", seeds=SEEDS, steps=3)
    generated.study(path, "left_out", GRID, usual, design="leave_one_out", seeds=SEEDS, steps=3, claim="a | b & c_d")
    generated.study(path, "waiting", GRID, lambda values, seed: None, seeds=SEEDS)
    generated.study(path, "slow_learners", GRID, slow, seeds=SEEDS, steps=3, metric="steps_to", margin=5.0)
    return path


def slow(values, seed):
    """Outcomes in which every trial with a mask reaches 0.80, and no trial without."""
    reached = [0.5, 0.6, 0.7] if values["masking"] is False else [0.7, 0.85, 0.9]
    return {**usual(values, seed), "validation": reached}


@pytest.fixture(scope="session")
def uri(database):
    return f"sqlite:///{database}"
