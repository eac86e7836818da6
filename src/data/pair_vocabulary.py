"""What the ids of one side of a parallel corpus stand for, and how a text becomes ids and ids a text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from src.data.sentence_tokens import Division, division, normalised
from src.data.tokens import FIRST_WORD, UNKNOWN

SHOWN_UNKNOWN = "<unknown>"
SHOWN_END = "<end>"


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of one side.

    Attributes:
      words: its tokens, the most frequent first; the first has the id `tokens.FIRST_WORD`.
      tokens: how texts are divided: word, character or subword.
      lowercase: whether texts are in lower case.
      merges: with `tokens=subword`, what `sentence_tokens.learn` returned.
    """

    words: list[str]
    tokens: str
    lowercase: bool
    merges: bytes | None = None

    @cached_property
    def division(self) -> Division:
        """How texts are divided."""
        return division(self.tokens, self.merges)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: FIRST_WORD + rank for rank, word in enumerate(self.words)}

    @property
    def size(self) -> int:
        """Number of ids, with those that are no words."""
        return FIRST_WORD + len(self.words)

    def normalised(self, text: str) -> str:
        """Returns a text as the vocabulary reads it."""
        return normalised(text, lowercase=self.lowercase)

    def divided(self, text: str) -> list[str]:
        """Returns the tokens of a text."""
        return [token.text for token in self.division.split(self.normalised(text))]

    def ids(self, words: Iterable[str]) -> list[int]:
        """Returns the ids of tokens; a token outside the vocabulary has the id of the unknown token."""
        return [self._ids.get(word, UNKNOWN) for word in words]

    def shown(self, ids: Iterable[int]) -> list[str]:
        """Returns the tokens of ids that stand for one, the unknown token as such."""
        known = range(FIRST_WORD, self.size)
        return [
            self.words[id_ - FIRST_WORD] if id_ in known else SHOWN_UNKNOWN
            for id_ in ids
            if id_ in known or id_ == UNKNOWN
        ]

    def text(self, ids: Sequence[int]) -> str:
        """Returns ids as a text. Ids that are no words are left out; the unknown token is shown as such."""
        return self.division.join(self.shown(ids))
