"""The files in a trial's folder; MLflow gets copies of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src import paths
from src.config.settings import of_file
from src.files import replaced
from src.spec.settings import Settings
from src.terminal.errors import first_line

if TYPE_CHECKING:
    import numpy as np

SETTINGS, MODEL, STEPS, PATCH = "settings.json", "model.keras", "steps.parquet", "uncommitted.patch"
# Predictions for each test example: of any task, and of classifiers.
EXAMPLES, PROBABILITIES = "test_examples.parquet", "test_probabilities.parquet"


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
