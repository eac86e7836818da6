"""Pictures in rows, each with its text, for TensorBoard: uint8[height, width, 3].

Letters: N images, H x W pixels, C channels (1 or 3). A picture shows at most `MOST` tiles, and is `SIDE` wide.
"""

from __future__ import annotations

import functools
import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from src.data.image_files import OF_PILLOW

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

MOST = 64  # tiles of a picture
SIDE = 348  # pixels of a picture's width, which TensorBoard shows without scaling
GAP, LINE, LETTERS = 4, 12, 10  # pixels: between tiles, of a line of text, of its letters
FEW = 4  # factor from which a small tile is enlarged by a whole number, so that its pixels stay square
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
        draw.text((GAP, place * LINE), cut(text, picture.width), INK, font())
    for number, tile in enumerate(tiles):
        left, top = number % columns * across, top_lines + number // columns * down
        picture.paste(_resized(tile, height, width), (left, top))
        for place, text in enumerate(texts[number].split("\n") if texts else ()):
            draw.text((left, top + height + place * LINE), cut(text, width), INK, font())
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
def font() -> FreeTypeFont:
    """Returns the font that comes with Matplotlib, which has more scripts than that of Pillow; imports neither."""
    from PIL import ImageFont

    spec = importlib.util.find_spec("matplotlib")
    folder = Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else Path()
    return ImageFont.truetype(folder / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf", LETTERS)


def cut(text: str, width: float) -> str:
    """Returns the beginning of a text that fits into a width in pixels."""
    while text and font().getlength(text) > width:
        text = text[:-1]
    return text


def scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Returns uint8 of the same shape: black is `low`, white is `high`; mid-grey if there is nothing between them."""
    if not low < high:
        return np.full(values.shape, 128, np.uint8)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.nan_to_num(np.clip((values - low) / (high - low), 0, 1)) * 255).round().astype(np.uint8)


def limits(values: np.ndarray) -> tuple[float, float]:
    """Returns the smallest and the largest finite value; zeros without one."""
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)


def scale(low: float, high: float) -> str:
    """Returns the meaning of black and white in words."""
    return f"black = {low:.3g}, white = {high:.3g}"
