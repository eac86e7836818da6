"""A trained classifier as MLflow serves it: it takes raw texts and returns the probability of every class.

Every logged model contains a copy of this file and of the modules of `src/data`, `src/models` and `src/parts` that it
imports. The imports are relative, and it imports no other module of this project.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...data import tokens
from ...parts.served_model import load, refuse

if TYPE_CHECKING:
    import pandas as pd

TEXTS = "texts.json"
TEXT = "text"  # the column of the texts, in an example
# modules with the project's layers
LAYERS = ("cell_facts", "cells", "fused_loop", "initial_state", "loops", "onehot", "readout", "text_encoders")


class Served:
    """A classifier that MLflow has loaded.

    Attributes:
      classes: name of each class, in the order of the output columns.
    """

    def __init__(self, model: Any, preprocessing: dict[str, Any]) -> None:
        """Creates the served classifier.

        Args:
          model: ids int32[B, T] → logits float32[B, K].
          preprocessing: `words`, `classes`, `tokens`, `max_length`, `truncation`, `head`, `batch_size`, and the
            padding's `edges`, `to_longest` and `side`, each as in training.
        """
        self.classes: list[str] = preprocessing["classes"]
        self._model, self._preprocessing = model, preprocessing
        self._ids = {word: tokens.FIRST_WORD + rank for rank, word in enumerate(preprocessing["words"])}

    def predict(self, data: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Returns the probabilities: one row per text and one column per class.

        Args:
          data: one column of texts. MLflow turns {"text": ["…", "…"]} into a cell with a list; each text in the list
            has its own row in the result.
          params: parameters of MLflow's interface; not used.

        Raises:
          mlflow.exceptions.MlflowException: an input is not a text, or a text has no word. A server responds with
            status 400 and names the inputs.
        """
        import pandas as pd

        cells = list(data.iloc[:, 0])
        texts = [text for cell in cells for text in (cell if isinstance(cell, list | tuple | np.ndarray) else [cell])]
        if invalid := [number for number, text in enumerate(texts, 1) if not isinstance(text, str)]:
            got = repr(str(texts[invalid[0] - 1])[:80])
            refuse(f"input {_listed(invalid)} of {len(texts)} is not a text (got {got}); send only texts")
        return pd.DataFrame(self.probabilities(texts), columns=self.classes).astype(float)

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """Returns float32[N, K] for N texts.

        Raises:
          mlflow.exceptions.MlflowException: a text has no word.
        """
        words = [tokens.words_of(text, tokens=self._preprocessing["tokens"]) for text in texts]
        if empty := [number for number, text in enumerate(words, 1) if not text]:
            refuse(f"input {_listed(empty)} of {len(texts)} has no word (no letter and no digit); send only the others")
        sequences = [self._encoded(text) for text in words]
        result = np.zeros((len(texts), len(self.classes)), np.float32)
        for rows, width in self._batches([len(sequence) for sequence in sequences]):
            ids = self._padded([sequences[row] for row in rows], width)
            result[rows] = self._probabilities(np.asarray(self._model(ids, training=False)))
        if not np.isfinite(result).all():
            refuse("the model's outputs are not finite numbers; its weights are not those of a finished trial")
        return result

    def _encoded(self, words: Sequence[str]) -> np.ndarray:
        """Returns the ids of a text, starting with the start id, truncated to `max_length`."""
        ids, _ = tokens.encode([words], self._ids)
        longest = self._preprocessing["max_length"]
        if longest is None or len(ids) <= longest:
            return ids
        if self._preprocessing["truncation"] == "post":
            return ids[:longest]
        return np.concatenate([ids[:1], ids[len(ids) - longest + 1 :]])

    def _batches(self, lengths: Sequence[int]) -> list[tuple[list[int], int]]:
        """Returns for each batch its rows and its number of steps. Each text is padded as if it were alone.

        A model without a mask reads the padding. It therefore gets as much padding as in training, and the answer to
        a text does not depend on the other texts.
        """
        edges, to_longest = self._preprocessing["edges"], self._preprocessing["to_longest"]
        groups: dict[int, list[int]] = {}
        for row, length in enumerate(lengths):
            width = length if to_longest or length > edges[-1] else edges[int(np.searchsorted(edges, length))]
            groups.setdefault(width, []).append(row)
        size = self._preprocessing["batch_size"]
        return [
            (rows[begin : begin + size], width) for width, rows in groups.items() for begin in range(0, len(rows), size)
        ]

    def _padded(self, sequences: Sequence[np.ndarray], width: int) -> np.ndarray:
        """Returns int32[B, width], padded on the same side as in training."""
        ids = np.zeros((len(sequences), width), np.int32)
        for row, sequence in zip(ids, sequences, strict=True):
            begin = width - len(sequence) if self._preprocessing["side"] == "pre" else 0
            row[begin : begin + len(sequence)] = sequence
        return ids

    def _probabilities(self, logits: np.ndarray) -> np.ndarray:
        if self._preprocessing["head"] == "sigmoid":
            small = np.exp(-np.abs(logits))
            of_class_1 = np.where(logits >= 0, 1, small) / (1 + small)
            return np.hstack([1 - of_class_1, of_class_1])
        probabilities: np.ndarray = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        return probabilities


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:20])) + (", …" if len(numbers) > 20 else "")


def _load_pyfunc(path: str) -> Served:
    """Returns the model in a folder; MLflow calls this function."""
    return Served(*load(path, TEXTS, layers=LAYERS))
