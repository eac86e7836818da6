"""What TensorBoard shows of an image classifier: inputs, filters, feature maps, the worst images, the confusion matrix.

Letters: N images, H x W pixels, C channels (1 or 3), K classes, F filters. A picture is uint8[height, width, 3]. Its
size does not grow with the network or the number of classes: a picture shows at most `MOST` tiles, and is `SIDE` wide.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from src.files import replaced
from src.parts.classes.probabilities import confusion_shares, decided, worst
from src.parts.images.tiles import GAP, INK, LINE, MOST, PAPER, SIDE, cut, font, grid, limits, scale, scaled

if TYPE_CHECKING:
    import keras

FILTERS = "filters.npy"
KEPT, LONGEST = 36, 64  # filters in that file, and their longer side in pixels
NAMED, NUMBERED = 12, 22  # pixels of the cell of a confusion matrix from which it has a name, and a number


def inputs(images: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Draws the images of a batch as the model receives them, each with its class.

    Args:
      images: float32[N, H, W, C], scaled and augmented.
      labels: int[N].
      classes: name of each class.
    """
    low, high = limits(images)
    shown = images[:36]
    caption = f"{len(shown)} of the {len(images)} images of the first batch, and their classes\n{scale(low, high)}"
    return grid(
        scaled(shown, low, high), caption=caption, texts=[classes[label] for label in labels[: len(shown)]], columns=6
    )


def filters(model: keras.Model, shape: Sequence[int]) -> np.ndarray:
    """Draws the kernels of the first layer with weights: of a convolution, or the weights of each unit as an image."""
    kernels = first_kernels(model, shape)
    high = float(np.abs(kernels).max()) if np.isfinite(kernels).all() else 0.0
    shown = kernels[:MOST]
    caption = f"{len(shown)} of {len(kernels)} filters of the first layer; grey = 0\n{scale(-high, high)}"
    return grid(scaled(shown, -high, high), caption=caption)


def first_kernels(model: keras.Model, shape: Sequence[int]) -> np.ndarray:
    """Returns float32[F, height, width, C], the weights of the first layer with a kernel.

    Args:
      model: a classifier.
      shape: (H, W, C) of its inputs, by which the weights of a dense layer are arranged.
    """
    kernel = np.asarray(next(layer.kernel for layer in model.layers if hasattr(layer, "kernel")))
    return np.moveaxis(kernel.reshape(*shape, -1) if kernel.ndim == 2 else kernel, -1, 0)


def write_filters(folder: Path, model: keras.Model, shape: Sequence[int]) -> str:
    """Writes the first filters for the figure of a report, float16[F, height, width, C]; returns the file's name.

    There are at most 36. Those of more than 64 pixels are reduced by a whole factor, each value a mean.

    Args:
      folder: of the trial.
      model: the trained classifier.
      shape: (H, W, C) of its inputs.
    """
    kernels = first_kernels(model, shape)[:KEPT]
    count, height, width, channels = kernels.shape
    factor = math.ceil(max(height, width) / LONGEST)
    high, wide = max(1, height // factor), max(1, width // factor)
    parts = kernels[:, : high * factor, : wide * factor].reshape(count, high, -1, wide, min(factor, width), channels)
    with replaced(folder / FILTERS) as path, path.open("wb") as file:
        np.save(file, parts.mean(axis=(2, 4)).astype(np.float16))
    return FILTERS


def feature_maps(model: keras.Model, image: np.ndarray) -> dict[str, np.ndarray]:
    """Draws the maps of the first and of the last activation with maps, for one image; none for a network without.

    Args:
      model: a classifier.
      image: float32[H, W, C], scaled.
    """
    import keras

    layers = [one for one in model.layers if isinstance(one, keras.layers.Activation) and len(one.output.shape) == 4]
    chosen = {"first": layers[0], "last": layers[-1]} if layers else {}
    outputs = keras.Model(model.input, [layer.output for layer in chosen.values()])(image[None]) if chosen else ()
    return {
        f"feature_maps_{name}": _maps(np.asarray(output)[0], layer.name)
        for (name, layer), output in zip(chosen.items(), outputs, strict=True)
    }


def _maps(maps: np.ndarray, name: str) -> np.ndarray:
    """Draws float32[H, W, F], in one common scale."""
    low, high = limits(maps)
    tiles = scaled(np.moveaxis(maps, -1, 0)[:MOST, ..., None], low, high)
    caption = f"{len(tiles)} of {maps.shape[-1]} maps of {name}\nfor the first validation image; {scale(low, high)}"
    return grid(tiles, caption=caption)


def misclassified(
    images: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], *, threshold: float = 0.5
) -> np.ndarray:
    """Draws the misclassified images, then others, each to whose own class the model gives the least probability first.

    Args:
      images: uint8[N, H, W, C].
      labels: int[N].
      probabilities: float[N, K].
      classes: name of each class.
      threshold: probability from which on class 1 of two is predicted.
    """
    rows = worst(probabilities, labels, 20, threshold=threshold)
    best = decided(probabilities[rows], threshold)
    texts = [
        f"{classes[label]}\n{probabilities[row, guess]:.2f} {classes[guess]}"
        for row, label, guess in zip(rows, labels[rows], best, strict=True)
    ]
    wrong = int((best != labels[rows]).sum())
    caption = f"class, and prediction with its probability;\n{wrong} of these {len(rows)} test images are misclassified"
    return grid(np.stack([images[row] for row in rows]), caption=caption, texts=texts, columns=4)


def confusion(
    labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], *, threshold: float = 0.5
) -> np.ndarray:
    """Draws the share of each class (row) by prediction (column): white = 0, dark blue = 1.

    Args:
      labels: int[N].
      probabilities: float[N, K].
      classes: name of each class; names and percentages are left out where a cell is too small for them.
      threshold: probability from which on class 1 of two is predicted.
    """
    from PIL import Image, ImageDraw

    shares = confusion_shares(labels, decided(probabilities, threshold), len(classes))
    blues = np.array(PAPER) + shares[..., None] * (np.array((8, 48, 107)) - np.array(PAPER))
    is_named = SIDE // len(classes) >= NAMED
    margin = min(SIDE // 4, math.ceil(max(map(font().getlength, classes)))) + 2 * GAP if is_named else 0
    cell = (SIDE - margin) / len(classes)
    top, side = LINE + GAP, SIDE - margin
    picture = Image.new("RGB", (SIDE, top + side + (LINE if is_named else 0)), PAPER)
    cells, how = Image.fromarray(blues.round().astype(np.uint8)), Image.Resampling
    picture.paste(cells.resize((side, side), how.NEAREST if cell >= 1 else how.BOX), (margin, top))
    draw = ImageDraw.Draw(picture)
    draw.text((GAP, 0), "percent of each class (row) by prediction (column), test", INK, font())
    for number, name in enumerate(classes) if is_named else ():
        middle = (number + 0.5) * cell
        draw.text((margin - GAP, top + middle), cut(name, margin - GAP), INK, font(), anchor="rm")
        if cell >= NUMBERED:
            draw.text((margin + middle, top + side), cut(name, cell - GAP), INK, font(), anchor="ma")
    for row, column in zip(*np.nonzero(shares >= 0.005), strict=True) if cell >= NUMBERED else ():
        place = (margin + (column + 0.5) * cell, top + (row + 0.5) * cell)
        colour = PAPER if shares[row, column] > 0.5 else INK
        draw.text(place, f"{100 * shares[row, column]:.0f}", colour, font(), anchor="mm")
    return np.asarray(picture)


def before_training(batch: tuple[Any, Any, Any], classes: Sequence[str]) -> Mapping[str, np.ndarray]:
    """Returns the picture of what an untrained model receives.

    Args:
      batch: inputs float32[B, H, W, C] and labels int[B] of the first batch, and its rows.
      classes: name of each class.
    """
    images, labels = np.asarray(batch[0]), np.asarray(batch[1])
    return {"inputs": inputs(images, labels, classes)}


def of_model(model: keras.Model, image: np.ndarray) -> Mapping[str, np.ndarray]:
    """Returns the pictures of a model: its filters, and its maps of one input float32[H, W, C]."""
    return {"filters": filters(model, image.shape), **feature_maps(model, image)}
