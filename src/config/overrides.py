"""Plain values in the grammar of Hydra's command line."""

from __future__ import annotations

import re
from typing import Any

from src.config.explain import is_open
from src.spec.section import TAGS, as_typed

PLAIN_WORD = re.compile(r"(?!(?:true|false|null|nan|inf)$)[A-Za-z_][\w./:-]*", re.IGNORECASE)


def override(key: str, value: Any) -> str:
    """Returns a key with its plain value in Hydra's grammar: `cell=gru`, `data.path='a b.csv'`, `++toggles.width=7`."""
    added = f"++{key}" if is_open(key) and not key.startswith(TAGS) else key
    if not isinstance(value, str) or PLAIN_WORD.fullmatch(value):
        return f"{added}={as_typed(value)}"
    return f"{added}={quoted(value)}"


def quoted(text: str) -> str:
    """Returns a quoted text in Hydra's grammar: only backslashes before a quote are escaped."""
    escaped = re.sub(r"(\\*)('|$)", lambda match: match[1] * 2 + ("\\'" if match[2] else ""), text)
    return f"'{escaped}'"
