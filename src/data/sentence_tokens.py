"""Sentences as tokens, and back: words with punctuation, characters, or subwords.

Other tasks read texts without punctuation (`src.data.tokens`). A translation has to become a text again, so here every
division is reversible: `join(split(text)) == text` for a `normalised` text.
"""

from __future__ import annotations

import functools
import io
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from src.data.files import DataError
from src.data.tokens import clusters, marks, without_invisible

RULES = 1  # part of the cache key: increment it when `normalised` or a division changes
JOINER = "￭"  # on the side of a punctuation mark that no space separates from its neighbour
SPACE = "▁"  # stands for a space in a subword
_RESERVED = str.maketrans({JOINER: "■", SPACE: "_"})
_WHITE = re.compile(r"[\s\u200b]+")
_META = 4  # ids of sentencepiece that are no subwords: padding, start, unknown, end
_LONGEST = 10_000_000  # bytes of a sentence that sentencepiece learns from; it leaves out longer ones


class Token(NamedTuple):
    """A token, and the characters of its text that it stands for: `text[start:end]`."""

    text: str
    start: int
    end: int


class Division(Protocol):
    """How a sentence becomes tokens, and tokens a sentence."""

    def split(self, text: str) -> list[Token]:
        """Returns the tokens of a normalised text, in order."""

    def join(self, tokens: Sequence[str]) -> str:
        """Returns tokens as a text."""


def normalised(text: str, *, lowercase: bool) -> str:
    """Returns a text in Unicode's form C without invisible characters, with single spaces, perhaps in lower case."""
    text = unicodedata.normalize("NFC", without_invisible(text))
    text = _WHITE.sub(" ", text).strip().translate(_RESERVED)
    return unicodedata.normalize("NFC", text.lower()) if lowercase else text


class Words:
    """Words and punctuation marks: `l'an 2015-03.` becomes l ￭'￭ an 2015 ￭-￭ 03 ￭.

    A word is a run of letters and digits with their combining marks. A run of one other character is a punctuation
    mark; a joiner shows on which side no space stands. The assignment's preprocessing also separates punctuation, but
    drops most marks and all accents, which a translation needs.
    """

    def split(self, text: str) -> list[Token]:
        """Returns the words and the punctuation marks of a normalised text, in order."""
        found = list(_pattern(text.isascii()).finditer(text))
        tokens = []
        for place, match in enumerate(found):
            token = match.group()
            if not match["word"]:
                before = found[place - 1].end() if place else -1
                after = found[place + 1] if place + 1 < len(found) else None
                is_before_word = after is not None and after["word"] is not None and after.start() == match.end()
                token = JOINER * (before == match.start()) + token + JOINER * is_before_word
            tokens.append(Token(token, *match.span()))
        return tokens

    def join(self, tokens: Sequence[str]) -> str:
        """Returns tokens as a text."""
        parts: list[str] = []
        is_joined = True
        for token in tokens:
            bare = token.strip(JOINER)
            parts += [bare] if is_joined or token.startswith(JOINER) else [" ", bare]
            is_joined = token.endswith(JOINER)
        return "".join(parts)


class Characters:
    """Characters with their combining marks; a space is one of them."""

    def split(self, text: str) -> list[Token]:
        """Returns the characters of a normalised text, in order."""
        return _in_a_row(clusters(text))

    def join(self, tokens: Sequence[str]) -> str:
        """Returns tokens as a text."""
        return "".join(tokens)


class Subwords:
    """Parts of words by byte-pair merges; punctuation is separated and joined as by `Words`.

    A subword that begins a word begins with ▁. Characters that training did not have become tokens of their own.

    Source: Sennrich, Haddow and Birch, "Neural Machine Translation of Rare Words with Subword Units", ACL 2016. The
    package sentencepiece learns and applies the merges (Kudo and Richardson, EMNLP 2018); none crosses a word's end.
    """

    def __init__(self, merges: bytes) -> None:
        """Takes the result of `learn`."""
        from sentencepiece import SentencePieceProcessor

        self._words = Words()
        self._processor: Any = SentencePieceProcessor(model_proto=merges)
        self._pieces = functools.cache(self._divided)

    def _divided(self, word: str) -> list[str]:
        return list(self._processor.encode(word, out_type=str))

    def split(self, text: str) -> list[Token]:
        """Returns the subwords of a normalised text, in order."""
        tokens = []
        for word in self._words.split(text):
            ahead = len(SPACE) + word.text.startswith(JOINER)  # signs of the pieces that are not in the text
            for piece in _in_a_row(self._pieces(word.text)):
                start, end = (min(max(word.start, word.start + at - ahead), word.end) for at in piece[1:])
                tokens.append(Token(piece.text, start, end))
        return tokens

    def join(self, tokens: Sequence[str]) -> str:
        """Returns tokens as a text."""
        return self._words.join("".join(tokens).replace(SPACE, " ").split())


def learn(texts: Iterable[str], size: int) -> bytes:
    """Returns byte-pair merges that are learnt from normalised texts.

    Args:
      texts: the training texts of one side, or of both.
      size: number of ids: single characters and merges, padding, start, end and the unknown token.

    Raises:
      DataError: the texts have more different characters than ids.
    """
    from sentencepiece import SentencePieceTrainer

    lines = [" ".join(token.text for token in Words().split(text)) for text in texts]
    least = len(set().union(*lines) | {SPACE}) + _META
    if size < least:
        fault = f"the training texts have {least - _META} different characters, marks of spaces included"
        raise DataError(f"vocab_size={size}: {fault}, so tokens=subword needs at least {least} ids; raise vocab_size")
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        model_type="bpe",
        vocab_size=size,
        hard_vocab_limit=False,  # few texts have fewer merges
        character_coverage=1.0,
        normalization_rule_name="identity",
        max_sentence_length=_LONGEST,
        num_threads=1,
        pad_id=0,
        bos_id=1,
        unk_id=2,
        eos_id=3,
        minloglevel=2,  # errors only
    )
    return model.getvalue()


def division(tokens: str, model: bytes | None = None) -> Division:
    """Returns the division for `tokens=word|character|subword`; `model` is the result of `learn` for subwords."""
    if tokens == "subword":
        if model is None:
            raise ValueError("tokens=subword needs learnt merges")
        return Subwords(model)
    return Words() if tokens == "word" else Characters()


def _in_a_row(pieces: Iterable[str]) -> list[Token]:
    """Returns pieces that follow each other without gaps as tokens."""
    tokens, end = [], 0
    for piece in pieces:
        tokens.append(Token(piece, end, end + len(piece)))
        end += len(piece)
    return tokens


@functools.cache
def _pattern(is_ascii: bool) -> re.Pattern[str]:
    """Returns the pattern of a word, or of a run of one other character."""
    word = r"[^\W_]+" if is_ascii else rf"[^\W_](?:[^\W_]|[{marks()}])*"
    return re.compile(rf"(?P<word>{word})|(?P<mark>\S)(?P=mark)*")
