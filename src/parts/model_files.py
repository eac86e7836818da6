"""The settings and the model file of a trained trial, for commands that use its model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from src.artifacts import Artifacts
from src.spec.settings import Settings
from src.terminal.errors import first_line
from src.training import model_file

S = TypeVar("S", bound=Settings)


def read(folder: Path, kind: type[S], *, reads: str) -> tuple[S, list[dict[str, Any]]]:
    """Returns the settings of a trial, and the objects of its model file (`model_file.objects`).

    Args:
      folder: folder of the trial.
      kind: the settings of the task.
      reads: what the command reads, for the error: `a language model`.

    Raises:
      ValueError: a file is missing or invalid, or the trial is one of another task.
    """
    try:
        settings = Artifacts(folder).settings()
        objects = model_file.objects(folder)
    except OSError as error:
        raise ValueError(f"{error.filename}: cannot be read ({first_line(error)}); has the trial finished?") from None
    if not isinstance(settings, kind):
        raise ValueError(f"{folder}: {of_another_task(settings.task, reads=reads)}")
    return settings, objects


def of_another_task(task: str, *, reads: str) -> str:
    """Returns the error for a trial of another task."""
    return f"trained with task={task[:80]}; this command reads {reads}"
