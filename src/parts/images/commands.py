"""Commands on a trained classifier of images: `python -m src.use RUN predict image.png`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from src.data import image_files
from src.data.files import DataError
from src.parts.classes.probabilities import decided, of_every_class
from src.parts.images import reading
from src.terminal.errors import first_line
from src.terminal.visible import one_line

SHOWN = 3  # classes of each image


def predict(
    folder: Path, images: Annotated[list[Path], typer.Argument(help="PNG or JPEG files", show_default=False)]
) -> int:
    """Classifies images, a line each. Returns 0 if all images were classified, otherwise 1."""
    known = reading.load(folder)
    answers: list[str | int] = []  # a fault, or the place among the images that were read
    read: list[np.ndarray] = []
    was: list[str] = []
    for path in images:
        try:
            image, before = image_files.read(path, mode=known.mode, size=(known.shape[0], known.shape[1]))
        except DataError as error:
            answers.append(str(error))
            continue
        answers.append(len(read))
        read.append(image)
        was.append(before)
    found = probabilities(folder, known, np.stack(read)) if read else np.zeros((0, len(known.classes)))
    height, width, _ = known.shape
    for path, answer in zip(images, answers, strict=True):
        if isinstance(answer, str):
            print(f"error: {one_line(answer)}", file=sys.stderr)
            continue
        chosen = int(decided(found[answer][None], known.threshold)[0])
        likely = [chosen, *(k for k in np.argsort(-found[answer], kind="stable") if k != chosen)][:SHOWN]
        shown = ", ".join(f"{one_line(known.classes[label])} {found[answer][label]:.3f}" for label in likely)
        print(f"{one_line(str(path))}: {shown} ({was[answer]}, read as {width} x {height} {known.mode})")
    return int(len(read) < len(images))


def probabilities(folder: Path, known: reading.Reading, images: np.ndarray) -> np.ndarray:
    """Returns float64[N, K] of images uint8[N, H, W, C], by the model in a trial's folder.

    Raises:
      ValueError: the model cannot be loaded, or does not fit.
    """
    from scipy.special import expit, softmax

    from src.training import model_file

    try:
        model = model_file.load(folder)
    except OSError as error:
        raise ValueError(f"{error.filename}: cannot be read ({error.strerror})") from None
    try:
        outputs = np.asarray(model(known.scale(images), training=False), np.float64)
    except Exception as error:  # of a model of other inputs, TensorFlow has a kind of error for each
        raise ValueError(
            f"the model cannot read these images ({first_line(error)}); are its files those of one trial?"
        ) from None
    found = of_every_class(expit(outputs) if outputs.shape[1] == 1 else softmax(outputs, axis=1))
    if found.shape[1] != len(known.classes) or not np.isfinite(found).all():
        raise ValueError("the model's outputs are no probabilities of these classes; are its files those of one trial?")
    return found
