"""How variants are derived. A new design is one function and one line in `DESIGNS`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

Value = TypeVar("Value")


def grid(levels: Mapping[str, Sequence[Value]]) -> list[dict[str, Value]]:
    """Returns the full factorial: every combination of levels, the last key changing fastest; the first is the reference."""
    return [dict(zip(levels, combination, strict=True)) for combination in itertools.product(*levels.values())]


DESIGNS: dict[str, Callable[[Mapping[str, Sequence[str]]], list[dict[str, str]]]] = {"grid": grid}
