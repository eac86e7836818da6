"""Combinations in which a toggle has no effect, and combinations that cannot run."""

from __future__ import annotations

from typing import Any

from src.spec.rules import Inert

INERT: tuple[Inert[Any], ...] = (
    Inert("mask_attention", True, lambda s: s.attention == "none", "attention=none has no weights to mask"),
    Inert(
        "input_feeding", False, lambda s: s.attention == "none", "attention=none makes nothing that could be fed back"
    ),
)
