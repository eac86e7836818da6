"""A trained classifier as MLflow serves it: it takes PNG or JPEG files in base64 and returns probabilities.

Every logged model contains a copy of this file and of `src/parts/served_model.py`. It imports no other module of this
project, and reads images as `src/data/image_files.py` does; a test compares them.
"""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from ..served_model import load, refuse

if TYPE_CHECKING:
    import pandas as pd

READING = "images.json"
IMAGE = "image"  # the column of the images, in an example
CONVERTED = ("1", "L", "P", "RGB", "CMYK", "YCbCr")  # Pillow's modes without transparency and of at most 8 bits
BATCH = 64


class Served:
    """A classifier that MLflow has loaded.

    Attributes:
      classes: name of each class, in the order of the output columns.
    """

    def __init__(self, model: Any, known: dict[str, Any]) -> None:
        """Creates the served classifier.

        Args:
          model: images float32[B, H, W, C] → logits float32[B, K], or float32[B, 1] for two classes.
          known: `classes`, `shape` (H, W, C), and the scaling's `factor` and `offset` of each channel.
        """
        self.classes: list[str] = known["classes"]
        self._model, self._shape = model, tuple(known["shape"])
        self._factor, self._offset = (np.array(known[name], np.float32) for name in ("factor", "offset"))

    def predict(self, data: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Returns the probabilities: one row per image and one column per class.

        Args:
          data: one column of PNG or JPEG files in base64. A cell may hold a list of them.
          params: parameters of MLflow's interface; not used.

        Raises:
          mlflow.exceptions.MlflowException: an input is not such a file. A server responds with status 400 and names
            the input.
        """
        import pandas as pd

        cells = list(data.iloc[:, 0])
        files = [file for cell in cells for file in (cell if isinstance(cell, list | tuple | np.ndarray) else [cell])]
        images = np.stack([self._read(file, f"input {number} of {len(files)}") for number, file in enumerate(files, 1)])
        return pd.DataFrame(self.probabilities(images), columns=self.classes).astype(float)

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Returns float64[N, K] for images uint8[N, H, W, C]."""
        parts = [
            np.asarray(self._model(images[begin : begin + BATCH].astype(np.float32) * self._factor + self._offset))
            for begin in range(0, len(images), BATCH)
        ]
        logits = np.concatenate(parts).astype(np.float64)
        if logits.shape[1] == 1:  # softmax([0, x]) is [1 - sigmoid(x), sigmoid(x)]
            logits = np.hstack([np.zeros_like(logits), logits])
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    def _read(self, file: Any, name: str) -> np.ndarray:
        """Returns uint8[H, W, C] of a file in base64."""
        from mlflow.exceptions import MlflowException
        from PIL import Image, ImageOps

        try:
            content = base64.b64decode(file, validate=True) if isinstance(file, str) else b""
            with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as opened:
                if opened.format == "PNG" and getattr(opened, "is_animated", False):
                    refuse(f"{name} is animated; save one of its pictures as a PNG of its own")
                if opened.mode not in CONVERTED or "transparency" in opened.info:
                    refuse(f"{name} has transparency, or more than 8 bits per channel ({opened.mode}); save it without")
                image = ImageOps.exif_transpose(opened).convert("L" if self._shape[2] == 1 else "RGB")
        except MlflowException:
            raise
        except Exception:  # Pillow raises unrelated classes for damaged pixels
            refuse(
                f"{name} is not a PNG or JPEG file in base64 (got {str(file)[:40]!r}); send the file's bytes in base64"
            )
        height, width, _ = self._shape
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(image, np.uint8).reshape(self._shape)


def encoded(content: bytes) -> str:
    """Returns the bytes of a file in base64, as `predict` takes them."""
    return base64.b64encode(content).decode()


def _load_pyfunc(path: str) -> Served:
    """Returns the model in a folder; MLflow calls this function."""
    return Served(*load(path, READING))
