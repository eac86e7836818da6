"""The file of a trial with the vocabularies of its model: what the ids stand for, and how a text becomes tokens."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from src.data.pair_contents import SIDES
from src.data.pair_vocabulary import Vocabulary
from src.files import replaced
from src.terminal.errors import first_line

FILE = "vocabularies.json"
_UNITS = ("word", "character", "subword")


def write(folder: Path, vocabularies: Mapping[str, Vocabulary]) -> str:
    """Writes the vocabularies, side → vocabulary; returns the file's name."""
    with replaced(folder / FILE) as path:
        path.write_text(json.dumps({side: _plain(vocabularies[side]) for side in SIDES}), encoding="utf-8")
    return FILE


def _plain(vocabulary: Vocabulary) -> dict[str, Any]:
    merges = None if vocabulary.merges is None else base64.b64encode(vocabulary.merges).decode("ascii")
    how = {"tokens": vocabulary.tokens, "lowercase": vocabulary.lowercase, "merges": merges}
    return {**how, "words": vocabulary.words}


def read(folder: Path) -> dict[str, Vocabulary]:
    """Returns the vocabularies of a trial, side → vocabulary.

    Raises:
      ValueError: the file is missing, or holds something else.
    """
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return {side: _vocabulary(content[side]) for side in SIDES}
    except OSError as error:
        raise ValueError(f"{folder / FILE}: cannot be read ({error.strerror}); has the trial finished?") from None
    except (ValueError, TypeError, LookupError, RecursionError, RuntimeError) as error:
        raise ValueError(f"{folder / FILE}: it holds no vocabularies of a model ({first_line(error)})") from None


def _vocabulary(content: Mapping[str, Any]) -> Vocabulary:
    words, merges = content["words"], content["merges"]
    if content["tokens"] not in _UNITS or not isinstance(content["lowercase"], bool) or not isinstance(words, list):
        raise ValueError("its unit or its words are missing")
    if not all(isinstance(word, str) and word for word in words) or len(set(words)) < len(words):
        raise ValueError("a token is empty or occurs twice")
    learnt = None if merges is None else base64.b64decode(merges, validate=True)
    vocabulary = Vocabulary(words, content["tokens"], content["lowercase"], learnt)
    vocabulary.divided("a")  # damaged merges raise here
    return vocabulary
