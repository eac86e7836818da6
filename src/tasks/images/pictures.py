"""What TensorBoard shows of an image classifier: inputs, filters, feature maps, the worst images, the confusion matrix.

Letters: N images, H x W pixels, C channels (1 or 3), K classes, F filters. A picture is uint8[height, width, 3]. Its
size does not grow with the network or the number of classes: a picture shows at most `MOST` tiles, and is `SIDE` wide.
"""

from __future__ import annotations

import functools
import importlib.util
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from src.data.image_files import OF_PILLOW
from src.files import replaced
from src.parts.classes.probabilities import confusion_shares, worst

if TYPE_CHECKING:
    import keras
    from PIL.ImageFont import FreeTypeFont

FILTERS = "filters.npy"
KEPT, LONGEST = 36, 64  # filters in that file, and their longer side in pixels
MOST = 64  # tiles of a picture
SIDE = 348  # pixels of a picture's width, which TensorBoard shows without scaling
GAP, LINE, LETTERS = 4, 12, 10  # pixels: between tiles, of a line of text, of its letters
FEW = 4  # factor from which a small tile is enlarged by a whole number, so that its pixels stay square
NAMED, NUMBERED = 12, 22  # pixels of the cell of a confusion matrix from which it has a name, and a number
INK, PAPER, GROUND = (0, 0, 0), (255, 255, 255), (190, 210, 240)  # the ground between grey tiles is not grey


def grid(tiles: np.ndarray, *, caption: str, texts: Sequence[str] = (), columns: int | None = None) -> np.ndarray:
    """Returns tiles in rows, each with its own lines of text below, under a caption.

    Args:
      tiles: uint8[N, H, W, C], at most `MOST`.
      caption: lines above all tiles.
      texts: of each tile, lines separated by a line break; empty for none. What does not fit is cut off.
      columns: tiles of a row; by default as many as there are rows.
    """
    from PIL import Image, ImageDraw

    columns = columns or max(1, math.ceil(math.sqrt(len(tiles))))
    height, width = _enlarged(tiles.shape[1], tiles.shape[2], (SIDE // columns) - GAP)
    top_lines = (caption.count("\n") + 1) * LINE + GAP
    lines = max((text.count("\n") + 1 for text in texts), default=0)
    across, down = width + GAP, height + lines * LINE + GAP
    rows = math.ceil(len(tiles) / columns)
    picture = Image.new("RGB", (SIDE, top_lines + rows * down), GROUND)
    draw = ImageDraw.Draw(picture)
    for place, text in enumerate(caption.split("\n")):
        draw.text((GAP, place * LINE), _cut(text, picture.width), INK, _font())
    for number, tile in enumerate(tiles):
        left, top = number % columns * across, top_lines + number // columns * down
        picture.paste(_resized(tile, height, width), (left, top))
        for place, text in enumerate(texts[number].split("\n") if texts else ()):
            draw.text((left, top + height + place * LINE), _cut(text, width), INK, _font())
    return np.asarray(picture)


def _enlarged(height: int, width: int, side: int) -> tuple[int, int]:
    """Returns the size of a tile that fits into a square."""
    factor = side / max(height, width)
    factor = math.floor(factor) if factor >= FEW else factor
    return max(1, round(height * factor)), max(1, round(width * factor))


def _resized(tile: np.ndarray, height: int, width: int) -> Any:
    """Returns a tile as an image of Pillow; a large one is interpolated, the pixels of a small one stay visible."""
    from PIL import Image

    image = Image.fromarray(tile[..., 0], OF_PILLOW["grey"]) if tile.shape[-1] == 1 else Image.fromarray(tile)
    is_small = height >= FEW * tile.shape[0]
    return image.resize((width, height), Image.Resampling.NEAREST if is_small else Image.Resampling.BILINEAR)


@functools.cache
def _font() -> FreeTypeFont:
    """Returns the font that comes with Matplotlib, which has more scripts than that of Pillow; imports neither."""
    from PIL import ImageFont

    spec = importlib.util.find_spec("matplotlib")
    folder = Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else Path()
    return ImageFont.truetype(folder / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf", LETTERS)


def _cut(text: str, width: float) -> str:
    """Returns the beginning of a text that fits into a width in pixels."""
    while text and _font().getlength(text) > width:
        text = text[:-1]
    return text


def scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Returns uint8 of the same shape: black is `low`, white is `high`; mid-grey if there is nothing between them."""
    if not low < high:
        return np.full(values.shape, 128, np.uint8)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.nan_to_num(np.clip((values - low) / (high - low), 0, 1)) * 255).round().astype(np.uint8)


def _limits(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)


def _scale(low: float, high: float) -> str:
    return f"black = {low:.3g}, white = {high:.3g}"


def inputs(images: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Draws the images of a batch as the model receives them, each with its class.

    Args:
      images: float32[N, H, W, C], scaled and augmented.
      labels: int[N].
      classes: name of each class.
    """
    low, high = _limits(images)
    shown = images[:36]
    caption = f"{len(shown)} of the {len(images)} images of the first batch, and their classes\n{_scale(low, high)}"
    return grid(
        scaled(shown, low, high), caption=caption, texts=[classes[label] for label in labels[: len(shown)]], columns=6
    )


def filters(model: keras.Model, shape: Sequence[int]) -> np.ndarray:
    """Draws the kernels of the first layer with weights: of a convolution, or the weights of each unit as an image."""
    kernels = first_kernels(model, shape)
    high = float(np.abs(kernels).max()) if np.isfinite(kernels).all() else 0.0
    shown = kernels[:MOST]
    caption = f"{len(shown)} of {len(kernels)} filters of the first layer; grey = 0\n{_scale(-high, high)}"
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
    low, high = _limits(maps)
    tiles = scaled(np.moveaxis(maps, -1, 0)[:MOST, ..., None], low, high)
    caption = f"{len(tiles)} of {maps.shape[-1]} maps of {name}\nfor the first validation image; {_scale(low, high)}"
    return grid(tiles, caption=caption)


def misclassified(
    images: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> np.ndarray:
    """Draws the images to whose own class the model gives the least probability, the worst first.

    Args:
      images: uint8[N, H, W, C].
      labels: int[N].
      probabilities: float[N, K].
      classes: name of each class.
    """
    rows = worst(probabilities, labels, 20)
    best = probabilities[rows].argmax(axis=1)
    texts = [
        f"{classes[label]}\n{probabilities[row, guess]:.2f} {classes[guess]}"
        for row, label, guess in zip(rows, labels[rows], best, strict=True)
    ]
    wrong = int((best != labels[rows]).sum())
    caption = f"class, and prediction with its probability;\n{wrong} of these {len(rows)} test images are misclassified"
    return grid(np.stack([images[row] for row in rows]), caption=caption, texts=texts, columns=4)


def confusion(labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Draws the share of each class (row) by prediction (column): white = 0, dark blue = 1.

    Args:
      labels: int[N].
      probabilities: float[N, K].
      classes: name of each class; names and percentages are left out where a cell is too small for them.
    """
    from PIL import Image, ImageDraw

    shares = confusion_shares(labels, probabilities.argmax(axis=1), len(classes))
    blues = np.array(PAPER) + shares[..., None] * (np.array((8, 48, 107)) - np.array(PAPER))
    is_named = SIDE // len(classes) >= NAMED
    margin = min(SIDE // 4, math.ceil(max(map(_font().getlength, classes)))) + 2 * GAP if is_named else 0
    cell = (SIDE - margin) / len(classes)
    top, side = LINE + GAP, SIDE - margin
    picture = Image.new("RGB", (SIDE, top + side + (LINE if is_named else 0)), PAPER)
    cells, how = Image.fromarray(blues.round().astype(np.uint8)), Image.Resampling
    picture.paste(cells.resize((side, side), how.NEAREST if cell >= 1 else how.BOX), (margin, top))
    draw = ImageDraw.Draw(picture)
    draw.text((GAP, 0), "percent of each class (row) by prediction (column), test", INK, _font())
    for number, name in enumerate(classes) if is_named else ():
        middle = (number + 0.5) * cell
        draw.text((margin - GAP, top + middle), _cut(name, margin - GAP), INK, _font(), anchor="rm")
        if cell >= NUMBERED:
            draw.text((margin + middle, top + side), _cut(name, cell - GAP), INK, _font(), anchor="ma")
    for row, column in zip(*np.nonzero(shares >= 0.005), strict=True) if cell >= NUMBERED else ():
        place = (margin + (column + 0.5) * cell, top + (row + 0.5) * cell)
        colour = PAPER if shares[row, column] > 0.5 else INK
        draw.text(place, f"{100 * shares[row, column]:.0f}", colour, _font(), anchor="mm")
    return np.asarray(picture)


def before_training(
    model: keras.Model, batch: tuple[Any, Any, Any], image: np.ndarray, classes: Sequence[str]
) -> Mapping[str, np.ndarray]:
    """Returns the pictures of an untrained model.

    Args:
      model: the classifier.
      batch: inputs float32[B, H, W, C] and labels int[B] of the first batch, and its rows.
      image: float32[H, W, C], one input for the feature maps.
      classes: name of each class.
    """
    images, labels = np.asarray(batch[0]), np.asarray(batch[1])
    return {"inputs": inputs(images, labels, classes), **of_model(model, image)}


def of_model(model: keras.Model, image: np.ndarray) -> Mapping[str, np.ndarray]:
    """Returns the pictures of a model: its filters, and its maps of one input float32[H, W, C]."""
    return {"filters": filters(model, image.shape), **feature_maps(model, image)}
