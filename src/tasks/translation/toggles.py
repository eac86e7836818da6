"""Combinations in which a toggle has no effect, and combinations that cannot run."""

from __future__ import annotations

from typing import Any

from src.parts.words import pretrained
from src.spec.rules import Inert
from src.tasks.translation.settings import Settings

INERT: tuple[Inert[Any], ...] = (
    *pretrained.INERT,
    Inert("mask_attention", True, lambda s: s.attention == "none", "attention=none has no weights to mask"),
    Inert(
        "input_feeding", False, lambda s: s.attention == "none", "attention=none makes nothing that could be fed back"
    ),
)


def refusals(settings: Settings) -> list[str]:
    """Returns the combinations of settings that no model can have, each with its fix."""
    reasons = []
    if settings.bidirectional and settings.units % 2:
        reasons.append(
            f"bidirectional=true gives each direction half of the units, and units={settings.units} is odd; "
            f"set units={settings.units + 1}, or bidirectional=false"
        )
    if settings.attention == "none" and settings.initial_state == "zero":
        reasons.append(
            "with attention=none and initial_state=zero the decoder knows nothing of the source; "
            "set initial_state=bridge or last, or choose an attention"
        )
    if settings.uses_xla:
        reasons.append(
            "execution=xla compiles the search for translations anew for each shape of a batch, which takes minutes; "
            "set execution=graph"
        )
    return reasons
