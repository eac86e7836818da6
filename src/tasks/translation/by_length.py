"""Scores by the length of the source: of the shortest and the longest test sources, and of ranges of length."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from src.spec.metric import Metric

if TYPE_CHECKING:
    import numpy as np

ENDS = ("short", "long")  # the shortest third of the test sources, and the longest
_ABOUT = {"short": "of the shortest third of the sources", "long": "of the longest third of the sources"}
METRICS = tuple(
    metric
    for end in ENDS
    for metric in (
        Metric(
            f"bleu_{end}", "higher", title=f"BLEU {_ABOUT[end]}", digits=1, margin=0.5, least=0.0, most=100.0,
            test_only=True,
        ),
        Metric(
            f"exact_match_{end}", "higher", title=f"exact match {_ABOUT[end]}", margin=0.01, least=0.0, most=1.0,
            test_only=True,
        ),
    )
)  # fmt: skip


class Range(NamedTuple):
    """The scores of the sources of `least` to `most` words, split at spaces whatever the tokens are."""

    least: int
    most: int
    bleu: float
    exact_match: float


def by_range(pairs: Sequence[Mapping[str, Any]], count: int, *, lowercase: bool) -> list[Range]:
    """Returns scores for at most `count` ranges of length, in order, with about equally many sources each.

    Args:
      pairs: `source`, `reference` and `translation` of each test pair, at least one.
      count: 1 or more; sources of equal length are in one range, so there may be fewer.
      lowercase: whether capital letters count as small ones.
    """
    import numpy as np

    lengths = np.array([len(pair["source"].split()) for pair in pairs])
    inner = np.quantile(lengths, np.arange(1, count) / count, method="inverted_cdf")
    edges = np.unique([lengths.min() - 1, *inner, lengths.max()])
    groups = [np.flatnonzero((low < lengths) & (lengths <= high)) for low, high in itertools.pairwise(edges)]
    return [_range(pairs, rows, lengths[rows], lowercase=lowercase) for rows in groups]


def _range(pairs: Sequence[Mapping[str, Any]], rows: np.ndarray, lengths: np.ndarray, *, lowercase: bool) -> Range:
    from src.tasks.translation.scores import scores

    found, wanted = ([pairs[row][key] for row in rows] for key in ("translation", "reference"))
    of_texts = scores(found, wanted, lowercase=lowercase)
    return Range(int(lengths.min()), int(lengths.max()), of_texts.bleu, of_texts.exact_match)


def of_test(pairs: Sequence[Mapping[str, Any]], *, lowercase: bool) -> dict[str, float]:
    """Returns the values of `METRICS`, or nothing if all sources are equally long; `by_range` has the arguments."""
    ranges = by_range(pairs, 3, lowercase=lowercase)
    if len(ranges) == 1:
        return {}
    ends = dict(zip(ENDS, (ranges[0], ranges[-1]), strict=True))
    return {f"{name}_{end}": getattr(of, name) for end, of in ends.items() for name in ("bleu", "exact_match")}
