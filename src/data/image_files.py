"""PNG and JPEG files as arrays of one mode and size. Letters: H x W pixels, C channels (1 for grey, 3 for colour)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from src.data.files import DataError, existing
from src.terminal.errors import first_line

if TYPE_CHECKING:
    from PIL.Image import Image

Mode = Literal["grey", "rgb"]
SUFFIXES = (".png", ".jpg", ".jpeg")
CHANNELS: dict[Mode, int] = {"grey": 1, "rgb": 3}
OF_PILLOW: dict[Mode, str] = {"grey": "L", "rgb": "RGB"}
AS_THEY_ARE: dict[str, Mode] = {"L": "grey", "RGB": "rgb"}  # Pillow's modes that need no conversion
CONVERTIBLE = {"1": "black and white (1 bit)", "P": "of a palette", "CMYK": "CMYK", "YCbCr": "YCbCr"}


def mode_of(path: Path) -> Mode:
    """Returns whether an image is grey or RGB, from its header.

    Raises:
      DataError: it cannot be read, or has another mode; the text names the mode and the fix.
    """
    with _opened(path) as opened:
        if opened.mode not in AS_THEY_ARE:
            fix = "set data.mode=grey or data.mode=rgb to convert all images, or save it as grey or RGB"
            raise DataError(f"{path}: the image is {CONVERTIBLE[opened.mode]}; {fix}")
        return AS_THEY_ARE[opened.mode]


def read(path: Path, *, mode: Mode, size: tuple[int, int] | None) -> tuple[np.ndarray, str]:
    """Returns an image, and its original size and mode as text.

    It is rotated by its EXIF orientation, converted to the mode (grey is 0.299 R + 0.587 G + 0.114 B, ITU-R BT.601),
    and resized by a triangle filter over all pixels (Pillow's BILINEAR).

    Args:
      path: a PNG or JPEG file.
      mode: mode of the result.
      size: height and width; None keeps those of the image.

    Returns:
      uint8[H, W, C], and a text such as `640 x 480 RGB`.

    Raises:
      DataError: it cannot be read.
    """
    from PIL import Image, ImageOps

    with _opened(path) as opened:
        try:
            rotated = ImageOps.exif_transpose(opened)
            original = f"{rotated.width} x {rotated.height} {rotated.mode}"
            converted = rotated.convert(OF_PILLOW[mode])
            height, width = size or converted.size[::-1]
            scaled = (
                converted
                if converted.size == (width, height)
                else converted.resize((width, height), Image.Resampling.BILINEAR)
            )
        except Exception as error:  # Pillow raises unrelated classes for damaged pixels
            raise DataError(f"{path}: the image is damaged ({first_line(error)}); replace or remove it") from None
        return np.asarray(scaled, np.uint8).reshape(height, width, CHANNELS[mode]), original


@contextmanager
def _opened(path: Path) -> Iterator[Image]:
    """Yields an image after its header was read.

    Raises:
      DataError: it is not a PNG or JPEG, is too large, is animated, or has a mode that conversion to 8 bits would
        distort.
    """
    from PIL import Image

    existing(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            opened = Image.open(path, formats=("PNG", "JPEG"))
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            raise DataError(
                f"{path}: the image has more than {Image.MAX_IMAGE_PIXELS:,} pixels; save it smaller"
            ) from None
        except Exception as error:
            raise DataError(f"{path}: not a PNG or JPEG image ({first_line(error)}); replace or remove it") from None
    with opened:
        if opened.format == "PNG" and getattr(opened, "is_animated", False):
            raise DataError(f"{path}: the image is animated; save one of its pictures as a PNG of its own")
        if opened.mode in ("RGBA", "LA", "PA") or "transparency" in opened.info:
            fault = "the image has transparency, and what is behind it is unknown"
            raise DataError(f"{path}: {fault}; save it without (no alpha channel)")
        if opened.mode not in {*AS_THEY_ARE, *CONVERTIBLE}:
            raise DataError(
                f"{path}: the image has more than 8 bits per pixel and channel ({opened.mode}); save it with 8 bits"
            )
        yield opened
