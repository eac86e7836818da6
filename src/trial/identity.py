"""The identity of a trial: a hash of everything that decides its result."""

from __future__ import annotations

from typing import Any

from src.files import digest
from src.spec.settings import Settings
from src.spec.task import Task

# What names, records or selects a trial without changing its result. The data enter by the hash of their content.
NOT_IN_IDENTITY = frozenset(
    {"study", "tracking", "plan", "rerun", "retry_failed", "fail_fast", "plan_only", "checkpoint", "data"}
)


def identity(settings: Settings, task: Task[Any, Any], *, data_digest: str) -> str:
    """Returns 16 hexadecimal digits that two trials share exactly if their resolved settings and their data are equal.

    Args:
      settings: resolved settings, all of them: an edited default must not change what old results mean. Keys at null are left out, and
        toggles that came later at the value that every trial had before (`Settings.added`): old identities stay.
      task: whose settings they are.
      data_digest: hash of the data.
    """
    added = settings.added()
    values = {
        key: value
        for key, value in task.hashed({**settings.model_dump(), "task": task.name}).items()
        if key not in NOT_IN_IDENTITY and value is not None and (key not in added or value != added[key])
    }
    return digest({"settings": values, "data": data_digest})
