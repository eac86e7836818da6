"""Trials whose model was removed to save room: what says so, and how to get the model back."""

from __future__ import annotations

import datetime
import json
import shlex
from pathlib import Path
from typing import Any

from src.artifacts import Artifacts
from src.config.overrides import override
from src.config.settings import differences
from src.files import replaced
from src.spec.settings import Settings

FILE = "pruned.json"  # in the trial's folder
TAG = "ablation.pruned"  # of its run in MLflow: the same, if MLflow's copy was removed, too


def write(folder: Path, *, kept: str | None) -> None:
    """Writes that the models of a trial are being removed, before the first of them is.

    Args:
      folder: of the trial.
      kept: identity of the trial of the same variant whose model stays, or None.
    """
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    with replaced(folder / FILE) as path:
        path.write_text(json.dumps({"date": date, "kept": kept}), encoding="utf-8")


def why(folder: Path) -> str | None:
    """Returns why a trial's folder has no model, and how to get it back; None if its model was not removed."""
    try:
        record: Any = json.loads((folder / FILE).read_text(encoding="utf-8"))
        date, kept = str(record["date"]), record["kept"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    what = f"its model was removed on {date} to save room (python -m src.studies prune)"
    instead = f"the model of the same variant with another seed is kept: {kept}" if kept else ""
    again = _command(folder) or "python -m src.run with its settings"
    return "; ".join(filter(None, (what, instead, f"to get it back, train it again: {again}")))


def _command(folder: Path) -> str | None:
    """Returns the command that trains a trial again; None if its settings cannot be read.

    It names no study: a plan of this one trial would become the latest plan of the trial's own study. Commands that use
    the trial by its identity find the model in any study.
    """
    try:
        settings = Artifacts(folder).settings()
    except (OSError, ValueError):
        return None
    changes = {**differences(settings), "seed": settings.seed}
    if folder.parent.name == Settings.model_fields["study"].default:
        changes["rerun"] = True
    return shlex.join(["python", "-m", "src.run", *(override(key, value) for key, value in changes.items())])
