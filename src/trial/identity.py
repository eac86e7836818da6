"""The identity of a trial: a hash of everything that determines its result."""

from __future__ import annotations

from typing import Any

from src import own_code
from src.files import digest
from src.spec.renamed import as_hashed
from src.spec.settings import Settings
from src.spec.task import Task

# Keys that name, record or select a trial and do not change its result. The data count by the hash of their content.
NOT_IN_IDENTITY = frozenset(
    {"study", "tracking", "plan", "rerun", "retry_failed", "fail_fast", "plan_only", "checkpoint", "data"}
)


def identity(settings: Settings, task: Task[Any, Any], *, data_digest: str) -> str:
    """Returns 16 hexadecimal digits; two trials have the same if and only if resolved settings and data are equal.

    The source of the user's own code counts, too.

    Args:
      settings: all resolved settings, because an edited default must not change the meaning of old results. Keys that
        are null are left out, and so are toggles that were added later, at the value that all earlier trials had
        (`Settings.added`): old identities stay. A renamed toggle counts under its old name (`renamed.as_hashed`).
      task: the task of these settings.
      data_digest: hash of the data.

    Raises:
      SettingsError: there is no source of the user's own code.
    """
    added = settings.added()
    values = {
        key: value
        for key, value in as_hashed(task.hashed({**settings.model_dump(), "task": task.name})).items()
        if key not in NOT_IN_IDENTITY and value is not None and (key not in added or value != added[key])
    }
    code = own_code.hashes(settings)
    return digest({"settings": values, "data": data_digest, **({"code": code} if code else {})})
