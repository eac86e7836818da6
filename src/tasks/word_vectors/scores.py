"""How well word vectors agree with people, and how many analogies they solve.

Letters: R words, D size of a vector, Q questions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from src.data import word_tests
from src.data.word_tests import SIMLEX, WORDSIM

BLOCK = 100  # questions that are answered at once
OF_PAIRS = {"wordsim": WORDSIM, "simlex": SIMLEX}
EPSILON = 0.001  # of 3CosMul, as in Levy and Goldberg
FEWEST = 10  # pairs of words for a rank correlation
ADDED, MULTIPLIED = "analogies", "analogies_mul"  # names of metrics


def unit(vectors: np.ndarray) -> np.ndarray:
    """Returns the vectors, float[R, D], divided by their lengths; a vector of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1))


def of_vectors(vectors: np.ndarray, words: Sequence[str]) -> dict[str, float]:
    """Returns the rank correlations and the share of right analogies by 3CosAdd; NaN if too few words are known."""
    units, ids = unit(vectors), {word: number for number, word in enumerate(words)}
    values = {name: correlation(units, ids, file) for name, file in OF_PAIRS.items()}
    is_right = answered(units, asked(ids), added)
    return {**values, ADDED: float(is_right.mean()) if len(is_right) else math.nan}


def correlation(units: np.ndarray, ids: Mapping[str, int], file: str) -> float:
    """Returns Spearman's rank correlation of cosines and people's judgements, over the pairs of known words."""
    from scipy.stats import spearmanr

    known = [pair for pair in word_tests.judged(file) if pair.one in ids and pair.other in ids]
    if len(known) < FEWEST:
        return math.nan
    ones, others = [ids[pair.one] for pair in known], [ids[pair.other] for pair in known]
    cosines = (units[ones] * units[others]).sum(axis=1)
    if not cosines.std():
        return math.nan
    return float(spearmanr(cosines, [pair.similarity for pair in known]).statistic)


def pair_counts(ids: Iterable[str]) -> dict[str, int]:
    """Returns how many pairs and analogies have only known words, by the name of their metric."""
    known = set(ids)
    counts = {
        name: sum(pair.one in known and pair.other in known for pair in word_tests.judged(file))
        for name, file in OF_PAIRS.items()
    }
    return {**counts, ADDED: sum(known.issuperset(question[1:]) for question in word_tests.questions())}


def asked(ids: Mapping[str, int]) -> np.ndarray:
    """Returns the analogies with four known words, int64[Q, 4], in the order of the file."""
    known = [[ids[word] for word in one[1:]] for one in word_tests.questions() if all(word in ids for word in one[1:])]
    return np.array(known, np.int64).reshape(-1, 4)


Combined = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # cosines with a, b and c → scores


def added(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Returns cos(x, b) - cos(x, a) + cos(x, c): 3CosAdd of Mikolov, Yih and Zweig (NAACL 2013)."""
    return np.asarray(b - a + c)


def multiplied(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Returns cos'(x, b) cos'(x, c) / (cos'(x, a) + 0.001) with cos' = (cos + 1) / 2.

    Source: 3CosMul of Levy and Goldberg, "Linguistic Regularities in Sparse and Explicit Word Representations", CoNLL
    2014.
    """
    a, b, c = ((1 + cosines) / 2 for cosines in (a, b, c))
    return np.asarray(b * c / (a + EPSILON))


def answered(units: np.ndarray, questions: np.ndarray, score: Combined) -> np.ndarray:
    """Returns whether the word with the highest score is d, bool[Q]; a, b and c are excluded from the answers.

    Args:
      units: float[R, D] vectors of length 1.
      questions: int64[Q, 4] words a, b, c and d.
      score: `added` or `multiplied`.
    """
    right = [np.zeros(0, bool)]
    for begin in range(0, len(questions), BLOCK):
        part = questions[begin : begin + BLOCK]
        scores = score(*(units[part[:, place]] @ units.T for place in range(3)))
        scores[np.arange(len(part))[:, None], part[:, :3]] = -np.inf
        right.append(scores.argmax(axis=1) == part[:, 3])
    return np.concatenate(right)


def by_section(units: np.ndarray, ids: Mapping[str, int]) -> list[dict[str, str | int]]:
    """Returns the analogies by section, and at last those of all sections, `all`.

    Returns:
      `section`; the number of questions `asked`; of those `answered`, which have four known words; and of the right
      answers by 3CosAdd (`added`) and by 3CosMul (`multiplied`).
    """
    questions = asked(ids)
    is_right = {"added": answered(units, questions, added), "multiplied": answered(units, questions, multiplied)}
    is_known = [all(word in ids for word in one[1:]) for one in word_tests.questions()]
    sections = np.array([one.section for one in word_tests.questions()])
    of_known = sections[np.array(is_known, bool)]
    rows: list[dict[str, str | int]] = [
        {
            "section": name,
            "asked": int((sections == name).sum()),
            "answered": int((of_known == name).sum()),
            **{by: int(right[of_known == name].sum()) for by, right in is_right.items()},
        }
        for name in dict.fromkeys(sections.tolist())
    ]
    keys = ("asked", "answered", "added", "multiplied")
    return [*rows, {"section": "all", **{key: sum(int(row[key]) for row in rows) for key in keys}}]
