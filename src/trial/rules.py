"""Normalises toggles without effect, so that equal trials have equal settings, and gives the reason of each change."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from src.spec.rules import Change, Inert
from src.spec.settings import Settings

S = TypeVar("S", bound=Settings)
OF_EVERY_TASK: tuple[Inert[Settings], ...] = (
    Inert("drop_remainder", False, lambda settings: settings.batch_size == 1, "with batch_size=1 every batch is full"),
    Inert("retracing", "signature", lambda settings: settings.execution == "eager", "execution=eager traces nothing"),
    Inert(
        "averaging",
        "none",
        lambda settings: settings.averaging == "swa" and settings.epochs == 1,
        "swa averages epochs",
    ),
    Inert("ema_momentum", 0.99, lambda settings: settings.averaging != "ema", "only averaging=ema reads it"),
    Inert("momentum", 0.0, lambda settings: settings.optimizer != "sgd", "of the optimizers, only sgd reads it"),
)


def without_inert(settings: S, rules: Iterable[Inert[Any]]) -> tuple[S, list[Change]]:
    """Returns the settings with every toggle without effect at one fixed value, and the changes.

    Args:
      settings: checked settings.
      rules: rules that are applied in this order; each gets the settings that the earlier ones changed.
    """
    changes = []
    for rule in rules:
        if rule.applies(settings) and (got := getattr(settings, rule.key)) != rule.value:
            changes.append(Change(rule.key, got, rule.value, rule.reason))
            settings = settings.model_copy(update={rule.key: rule.value})
    return settings, changes


def refusals(settings: Settings) -> list[str]:
    """Returns why these settings cannot run with any task, each reason with its fix; empty if they can."""
    reasons = _refusals_of_loop(settings) if settings.execution == "graph_epoch" else []
    if settings.patience is not None and settings.patience > settings.epochs - 2:
        fix = f"set epochs={settings.patience + 2} or more, or patience=null"
        reasons.append(f"patience={settings.patience} cannot end a training of epochs={settings.epochs} early; {fix}")
    if settings.tracking.name == "offline" and settings.tracking.uri:
        reasons.append("tracking=offline uses no tracking store, but tracking.uri is set; remove one of the two")
    return reasons


def _refusals_of_loop(settings: Settings) -> list[str]:
    """Returns why the steps of an epoch cannot be one graph."""
    conflicts = {
        f"accumulate={settings.accumulate}": (settings.accumulate > 1, "takes a step with every batch"),
        f"retracing={settings.retracing}": (settings.retracing != "signature", "has one signature for all batches"),
        f"tracking.profile={settings.tracking.profile}": (
            bool(settings.tracking.profile),
            "has no single steps to profile",
        ),
    }
    return [
        f"{key} does not work with execution=graph_epoch, whose graph {why}; set execution=graph"
        for key, (is_set, why) in conflicts.items()
        if is_set
    ]
