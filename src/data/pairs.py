"""Pairs of sentences: a source, its translation, and how pairs are divided into splits by their sources."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from unicodedata import category

from src.data.files import DataError
from src.data.sentence_tokens import JOINER, Words, normalised
from src.data.splits import TEST, TRAIN, VALIDATION

SPLITTING = 1  # part of the cache key: increment it when a split changes
LEAST = 10  # different sources
SHARE = 0.1  # share of the sources that test, and as many validate …
MOST = 1_000  # … but no more than this: both are translated word by word, validation after every epoch


class Span(NamedTuple):
    """Characters of a text: `text[start:end]`."""

    start: int
    end: int


class Link(NamedTuple):
    """Characters of a target, and the characters of the source that they come from."""

    target: Span
    source: Span


class Pair(NamedTuple):
    """A source and its translation; `links` is empty if nobody knows what comes from where."""

    source: str
    target: str
    links: tuple[Link, ...] = ()


class Corpus(NamedTuple):
    """Pairs in three splits.

    Attributes:
      splits: split → its pairs.
      dropped: reason → number of pairs that were left out for it.
      is_aligned: whether the pairs have links.
    """

    splits: dict[str, list[Pair]]
    dropped: Mapping[str, int]
    is_aligned: bool = False


def key_of(source: str) -> str:
    """Returns what sources have in common that count as one: words and symbols ($, +), without case and punctuation."""
    text = normalised(source, lowercase=True)
    tokens = [token.text.strip(JOINER) for token in Words().split(text)]
    return " ".join(token for token in tokens if not category(token[0]).startswith("P")) or text


def word_count(text: str) -> int:
    """Returns the number of words, divided by white space."""
    return len(text.split())


def kept(pairs: Iterable[Pair], *, max_words: int | None) -> tuple[list[Pair], dict[str, int]]:
    """Returns the pairs without repeated and longer ones, and how many of each kind are left out."""
    several = list(pairs)
    distinct = list(dict.fromkeys(several))
    short = [pair for pair in distinct if max_words is None or not is_longer(pair, max_words)]
    return short, {"repeated": len(several) - len(distinct), longer_than(max_words): len(distinct) - len(short)}


def longer_than(max_words: int | None) -> str:
    """Returns the reason why longer pairs are left out."""
    return f"longer than data.max_words={max_words}"


def is_longer(pair: Pair, max_words: int) -> bool:
    """Returns whether a side of a pair has more words."""
    return max(word_count(pair.source), word_count(pair.target)) > max_words


def by_source(pairs: Iterable[Pair], *, origin: str) -> dict[str, list[Pair]]:
    """Returns the pairs of each split. All pairs of a source are in one split: none is tested that was trained on.

    The sources are ordered by a hash of their words. The first of them test, the next validate, and the others train.
    So the splits do not depend on the order of a file, and the first training pairs are a fair sample of all.

    Args:
      pairs: the pairs.
      origin: the corpus, for errors.

    Raises:
      DataError: there are fewer than `LEAST` sources.
    """
    groups: dict[str, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(key_of(pair.source), []).append(pair)
    if len(groups) < LEAST:
        raise DataError(f"{origin}: {len(groups)} different source sentences; at least {LEAST} are required")
    order = sorted(groups, key=lambda key: hashlib.blake2b(key.encode(), digest_size=8).digest())
    held = min(MOST, max(1, round(SHARE * len(order))))
    keys = {TRAIN: order[2 * held :], VALIDATION: order[held : 2 * held], TEST: order[:held]}
    return {name: [pair for key in part for pair in groups[key]] for name, part in keys.items()}


def without_leaks(splits: Mapping[str, list[Pair]]) -> tuple[dict[str, list[Pair]], int]:
    """Returns splits without the training and validation pairs whose source is in a later one, and their number.

    The test split stays as it is, so that its results compare with those of others.
    """
    later: set[str] = set()
    pure: dict[str, list[Pair]] = {}
    for name in (TEST, VALIDATION, TRAIN):
        keys = [key_of(pair.source) for pair in splits[name]]
        pure[name] = [pair for pair, key in zip(splits[name], keys, strict=True) if key not in later]
        later |= set(keys)
    return pure, sum(len(splits[name]) - len(pure[name]) for name in splits)


def refuse_equal_languages(source: str, target: str, *, name: str) -> None:
    """Refuses a corpus from a language to the same language."""
    if source == target:
        raise DataError(f"data={name}: data.source and data.target are both {source}; set them to two languages")
