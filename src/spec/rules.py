"""Toggles that have no effect in a combination, and the changes to settings that follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from src.spec.section import as_typed
from src.spec.settings import Settings

S_contra = TypeVar("S_contra", bound=Settings, contravariant=True)


class Inert(NamedTuple, Generic[S_contra]):
    """A toggle that has no effect on the result under a condition.

    Where the condition holds, the toggle gets one fixed value, so that equal trials have one identity.

    Attributes:
      key: the toggle.
      value: its fixed value.
      applies: whether the condition holds.
      reason: why it has no effect, for the user.
    """

    key: str
    value: Any
    applies: Callable[[S_contra], bool]
    reason: str


class Change(NamedTuple):
    """A toggle whose value differs from the user's.

    Attributes:
      key: the toggle.
      got: the user's value.
      used: the value that is used instead.
      reason: why, for the user.
    """

    key: str
    got: Any
    used: Any
    reason: str

    def __str__(self) -> str:
        return f"{self.key}={as_typed(self.used)} is used: {self.reason}"
