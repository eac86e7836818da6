"""Sequences to batches: which sequences share a batch, and to which length each batch is padded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from src.data.encoded import Sequences

if TYPE_CHECKING:
    import tensorflow as tf

MAX_BUCKETS = 10


@dataclass(frozen=True)
class Padding:
    """How batches are formed.

    Attributes:
      edges: padded length of each bucket, increasing; a sequence goes to the first bucket that is long enough. With
        one edge, all sequences share batches. With one edge for every length and `to_longest`, no sequence is padded.
      to_longest: pad a batch to its own longest sequence instead of to its bucket's edge.
      side: "post" pads at the end, "pre" at the beginning.
    """

    edges: tuple[int, ...]
    to_longest: bool
    side: Literal["post", "pre"]

    def up_to(self, longest: int) -> Padding:
        """Returns the same padding with the last edge raised to `longest`, which is at least that edge."""
        if self.to_longest and len(self.edges) > 1:  # each length has its own bucket: no sequence is padded
            return replace(self, edges=tuple(range(1, longest + 1)))
        return replace(self, edges=(*self.edges[:-1], longest))


def padding(
    lengths: np.ndarray,
    *,
    mode: Literal["dataset", "batch", "equal"],
    bucketing: bool,
    side: Literal["post", "pre"],
    longest: int,
) -> Padding:
    """Returns the padding of a trial's batches.

    Args:
      lengths: int[N] steps of the training sequences, which choose the edges.
      mode: "dataset" pads to the longest sequence of the data set, "batch" to that of the batch; "equal" batches
        only sequences of equal length.
      bucketing: with "batch", group sequences of similar length.
      side: "post" pads at the end, "pre" at the beginning.
      longest: steps of the longest sequence of all splits; the last edge.
    """
    if mode == "equal":
        return Padding(tuple(range(1, longest + 1)), True, side)
    if mode == "batch" and bucketing:
        return Padding(bucket_edges(lengths), False, side).up_to(longest)
    return Padding((longest,), mode == "batch", side)


def bucket_edges(lengths: np.ndarray, *, buckets: int = MAX_BUCKETS) -> tuple[int, ...]:
    """Returns the padded lengths of at most `buckets` buckets that minimise the total padding.

    Exact dynamic programming over the distinct lengths (over 400 quantiles if there are more):

        cost[k][j] = min_i cost[k - 1][i] + length[j] * (count[j] - count[i])

    where count[j] is the number of sequences with at most length[j] steps.

    Args:
      lengths: int[N] steps of the training sequences, N at least 1.
      buckets: maximum number of edges.

    Returns:
      Increasing edges; the last is the longest length.
    """
    distinct, counts = np.unique(lengths, return_counts=True)
    if len(distinct) > 400:
        distinct = np.unique(np.quantile(lengths, np.linspace(0, 1, 401)[1:], method="higher"))
        counts = np.diff(np.searchsorted(np.sort(lengths), distinct, side="right"), prepend=0)
    total = np.concatenate([[0], np.cumsum(counts)]).astype(float)
    segment = distinct[None, :] * (total[None, 1:] - total[:-1, None])  # [i, j]: lengths i..j padded to j
    segment[np.tril_indices(len(distinct), -1)] = np.inf
    cost, choices = segment[0], []
    for _ in range(min(buckets, len(distinct)) - 1):
        options = np.concatenate([[np.inf], cost[:-1]])[:, None] + segment
        choices.append(np.argmin(options, axis=0))
        cost = options.min(axis=0)
    edges, end = [], len(distinct) - 1
    for choice in reversed(choices):
        edges.append(int(distinct[end]))
        end = int(choice[end]) - 1
    return (*(int(distinct[end]),), *reversed(edges))


def batch_count(lengths: np.ndarray, scheme: Padding, batch_size: int, *, drop_remainder: bool = False) -> int:
    """Returns the number of batches in an epoch over sequences of these lengths."""
    _, counts = np.unique(np.searchsorted(scheme.edges, lengths), return_counts=True)
    return int((counts // batch_size if drop_remainder else -(-counts // batch_size)).sum())


def batches(
    sequences: Sequences, scheme: Padding, batch_size: int, *, drop_remainder: bool = False
) -> Callable[[np.ndarray], Iterator[Any]]:
    """Returns a function from an order (int64[M] rows) to the batches of these rows.

    A batch is (ids int32[B, T], labels int32[B], rows int64[B]). It comes as soon as its bucket is full; the remainders
    come at the end, by length, or `drop_remainder` drops them. NumPy makes a batch in a tenth of the processor time of
    `bucket_by_sequence_length`, which calls several operations for every sequence.
    """
    import tensorflow as tf

    lengths = sequences.lengths
    ids, starts, labels = (np.asarray(part) for part in (sequences.ids, sequences.starts, sequences.labels))

    def batches_in(order: np.ndarray) -> Iterator[Any]:
        """Yields the batches of these rows."""
        for chosen in chosen_rows(order, np.searchsorted(scheme.edges, lengths[order]), batch_size, drop_remainder):
            rows = np.array(chosen, np.int64)
            longest = int(lengths[rows].max())
            length = longest if scheme.to_longest else scheme.edges[np.searchsorted(scheme.edges, longest)]
            batch = padded(ids, starts[rows], lengths[rows], length, side=scheme.side)
            yield tf.constant(batch), tf.constant(labels[rows]), tf.constant(rows)

    return batches_in


def padded(values: np.ndarray, starts: np.ndarray, steps: np.ndarray, length: int, *, side: str = "post") -> np.ndarray:
    """Returns int32[B, length]: from each of B starts as many values as it has steps, and zeros after or before them.

    Args:
      values: int32[total], all sequences in one array.
      starts: int64[B], where they begin.
      steps: int64[B], at most `length` each.
      length: T of the batch.
      side: of the zeros: `post` or `pre`.
    """
    place = np.arange(length) - (0 if side == "post" else length - steps[:, None])
    is_real = (place >= 0) & (place < steps[:, None])
    return np.where(is_real, values[np.where(is_real, starts[:, None] + place, 0)], 0)


def chosen_rows(order: np.ndarray, buckets: np.ndarray, batch_size: int, drop_remainder: bool) -> Iterator[list[int]]:
    """Yields the rows of each batch; `buckets` are the buckets int64[M] of the rows of `order`."""
    waiting: dict[int, list[int]] = {}
    for row, bucket in zip(order.tolist(), buckets.tolist(), strict=True):
        rows = waiting.setdefault(bucket, [])
        rows.append(row)
        if len(rows) == batch_size:
            yield waiting.pop(bucket)
    if not drop_remainder:
        yield from (waiting[bucket] for bucket in sorted(waiting))


def pipeline_options() -> tf.data.Options:
    """Returns the options of every `tf.data` pipeline: a fixed order, and one thread, as the model needs the cores.

    Autotuning is off: nothing is left to tune, and its set-up would delay the start of every epoch.
    """
    import tensorflow as tf

    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = False
    options.threading.private_threadpool_size = 1
    return options
