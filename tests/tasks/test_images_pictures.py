"""The pictures of an image classifier: their pixels against plain computations, and their size."""

from __future__ import annotations

import keras
import numpy as np
import pandas as pd
import pytest

from src.artifacts import Artifacts
from src.config.settings import edited
from src.tasks.images import pictures
from src.tasks.images.networks import classifier
from src.tasks.images.settings import Settings

SHAPE = (6, 5, 3)
RNG = np.random.default_rng(0)


def built(**changes):
    return classifier(edited(Settings(), {"width": 4, "depth": 1, **changes}), shape=SHAPE, outputs=3)


def tile_of(picture, number, *, columns, side, lines, top):
    """The middle part of a tile that was enlarged to `side` pixels, by its place."""
    left, above = (
        number % columns * (side + pictures.GAP),
        top + number // columns * (side + pictures.GAP + lines * pictures.LINE),
    )
    return picture[above : above + side, left : left + side]


def test_small_tiles_are_enlarged_by_whole_numbers_in_rows_with_their_texts_below():
    tiles = RNG.integers(0, 256, (5, 10, 10, 3), np.uint8)

    picture = pictures.grid(tiles, caption="above", texts=["one"] * 5, columns=2)

    assert picture.shape[1] == pictures.SIDE and (picture[: pictures.LINE] == 0).any()
    for number, tile in enumerate(tiles):  # 348 / 2 - 4 = 170 pixels: 17 times 10
        found = tile_of(picture, number, columns=2, side=170, lines=1, top=pictures.LINE + pictures.GAP)
        np.testing.assert_array_equal(found, tile.repeat(17, axis=0).repeat(17, axis=1))


@pytest.mark.parametrize("side", [28, 32, 300, 1_024])
def test_tiles_of_any_size_fit_into_the_width(side):
    tiles = np.full((36, side, side, 1), 77, np.uint8)

    picture = pictures.grid(tiles, caption="", columns=6)

    middle = tile_of(picture, 35, columns=6, side=54, lines=0, top=pictures.LINE + pictures.GAP)
    assert picture.shape[1] == pictures.SIDE and (middle == 77).all() and middle.shape == (54, 54, 3)


def test_values_are_scaled_between_black_and_white():
    values = np.array([-1.0, 0.0, 0.5, 1.0, 2.0, np.nan])

    assert pictures.scaled(values, 0.0, 1.0).tolist() == [0, 0, 128, 255, 255, 0]
    assert pictures.scaled(values, 1.0, 1.0).tolist() == [128] * 6


def test_inputs_are_shown_in_the_scale_of_the_whole_batch_with_their_classes():
    images = np.zeros((3, 54, 54, 1), np.float32)
    images[0], images[1], images[2] = -0.4, 0.6, 2.6  # 1/3 of the way

    picture = pictures.inputs(images, np.array([1, 0, 1]), ["cat", "dog"])

    shades = [
        tile_of(picture, one, columns=6, side=54, lines=1, top=2 * pictures.LINE + pictures.GAP)[..., 0]
        for one in range(3)
    ]
    assert [int(shade.min()) for shade in shades] == [int(shade.max()) for shade in shades] == [0, 85, 255]
    other = pictures.inputs(images, np.array([0, 0, 1]), ["cat", "dog"])
    assert (picture != other).any()  # another class under the first image


@pytest.mark.parametrize(("network", "sizes"), [("linear", (3, 6, 5, 3)), ("mlp", (4, 6, 5, 3)), ("cnn", (4, 3, 3, 3))])
def test_the_first_kernels_are_those_of_each_filter_or_unit(network, sizes):
    model = built(network=network)
    kernel = model.layers[2 if network != "cnn" else 1].kernel.numpy()

    found = pictures.first_kernels(model, SHAPE)

    assert found.shape == sizes
    for filter_, row, column, channel in np.ndindex(sizes):
        expected = (
            kernel[row, column, channel, filter_]
            if network == "cnn"
            else kernel[row * 15 + column * 3 + channel, filter_]
        )
        assert found[filter_, row, column, channel] == expected


def test_the_last_kernels_are_not_taken_for_the_first_of_a_densenet():
    model = built(network="densenet", growth_rate=2, blocks=2)

    np.testing.assert_array_equal(
        pictures.first_kernels(model, SHAPE), np.moveaxis(model.get_layer("first").kernel.numpy(), -1, 0)
    )


def test_feature_maps_are_the_activations_for_the_image():
    model, image = built(network="cnn", depth=2), RNG.random(SHAPE, np.float32)

    maps = pictures.feature_maps(model, image)

    outputs = keras.Model(model.input, model.get_layer("convolution_1_activation").output)(image[None])[0].numpy()
    shown = pictures.scaled(np.moveaxis(outputs, -1, 0)[..., None], outputs.min(), outputs.max())
    first = pictures._maps(outputs, "convolution_1_activation")
    assert list(maps) == ["feature_maps_first", "feature_maps_last"] and shown.shape == (4, 6, 5, 1)
    np.testing.assert_array_equal(maps["feature_maps_first"], first)
    assert pictures.feature_maps(built(network="mlp"), image) == {}


def test_the_shares_of_a_confusion_matrix_are_those_of_a_cross_table():
    labels, guesses = RNG.integers(0, 4, 200), RNG.integers(0, 4, 200)

    expected = pd.crosstab(labels, guesses, normalize="index").to_numpy()

    np.testing.assert_allclose(pictures.confusion_shares(labels, guesses, 4), expected)
    assert pictures.confusion_shares(np.array([0]), np.array([1]), 2).tolist() == [[0, 1], [0, 0]]


def test_the_cells_of_a_confusion_matrix_are_as_dark_as_their_shares():
    labels = np.array([0] * 4 + [1] * 4)
    probabilities = np.eye(2)[[0, 0, 0, 1, 1, 1, 1, 1]]

    picture = pictures.confusion(labels, probabilities, ["a", "b"])

    side = picture.shape[0] - 2 * pictures.LINE - pictures.GAP
    left, top, cell = picture.shape[1] - side, pictures.LINE + pictures.GAP, side // 2
    red = [[int(picture[top + 10 + row * cell, left + 10 + column * cell, 0]) for column in (0, 1)] for row in (0, 1)]
    assert red == [[round(255 - 0.75 * 247), round(255 - 0.25 * 247)], [255, 8]]


def test_the_worst_images_are_counted_and_the_first_is_the_worst():
    images = np.arange(30, dtype=np.uint8)[:, None, None, None] * np.ones((30, 83, 83, 1), np.uint8)
    labels, probabilities = np.zeros(30, int), np.full((30, 2), 0.5)
    probabilities[17] = [0.1, 0.9]

    picture = pictures.misclassified(images, labels, probabilities, ["cat", "dog"])

    first = tile_of(picture, 0, columns=4, side=83, lines=2, top=2 * pictures.LINE + pictures.GAP)
    assert (first == 17).all()


def test_no_picture_grows_with_the_network_the_images_or_the_classes(tmp_path):
    big, classes = RNG.random((100, 256, 256, 3), np.float32), [f"class {number}" for number in range(1_000)]
    labels, probabilities = RNG.integers(0, 1_000, 300), RNG.random((300, 1_000))
    found = {
        "inputs": pictures.inputs(big, labels, classes),
        "maps": pictures._maps(RNG.random((112, 112, 2_048), np.float32), "x" * 300),
        "misclassified": pictures.misclassified(
            (big * 255).astype(np.uint8), labels[:100], probabilities[:100], classes
        ),
        "confusion": pictures.confusion(labels, probabilities, classes),
        "grid": pictures.grid(RNG.integers(0, 256, (pictures.MOST, 28, 28, 1), np.uint8), caption=""),
    }

    sizes = {
        name: (tmp_path / file).stat().st_size for name, file in Artifacts(tmp_path).write_pictures(0, found).items()
    }

    assert max(sizes.values()) < 230_000 and sum(sizes.values()) < 600_000, sizes


def test_only_the_first_maps_are_shown():
    maps = RNG.random((7, 7, 500), np.float32)
    maps[0, 0, :2] = -1, 2  # the limits of the scale
    below = 2 * pictures.LINE + pictures.GAP  # the captions differ

    shown, first = pictures._maps(maps, "x")[below:], pictures._maps(maps[..., : pictures.MOST], "x")[below:]

    np.testing.assert_array_equal(shown, first)


def test_large_filters_are_reduced_to_the_means_of_their_parts(tmp_path):
    inputs = keras.Input((130, 65, 1))
    model = keras.Model(inputs, keras.layers.Dense(40, name="head")(keras.layers.Flatten()(inputs)))
    kernel = model.get_layer("head").kernel.numpy()

    name = pictures.write_filters(tmp_path, model, (130, 65, 1))

    found = np.load(tmp_path / name)
    assert found.shape == (36, 43, 21, 1) and found.dtype == np.float16  # 130 / 3 and 65 / 3
    pixels = kernel[:, 5].reshape(130, 65)
    np.testing.assert_allclose(found[5, 2, 4, 0], pixels[6:9, 12:15].mean(), atol=1e-4)
