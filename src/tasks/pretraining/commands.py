"""Commands on a trial: `python -m src.use RUN reconstruct image.png`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from src.artifacts import Artifacts
from src.data import image_files
from src.data.files import DataError
from src.files import replaced
from src.parts.images import reading
from src.streams import generator
from src.tasks.pretraining.pretexts import PRETEXTS, finished
from src.tasks.pretraining.settings import RECONSTRUCTING, Settings
from src.terminal.visible import one_line

FILE = "pretext.keras"
ENLARGED = 4  # times


def reconstruct(
    folder: Path,
    image: Annotated[Path, typer.Argument(help="PNG or JPEG file", show_default=False)],
    to: Annotated[Path, typer.Option(help="PNG file for image, input and output")] = Path("reconstructed.png"),
) -> None:
    """Shows what the pretext's model makes of an image: writes image, input and output side by side."""
    from PIL import Image

    from src.training import model_file

    settings = Artifacts(folder).settings()
    if not isinstance(settings, Settings) or settings.pretext not in RECONSTRUCTING:
        got = f"pretext={settings.pretext}" if isinstance(settings, Settings) else f"task={settings.task}"
        allowed = ", ".join(RECONSTRUCTING)
        raise ValueError(f"the trial has {got}, which reconstructs no images; use a trial with pretext={allowed}")
    known = reading.load(folder)
    try:
        pixels, was = image_files.read(image, mode=known.mode, size=(known.shape[0], known.shape[1]))
    except DataError as error:
        raise ValueError(str(error)) from None
    model = model_file.load(folder, FILE)
    scaled = known.scale(pixels[None])
    inputs, _ = PRETEXTS[settings.pretext].make(scaled, settings, generator(settings.seed, "pretext", "command"))
    output = np.asarray(finished(model(inputs, training=False), settings))
    shown = np.concatenate([scaled[0], inputs[0], output[0]], axis=1)
    large = np.kron((np.clip(shown, 0, 1) * 255).round().astype(np.uint8), np.ones((ENLARGED, ENLARGED, 1), np.uint8))
    with replaced(to) as path:
        Image.fromarray(large[..., 0] if large.shape[-1] == 1 else large).save(path, "PNG")
    squared = float(np.square(output - scaled).mean())
    height, width, _ = known.shape
    print(f"{one_line(str(image))}: squared error {squared:.4f} ({was}, read as {width} x {height} {known.mode})")
    print(f"written: {one_line(str(to))} (image, input and output of pretext={settings.pretext})")
