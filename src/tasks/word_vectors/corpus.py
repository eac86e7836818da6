"""The corpus of word vectors: the words that get one, how often they occur, and the texts without other words."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from src.data.splits import TRAIN
from src.data.tokens import FIRST_WORD, SENTENCE, START, UNKNOWN
from src.data.word_pairs import Texts
from src.spec.section import SettingsError
from src.tasks.word_vectors.settings import Settings

if TYPE_CHECKING:
    from src.data.encoded import Encoded

PADDING = "[padding]"


@dataclass(frozen=True, eq=False)
class Corpus:
    """A corpus, of which the words are numbered by their rank, the most frequent first."""

    encoded: Encoded

    @property
    def digest(self) -> str:
        """Hash of the content."""
        return self.encoded.digest

    @property
    def rows(self) -> dict[str, int]:
        """Split → number of its texts."""
        return self.encoded.rows

    @functools.cached_property
    def words(self) -> list[str]:
        """All words of training."""
        return [word for word in self.encoded.words(10**9) if word != SENTENCE]

    @functools.cached_property
    def counts(self) -> np.ndarray:
        """int64[V] occurrences of each word in training."""
        return np.bincount(self.texts(TRAIN).ids, minlength=len(self.words) + 1)[:-1]

    def texts(self, split: str) -> Texts:
        """Returns the texts or, if windows end there, the sentences of a split.

        A word that training lacks has the number `len(words)`.
        """
        part = self.encoded.split(split)
        ids, every = np.asarray(part.ids), self.encoded.words(10**9)
        mark = FIRST_WORD + every.index(SENTENCE) if SENTENCE in every else -1
        is_end = (ids == mark) | (ids == START)
        starts = np.append(np.flatnonzero(is_end), len(ids))
        numbers = np.where(ids == UNKNOWN, len(self.words), ids - FIRST_WORD - ((mark >= 0) & (ids > mark)))
        return Texts(numbers.astype(np.int32), starts).only(~is_end)


def load(settings: Settings) -> Corpus:
    """Returns the corpus.

    Raises:
      SettingsError: a path is missing, or the corpus cannot be divided into sentences.
    """
    from src.data import encoded

    if settings.data.name in ("aclimdb", "table", "text") and not settings.data.path:
        raise SettingsError(f"data={settings.data.name} needs a path; add data.path=FILE_OR_FOLDER")
    if settings.data.name == "keras_imdb" and not settings.across_lines:
        raise SettingsError("data=keras_imdb has no sentences, only words; set across_lines=true")
    return Corpus(encoded.load(settings.data, tokens="word" if settings.across_lines else "sentence"))


def word_count(settings: Settings, data: Corpus) -> int:
    """Returns V, the number of words that get a vector."""
    frequent = int((data.counts >= settings.min_count).sum())
    return min(frequent, settings.vocab_size or frequent)


def row_count(settings: Settings, data: Corpus) -> int:
    """Returns the number of vectors: V, and one more for the padding word with `pad_pairs`."""
    return word_count(settings, data) + settings.pad_pairs


def texts_of(settings: Settings, data: Corpus, split: str) -> Texts:
    """Returns the texts of a split as windows see them: only words with a vector, and padding with `pad_pairs`."""
    return _cut(data, split, count=word_count(settings, data), padding=settings.window if settings.pad_pairs else 0)


def counts_of(settings: Settings, data: Corpus) -> np.ndarray:
    """Returns how often each word with a vector occurs in training, int64[V], and padding with `pad_pairs`."""
    return np.bincount(texts_of(settings, data, TRAIN).ids, minlength=row_count(settings, data))


def words_of(settings: Settings, data: Corpus) -> list[str]:
    """Returns the word of each vector."""
    return [*data.words[: word_count(settings, data)], *([PADDING] if settings.pad_pairs else [])]


@functools.lru_cache(maxsize=6)
def _cut(data: Corpus, split: str, *, count: int, padding: int) -> Texts:
    texts = data.texts(split)
    texts = texts.only(texts.ids < count)
    return texts.padded(padding, count) if padding else texts
