"""Stores how far a journal has been replayed, in a file next to the journal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from src.files import replaced


def load(path: Path) -> dict[str, Any]:
    """Returns the saved state; empty if the file is missing or unreadable."""
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def save(path: Path, state: dict[str, Any]) -> None:
    """Replaces the saved state atomically."""
    with replaced(path) as beside:
        beside.write_text(json.dumps(state), encoding="utf-8")
