from __future__ import annotations

import numpy as np
import pytest

from src.data.image_batches import FARTHEST, Scaling, batches, flips, in_stored_order, scaling, shifts
from src.data.images import Split

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (10, 6, 5, 3)).astype(np.uint8)
SPLIT = Split(IMAGES, np.arange(10, dtype=np.int32) % 3, np.arange(10))
AS_IS = scaling("none", [0.0] * 3, [1.0] * 3)


def test_a_batch_has_the_images_and_labels_of_its_rows():
    groups = np.split(np.random.default_rng(1).permutation(10), [4, 8])

    found = list(batches(SPLIT, groups, AS_IS))

    for (pixels, labels, rows), expected in zip(found, groups, strict=True):
        np.testing.assert_array_equal(rows, expected)
        np.testing.assert_array_equal(pixels, IMAGES[expected])
        np.testing.assert_array_equal(labels, expected % 3)
        assert pixels.dtype == np.float32


@pytest.mark.parametrize(("count", "sizes"), [(9, [4, 4, 1]), (8, [4, 4]), (3, [3])])
def test_batches_in_stored_order_hold_every_row_once(count, sizes):
    groups = in_stored_order(count, 4)

    assert [len(rows) for rows in groups] == sizes
    np.testing.assert_array_equal(np.concatenate(groups), np.arange(count))


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
        np.concatenate([pixels for pixels, _, _ in batches(SPLIT, np.split(order, ends), AS_IS, change=change)])
        for ends in ([], [3, 6, 9])
    )

    np.testing.assert_array_equal(large, small)


def test_a_scaling_is_one_number_for_each_channel():
    scale = Scaling(np.array([1, 2, 3], np.float32), np.array([0, 0, 1], np.float32))

    np.testing.assert_array_equal(scale(np.ones((1, 1, 1, 3), np.uint8))[0, 0, 0], [1, 2, 4])
