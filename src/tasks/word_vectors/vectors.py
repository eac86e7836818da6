"""Trained vectors with their words, from a model or from the files of a trial; nothing here imports TensorFlow.

Letters: R words, D size of a vector.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from src.artifacts import MODEL
from src.parts import model_files
from src.parts.words import vectors_file
from src.tasks.word_vectors import scores
from src.tasks.word_vectors.settings import Settings
from src.terminal.errors import nearest

_ANALOGY = re.compile(r"\s*(\S+)\s+[-−–]\s+(\S+)\s+\+\s+(\S+)\s*")


class Near(NamedTuple):
    """A word near to a vector, and its cosine or score."""

    word: str
    similarity: float


def of_model(model: Any, how: str) -> np.ndarray:
    """Returns the vectors of a Keras model, float32[R, D]."""
    layer = model.get_layer("words")
    return vectors_file.combined([layer.input_table.numpy(), layer.output_table.numpy()], how)


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

    def nearest(self, word: str, count: int, *, among: int | None = None) -> list[Near]:
        """Returns the words with the highest cosine, without the word itself.

        Args:
          word: the word.
          count: number of answers.
          among: how many of the most frequent words can be answers; None for all.
        """
        number = self.number(word)
        return self._best((self._units @ self._units[number])[:among], {number}, count)

    def analogy(self, text: str, count: int, *, multiplied: bool = False, among: int | None = None) -> list[Near]:
        """Returns the best answers to an analogy, without its own words.

        Args:
          text: `king - man + woman`.
          count: number of answers.
          among: how many of the most frequent words can be answers; None for all.
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
        cosines = [(self._units @ self._units[number])[:among] for number in (a, b, c)]
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
    tables = vectors_file.read(folder)
    if tables.input.shape[1] != settings.vector_size:
        size = f"vectors of size {tables.input.shape[1]}, but vector_size={settings.vector_size}"
        raise ValueError(f"{folder}: {MODEL} has {size}; the files differ")
    return Vectors(tables.words, tables.counts, tables.combined(how or settings.combine))
