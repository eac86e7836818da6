"""The description of a corpus for MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from src.spec.section import Section
from src.spec.task import Data


def described(options: Section, data: Data, columns: dict[str, str]) -> dict[str, Any]:
    """Returns the description of a corpus: its name and source, the path if it has one; digest, columns and rows.

    Args:
      options: the `data` of the settings.
      data: the corpus.
      columns: name → MLflow's type.
    """
    path, name = getattr(options, "path", None), getattr(options, "name")  # noqa: B009  each kind of corpus has a name
    return {
        "name": Path(path).name if path else name,
        "digest": data.digest,
        "source": path or name,
        "columns": columns,
        "rows": data.rows,
    }
