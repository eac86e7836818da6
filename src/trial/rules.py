"""The engine of inert toggles: two names of one trial get the same settings, and what was changed is said with its reason."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from src.spec.rules import Change, Inert
from src.spec.settings import Settings

S = TypeVar("S", bound=Settings)
OF_EVERY_TASK: tuple[Inert[Settings], ...] = (
    Inert("drop_remainder", False, lambda settings: settings.batch_size == 1, "with batch_size=1 every batch is full"),
)


def without_inert(settings: S, rules: Iterable[Inert[Any]]) -> tuple[S, list[Change]]:
    """Returns the settings with every toggle that has no effect set to one value, and what was changed.

    Args:
      settings: checked settings.
      rules: applied one after the other: what one has changed, the next finds.
    """
    changes = []
    for rule in rules:
        if rule.applies(settings) and (got := getattr(settings, rule.key)) != rule.value:
            changes.append(Change(rule.key, got, rule.value, rule.reason))
            settings = settings.model_copy(update={rule.key: rule.value})
    return settings, changes


def refusals(settings: Settings) -> list[str]:
    """Returns why these settings cannot run, whatever their task, each with its fix; empty if they can."""
    if settings.tracking.name == "offline" and settings.tracking.uri:
        return ["tracking=offline uses no tracking store, but tracking.uri is set; remove one of the two"]
    return []
