"""The file of a trial with the vocabulary of its model: what the ids stand for, and how a text becomes words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from src.files import replaced

FILE = "vocabulary.json"


def write(folder: Path, words: Sequence[str], *, tokens: str) -> str:
    """Writes the words, of which the first has the id `tokens.FIRST_WORD`, and their unit; returns the file's name."""
    with replaced(folder / FILE) as path:
        path.write_text(json.dumps({"tokens": tokens, "words": list(words)}), encoding="utf-8")
    return FILE
