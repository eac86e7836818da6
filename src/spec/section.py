"""Base of all settings: types with ranges, frozen sections without unknown keys, and the error for invalid settings."""

from __future__ import annotations

from typing import Annotated, Any

import pydantic
from pydantic import Field

Count = Annotated[int, Field(ge=1, le=1_000_000)]
Width = Annotated[int, Field(ge=1, le=65_536)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Value = bool | int | float | str | None
STUDY_NAME, MODEL_NAME = r"^[a-z0-9_][a-z0-9_-]*$", r"^[\w.-][\w. -]*$"
PLACE = r"^[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"
Place = Annotated[str, Field(pattern=PLACE, max_length=200)]  # code of the user, which the command line names
WORDS_OF = {
    STUDY_NAME: "text of a-z, 0-9, _ and - that does not begin with -",
    MODEL_NAME: "text of letters, digits, spaces, ., _ and -",
    PLACE: "module:NAME",
}
TAGS = "tracking.tags."  # prefix of the user's own tags


def _not_reserved(name: str) -> str:
    if name.split(".", maxsplit=1)[0] in ("mlflow", "ablation"):
        raise ValueError
    return name


TagName = Annotated[str, Field(pattern=r"^[\w./ -]{1,200}$"), pydantic.AfterValidator(_not_reserved)]


class SettingsError(ValueError):
    """Raised for an invalid setting. The message names the value, the allowed values and the fix."""


class UnknownKey(SettingsError):
    """Raised for a key that the settings of a task, or the options of a corpus, do not have."""


class Section(pydantic.BaseModel, frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True):
    """Part of the settings: frozen; rejects unknown keys; converts no types silently."""


def as_typed(value: Any) -> str:
    """Returns a plain value as Hydra's command line writes it."""
    return (
        {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else str(value)
    )
