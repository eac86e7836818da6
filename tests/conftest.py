from __future__ import annotations

import csv
import gc
import itertools
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest

from benchmarks import generated

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

hypothesis.settings.register_profile("steady", deadline=None)  # machines are noisy
hypothesis.settings.load_profile("steady")

GOOD = ["wonderful", "moving", "brilliant", "charming", "superb"]
BAD = ["dreadful", "boring", "awful", "clumsy", "stupid"]
PLAIN = ["the", "film", "was", "and", "actor", "plot", "scene", "music", "ending", "it"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts what trains before what does not: no worker should begin a long file when the others are done."""
    items.sort(key=lambda item: item.get_closest_marker("training") is None)


def pytest_collection_finish() -> None:
    """Spares what was imported from every later search for garbage."""
    gc.freeze()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place for outputs and the MLflow database."""
    monkeypatch.setenv("ABLATION_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture(scope="session")
def empty(tmp_path_factory):
    """A database without studies: MLflow takes seconds to make one, a copy takes none."""
    return generated.database(tmp_path_factory.mktemp("empty"))


@pytest.fixture
def blank(home: Path, empty: Path) -> Path:
    """A home with a database in it, empty."""
    shutil.copy(empty, home / "mlflow.db")
    return home / "mlflow.db"


@pytest.fixture
def place(home: Path, blank: Path) -> Path:
    """A home with a database and a small study `s` in it, which nobody trained."""

    def outcome(values: dict[str, Any], seed: int) -> dict[str, Any]:
        return {"test/accuracy": 0.8 + 0.01 * seed + (0.05 + 0.001 * seed) * (values["cell"] == "gru")}

    levels = {"masking": [True, False], "cell": ["lstm", "gru"]}
    generated.study(blank, "s", levels, outcome, seeds=[0, 1, 2], steps=20, examples=50)
    return home


def review(words: list[str], rng: np.random.Generator, *, length: int) -> str:
    """A text that a small network learns to classify: some telling words among plain ones."""
    return " ".join([*rng.choice(PLAIN, length), *rng.choice(words, 3)])


def write_table(path: Path, *, rows: int = 200, classes: int = 2, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    telling = {"bad": BAD, "good": GOOD, "plain": ["ordinary", "average", "usual"]}
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for label, _ in zip(itertools.cycle(list(telling)[:classes]), range(rows), strict=False):
            writer.writerow([review(telling[label], rng, length=int(rng.integers(2, 25))), label])
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A CSV of 200 short texts in two classes that are easy to tell apart."""
    return write_table(tmp_path / "table.csv")


@pytest.fixture
def tiny(table: Path) -> list[str]:
    """Overrides of a trial that trains in a few seconds."""
    return tiny_trial(table)


def tiny_trial(table: Path) -> list[str]:
    words = "data=table max_length=20 vocab_size=40 units=4 embedding_dim=4 tracking.histograms=false epochs=2"
    words += (
        " bucketing=false batch_size=20"  # which divides the 140 training texts: a smaller batch is a graph of its own
    )
    return [*words.split(), f"data.path={table}"]


@pytest.fixture(autouse=True)
def quiet_loggers() -> None:
    logging.getLogger("src").handlers.clear()
