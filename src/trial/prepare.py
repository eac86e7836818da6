"""Prepares a trial from checked settings, without TensorFlow: data → resolved settings → refusals → identity."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src import paths, registry
from src.spec.rules import Change
from src.spec.section import SettingsError
from src.spec.settings import Settings
from src.spec.task import Data, Task
from src.terminal.errors import first_line
from src.trial import rules
from src.trial.identity import identity


@dataclass(frozen=True, slots=True)
class Prepared:
    """A trial that can be trained.

    Attributes:
      settings: resolved settings: toggles without effect have one fixed value.
      task: the task.
      data: the task's data.
      identity: identity of the trial; it decides whether the trial is already done.
      changes: toggles that were normalised, with reasons.
    """

    settings: Settings
    task: Task[Any, Any]
    data: Data
    identity: str
    changes: list[Change]

    @property
    def folder(self) -> Path:
        """The folder with the trial's files."""
        return paths.study_folder(self.settings.study) / self.identity

    def with_seed(self, seed: int) -> Prepared:
        """Returns the trial with another, checked seed; `prepare` would return the same and take longer."""
        settings = _with_seed(self.settings, seed)
        digits = identity(settings, self.task, data_digest=self.data.digest)
        return Prepared(settings, self.task, self.data, digits, self.changes)


def prepare(settings: Settings, *, data: Data | None = None) -> Prepared:
    """Returns the trial of these settings.

    Args:
      settings: checked settings.
      data: the result of the task's `load` for these settings, if it was loaded already.

    Raises:
      SettingsError: the combination cannot run, or the data cannot be used.
    """
    task = registry.task(settings.task)
    used, inert = rules.without_inert(settings, (*task.inert, *rules.OF_EVERY_TASK))
    # Trials that differ only in their seed share the data, so the task sees the same seed for all of them.
    used = _with_seed(used, 0)
    try:
        data = task.load(used) if data is None else data
        used, resolved = task.resolve(used, data)
        reasons = [*task.refusals(used, data), *rules.refusals(used)]
        digest = data.digest
    except (SettingsError, OSError, MemoryError):
        raise
    except Exception as error:  # the code of another package may raise anything
        if registry.version(settings.task) is None:
            raise
        raise SettingsError(
            f"task={settings.task} cannot prepare this trial ({type(error).__name__}: {first_line(error)})"
        ) from error
    if reasons:
        raise SettingsError(reasons[0])
    used = _with_seed(used, settings.seed)
    return Prepared(used, task, data, identity(used, task, data_digest=digest), [*inert, *resolved])


def _with_seed(settings: Settings, seed: int) -> Settings:
    """Returns the settings with another, checked seed."""
    changed = settings.model_copy(update={"seed": seed})
    # The settings share one set of keys: 100,000 sets would take 400 MB.
    object.__setattr__(changed, "__pydantic_fields_set__", settings.model_fields_set)
    return changed
