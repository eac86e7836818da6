"""A trained classifier as MLflow serves it: raw texts in, the probability of every class out.

This file is stored with every model, in a package of its own, together with those of `src/data` and `src/models` that it imports. It
imports them relatively, and nothing else of ours.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ...data import tokens

if TYPE_CHECKING:
    import pandas as pd

MODEL, TEXTS = "model.keras", "texts.json"
TEXT = "text"  # the column of the texts, in an example


class Served:
    """A classifier that MLflow has loaded.

    Attributes:
      classes: name of each class, in the order of the columns that come out.
    """

    def __init__(self, model: Any, known: dict[str, Any]) -> None:
        """Takes the Keras model, and what stands between a text and its input.

        Args:
          model: ids int32[B, T] → logits float32[B, K].
          known: `words`, `classes`, `tokens`, `max_length`, `truncation`, `head`, `batch_size`, and of padding `edges`, `to_longest` and
            `side`, each as in training.
        """
        self.classes: list[str] = known["classes"]
        self._model, self._known = model, known
        self._ids = {word: tokens.FIRST_WORD + rank for rank, word in enumerate(known["words"])}

    def predict(self, data: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Returns one row a text and one column a class: its probability.

        Args:
          data: with one column, of texts; a cell that is a list of texts, as MLflow makes of {"text": ["…", "…"]}, counts as so many rows.
          params: MLflow's, none are taken.

        Raises:
          mlflow.exceptions.MlflowException: what is no text, or a text without a word; a server answers with 400 and says which.
        """
        import pandas as pd

        cells = list(data.iloc[:, 0])
        texts = [text for cell in cells for text in (cell if isinstance(cell, list | tuple | np.ndarray) else [cell])]
        if other := [number for number, text in enumerate(texts, 1) if not isinstance(text, str)]:
            _refuse(
                f"input {_listed(other)} of {len(texts)} is no text (got {str(texts[other[0] - 1])[:80]!r}); send texts alone"
            )
        return pd.DataFrame(self.probabilities(texts), columns=self.classes).astype(float)

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """Returns float32[N, K] for N texts.

        Raises:
          mlflow.exceptions.MlflowException: texts without a word.
        """
        words = [tokens.words_of(text, tokens=self._known["tokens"]) for text in texts]
        if empty := [number for number, text in enumerate(words, 1) if not text]:
            _refuse(
                f"input {_listed(empty)} of {len(texts)} has no word (no letter and no digit); send the others alone"
            )
        sequences = [self._cut(text) for text in words]
        found = np.zeros((len(texts), len(self.classes)), np.float32)
        for rows, width in self._batches([len(sequence) for sequence in sequences]):
            ids = self._padded([sequences[row] for row in rows], width)
            found[rows] = self._chances(np.asarray(self._model(ids, training=False)))
        if not np.isfinite(found).all():
            _refuse("the model's outputs are no numbers; its weights are not those of a finished trial")
        return found

    def _cut(self, words: Sequence[str]) -> np.ndarray:
        """Returns the ids of a text, the start id first, of which `max_length` stay."""
        ids, _ = tokens.encode([words], self._ids)
        longest = self._known["max_length"]
        if longest is None or len(ids) <= longest:
            return ids
        if self._known["truncation"] == "post":
            return ids[:longest]
        return np.concatenate([ids[:1], ids[len(ids) - longest + 1 :]])

    def _batches(self, lengths: Sequence[int]) -> list[tuple[list[int], int]]:
        """Returns which rows share a batch, and its steps: each text is padded as if no other came with it.

        A model without a mask reads the padding, so it gets as much as in training, and no answer depends on the neighbours of a text.
        """
        edges, to_longest = self._known["edges"], self._known["to_longest"]
        groups: dict[int, list[int]] = {}
        for row, length in enumerate(lengths):
            width = length if to_longest or length > edges[-1] else edges[int(np.searchsorted(edges, length))]
            groups.setdefault(width, []).append(row)
        size = self._known["batch_size"]
        return [
            (rows[begin : begin + size], width) for width, rows in groups.items() for begin in range(0, len(rows), size)
        ]

    def _padded(self, sequences: Sequence[np.ndarray], width: int) -> np.ndarray:
        """Returns int32[B, width], the padding at the side where it was in training."""
        ids = np.zeros((len(sequences), width), np.int32)
        for row, sequence in zip(ids, sequences, strict=True):
            row[slice(width - len(sequence), width) if self._known["side"] == "pre" else slice(len(sequence))] = (
                sequence
            )
        return ids

    def _chances(self, logits: np.ndarray) -> np.ndarray:
        if self._known["head"] == "sigmoid":
            small = np.exp(-np.abs(logits))
            chance = np.where(logits >= 0, 1, small) / (1 + small)
            return np.hstack([1 - chance, chance])
        chances: np.ndarray = np.exp(logits - logits.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        return chances


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:20])) + (", …" if len(numbers) > 20 else "")


def _refuse(what: str) -> NoReturn:
    from mlflow.exceptions import MlflowException

    raise MlflowException.invalid_parameter_value(what)


def _load_pyfunc(path: str) -> Served:
    """Returns the model in a folder; MLflow calls this. Nothing in its files is executed: Keras reads layers by name, in its safe mode."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import keras

    from ...models import cells, initial_state, loops, onehot, readout  # noqa: F401  the layers of our own, by name

    folder = Path(path)
    known = json.loads((folder / TEXTS).read_text(encoding="utf-8"))
    return Served(keras.saving.load_model(folder / MODEL, compile=False, safe_mode=True), known)
