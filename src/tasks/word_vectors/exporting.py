"""Writes vectors as the code of word2vec does; gensim and many other programs read the files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from src.files import replaced
from src.tasks.word_vectors.vectors import Vectors


def write(path: Path, vectors: Vectors, *, is_binary: bool) -> None:
    """Writes the words, the most frequent first, with their vectors.

    The first line has the number of words and the size of a vector. Each word follows with a space and its numbers:
    little-endian float32 in the binary format, decimal numbers with spaces between them in the text format.

    Raises:
      ValueError: the file cannot be written.
    """
    table = np.ascontiguousarray(vectors.table, "<f4")
    try:
        with replaced(path) as part, part.open("wb") as file:
            file.write(f"{len(vectors.words)} {table.shape[1]}\n".encode())
            for word, row in zip(vectors.words, table, strict=True):
                numbers = row.tobytes() if is_binary else " ".join(f"{number:.9g}" for number in row.tolist()).encode()
                file.write(word.replace(" ", "_").encode() + b" " + numbers + b"\n")
    except OSError as error:
        raise ValueError(f"{path}: cannot be written ({error.strerror})") from None
