"""Pairs of id sequences to batches. Letters: B pairs, S ids of a source with its end, T ids of a target.

A source is its words and the end. The decoder reads the start and the words of a target, and predicts the words and the
end. Padding is 0 and comes after everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from src.data.batching import Padding, batch_count, bucket_edges, chosen_rows, padded
from src.data.encoded_pairs import EncodedPairs, Flat
from src.data.pair_contents import SOURCE, TARGET
from src.data.tokens import END, START, UNKNOWN


class Batch(NamedTuple):
    """A batch of pairs.

    Attributes:
      source: int32[B, S], words and end.
      read: int32[B, T], what the decoder reads: start and words.
      predicted: int32[B, T], what it predicts: words and end.
      rows: int64[B], numbers of the pairs in their split.
      aligned: bool[B, T, S], whether a predicted token comes from a token of the source; None if nobody knows.
    """

    source: np.ndarray
    read: np.ndarray
    predicted: np.ndarray
    rows: np.ndarray
    aligned: np.ndarray | None


@dataclass(frozen=True)
class PairIds:
    """The pairs of a split as a trial reads them.

    Attributes:
      source: ids of the sources, each with its end.
      target: ids of the targets, each with its start and its end.
      links: places of tokens that belong together, in the target (its first word is 0) and in the source; or None.
    """

    source: Flat
    target: Flat
    links: Flat | None = None

    @cached_property
    def longer(self) -> np.ndarray:
        """int64[N], ids of the longer side of each pair, with its end."""
        return np.asarray(np.maximum(self.source.lengths, self.target.lengths - 1))

    def __len__(self) -> int:
        return len(self.source.starts) - 1


def pair_ids(data: EncodedPairs, split: str, vocab_size: int, *, reverse_source: bool = False) -> PairIds:
    """Returns the pairs of a split. Tokens outside the vocabulary are the unknown token.

    Args:
      data: the corpus.
      split: name of the split.
      vocab_size: number of ids of each side.
      reverse_source: read the words of every source backwards, before its end (Sutskever, Vinyals and Le, 2014).
    """
    source, target = (_limited(data.side(split, side), vocab_size) for side in (SOURCE, TARGET))
    links = data.links(split)
    if reverse_source:
        source = reversed_each(source)
        links = None if links is None else _mirrored(links, source.lengths)
    return PairIds(_with(source, after=END), _with(_with(target, before=START), after=END), links)


def source_ids(words: list[int], *, reverse_source: bool = False) -> np.ndarray:
    """Returns the ids of one source as a model reads it, int32[S]."""
    return np.array([*(reversed(words) if reverse_source else words), END], np.int32)


def _limited(flat: Flat, vocab_size: int) -> Flat:
    return Flat(np.where(flat.values < vocab_size, flat.values, np.int32(UNKNOWN)), np.asarray(flat.starts))


def _with(flat: Flat, *, before: int | None = None, after: int | None = None) -> Flat:
    """Returns sequences with an id before or after each."""
    starts = flat.starts + np.arange(len(flat.starts))
    if before is not None:
        return Flat(np.insert(flat.values, flat.starts[:-1], np.int32(before)), starts)
    return Flat(np.insert(flat.values, flat.starts[1:], np.int32(after or 0)), starts)


def reversed_each(flat: Flat) -> Flat:
    """Returns every sequence in reverse order."""
    mirrored = np.repeat(flat.starts[:-1] + flat.starts[1:] - 1, flat.lengths) - np.arange(len(flat.values))
    return Flat(flat.values[mirrored], flat.starts)


def _mirrored(links: Flat, lengths: np.ndarray) -> Flat:
    """Returns links to sources that are read backwards; `lengths` int64[N] are their words."""
    last = np.repeat(lengths - 1, links.lengths)
    places = np.stack([links.values[:, 0], last - links.values[:, 1]], axis=1)
    return Flat(places, links.starts)


def buckets_of(pairs: PairIds, *, bucketing: bool) -> Padding:
    """Returns the buckets of a split: pairs share one by the ids of their longer side."""
    edges = bucket_edges(pairs.longer) if bucketing else (int(pairs.longer.max()),)
    return Padding(edges, not bucketing, "post")


def count(pairs: PairIds, batch_size: int, *, bucketing: bool, drop_remainder: bool = False) -> int:
    """Returns the number of batches of an epoch."""
    scheme = buckets_of(pairs, bucketing=bucketing)
    return batch_count(pairs.longer, scheme, batch_size, drop_remainder=drop_remainder)


def batches(
    pairs: PairIds, batch_size: int, *, bucketing: bool, drop_remainder: bool = False
) -> Callable[[np.ndarray], Iterator[Batch]]:
    """Returns a function from an order (int64[M] rows) to the batches of these rows.

    All batches of a bucket have the same S and T: those of its longest source and its longest target. Without buckets,
    a batch has those of its own. A batch comes as soon as its bucket is full; the remainders come at the end.
    """
    scheme = buckets_of(pairs, bucketing=bucketing)
    lengths = np.stack([pairs.source.lengths, pairs.target.lengths - 1], axis=1)  # int64[N, 2]: S and T of each pair
    bucket = np.searchsorted(scheme.edges, pairs.longer)
    shapes = np.zeros((len(scheme.edges), 2), np.int64)
    np.maximum.at(shapes, bucket, lengths)

    def in_order(order: np.ndarray) -> Iterator[Batch]:
        """Yields the batches of these rows."""
        for chosen in chosen_rows(order, bucket[order], batch_size, drop_remainder):
            rows = np.array(chosen, np.int64)
            shape = lengths[rows].max(axis=0) if scheme.to_longest else shapes[bucket[rows[0]]]
            yield _batch(pairs, rows, int(shape[0]), int(shape[1]))

    return in_order


def _batch(pairs: PairIds, rows: np.ndarray, longest_source: int, longest_target: int) -> Batch:
    """Returns a batch of these pairs, padded to S = `longest_source` and T = `longest_target`."""
    source, target, links = pairs.source, pairs.target, pairs.links
    steps = target.lengths[rows] - 1
    aligned = None
    if links is not None:
        aligned = np.zeros((len(rows), longest_target, longest_source), bool)
        for place, row in enumerate(rows):
            left, right = links.values[links.starts[row] : links.starts[row + 1]].T
            aligned[place, left, right] = True
    return Batch(
        padded(source.values, source.starts[rows], source.lengths[rows], longest_source),
        padded(target.values, target.starts[rows], steps, longest_target),
        padded(target.values, target.starts[rows] + 1, steps, longest_target),
        rows,
        aligned,
    )
