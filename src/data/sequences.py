"""The part of an encoded split that a trial reads: a smaller vocabulary, shorter sequences."""

from __future__ import annotations

from typing import Literal

import numpy as np

from src.data.encoded import Sequences
from src.data.tokens import UNKNOWN

BLOCK = 1_000  # sequences whose positions are in memory at a time; they take ten times the memory of the ids


def limit_vocabulary(split: Sequences, vocab_size: int) -> Sequences:
    """Returns the split with every id of `vocab_size` or more replaced by that of the unknown word."""
    return Sequences(np.where(split.ids < vocab_size, split.ids, np.int32(UNKNOWN)), split.starts, split.labels)


def truncate(split: Sequences, max_length: int | None, side: Literal["pre", "post"]) -> Sequences:
    """Returns the split with at most `max_length` steps a sequence. Both sides keep the start id.

    Args:
      split: N sequences.
      max_length: T, at least 2; None cuts nothing.
      side: "pre" cuts the beginning and keeps the last T - 1 words, "post" keeps the first T - 1.
    """
    if max_length is None or split.lengths.max(initial=0) <= max_length:
        return split
    lengths = np.minimum(split.lengths, max_length)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    skipped = split.lengths - lengths if side == "pre" else np.zeros_like(lengths)
    ids = np.empty(starts[-1], split.ids.dtype)
    for begin in range(0, len(lengths), BLOCK):
        block = slice(begin, begin + BLOCK)
        kept = _kept(split.starts[:-1][block], lengths[block], skipped[block])
        ids[starts[begin] : starts[begin] + len(kept)] = split.ids[kept]
    return Sequences(ids, starts, split.labels)


def _kept(first: np.ndarray, lengths: np.ndarray, skipped: np.ndarray) -> np.ndarray:
    """Returns the positions of the ids that are kept: of each sequence the first one, and some after those skipped."""
    begins = np.cumsum(lengths) - lengths
    step = np.arange(lengths.sum()) - np.repeat(begins, lengths)  # 0 at every start id
    return np.asarray(np.repeat(first, lengths) + step + np.repeat(skipped, lengths) * (step > 0))


def drop_longer(split: Sequences, max_length: int | None) -> Sequences:
    """Returns only the sequences of at most `max_length` steps; all of them for None."""
    if max_length is None:
        return split
    return chosen(split, split.lengths <= max_length)


def chosen(split: Sequences, keep: np.ndarray) -> Sequences:
    """Returns only the sequences for which `keep`, bool[N], is true."""
    lengths = split.lengths[keep]
    return Sequences(
        split.ids[np.repeat(keep, split.lengths)], np.concatenate([[0], np.cumsum(lengths)]), split.labels[keep]
    )
