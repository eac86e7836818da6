from __future__ import annotations

import numpy as np
import pytest

from src.data.image_batches import FARTHEST, Scaling, batch_count, batches, flips, scaling, shifts
from src.data.images import Split

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (10, 6, 5, 3)).astype(np.uint8)
SPLIT = Split(IMAGES, np.arange(10, dtype=np.int32) % 3, np.arange(10))
AS_IS = scaling("none", [0.0] * 3, [1.0] * 3)


@pytest.mark.parametrize(("drop", "sizes"), [(False, [4, 4, 2]), (True, [4, 4])])
def test_every_image_of_the_order_is_in_one_batch(drop, sizes):
    order = np.random.default_rng(1).permutation(10)

    found = list(batches(SPLIT, order, AS_IS, size=4, drop_remainder=drop))

    assert [len(rows) for _, _, rows in found] == sizes and len(sizes) == batch_count(10, 4, drop_remainder=drop)
    pixels, labels, rows = (np.concatenate(parts) for parts in zip(*found, strict=True))
    np.testing.assert_array_equal(rows, order[: sum(sizes)])
    np.testing.assert_array_equal(pixels, IMAGES[rows])
    np.testing.assert_array_equal(labels, SPLIT.labels[rows])
    assert pixels.dtype == np.float32


def test_each_scaling_gives_its_range_of_pixels():
    mean, deviation = IMAGES.mean((0, 1, 2)), IMAGES.std((0, 1, 2))

    unit, standard = (scaling(how, mean, deviation)(IMAGES) for how in ("unit", "standard"))

    np.testing.assert_allclose(unit, IMAGES / 255, rtol=1e-6)
    np.testing.assert_allclose(standard.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(standard.std((0, 1, 2)), 1, rtol=1e-5)


def test_a_channel_without_variance_is_moved_to_zero():
    flat = np.full((2, 3, 3, 1), 7, np.uint8)

    np.testing.assert_array_equal(scaling("standard", [7.0], [0.0])(flat), 0)


def test_a_shifted_image_is_the_same_moved_by_up_to_two_pixels_with_black_at_the_edge():
    changed = shifts(np.random.default_rng(3), 10)(IMAGES, np.arange(10))

    padded = np.pad(IMAGES, [(0, 0), (2 * FARTHEST,) * 2, (2 * FARTHEST,) * 2, (0, 0)])
    moves = set()
    for before, after in zip(padded, changed, strict=True):
        fits = [
            (down, right)
            for down in range(-FARTHEST, FARTHEST + 1)
            for right in range(-FARTHEST, FARTHEST + 1)
            if np.array_equal(before[4 - down : 10 - down, 4 - right : 9 - right], after)
        ]
        assert len(fits) == 1
        moves.add(fits[0])
    assert len({down for down, _ in moves}) > 2 and any(down != right for down, right in moves)


def test_about_half_of_the_images_are_mirrored_left_to_right():
    many = np.repeat(IMAGES, 40, axis=0)

    changed = flips(np.random.default_rng(0), len(many))(many, np.arange(len(many)))

    is_same = (changed == many).all(axis=(1, 2, 3))
    is_mirrored = (changed == many[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (is_same ^ is_mirrored).all() and 0.4 < is_mirrored.mean() < 0.6


@pytest.mark.parametrize("draw", [shifts, flips])
def test_the_change_of_a_image_does_not_depend_on_its_batch(draw):
    change = draw(np.random.default_rng(5), 10)
    order = np.random.default_rng(1).permutation(10)

    large, small = (
        np.concatenate([pixels for pixels, _, _ in batches(SPLIT, order, AS_IS, size=size, change=change)])
        for size in (10, 3)
    )

    np.testing.assert_array_equal(large, small)


def test_a_scaling_is_one_number_for_each_channel():
    scale = Scaling(np.array([1, 2, 3], np.float32), np.array([0, 0, 1], np.float32))

    np.testing.assert_array_equal(scale(np.ones((1, 1, 1, 3), np.uint8))[0, 0, 0], [1, 2, 4])
