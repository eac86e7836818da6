"""Batches of images: scaled pixels, shifted or mirrored copies. B images, H x W pixels, C channels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

from src.data.images import Split

FARTHEST = 2  # maximum shift in pixels
Change = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Scaling(NamedTuple):
    """The scaling of pixels to the input of a model: factor * value + offset, each float32[C].

    Attributes:
      factor: of each channel.
      offset: of each channel.
    """

    factor: np.ndarray
    offset: np.ndarray

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Returns float32[B, H, W, C] of uint8[B, H, W, C]."""
        return np.asarray(images.astype(np.float32) * self.factor + self.offset)


def scaling(how: Literal["none", "unit", "standard"], mean: Sequence[float], deviation: Sequence[float]) -> Scaling:
    """Returns the scaling of pixels.

    Args:
      how: none = 0 to 255, unit = 0 to 1, standard = mean 0 and variance 1 of each channel.
      mean: of each channel of the training split.
      deviation: standard deviation of the same; a channel with equal pixels gets only the offset.
    """
    if how != "standard":
        each = np.ones(len(mean), np.float32)
        return Scaling(each if how == "none" else each / 255, 0 * each)
    divisor = np.array([value or 1.0 for value in deviation])
    return Scaling((1 / divisor).astype(np.float32), (-np.array(mean) / divisor).astype(np.float32))


def shifts(rng: np.random.Generator, count: int) -> Change:
    """Returns a function that shifts images by up to `FARTHEST` pixels in each direction, drawn for each row.

    The free edge becomes black. Source: Huang et al., "Densely Connected Convolutional Networks", CVPR 2017, section
    4.1, after Lin et al., 2014. They shift 32 pixels by up to 4; we use 2, as digits of 28 pixels end 4 pixels from
    the edge.
    """
    by = rng.integers(-FARTHEST, FARTHEST + 1, (count, 2))

    def shifted(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
        edge = [(0, 0), (FARTHEST, FARTHEST), (FARTHEST, FARTHEST), (0, 0)]
        padded, (height, width) = np.pad(images, edge), images.shape[1:3]
        down, right = (FARTHEST - by[rows, axis] for axis in (0, 1))
        lines = down[:, None, None] + np.arange(height)[None, :, None]
        columns = right[:, None, None] + np.arange(width)[None, None, :]
        return np.asarray(padded[np.arange(len(images))[:, None, None], lines, columns])

    return shifted


def flips(rng: np.random.Generator, count: int) -> Change:
    """Returns a function that mirrors half of the images left to right, drawn for each row of a split."""
    is_mirrored = rng.random(count) < 0.5

    def flipped(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return np.where(is_mirrored[rows][:, None, None, None], images[:, :, ::-1], images)

    return flipped


CHANGES: dict[str, Callable[[np.random.Generator, int], Change]] = {"shift": shifts, "flip": flips}


def batches(
    split: Split, groups: Iterable[np.ndarray], scale: Scaling, *, change: Change | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yields float32[B, H, W, C], labels int32[B] and rows int64[B].

    A batch of small images takes a few tens of microseconds, less than the overhead of a `tf.data` pipeline.

    Args:
      split: the images.
      groups: int64[B] rows of each batch.
      scale: scaling of the pixels.
      change: function of images and rows, applied before the scaling.
    """
    for rows in groups:
        images = split.images[rows]
        yield scale(images if change is None else change(images, rows)), split.labels[rows], rows


def in_stored_order(count: int, size: int) -> list[np.ndarray]:
    """Returns the rows of consecutive batches of `count` images; the last batch may be smaller than `size`."""
    return np.split(np.arange(count), range(size, count, size))
