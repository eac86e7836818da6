"""Toggles that have no effect in a combination, and what was changed for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from src.spec.section import as_typed
from src.spec.settings import Settings

S_contra = TypeVar("S_contra", bound=Settings, contravariant=True)


class Inert(NamedTuple, Generic[S_contra]):
    """A toggle that has no effect on the result under a condition: it is set to one value there, so that equal trials are one trial.

    Attributes:
      key: of the toggle.
      value: that it is set to.
      applies: whether the condition holds.
      reason: why it has no effect, for the user.
    """

    key: str
    value: Any
    applies: Callable[[S_contra], bool]
    reason: str


class Change(NamedTuple):
    """One toggle that was set to another value than the user's.

    Attributes:
      key: of the toggle.
      got: the user's value.
      used: the value in its place.
      reason: why, for the user.
    """

    key: str
    got: Any
    used: Any
    reason: str

    def __str__(self) -> str:
        return f"{self.key}={as_typed(self.used)} is used: {self.reason}"
