"""The file of a trial with the vocabulary of its model: what the ids stand for, and how a text becomes words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from src.data.tokens import DIVISIONS, FIRST_WORD, UNKNOWN, words_of
from src.files import replaced
from src.terminal.errors import first_line

FILE = "vocabulary.json"
SHOWN_UNKNOWN = "<unknown>"


@dataclass(frozen=True)
class Vocabulary:
    """The words that a model knows.

    Attributes:
      words: the first word has the id `tokens.FIRST_WORD`.
      tokens: how texts are divided, a key of `tokens.DIVISIONS`.
    """

    words: list[str]
    tokens: str

    @property
    def unit(self) -> str:
        """What the words are, in the plural: words or characters."""
        return "characters" if self.tokens == "character" else "words"

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: FIRST_WORD + rank for rank, word in enumerate(self.words)}

    def divided(self, text: str) -> list[str]:
        """Returns the words of a text."""
        return words_of(text, tokens=self.tokens)

    def ids(self, words: Sequence[str]) -> list[int]:
        """Returns the ids of words; a word outside the vocabulary has the id of the unknown word."""
        return [self._ids.get(word, UNKNOWN) for word in words]

    def text(self, ids: Sequence[int]) -> str:
        """Returns ids as a text: words with spaces between them, or characters without.

        Words have neither punctuation nor capitals, as `src.data.tokens` divides texts. Ids that are no words are left
        out; the unknown word is shown as such.
        """
        shown = [
            SHOWN_UNKNOWN if id_ == UNKNOWN else self.words[id_ - FIRST_WORD] for id_ in ids if self._is_shown(id_)
        ]
        return ("" if self.tokens == "character" else " ").join(shown)

    def _is_shown(self, id_: int) -> bool:
        return id_ == UNKNOWN or FIRST_WORD <= id_ < FIRST_WORD + len(self.words)


def write(folder: Path, words: Sequence[str], *, tokens: str) -> str:
    """Writes the words, of which the first has the id `tokens.FIRST_WORD`, and their unit; returns the file's name."""
    with replaced(folder / FILE) as path:
        path.write_text(json.dumps({"tokens": tokens, "words": list(words)}), encoding="utf-8")
    return FILE


def read(folder: Path) -> Vocabulary:
    """Returns the vocabulary of a trial.

    Raises:
      ValueError: the file is missing, or holds something else.
    """
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        vocabulary = Vocabulary(content["words"], content["tokens"])
        words = vocabulary.words
        if vocabulary.tokens not in DIVISIONS or not isinstance(words, list):
            raise ValueError("its unit or its words are missing")
        if not all(isinstance(word, str) and word for word in words) or len(set(words)) < len(words):
            raise ValueError("a word is empty or occurs twice")
    except OSError as error:
        raise ValueError(f"{folder / FILE}: cannot be read ({error.strerror}); has the trial finished?") from None
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise ValueError(f"{folder / FILE}: it is no vocabulary of a model ({first_line(error)})") from None
    return vocabulary
