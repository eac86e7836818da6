"""Scores a text file with a trained language model: the log-probability of every text, and of the whole file."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from src.data.files import MAX_CHARACTERS, DataError, existing, expanded
from src.data.texts import lines, opened
from src.data.tokens import START, UNKNOWN
from src.tasks.language_model.settings import Settings
from src.tasks.language_model.stepping import Stepper
from src.tasks.language_model.texts import END
from src.tasks.language_model.vocabulary import Vocabulary

BATCH, CHARACTERS = 64, 1_000_000  # texts that the model reads at a time; their characters, but for the last text


class Part(NamedTuple):
    """A text of a file, and the number of its first line."""

    line: int
    text: str


@dataclass(frozen=True)
class Score:
    """The log-probability of a text, or of several.

    Attributes:
      log_probability: sum of log p(word) over the words.
      words: number of words, with one end of each text.
      unknown: how many of them are outside the vocabulary; the model predicts the unknown word for them.
    """

    log_probability: float
    words: int
    unknown: int

    @property
    def perplexity(self) -> float:
        """exp(-log-probability per word)."""
        with np.errstate(over="ignore"):
            return float(np.exp(-self.log_probability / self.words))

    def __add__(self, other: Score) -> Score:
        """Returns the score of both texts together."""
        log_probability = self.log_probability + other.log_probability
        return Score(log_probability, self.words + other.words, self.unknown + other.unknown)


def default_texts(settings: Settings) -> str:
    """Returns what counts as one text: a paragraph or line as in the trial's corpus, a line for other corpora."""
    return str(getattr(settings.data, "texts", "line"))


def parts(file: str, *, texts: str) -> Iterator[Part]:
    """Yields the texts of a file as it is read. Blank lines are no texts; they divide paragraphs.

    Args:
      file: path of the file.
      texts: `line` or `paragraph`.

    Raises:
      DataError: the file is missing, empty or no text, or a text is too long; the message names the line.
    """
    path, pending, begin, size = existing(expanded(file)), list[str](), 0, 0
    with opened(str(path)) as stream:
        for number, line in enumerate(itertools.chain.from_iterable(lines(stream, file)), 1):
            is_blank = not line.text.strip()
            if line.fault is not None and not is_blank:
                raise DataError(f"{file}, line {number}: {line.fault}")
            if pending and (is_blank or texts == "line"):
                yield Part(begin, "\n".join(pending))
                pending, size = [], 0
            if not is_blank:
                begin, size = begin if pending else number, size + len(line.text)
                pending.append(line.text)
            if size > MAX_CHARACTERS:
                fix = "divide it by blank lines, or set --texts line"
                what = f"the paragraph has more than {MAX_CHARACTERS:,} characters"
                raise DataError(f"{file}, line {begin}: {what}; {fix}")
    if not begin:
        raise DataError(f"{file}: the file is empty")
    if pending:
        yield Part(begin, "\n".join(pending))


def scores(texts: Iterable[Part], vocabulary: Vocabulary, stepper: Stepper) -> Iterator[tuple[Part, Score]]:
    """Yields the score of each text, in order, each from its start to its end.

    Raises:
      ValueError: a log-probability is not finite.
    """
    for batch in _batches(texts):
        ids = [vocabulary.ids(vocabulary.divided(part.text)) for part in batch]
        found = stepper.log_probabilities([np.array([START, *text, END], np.int32) for text in ids])
        for part, text, log_probability in zip(batch, ids, found, strict=True):
            yield part, Score(log_probability, len(text) + 1, text.count(UNKNOWN))


def _batches(texts: Iterable[Part]) -> Iterator[list[Part]]:
    """Yields texts together, but only few if they are long."""
    batch: list[Part] = []
    for part in texts:
        batch.append(part)
        if len(batch) == BATCH or sum(len(one.text) for one in batch) > CHARACTERS:
            yield batch
            batch = []
    if batch:
        yield batch
