"""Converts texts to words or characters, and these to ids in the convention of Keras' IMDB."""

from __future__ import annotations

import functools
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np

PADDING, START, UNKNOWN, FIRST_WORD = 0, 1, 2, 4  # as in keras.datasets.imdb
END = 3  # of a text; only tasks that predict texts use it

TOKENISER = "2"  # part of the cache key: increment it when `words` or `characters` changes
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
SENTENCE = "\n"  # a mark between two sentences, which no text contains as a word
_SENTENCE_END = re.compile(r"<br\s*/?>|[\r\n]+|(?<=[.!?…])[\"'”’)\]]*\s+", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_UNSPACED = {  # scripts without spaces between words, by Unicode blocks
    "Chinese or Japanese": "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U000323af",  # noqa: E501
    "Thai": "\u0e00-\u0e7f",
    "Lao": "\u0e80-\u0eff",
    "Burmese": "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f",
    "Khmer": "\u1780-\u17ff",
    "Javanese or Balinese": "\ua980-\ua9df\u1b00-\u1b7f",
}


def words(text: str) -> list[str]:
    """Returns the words of a text, in order.

    HTML line breaks count as spaces, and letters become lower case. A word is a run of letters and digits of any script
    with their combining marks; it may contain apostrophes (`don't`), but not begin or end with one. All other
    characters separate words. The typographic apostrophe counts as the plain one. Invisible format characters (soft
    hyphens, joiners, direction marks) are removed, but a zero-width space separates words.

    Texts are normalised to Unicode's form C (NFC): é is one word whether it is one code point or two. Form KC would
    turn 8½ into 81 and Marvel™ into marveltm, so compatibility characters (½, ™, full-width letters) are unchanged.
    """
    if text.isascii():
        return _WORD.findall(_BREAK.sub(" ", text).lower())
    text = unicodedata.normalize("NFC", without_invisible(_BREAK.sub(" ", text)))
    lower = unicodedata.normalize("NFC", text.lower()).replace("_", " ")
    return [match.replace("’", "'") for match in _pattern().findall(lower)]


def without_invisible(text: str) -> str:
    """Returns a text without soft hyphens, joiners and direction marks; a zero-width space stays."""
    return text if text.isascii() else _invisible().sub("", text)


def clusters(text: str) -> list[str]:
    """Returns the characters of a text, each with its combining marks."""
    return list(text) if text.isascii() else _clusters().findall(text)


def characters(text: str) -> list[str]:
    """Returns the characters of a text's words, each with its combining marks, and one space between two words."""
    return clusters(" ".join(words(text)))


def sentences(text: str) -> list[str]:
    """Returns the words of a text with `SENTENCE` between two lines or sentences that have words.

    A sentence ends with `.`, `!`, `?` or `…`, perhaps a closing quote or bracket, and a space.
    """
    parts = [found for part in _SENTENCE_END.split(text) if (found := words(part))]
    return [word for number, part in enumerate(parts) for word in ([SENTENCE, *part] if number else part)]


def words_before_marks(text: str) -> list[str]:
    """Returns the words by version 1 of the rules (a combining mark ends a word): for models trained with it."""
    return [word.replace("’", "'") for word in _WORD.findall(_BREAK.sub(" ", text).lower())]


def listed(text: str) -> list[str]:
    """Returns the text split at white space, unchanged: for models trained on lists of words."""
    return text.split()


DIVISIONS: dict[str, Callable[[str], list[str]]] = {
    "word": words,
    "character": characters,
    "list": listed,
    "sentence": sentences,
    "word_before_marks": words_before_marks,
}


def words_of(text: str | list[str], *, tokens: str = "word") -> list[str]:
    """Returns the tokens of a text (`tokens`: a key of `DIVISIONS`); a list of words is returned unchanged."""
    return text if isinstance(text, list) else DIVISIONS[tokens](text)


def joined(words: Sequence[str]) -> str:
    """Returns a list of words as one string; two lists have equal strings only if they are equal."""
    return "\0".join(words)


def unspaced(word: str) -> str | None:
    """Returns the script of the word's first letter from a script without spaces between words, or None."""
    match = None if word.isascii() else _unspaced().search(word)
    return list(_UNSPACED)[match.lastindex - 1] if match and match.lastindex else None


def vocabulary(texts: Iterable[Sequence[str]]) -> list[str]:
    """Returns all words, most frequent first; equally frequent words are in alphabetical order.

    The word at position r has id r + 4. A trial with `vocab_size` v uses the ids below v.
    """
    counts = Counter(word for text in texts for word in text)
    return sorted(counts, key=lambda word: (-counts[word], word))


def encode(texts: Sequence[Sequence[str]], ids: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ids of all texts in one array, each text after a start id, and the offset of each text.

    Args:
      texts: N texts as words.
      ids: word → id; other words become `UNKNOWN`.

    Returns:
      int32[total] ids and int64[N + 1] starts; the last start is `total`.
    """
    starts = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text) + 1 for text in texts], out=starts[1:])
    flat = np.fromiter(
        (i for text in texts for i in (START, *(ids.get(word, UNKNOWN) for word in text))), np.int32, int(starts[-1])
    )
    return flat, starts


@functools.cache
def marks() -> str:
    """Returns all combining marks as ranges for a character class; cached: they take 0.1 s."""
    return _class_of({"Mn", "Mc", "Me"})


@functools.cache
def _pattern() -> re.Pattern[str]:
    """Returns the pattern of a word, underscores included."""
    word = rf"\w[\w{marks()}]*"
    return re.compile(rf"{word}(?:['’]{word})*")


@functools.cache
def _invisible() -> re.Pattern[str]:
    return re.compile(f"[{_class_of({'Cf'}, but=chr(0x200B))}]")


@functools.cache
def _clusters() -> re.Pattern[str]:
    return re.compile(f"[^{marks()}][{marks()}]*")


@functools.cache
def _unspaced() -> re.Pattern[str]:
    return re.compile("|".join(f"([{blocks}])" for blocks in _UNSPACED.values()))


def _class_of(categories: set[str], *, but: str = "") -> str:
    """Returns all characters of these Unicode categories, as ranges for a character class of a regular expression."""
    points = [i for i in range(sys.maxunicode + 1) if unicodedata.category(chr(i)) in categories and chr(i) not in but]
    starts = [i for i, before in zip(points, [-2, *points], strict=False) if i != before + 1]
    ends = [i for i, after in zip(points, [*points[1:], -2], strict=True) if after != i + 1]
    return "".join(f"\\U{start:08x}-\\U{end:08x}" for start, end in zip(starts, ends, strict=True))
