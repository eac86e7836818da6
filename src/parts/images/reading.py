"""The preprocessing of a trained model, saved with it, so that new images are read as in training."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from src.data.image_batches import Scaling
from src.data.image_files import CHANNELS, Mode
from src.files import replaced

FILE = "images.json"


@dataclass(frozen=True)
class Reading:
    """The preprocessing of images and the names of the classes.

    Attributes:
      classes: name of each class.
      shape: (H, W, C).
      factor: of each channel.
      offset: of each channel.
      threshold: probability from which an image is of the second of two classes.
    """

    classes: list[str]
    shape: list[int]
    factor: list[float]
    offset: list[float]
    threshold: float = 0.5

    @property
    def mode(self) -> Mode:
        """`grey` for one channel, `rgb` for three."""
        return next(mode for mode, channels in CHANNELS.items() if channels == self.shape[2])

    @property
    def scale(self) -> Scaling:
        """The scaling of pixels."""
        return Scaling(np.array(self.factor, np.float32), np.array(self.offset, np.float32))


def write(folder: Path, reading: Reading) -> str:
    """Writes the file; returns its name."""
    with replaced(folder / FILE) as path:
        path.write_text(json.dumps(asdict(reading), indent=2) + "\n", encoding="utf-8")
    return FILE


def load(folder: Path) -> Reading:
    """Returns the preprocessing of a trial.

    Raises:
      ValueError: the file is missing, or holds something else.
    """
    try:
        reading = Reading(**json.loads((folder / FILE).read_text(encoding="utf-8")))
        is_whole = (
            len(reading.factor) == len(reading.offset) == reading.shape[2] in CHANNELS.values()
            and len(reading.shape) == 3
            and all(type(size) is int and size > 0 for size in reading.shape)
        )
        if not is_whole or len(reading.classes) < 2 or not all(isinstance(name, str) for name in reading.classes):
            raise ValueError("its parts do not fit each other")
        reading.scale  # noqa: B018  # numbers, or an error
    except OSError as error:
        raise ValueError(f"{folder / FILE}: cannot be read ({error.strerror}); has the trial finished?") from None
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise ValueError(f"{folder / FILE}: it does not say how a model reads images ({error})") from None
    return reading
