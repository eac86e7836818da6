"""From checked settings to a trial that can be trained: data → resolved settings → refusals → identity. TensorFlow is not imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src import paths, registry
from src.spec.rules import Change
from src.spec.section import SettingsError
from src.spec.settings import Settings
from src.spec.task import Data, Task
from src.trial import rules
from src.trial.identity import identity


@dataclass(frozen=True, slots=True)
class Prepared:
    """A trial that can be trained.

    Attributes:
      settings: resolved: no toggle is set that has no effect.
      task: what is learnt.
      data: what it is learnt from.
      identity: what decides "already done".
      changes: the toggles that were changed, with reasons.
    """

    settings: Settings
    task: Task[Any, Any]
    data: Data
    identity: str
    changes: list[Change]

    @property
    def folder(self) -> Path:
        """Where the trial's record lies."""
        return paths.study_folder(self.settings.study) / self.identity

    def with_seed(self, seed: int) -> Prepared:
        """Returns the trial with another seed, which was checked; `prepare` would return the same, and takes longer."""
        settings = self.settings.model_copy(update={"seed": seed})
        object.__setattr__(
            settings, "__pydantic_fields_set__", self.settings.model_fields_set
        )  # 100,000 sets of keys would take 400 MB
        return Prepared(
            settings, self.task, self.data, identity(settings, self.task, data_digest=self.data.digest), self.changes
        )


def prepare(settings: Settings, *, data: Data | None = None) -> Prepared:
    """Returns the trial that these settings mean.

    Args:
      settings: checked settings.
      data: what the task's `load` returned for them, where it was loaded already.

    Raises:
      SettingsError: the combination cannot run, or the data cannot be used.
    """
    task = registry.task(settings.task)
    used, inert = rules.without_inert(settings, (*task.inert, *rules.OF_EVERY_TASK))
    data = task.load(used) if data is None else data
    used, resolved = task.resolve(used, data)
    if reasons := [*rules.refusals(used), *task.refusals(used, data)]:
        raise SettingsError(reasons[0])
    return Prepared(used, task, data, identity(used, task, data_digest=data.digest), [*inert, *resolved])
