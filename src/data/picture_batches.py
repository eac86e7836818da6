"""Pictures as batches: values in a range, shifted or mirrored copies, and who shares a batch. B pictures, H x W pixels, C channels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

from src.data.pictures import Split

FARTHEST = 2  # pixels that `shift` moves a picture by, at most
Change = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Scaling(NamedTuple):
    """What a model reads of a pixel: factor * value + offset, each float32[C].

    Attributes:
      factor: of each channel.
      offset: of each channel.
    """

    factor: np.ndarray
    offset: np.ndarray

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """Returns float32[B, H, W, C] of uint8[B, H, W, C]."""
        return np.asarray(pictures.astype(np.float32) * self.factor + self.offset)


def scaling(how: Literal["none", "unit", "standard"], mean: Sequence[float], deviation: Sequence[float]) -> Scaling:
    """Returns how pixels are read.

    Args:
      how: none = 0 to 255, unit = 0 to 1, standard = mean 0 and variance 1 of each channel.
      mean: of each channel of the training split.
      deviation: the same; a channel in which all pixels are equal is only moved.
    """
    if how != "standard":
        each = np.ones(len(mean), np.float32)
        return Scaling(each if how == "none" else each / 255, 0 * each)
    divisor = np.array([one or 1.0 for one in deviation])
    return Scaling((1 / divisor).astype(np.float32), (-np.array(mean) / divisor).astype(np.float32))


def shifts(rng: np.random.Generator, count: int) -> Change:
    """Returns what moves pictures by up to `FARTHEST` pixels in each direction, drawn for each row of a split; black comes in.

    Source: Huang et al., "Densely Connected Convolutional Networks", CVPR 2017, section 4.1, after Lin et al., 2014. Theirs are 4 pixels
    of 32; ours are 2, as digits of 28 pixels end 4 pixels from the edge.
    """
    by = rng.integers(-FARTHEST, FARTHEST + 1, (count, 2))

    def shifted(pictures: np.ndarray, rows: np.ndarray) -> np.ndarray:
        edge = [(0, 0), (FARTHEST, FARTHEST), (FARTHEST, FARTHEST), (0, 0)]
        padded, (height, width) = np.pad(pictures, edge), pictures.shape[1:3]
        down, right = (FARTHEST - by[rows, axis] for axis in (0, 1))
        lines = down[:, None, None] + np.arange(height)[None, :, None]
        columns = right[:, None, None] + np.arange(width)[None, None, :]
        return np.asarray(padded[np.arange(len(pictures))[:, None, None], lines, columns])

    return shifted


def flips(rng: np.random.Generator, count: int) -> Change:
    """Returns what mirrors half of the pictures, left to right, drawn for each row of a split."""
    is_mirrored = rng.random(count) < 0.5

    def flipped(pictures: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return np.where(is_mirrored[rows][:, None, None, None], pictures[:, :, ::-1], pictures)

    return flipped


CHANGES: dict[str, Callable[[np.random.Generator, int], Change]] = {"shift": shifts, "flip": flips}


def batches(
    split: Split,
    order: np.ndarray,
    scale: Scaling,
    *,
    size: int,
    drop_remainder: bool = False,
    change: Change | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yields float32[B, H, W, C], labels int32[B] and rows int64[B].

    A batch takes a few tens of microseconds where pictures are small: less than a `tf.data` pipeline takes to hand one over.

    Args:
      split: where the pictures are.
      order: int64[N] rows.
      scale: of pixels.
      size: B of all but the last batch.
      drop_remainder: leave the last batch out if it is smaller.
      change: of the pixels, by rows.
    """
    for begin in range(0, len(order), size):
        rows = order[begin : begin + size]
        if len(rows) < size and drop_remainder:
            return
        pictures = split.pictures[rows]
        yield scale(pictures if change is None else change(pictures, rows)), split.labels[rows], rows


def batch_count(count: int, size: int, *, drop_remainder: bool = False) -> int:
    """Returns the batches of so many pictures."""
    return count // size if drop_remainder else -(-count // size)
