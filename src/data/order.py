"""The order of the training examples: tf.data's shuffle, batch and repeat, over numbers instead of tensors.

A position counts the examples of all passes over a split of N examples: pass p, counted from 1, has the positions
(p - 1) N to p N - 1 in stored order. The row of a position is its remainder after division by N. B examples per batch.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

Elements = Callable[[int], Iterator[Any]]  # iteration, counted from 1 → its elements: positions, or batches of them
Draws = Callable[[int], np.random.Generator]  # iteration → the generator of its shuffle
CHUNK = 1_024  # places that are drawn at once


def passes(count: int) -> Elements:
    """Returns the positions of each pass over `count` examples."""
    return lambda iteration: iter(range((iteration - 1) * count, iteration * count))


def shuffled(elements: Elements, buffer: int, draws: Draws) -> Elements:
    """Returns the elements shuffled as by `tf.data.Dataset.shuffle`, anew in each iteration.

    A buffer is filled with the first elements. Then an element is drawn from it, and the next element takes its place.
    A buffer of all elements makes every order equally likely; a buffer of 1 keeps the order. Element i, counted from 0,
    comes at place i - buffer + 1 or later.
    """

    def iterate(iteration: int) -> Iterator[Any]:
        stream, rng = elements(iteration), draws(iteration)
        held = list(itertools.islice(stream, buffer))
        for element, place in zip(stream, _places(rng, len(held)), strict=False):
            yield held[place]
            held[place] = element
        for place in rng.permutation(len(held)).tolist():
            yield held[place]

    return iterate


def _places(rng: np.random.Generator, count: int) -> Iterator[int]:
    """Yields places from 0 to count - 1 without end; nothing is drawn before the first one is needed."""
    while True:
        yield from rng.integers(count, size=CHUNK).tolist()


def batched(elements: Elements, size: int, *, drop_remainder: bool = False) -> Elements:
    """Returns lists of `size` elements; the last list of an iteration may be smaller, and may be dropped then."""

    def iterate(iteration: int) -> Iterator[list[Any]]:
        stream = elements(iteration)
        while batch := list(itertools.islice(stream, size)):
            if len(batch) == size or not drop_remainder:
                yield batch

    return iterate


def repeated(elements: Elements) -> Elements:
    """Returns one endless iteration over all iterations of the elements."""
    return lambda _: itertools.chain.from_iterable(map(elements, itertools.count(1)))


@dataclass(frozen=True)
class Order:
    """How a split becomes an endless stream of batches.

    Attributes:
      pipeline: the steps shuffle, batch and repeat in their order, joined by `_`.
      count: N, the number of examples.
      size: B.
      buffer: elements in the buffer of the shuffle: examples, or batches where `batch` comes before `shuffle`. None for
        as many as one pass has.
      drop_remainder: drop batches smaller than B.
    """

    pipeline: str
    count: int
    size: int
    buffer: int | None = None
    drop_remainder: bool = False

    @property
    def batches_per_epoch(self) -> int:
        """Number of batches of an epoch, the same for each pipeline: ceil(N / B), or floor with `drop_remainder`."""
        return self.count // self.size if self.drop_remainder else math.ceil(self.count / self.size)

    @property
    def whole(self) -> int:
        """Number of elements of one pass, in the unit of the buffer."""
        return self.batches_per_epoch if self.has("batch", before="shuffle") else self.count

    def has(self, step: str, *, before: str) -> bool:
        """Returns whether one step of the pipeline comes before another."""
        return self.pipeline.index(step) < self.pipeline.index(before)

    def stream(self, draws: Draws) -> Iterator[list[int]]:
        """Returns the batches, lists of positions, without end."""
        steps: dict[str, Callable[[Elements], Elements]] = {
            "shuffle": lambda elements: shuffled(elements, self.buffer or self.whole, draws),
            "batch": lambda elements: batched(elements, self.size, drop_remainder=self.drop_remainder),
            "repeat": repeated,
        }
        elements = passes(self.count)
        for step in self.pipeline.split("_"):
            elements = steps[step](elements)
        return elements(1)


class Epochs:
    """The batches of each epoch; they depend only on the order, the draws and the epoch.

    Epochs that are asked for one after the other continue one stream. Another epoch begins the stream anew and skips
    the epochs before it.
    """

    def __init__(self, order: Order, draws: Draws) -> None:
        """Opens the stream."""
        self._order, self._draws = order, draws
        self._next, self._stream = 1, order.stream(draws)

    def positions(self, epoch: int) -> list[np.ndarray]:
        """Returns the positions of each batch of an epoch, int64[B] each; epochs are counted from 1."""
        count = self._order.batches_per_epoch
        if epoch != self._next:
            skipped = (epoch - 1) * count
            self._stream = itertools.islice(self._order.stream(self._draws), skipped, None)
        self._next = epoch + 1
        return [np.array(batch, np.int64) for batch in itertools.islice(self._stream, count)]

    def rows(self, epoch: int) -> list[np.ndarray]:
        """Returns the rows of each batch of an epoch, int64[B] each."""
        return [positions % self._order.count for positions in self.positions(epoch)]


def measures(order: Order, draws: Draws, labels: np.ndarray) -> dict[str, float]:
    """Returns what the first two epochs hold.

    Args:
      order: of N examples.
      draws: of its shuffle.
      labels: int[N] classes.

    Returns:
      seen_fraction: share of the examples that the first epoch has, from 0 to 1.
      seen_once_fraction: share of the examples that the first epoch has exactly once.
      straddling_batches: number of batches of the first epoch with examples of two or more passes.
      repeated_batches_fraction: share of the batches of the second epoch with the members of a batch of the first.
      class_entropy: `class_entropy` of the first epoch; left out if all of its batches have one example.
    """
    epochs = Epochs(order, draws)
    first = epochs.positions(1)
    batches, later = [one % order.count for one in first], epochs.rows(2)
    times = np.bincount(np.concatenate(batches), minlength=order.count)
    known = set(map(_members, batches))
    entropy = class_entropy([labels[rows] for rows in batches], classes=len(np.unique(labels)))
    return {
        "seen_fraction": float((times > 0).mean()),
        "seen_once_fraction": float((times == 1).mean()),
        "straddling_batches": float(sum(one.min() // order.count < one.max() // order.count for one in first)),
        "repeated_batches_fraction": sum(_members(rows) in known for rows in later) / len(later),
        **({} if math.isnan(entropy) else {"class_entropy": entropy}),
    }


def _members(rows: np.ndarray) -> bytes:
    return np.sort(rows).tobytes()


def class_entropy(batches: list[np.ndarray], *, classes: int) -> float:
    r"""Returns how evenly the classes are mixed within batches, from 0 (one class each) to 1 (equal shares).

    It is the mean over the batches of Shannon's entropy of the classes, divided by its largest possible value:

        -sum_k p_k ln p_k / ln min(K, b)

    for a batch of b examples, a share p_k of which is of class k. Batches of one example are left out.

    Source: Shannon, "A Mathematical Theory of Communication", Bell System Technical Journal 27, 1948, section 6.

    Args:
      batches: int[b] classes of each batch, counted from 0.
      classes: K, at least 2.

    Returns:
      The mean; NaN if every batch has one example.
    """
    values = []
    for labels in batches:
        counts = np.bincount(labels)
        shares = counts[counts > 0] / len(labels)
        if len(labels) > 1:
            values.append(float(-(shares * np.log(shares)).sum()) / math.log(min(classes, len(labels))))
    return sum(values) / len(values) if values else math.nan
