"""The files that a trial leaves in its folder, and that MLflow gets copies of."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
import pydantic

from src.data.batching import Padding
from src.errors import first_line
from src.settings import Settings, checked

if TYPE_CHECKING:
    import keras

SETTINGS, MODEL, PREPROCESSING = "settings.json", "model.keras", "preprocessing.json"
STEPS, PROBABILITIES = "steps.parquet", "test_probabilities.parquet"


@contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    """Gives a path beside the file; what is there after the block takes the file's place, whole."""
    beside = path.with_name(f"new-{path.name}")
    yield beside
    os.replace(beside, path)


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
        """Writes the resolved and normalised settings."""
        with _replaced(self.folder / SETTINGS) as path:
            path.write_text(settings.model_dump_json(indent=2) + "\n", encoding="utf-8")

    def write_model(self, model: keras.Model, known: Preprocessing) -> None:
        """Writes the model without optimizer state, and what turns a text into its input."""
        with _replaced(self.folder / MODEL) as path:
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
        from src.training.startup import import_tensorflow  # once it is known that there is something to load

        import_tensorflow()
        import keras

        from src.models import build  # noqa: F401  the layers of our own, by name

        return Trained(settings, keras.models.load_model(self.folder / MODEL), known.words, known.classes, known.padding, known.tokens)

    def _settings(self) -> Settings:
        try:
            return checked(json.loads((self.folder / SETTINGS).read_text(encoding="utf-8")))
        except ValueError as error:
            raise ValueError(f"{SETTINGS}: {first_line(error)}") from None

    def _preprocessing(self) -> Preprocessing:
        try:
            return pydantic.TypeAdapter(Preprocessing).validate_json((self.folder / PREPROCESSING).read_bytes())
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            raise ValueError(f"{PREPROCESSING}: {f'{key}: ' if key else ''}{first['msg']}") from None
