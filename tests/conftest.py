from __future__ import annotations

import csv
import gc
import importlib
import itertools
import logging
import os
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from hydra.core.config_store import ConfigStore
from PIL import Image

from benchmarks import generated

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

hypothesis.settings.register_profile("steady", deadline=None)  # machines are noisy
hypothesis.settings.load_profile("steady")

GOOD = ["wonderful", "moving", "brilliant", "charming", "superb"]
BAD = ["dreadful", "boring", "awful", "clumsy", "stupid"]
PLAIN = ["the", "film", "was", "and", "actor", "plot", "scene", "music", "ending", "it"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Moves tests that train to the front: no worker should start a long test when the others have finished."""
    items.sort(key=lambda item: item.get_closest_marker("training") is None)


def pytest_collection_finish() -> None:
    """Excludes imported objects from later garbage collections, which take a tenth of the time of all tests."""
    gc.freeze()
    gc.set_threshold(20_000)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns an empty folder for outputs and the MLflow database."""
    monkeypatch.setenv("ABLATION_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Returns a home that all tests of a module share, for data that take long to generate."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ABLATION_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def empty(tmp_path_factory):
    """Returns a database without studies: MLflow needs seconds to create one, tests copy it."""
    return generated.database(tmp_path_factory.mktemp("empty"))


@pytest.fixture
def blank(home: Path, empty: Path) -> Path:
    """Returns an empty database in a new home."""
    shutil.copy(empty, home / "mlflow.db")
    return home / "mlflow.db"


@pytest.fixture
def place(home: Path, blank: Path) -> Path:
    """Returns a home with a database of a small generated study `s`."""

    def outcome(values: dict[str, Any], seed: int) -> dict[str, Any]:
        return {"test/accuracy": 0.8 + 0.01 * seed + (0.05 + 0.001 * seed) * (values["cell"] == "gru")}

    levels = {"masking": [True, False], "cell": ["lstm", "gru"]}
    generated.study(blank, "s", levels, outcome, seeds=[0, 1, 2], steps=20, examples=50)
    return home


def review(words: list[str], rng: np.random.Generator, *, length: int) -> str:
    """Returns a text that a small network learns to classify: informative words among neutral ones."""
    return " ".join([*rng.choice(PLAIN, length), *rng.choice(words, 3)])


def write_table(path: Path, *, rows: int = 200, classes: int = 2, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    words_of = {"bad": BAD, "good": GOOD, "plain": ["ordinary", "average", "usual"]}
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for label, _ in zip(itertools.cycle(list(words_of)[:classes]), range(rows), strict=False):
            writer.writerow([review(words_of[label], rng, length=int(rng.integers(2, 25))), label])
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Returns a CSV of 200 short texts in two classes that are easy to separate."""
    return write_table(tmp_path / "table.csv")


@pytest.fixture
def tiny(table: Path) -> list[str]:
    """Returns overrides of a trial that trains in a few seconds."""
    return tiny_trial(table)


def tiny_trial(table: Path) -> list[str]:
    words = "data=table max_length=20 vocab_size=40 units=4 embedding_dim=4 tracking.histograms=false epochs=2"
    words += " bucketing=false batch_size=20"  # 20 divides the 140 training texts: a smaller batch needs a second graph
    return [*words.split(), f"data.path={table}"]


def assert_nothing_is_cut_off(picture: Path) -> None:
    """Fails if a saved figure has ink on its outermost pixels, as texts have that do not fit."""
    with Image.open(picture) as opened:
        pixels = np.asarray(opened.convert("L"))
    edges = [pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]
    assert all((edge == 255).all() for edge in edges), f"{picture.name}: something is cut off"


@pytest.fixture
def small_disk() -> Iterator[None]:
    """Limits every file to 30,000 bytes: enough for the configuration of a small model, too few for its weights."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(autouse=True)
def no_task_of_another_test() -> Iterator[None]:
    """Removes the tasks at `module:NAME` that a test has used: a command registers them for its own process only."""
    yield
    tasks = ConfigStore.instance().repo.get("task", {})
    for name in [name for name in tasks if ":" in name]:
        del tasks[name]


@pytest.fixture(autouse=True)
def quiet_loggers() -> None:
    logging.getLogger("src").handlers.clear()


@pytest.fixture(scope="module")
def fewer_paths():
    """300,000 paths of t give the levels of looks to within 2 %, in half of the time."""
    from src.inference import sequential

    sequential._levels.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequential, "PATHS", 300_000)
        yield
    sequential._levels.cache_clear()


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Yields a function that writes a module of the user's own code, which can then be imported; it returns the file.

    The module leaves the file `imported` beside itself when it is imported.
    """
    from src import own_code, registry

    folder, names = tmp_path / "code of the user", []
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))

    def forget() -> None:
        own_code._allowed.clear()
        registry.code.cache_clear()
        importlib.invalidate_caches()
        for name in [each for each in sys.modules if each.partition(".")[0] in names]:
            del sys.modules[name]

    def write(name: str, text: str) -> Path:
        path = folder / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{text}\nopen({str(folder / 'imported')!r}, 'w').close()\n", encoding="utf-8")
        names.append(name.partition(".")[0])
        forget()
        return path

    forget()
    yield write
    forget()
