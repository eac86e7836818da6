"""Text to words or characters, and these to ids in Keras' IMDB convention."""

from __future__ import annotations

import functools
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np

PADDING, START, UNKNOWN, FIRST_WORD = 0, 1, 2, 4  # 3 is unused, as in keras.datasets.imdb

TOKENISER = "2"  # part of the cache's key: raise it when `words` or `characters` changes
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_UNSPACED = {  # scripts that put no spaces between words, by the blocks of Unicode
    "Chinese or Japanese": "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U000323af",  # noqa: E501
    "Thai": "\u0e00-\u0e7f",
    "Lao": "\u0e80-\u0eff",
    "Burmese": "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f",
    "Khmer": "\u1780-\u17ff",
    "Javanese or Balinese": "\ua980-\ua9df\u1b00-\u1b7f",
}


def words(text: str) -> list[str]:
    """Returns the words of a text, in order.

    HTML line breaks count as spaces and letters become lower case. A word is a run of letters and digits of any script with their
    combining marks, with apostrophes only inside (`don't`); everything else separates. The typographic apostrophe is read as the plain
    one. Invisible characters of format (soft hyphens, joiners, signs of direction) are left out, but a zero-width space separates.

    Texts are compared in Unicode's normal form C: é is one word whether it is one code point or two. Form KC would make 81 of 8½ and
    marveltm of Marvel™, so compatible characters (½, ™, full-width letters) stay what they are.
    """
    if text.isascii():
        return _WORD.findall(_BREAK.sub(" ", text).lower())
    word, invisible = _patterns()
    text = unicodedata.normalize("NFC", invisible.sub("", _BREAK.sub(" ", text)))
    lower = unicodedata.normalize("NFC", text.lower()).replace("_", " ")
    return [found.replace("’", "'") for found in word.findall(lower)]


def characters(text: str) -> list[str]:
    """Returns the characters of a text's words, each with its combining marks, and one space between two words."""
    joined = " ".join(words(text))
    return list(joined) if joined.isascii() else _clusters().findall(joined)


def words_before_marks(text: str) -> list[str]:
    """Returns the words as version 1 took them, which combining marks ended: what models that were trained with it read."""
    return [word.replace("’", "'") for word in _WORD.findall(_BREAK.sub(" ", text).lower())]


def listed(text: str) -> list[str]:
    """Returns the words of a text as they are, divided by white space: for models that were trained on lists of words."""
    return text.split()


DIVISIONS: dict[str, Callable[[str], list[str]]] = {
    "word": words,
    "character": characters,
    "list": listed,
    "word_before_marks": words_before_marks,
}


def words_of(text: str | list[str], *, tokens: str = "word") -> list[str]:
    """Returns what a text is divided into (a key of `DIVISIONS`); a list of words is taken as it is."""
    return text if isinstance(text, list) else DIVISIONS[tokens](text)


def joined(words: Sequence[str]) -> str:
    """Returns one text for a list of words, which two lists share exactly if they are equal."""
    return "\0".join(words)


def unspaced(word: str) -> str | None:
    """Returns the script of a word's first letter that belongs to a script without spaces between words, or None."""
    found = None if word.isascii() else _unspaced().search(word)
    return list(_UNSPACED)[found.lastindex - 1] if found and found.lastindex else None


def vocabulary(texts: Iterable[Sequence[str]]) -> list[str]:
    """Returns all words, most frequent first; equally frequent ones in alphabetical order.

    The word at position r has id r + 4. A trial with `vocab_size` v keeps the ids below v.
    """
    counts = Counter(word for text in texts for word in text)
    return sorted(counts, key=lambda word: (-counts[word], word))


def encode(texts: Sequence[Sequence[str]], ids: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ids of all texts in one row, each text with the start id before it, and where each begins.

    Args:
      texts: N texts as words.
      ids: word → id; words that are missing become `UNKNOWN`.

    Returns:
      int32[total] ids and int64[N + 1] starts, the last of which is `total`.
    """
    starts = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text) + 1 for text in texts], out=starts[1:])
    flat = np.fromiter(
        (i for text in texts for i in (START, *(ids.get(word, UNKNOWN) for word in text))), np.int32, int(starts[-1])
    )
    return flat, starts


@functools.cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Returns what a word is, underscores apart, and what is invisible; made once, which takes a fifth of a second."""
    marks = _class_of({"Mn", "Mc", "Me"})
    word = rf"\w[\w{marks}]*"
    return re.compile(rf"{word}(?:['’]{word})*"), re.compile(f"[{_class_of({'Cf'}, but=chr(0x200B))}]")


@functools.cache
def _clusters() -> re.Pattern[str]:
    marks = _class_of({"Mn", "Mc", "Me"})
    return re.compile(f"[^{marks}][{marks}]*")


@functools.cache
def _unspaced() -> re.Pattern[str]:
    return re.compile("|".join(f"([{blocks}])" for blocks in _UNSPACED.values()))


def _class_of(categories: set[str], *, but: str = "") -> str:
    """Returns all characters of some of Unicode's categories, as ranges of a regular expression's class."""
    points = [i for i in range(sys.maxunicode + 1) if unicodedata.category(chr(i)) in categories and chr(i) not in but]
    starts = [i for i, before in zip(points, [-2, *points], strict=False) if i != before + 1]
    ends = [i for i, after in zip(points, [*points[1:], -2], strict=True) if after != i + 1]
    return "".join(f"\\U{start:08x}-\\U{end:08x}" for start, end in zip(starts, ends, strict=True))
