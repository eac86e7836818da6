"""The files of TensorBoard's projector: the words and their vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from src.data.tokens import FIRST_WORD, START, UNKNOWN
from src.terminal.visible import one_line

MOST = 10_000  # number of words, the most frequent first; TensorBoard draws every one
CONFIG = 'embeddings {\n  tensor_name: "words"\n  tensor_path: "words.tsv"\n  metadata_path: "metadata.tsv"\n}\n'


def write(folder: Path, table: np.ndarray, words: Sequence[str]) -> None:
    """Writes the rows of a trained embedding that belong to words.

    Args:
      folder: folder for the files; it is created if it does not exist.
      table: float32[V, D], one row per id.
      words: the words of the vocabulary; the first has the id `FIRST_WORD`.
    """
    shown = words[:MOST]
    ids = [START, UNKNOWN, *range(FIRST_WORD, FIRST_WORD + len(shown))]
    _write(folder, table[ids], ["[start]", "[unknown]", *map(one_line, shown)])


def write_counted(folder: Path, table: np.ndarray, words: Sequence[str], counts: Sequence[int]) -> None:
    """Writes the vectors of words, and how often each occurs.

    Args:
      folder: folder for the files; it is created if it does not exist.
      table: float32[V, D], one row per word.
      words: V words, the most frequent first.
      counts: their numbers of occurrences.
    """
    rows = [f"{one_line(word)}\t{count}" for word, count in zip(words[:MOST], counts[:MOST], strict=True)]
    _write(folder, table[:MOST], ["word\tcount", *rows])


def _write(folder: Path, table: np.ndarray, lines: Sequence[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    np.savetxt(folder / "words.tsv", table, fmt="%.4g", delimiter="\t")
    (folder / "metadata.tsv").write_text(
        "".join(f"{line}\n" for line in lines), encoding="utf-8", errors="backslashreplace"
    )
    (folder / "projector_config.pbtxt").write_text(CONFIG, encoding="utf-8")
