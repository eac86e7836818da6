"""Tests of word vectors: pairs of words whose similarity people judged, and analogies. The files come with gensim."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import NamedTuple

from src.data.files import DataError

FOLDER = Path("test") / "test_data"
WORDSIM, SIMLEX, ANALOGIES = "wordsim353.tsv", "simlex999.txt", "questions-words.txt"


class Judged(NamedTuple):
    """Two words and how similar people find them, from 0 to 10."""

    one: str
    other: str
    similarity: float


class Question(NamedTuple):
    """An analogy: `a` is to `b` as `c` is to `d`; `section` is the kind of relation."""

    section: str
    a: str
    b: str
    c: str
    d: str


@functools.cache
def judged(name: str) -> tuple[Judged, ...]:
    """Returns the pairs of a file, in lower case.

    WordSim-353: Finkelstein et al., "Placing Search in Context", TOIS 2002. SimLex-999: Hill, Reichart and Korhonen,
    "SimLex-999: Evaluating Semantic Models with (Genuine) Similarity Estimation", Computational Linguistics 2015.

    Args:
      name: `WORDSIM` or `SIMLEX`.
    """
    lines = (line.split("\t") for line in _lines(name) if not line.startswith("#"))
    return tuple(Judged(one.lower(), other.lower(), float(similarity)) for one, other, similarity in lines)


@functools.cache
def questions() -> tuple[Question, ...]:
    """Returns the analogies, in lower case.

    Source: Mikolov, Chen, Corrado and Dean, "Efficient Estimation of Word Representations in Vector Space", 2013.
    """
    found, section = [], ""
    for line in _lines(ANALOGIES):
        if line.startswith(":"):
            section = line[1:].strip()
        else:
            found.append(Question(section, *line.lower().split()))
    return tuple(found)


def _lines(name: str) -> list[str]:
    package = importlib.util.find_spec("gensim")
    if package is None or package.origin is None:
        raise DataError("the tests of words are files of the package gensim, which is not installed; install it")
    content = (Path(package.origin).parent / FOLDER / name).read_text(encoding="utf-8")
    return [line for line in content.splitlines() if line.strip()]
