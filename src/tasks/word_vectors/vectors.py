"""Trained vectors with their words, from a model or from the files of a trial; nothing here imports TensorFlow.

Letters: R words, D size of a vector.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from src.artifacts import MODEL
from src.files import replaced
from src.parts import model_files
from src.tasks.word_vectors import scores
from src.tasks.word_vectors.settings import Settings
from src.terminal.errors import first_line, nearest

WORDS = "words.json"
FILES = (WORDS, MODEL)
_WEIGHTS, _TABLES = "model.weights.h5", "layers/word_pairs/vars/"
_ANALOGY = re.compile(r"\s*(\S+)\s+[-−–]\s+(\S+)\s+\+\s+(\S+)\s*")


class Near(NamedTuple):
    """A word near to a vector, and its cosine or score."""

    word: str
    similarity: float


def combined(tables: Sequence[np.ndarray], how: str) -> np.ndarray:
    """Returns one vector for each word, float32[R, D].

    Args:
      tables: the input and the output table.
      how: `input`, `output`, `sum` or `average`.
    """
    one, other = tables
    ways = {"input": one, "output": other, "sum": one + other, "average": (one + other) / 2}
    return np.asarray(ways[how])


def of_model(model: Any, how: str) -> np.ndarray:
    """Returns the vectors of a Keras model, float32[R, D]."""
    layer = model.get_layer("words")
    return combined([layer.input_table.numpy(), layer.output_table.numpy()], how)


def write(folder: Path, words: Sequence[str], counts: Sequence[int]) -> str:
    """Writes the words and how often training has them; returns the file's name."""
    with replaced(folder / WORDS) as path:
        path.write_text(json.dumps({"words": list(words), "counts": list(counts)}), encoding="utf-8")
    return WORDS


@dataclass(frozen=True, eq=False)
class Vectors:
    """The vectors of a trained model.

    Attributes:
      words: R words, the most frequent first.
      counts: how often training has each.
      table: float32[R, D].
    """

    words: list[str]
    counts: list[int]
    table: np.ndarray

    @cached_property
    def ids(self) -> dict[str, int]:
        """Word → its number."""
        return {word: number for number, word in enumerate(self.words)}

    @cached_property
    def _units(self) -> np.ndarray:
        return scores.unit(self.table)

    def number(self, word: str) -> int:
        """Returns the number of a word.

        Raises:
          ValueError: there is no such word.
        """
        found = self.ids.get(word, self.ids.get(word.lower()))
        if found is None:
            likely = nearest(word.lower(), self.words)
            hint = f" Did you mean {likely}?" if likely else ""
            raise ValueError(f"{word!r} is none of the {len(self.words):,} words with a vector.{hint}")
        return found

    def similarity(self, one: str, other: str) -> float:
        """Returns the cosine of two words, from -1 to 1."""
        return float(self._units[self.number(one)] @ self._units[self.number(other)])

    def nearest(self, word: str, count: int) -> list[Near]:
        """Returns the words with the highest cosine, without the word itself."""
        number = self.number(word)
        return self._best(self._units @ self._units[number], {number}, count)

    def analogy(self, text: str, count: int, *, multiplied: bool = False) -> list[Near]:
        """Returns the best answers to an analogy, without its own words.

        Args:
          text: `king - man + woman`.
          count: number of answers.
          multiplied: whether to use 3CosMul in place of 3CosAdd.

        Raises:
          ValueError: the text has another form, or a word has no vector.
        """
        match = _ANALOGY.fullmatch(text)
        if match is None:
            form = "write it with spaces, as in: king - man + woman"
            raise ValueError(
                f"analogy: got {text!r}; allowed: three words, the first minus the second plus the third; {form}"
            )
        b, a, c = (self.number(word) for word in match.groups())
        cosines = [self._units @ self._units[number] for number in (a, b, c)]
        score = scores.multiplied if multiplied else scores.added
        return self._best(score(*cosines), {a, b, c}, count)

    def _best(self, values: np.ndarray, excluded: set[int], count: int) -> list[Near]:
        order = np.argsort(-values, kind="stable")[: count + len(excluded)].tolist()
        return [Near(self.words[i], float(values[i])) for i in order if i not in excluded][:count]


def load(folder: Path, *, how: str | None = None) -> Vectors:
    """Returns the vectors of a trial's folder, without executing any code from its files.

    Args:
      folder: folder of the trial.
      how: which table, as of `combined`; None for the trial's own `combine`.

    Raises:
      ValueError: a file is missing or invalid, or the files belong to different trials.
    """
    settings, _ = model_files.read(folder, Settings, reads="word vectors")
    try:
        content = json.loads((folder / WORDS).read_text(encoding="utf-8"))
        words, counts = [str(word) for word in content["words"]], [int(count) for count in content["counts"]]
    except OSError as error:
        raise ValueError(f"{folder / WORDS}: cannot be read ({error.strerror}); has the trial finished?") from None
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise ValueError(f"{folder / WORDS}: it has no words of a model ({first_line(error)})") from None
    tables = _tables(folder / MODEL)
    if any(table.shape != (len(words), settings.vector_size) for table in tables) or len(counts) != len(words):
        shapes = " and ".join(str(table.shape) for table in tables)
        raise ValueError(f"{folder}: {MODEL} has vectors {shapes}, {WORDS} {len(words)} words; the files differ")
    return Vectors(words, counts, combined(tables, how or settings.combine))


def _tables(path: Path) -> list[np.ndarray]:
    """Returns the input and the output table of a model file, read without Keras."""
    import h5py

    try:
        with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read(_WEIGHTS)), "r") as weights:
            return [np.asarray(weights[f"{_TABLES}{place}"]) for place in (0, 1)]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: it has no word vectors ({first_line(error)})") from None
