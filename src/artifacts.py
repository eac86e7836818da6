"""The files that a trial leaves in its folder, and that MLflow gets copies of."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
import pydantic

from src import paths
from src.data.batching import Padding
from src.data.tokens import FIRST_WORD
from src.errors import first_line
from src.settings import Settings, checked

if TYPE_CHECKING:
    import keras

SETTINGS, MODEL, PREPROCESSING = "settings.json", "model.keras", "preprocessing.json"
PATCH = "uncommitted.patch"
STEPS, PROBABILITIES = "steps.parquet", "test_probabilities.parquet"
LARGEST = 10_000_000  # bytes of a model's configuration; ours have some thousand
LONGEST = 1_000_000  # steps, as `max_length` allows
RUN_CODE = {"Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "__lambda__"}  # what Keras has for code of others
OURS = "ablation>"  # before the names of our own layers
OF_MODELS = {"", "activations", "constraints", "dtype_policies", "initializers", "layers", "models", "ops", "regularizers"}  # of Keras


@contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    """Gives a path beside the file; what is there after the block takes the file's place, whole."""
    beside = path.with_name(f"new-{path.name}")
    yield beside
    os.replace(beside, path)


@contextmanager
def _without_leftovers() -> Iterator[None]:
    """Removes the temporary files of the block: Keras leaves a folder behind where the disk is full while it writes a model."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder
        try:
            yield
        finally:
            tempfile.tempdir = before


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """What stands between a text and a model's input, and between its output and a class; a model that reads no text has no padding."""

    words: list[str]
    classes: list[str]
    padding: Padding | None
    tokens: Literal["word", "character", "list", "word_before_marks"] = "word_before_marks"  # of files that do not say: they are older


class Trained(NamedTuple):
    """A trained classifier with everything between a text and its class."""

    settings: Settings
    model: keras.Model
    words: list[str]
    classes: list[str]
    padding: Padding | None
    tokens: str


class Artifacts:
    """The files of one trial."""

    names: ClassVar[list[str]] = [SETTINGS, MODEL, PREPROCESSING, STEPS, PROBABILITIES]

    def __init__(self, folder: Path) -> None:
        """Takes the trial's folder, or one with copies of its files."""
        self.folder = folder

    def write_settings(self, settings: Settings) -> None:
        """Writes the resolved and normalised settings; a password in the address of the tracking store is left out, for MLflow shows it."""
        uri = settings.tracking.uri and paths.shown(settings.tracking.uri)
        settings = settings.model_copy(update={"tracking": settings.tracking.model_copy(update={"uri": uri})})
        with _replaced(self.folder / SETTINGS) as path:
            path.write_text(settings.model_dump_json(indent=2) + "\n", encoding="utf-8")

    def write_patch(self, patch: str | None) -> None:
        """Writes what the code has that its commit has not; None where there is nothing."""
        if patch is None:
            (self.folder / PATCH).unlink(missing_ok=True)
            return
        with _replaced(self.folder / PATCH) as path:
            path.write_bytes(patch.encode(errors="surrogateescape"))

    def write_model(self, model: keras.Model, known: Preprocessing) -> None:
        """Writes the model without optimizer state, and what turns a text into its input."""
        with _replaced(self.folder / MODEL) as path, _without_leftovers():
            model.save(path)
        with _replaced(self.folder / PREPROCESSING) as path:
            path.write_text(json.dumps(dataclasses.asdict(known)), encoding="utf-8")

    def write_steps(self, steps: Sequence[dict[str, Any]]) -> None:
        """Writes one row a step: its metrics and what else is known of it."""
        import pandas as pd

        with _replaced(self.folder / STEPS) as path:
            pd.DataFrame(list(steps)).to_parquet(path, index=False)

    def write_probabilities(self, probabilities: np.ndarray, labels: np.ndarray) -> None:
        """Writes one row a test example, in the order of the split: its class and every class' probability.

        Args:
          probabilities: float32[N, K]; the one column of a sigmoid head is the probability of class 1.
          labels: int32[N].
        """
        import pandas as pd

        if probabilities.shape[1] == 1:
            probabilities = np.hstack([1 - probabilities, probabilities])
        columns = {f"probability_{number}": probabilities[:, number] for number in range(probabilities.shape[1])}
        frame = pd.DataFrame({"row": np.arange(len(labels)), "label": labels, **columns})
        with _replaced(self.folder / PROBABILITIES) as path:
            frame.to_parquet(path, index=False)

    def load(self) -> Trained:
        """Returns the trained classifier; nothing in its files is executed.

        Raises:
          OSError: a file is missing.
          ValueError: a file holds something else.
        """
        settings, known = self._settings(), self._preprocessing()
        _refuse_misfit(settings, known)
        for part in filter(_reads_ids, _objects(self.folder / MODEL)):
            size = part["config"].get("input_dim", part["config"].get("size"))
            if size != settings.vocab_size:
                what = f"{str(size)[:40]} ids, but vocab_size={settings.vocab_size}"
                raise ValueError(f"{MODEL}: {what}; the files belong to different trials")
        from src.training.startup import import_tensorflow  # once it is known that there is something to load

        import_tensorflow()
        import keras

        from src.models import build  # noqa: F401  the layers of our own, by name

        try:
            model = keras.models.load_model(self.folder / MODEL, compile=False, safe_mode=True)
            outputs = model.output_shape[-1]
        except Exception as error:  # layers, HDF5 and TensorFlow raise what they like of a file that is none of ours
            raise ValueError(f"{MODEL}: {first_line(error)}") from None
        wanted = 1 if settings.head == "sigmoid" else len(known.classes)
        if outputs != wanted:
            raise ValueError(f"{MODEL}: {outputs} outputs instead of {wanted}; the files belong to different trials")
        return Trained(settings, model, known.words, known.classes, known.padding, known.tokens)

    def _settings(self) -> Settings:
        try:
            return checked(json.loads((self.folder / SETTINGS).read_text(encoding="utf-8")))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{SETTINGS}: {first_line(error)}") from None

    def _preprocessing(self) -> Preprocessing:
        try:
            return pydantic.TypeAdapter(Preprocessing).validate_json((self.folder / PREPROCESSING).read_bytes())
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            raise ValueError(f"{PREPROCESSING}: {f'{key}: ' if key else ''}{first['msg']}") from None


def _refuse_misfit(settings: Settings, known: Preprocessing) -> None:
    """Refuses what no trial with these settings has between a text and a class; a model would take it and be wrong.

    Raises:
      ValueError: see above.
    """
    what = None
    if len(known.classes) < 2 or (settings.head == "sigmoid" and len(known.classes) > 2):
        what = f"classes: {len(known.classes)}, with head={settings.head}"
    elif len(set(known.classes)) < len(known.classes) or len(set(known.words)) < len(known.words):
        what = "a class or a word occurs twice"
    elif known.padding is not None:
        edges, room = known.padding.edges, max(0, settings.vocab_size - FIRST_WORD)
        if not known.words or not all(known.words):
            what = "words: none, or an empty one"
        elif len(known.words) > room:
            what = f"words: {len(known.words):,}, but vocab_size={settings.vocab_size} allows {room:,}"
        elif not edges or edges[0] < 1 or edges[-1] > LONGEST or any(one >= two for one, two in itertools.pairwise(edges)):
            what = f"padding.edges: allowed are increasing numbers from 1 to {LONGEST:,}, at least one"
    if what is not None:
        raise ValueError(f"{PREPROCESSING}: {what}")


def _objects(path: Path) -> list[dict[str, Any]]:
    """Returns what a model's file names by class; refuses one that is damaged or could run code, before Keras reads it.

    Keras refuses code, too (`safe_mode`), but does not say so in a line, and reads weights without their check sums.

    Raises:
      OSError: there is no such file.
      ValueError: see above.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo("config.json").file_size > LARGEST:
                raise ValueError("its configuration is too large")
            if damaged := archive.testzip():
                raise ValueError(f"{damaged} is damaged")
            config = json.loads(archive.read("config.json"))
        objects = _named(config)
        if not isinstance(config, dict) or not objects:
            raise ValueError("its configuration does not describe a model")
        for part in objects:
            module, name, registered = part.get("module"), part["class_name"], str(part.get("registered_name") or "")
            if not isinstance(name, str) or name in RUN_CODE or not (_is_of_models(module) or registered.startswith(OURS)):
                raise ValueError(f"it contains {str(module)[:80]}.{str(name)[:80]}, which could run code; nothing was loaded")
    except OSError:
        raise
    except Exception as error:  # what zipfile raises of broken bytes has no common name
        what = "its configuration is nested too deeply" if isinstance(error, RecursionError) else first_line(error)
        raise ValueError(f"{MODEL}: {what}") from None
    return objects


def _reads_ids(part: dict[str, Any]) -> bool:
    """Returns whether an object of a configuration is a layer that has a weight or a place for each id."""
    return part["class_name"] in ("Embedding", "OneHot") and isinstance(part.get("config"), dict)


def _is_of_models(module: Any) -> bool:
    """Returns whether a module is one of Keras' that make up models, or none is named."""
    if module is None or module == "builtins":
        return True
    first, *rest = str(module).removeprefix("keras.src").removeprefix("keras").split(".")
    return isinstance(module, str) and module.startswith("keras") and first == "" and (rest[0] if rest else "") in OF_MODELS


def _named(config: Any) -> list[dict[str, Any]]:
    """Returns all objects of a configuration that name a class."""
    found, left = [], [config]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            found += [one] if "class_name" in one else []
            left += one.values()
        elif isinstance(one, list):
            left += one
    return found
