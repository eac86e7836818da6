"""Text to words, and words to ids in Keras' IMDB convention."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

PADDING, START, UNKNOWN, FIRST_WORD = 0, 1, 2, 4  # 3 is unused, as in keras.datasets.imdb

TOKENISER = "1"  # part of the cache's key: raise it when `words` changes
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def words(text: str) -> list[str]:
    """Returns the words of a text, in order.

    HTML line breaks count as spaces and letters become lower case. A word is a run of letters and digits of any script, with
    apostrophes only inside (`don't`); everything else separates. The typographic apostrophe is read as the plain one.
    """
    return [word.replace("’", "'") for word in _WORD.findall(_BREAK.sub(" ", text).lower())]


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
    flat = np.fromiter((i for text in texts for i in (START, *(ids.get(word, UNKNOWN) for word in text))), np.int32, int(starts[-1]))
    return flat, starts
