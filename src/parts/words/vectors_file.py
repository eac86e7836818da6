"""The word vectors of a trial, from its files, without TensorFlow.

Letters: R words, D size of a vector.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from src.artifacts import MODEL
from src.files import replaced
from src.terminal.errors import first_line

WORDS = "words.json"
FILES = (WORDS, MODEL)
_WEIGHTS, _TABLES = "model.weights.h5", "layers/word_pairs/vars/"


class Tables(NamedTuple):
    """Two vectors for each word.

    Attributes:
      words: R words, the most frequent first.
      counts: how often training has each.
      input: float32[R, D].
      output: float32[R, D].
    """

    words: list[str]
    counts: list[int]
    input: np.ndarray
    output: np.ndarray

    def combined(self, how: str) -> np.ndarray:
        """Returns one vector for each word, float32[R, D]: `input`, `output`, `sum` or `average`."""
        return combined((self.input, self.output), how)


def combined(tables: Sequence[np.ndarray], how: str) -> np.ndarray:
    """Returns one vector for each word, float32[R, D].

    Args:
      tables: the input and the output table.
      how: `input`, `output`, `sum` or `average`.
    """
    one, other = tables
    ways = {"input": one, "output": other, "sum": one + other, "average": (one + other) / 2}
    return np.asarray(ways[how])


def write(folder: Path, words: Sequence[str], counts: Sequence[int]) -> str:
    """Writes the words and how often training has them; returns the file's name."""
    with replaced(folder / WORDS) as path:
        path.write_text(json.dumps({"words": list(words), "counts": list(counts)}), encoding="utf-8")
    return WORDS


def read(folder: Path) -> Tables:
    """Returns the words and vectors of a trial's folder, without executing any code from its files.

    Raises:
      ValueError: a file is missing or invalid, or the files belong to different trials.
    """
    try:
        content = json.loads((folder / WORDS).read_text(encoding="utf-8"))
        words, counts = [str(word) for word in content["words"]], [int(count) for count in content["counts"]]
    except OSError as error:
        raise ValueError(f"{folder / WORDS}: cannot be read ({error.strerror}); has the trial finished?") from None
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise ValueError(f"{folder / WORDS}: it has no words of a model ({first_line(error)})") from None
    one, other = _tables(folder / MODEL)
    if one.ndim != 2 or one.shape != other.shape or not len(one) == len(words) == len(counts):
        shapes = f"vectors {one.shape} and {other.shape}"
        raise ValueError(f"{folder}: {MODEL} has {shapes}, {WORDS} {len(words)} words; the files differ")
    return Tables(words, counts, one, other)


def _tables(path: Path) -> list[np.ndarray]:
    """Returns the input and the output table of a model file, read without Keras."""
    import h5py

    try:
        with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read(_WEIGHTS)), "r") as weights:
            return [np.asarray(weights[f"{_TABLES}{place}"]) for place in (0, 1)]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: it has no word vectors ({first_line(error)})") from None
