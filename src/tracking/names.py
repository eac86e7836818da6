"""The names of a study that was renamed.

The name of a study is the name of its folder in `outputs/`; records keep the name under which they were made. A rename
first writes the new name into a file of the folder, then changes MLflow, and moves the folder last. So the folder that
has the last of the earlier names in its file is one whose rename was interrupted.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from src import paths
from src.files import replaced
from src.spec.section import SettingsError

FILE = "names.json"  # in the study's folder


def begin(folder: Path, name: str) -> None:
    """Writes that the study in a folder gets another name; until the folder moves, `refuse_unfinished` raises."""
    if target(folder) == name:
        return
    earlier = [one for one in _read(folder)["earlier"] if one not in (name, folder.name)]
    with replaced(folder / FILE) as path:
        path.write_text(json.dumps({"name": name, "earlier": [*earlier, folder.name]}), encoding="utf-8")


def target(folder: Path) -> str | None:
    """Returns the name that the study in a folder was to get if its rename was interrupted; else None."""
    record = _read(folder)
    return str(record["name"]) if record["earlier"][-1:] == [folder.name] else None


def refuse_unfinished(study: str) -> None:
    """Raises `SettingsError` if a rename of the study was interrupted: MLflow may have it under the new name."""
    if name := target(paths.study_folder(study)):
        fix = f"run `python -m src.studies rename {study} {name} --yes` to finish it"
        raise SettingsError(f"study {study} was being renamed to {name}, and that was interrupted; {fix}")


def present(earlier: str) -> str | None:
    """Returns the present name of a study that once had this name; None if there is none, or if one has it now."""
    if paths.study_folder(earlier).exists():
        return None
    found = (path.parent for path in sorted(paths.outputs().glob(f"*/{FILE}")))
    return next((folder.name for folder in found if earlier in _read(folder)["earlier"]), None)


def _read(folder: Path) -> dict[str, Any]:
    try:
        saved: Any = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return {"name": str(saved["name"]), "earlier": [str(name) for name in saved["earlier"]]}
    except (OSError, ValueError, LookupError, TypeError):  # the study was never renamed
        return {"name": folder.name, "earlier": []}
