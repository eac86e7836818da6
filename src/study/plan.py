"""What a study will train: one row a cell of its design, each with the trial that serves it or the reason why none does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from src.settings import Settings, SettingsError, edited, label
from src.study.designs import DESIGNS
from src.trial import Prepared, prepare


@dataclass(frozen=True)
class Level:
    """One value of one key, as it was typed and as it is meant.

    Attributes:
      text: `cell=gru`.
      value: "gru".
    """

    text: str
    value: Any


@dataclass(frozen=True)
class Row:
    """One cell of the design.

    Attributes:
      label: the swept keys with their values, as typed; `defaults` where nothing is swept.
      is_reference: the others are compared with it.
      overrides: what Hydra composes the trial from.
      trial: what is trained, or None where the cell was dropped.
      dropped: why, or None.
    """

    label: str
    is_reference: bool
    overrides: list[str]
    trial: Prepared | None
    dropped: str | None


def rows(
    fixed: Sequence[str], levels: Mapping[str, Sequence[Level]], *, groups: Sequence[str], compose: Callable[[list[str]], Settings]
) -> list[Row]:
    """Returns the grid of all levels, the first of every list being the reference.

    Hydra composes once for every choice of config groups; all else is an edit of settings that were checked already.

    Args:
      fixed: overrides that every trial has.
      levels: key → its levels.
      groups: the keys that are config groups.
      compose: overrides → settings.

    Raises:
      SettingsError: a value that no combination allows.
    """
    cells = DESIGNS["grid"]({key: [level.text for level in several] for key, several in levels.items()})
    value_of = {level.text: level.value for several in levels.values() for level in several}
    composed: dict[tuple[str, ...], Settings] = {}
    checked = []
    for cell in cells:  # all of them before any data are read: a typing error is answered at once
        choices = tuple(text for key, text in cell.items() if key in groups)
        if choices not in composed:
            composed[choices] = compose([*fixed, *choices])
        checked.append(edited(composed[choices], {key: value_of[text] for key, text in cell.items() if key not in groups}))
    found: list[Row] = []
    for cell, settings in zip(cells, checked, strict=True):
        name = label({key: value_of[text] for key, text in cell.items()}) or "defaults"
        trial, dropped = _prepared(settings)
        found.append(Row(name, not found, [*fixed, *cell.values()], trial, dropped))
    return found


def as_record(found: Sequence[Row], *, command: str, time: str) -> dict[str, Any]:
    """Returns a plan as plain values, for the study run."""
    return {
        "command": command,
        "time": time,
        "rows": [
            {
                "label": row.label,
                "role": "reference" if row.is_reference else "variant",
                "identity": row.trial.identity if row.trial else None,
                "seed": row.trial.settings.seed if row.trial else None,
                "settings": row.trial.settings.model_dump() if row.trial else None,
                "normalised": [str(change) for change in row.trial.changes] if row.trial else [],
                "dropped": row.dropped,
            }
            for row in found
        ],
    }


def _prepared(settings: Settings) -> tuple[Prepared | None, str | None]:
    try:
        return prepare(settings), None
    except SettingsError as error:
        return None, str(error)
