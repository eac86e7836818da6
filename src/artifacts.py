"""The files in a trial's folder; MLflow gets copies of them."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src import paths
from src.config.settings import of_file
from src.files import replaced
from src.own_code import FOLDER
from src.spec.settings import Settings
from src.terminal.errors import first_line
from src.terminal.visible import no_formula, one_line

if TYPE_CHECKING:
    import numpy as np

SETTINGS, MODEL, STEPS, PATCH = "settings.json", "model.keras", "steps.parquet", "uncommitted.patch"
# Predictions for each test example: of any task, and of classifiers.
EXAMPLES, PROBABILITIES = "test_examples.parquet", "test_probabilities.parquet"
PREDICTION = "prediction"  # column of the latter: the predicted class; files of earlier versions lack it
EPOCH_SAMPLES = "samples_by_epoch.csv"  # what the model could do after each epoch
PICTURES = "pictures"  # folder of PNG files in a trial's folder
LARGEST = 1_024  # pixels of a picture's longer side


class Artifacts:
    """The files of one trial."""

    def __init__(self, folder: Path) -> None:
        """Accepts the trial's folder, or a folder with copies of its files."""
        self.folder = folder

    def write_settings(self, settings: Settings) -> None:
        """Writes the resolved settings; omits the password of the tracking store, because MLflow shows the file."""
        uri = settings.tracking.uri and paths.shown(settings.tracking.uri)
        settings = settings.model_copy(update={"tracking": settings.tracking.model_copy(update={"uri": uri})})
        with replaced(self.folder / SETTINGS) as path:
            path.write_text(settings.model_dump_json(indent=2) + "\n", encoding="utf-8")

    def write_patch(self, patch: str | None) -> None:
        """Writes the uncommitted changes of the code; removes the file for None."""
        if patch is None:
            (self.folder / PATCH).unlink(missing_ok=True)
            return
        with replaced(self.folder / PATCH) as path:
            path.write_bytes(patch.encode(errors="surrogateescape"))

    def write_code(self, sources: Mapping[str, Path]) -> list[str]:
        """Writes copies of the user's own code, relative path → file; returns the name of their folder, if any."""
        shutil.rmtree(self.folder / FOLDER, ignore_errors=True)
        for name, source in sources.items():
            (self.folder / FOLDER / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, self.folder / FOLDER / name)
        return [FOLDER] if sources else []

    def write_steps(self, steps: Sequence[dict[str, Any]]) -> None:
        """Writes one row per step, with its metrics and details."""
        import pandas as pd

        with replaced(self.folder / STEPS) as path:
            pd.DataFrame(list(steps)).to_parquet(path, index=False)

    def write_examples(self, columns: Mapping[str, np.ndarray]) -> None:
        """Writes one row per test example, in the order of the split.

        Args:
          columns: name → array [N], N examples.
        """
        import pandas as pd

        with replaced(self.folder / EXAMPLES) as path:
            pd.DataFrame(dict(columns)).rename_axis("row").reset_index().to_parquet(path, index=False)

    def write_epoch_samples(self, samples: Sequence[Mapping[str, Any]]) -> str:
        """Writes one row per sample, which MLflow shows as a table; returns the name of the file."""
        import pandas as pd

        safe = [
            {key: no_formula(one_line(value)) if isinstance(value, str) else value for key, value in sample.items()}
            for sample in samples
        ]
        with replaced(self.folder / EPOCH_SAMPLES) as path:
            pd.DataFrame(safe).to_csv(path, index=False)
        return EPOCH_SAMPLES

    def write_pictures(self, step: int, pictures: Mapping[str, np.ndarray]) -> dict[str, str]:
        """Writes pictures as PNG files; returns name → file, for a record of pictures.

        The name of a file contains the step and a hash of its bytes, so a journal never names a file of other content.

        Args:
          step: optimizer steps done.
          pictures: name → uint8[H, W] (grey) or uint8[H, W, 3] (colour), at most 1,024 pixels high and wide. One with
            more than 256 colours gets the nearest 256, so that a file has at most about one byte a pixel.

        Raises:
          ValueError: a picture is larger, or has another shape or type.
        """
        return {name: self._write_picture(name, step, pixels) for name, pixels in pictures.items()}

    def remove_pictures(self) -> None:
        """Removes the pictures of an earlier attempt."""
        shutil.rmtree(self.folder / PICTURES, ignore_errors=True)

    def _write_picture(self, name: str, step: int, pixels: np.ndarray) -> str:
        from PIL import Image

        is_valid = pixels.dtype == "uint8" and (pixels.ndim == 2 or pixels.shape[2:] == (3,))
        if not is_valid or not min(pixels.shape[:2]) >= 1 or max(pixels.shape[:2]) > LARGEST:
            rule = f"allowed: uint8[H, W] or uint8[H, W, 3], H and W from 1 to {LARGEST:,}"
            raise ValueError(f"the picture {name!r} is {pixels.dtype}{[*pixels.shape]}; {rule}")
        content, picture = io.BytesIO(), Image.fromarray(pixels)
        (picture if picture.getcolors() else picture.quantize()).save(content, "PNG")
        digest = hashlib.blake2b(content.getvalue(), digest_size=4).hexdigest()
        file = f"{PICTURES}/{re.sub(r'[^a-z0-9_-]+', '_', name.lower())}_{step}_{digest}.png"
        (self.folder / PICTURES).mkdir(exist_ok=True)
        with replaced(self.folder / file) as path:
            path.write_bytes(content.getvalue())
        return file

    def settings(self) -> Settings:
        """Returns the trial's settings.

        Raises:
          OSError: the file is missing.
          ValueError: the file has no valid settings.
        """
        try:
            return of_file(json.loads((self.folder / SETTINGS).read_text(encoding="utf-8")))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{SETTINGS}: {first_line(error)}") from None
