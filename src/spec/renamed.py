"""Toggles that earlier versions named otherwise: how their records are read, hashed and answered today."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from src.spec.section import as_typed


class Renamed(NamedTuple):
    """A toggle of earlier versions.

    Attributes:
      key: its name today.
      values: its old values → those of today.
    """

    key: str
    values: Mapping[Any, Any]


RENAMED = {"jit_compile": Renamed("execution", {False: "graph", True: "xla"})}


def as_today(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings, or the toggles of a plan, of any version with today's names and values."""
    return dict(_today(key, value) for key, value in values.items())


def plan_today(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the record of a plan of any version with today's names and values of toggles, also in its labels."""
    today = dict(plan)
    today["levels"] = {_name(key): [_today(key, each)[1] for each in values] for key, values in plan["levels"].items()}
    today["rows"] = [
        {**row, "values": as_today(row["values"]), "label": _label(str(row["label"]))} for row in plan["rows"]
    ]
    if "reference" in plan:
        today["reference"] = as_today(plan["reference"])
    if "variants" in plan:
        today["variants"] = [as_today(each) for each in plan["variants"]]
    if "aliases" in plan:
        today["aliases"] = [[":".join(map(_name, term.split(":"))) for term in group] for group in plan["aliases"]]
    return today


def _name(key: str) -> str:
    return RENAMED[key].key if key in RENAMED else key


def _label(label: str) -> str:
    """Returns the label of a variant, such as `depth=2 jit_compile=true`."""
    written = {
        f"{old}={as_typed(value)}": f"{new.key}={as_typed(today)}"
        for old, new in RENAMED.items()
        for value, today in new.values.items()
    }
    return " ".join(written.get(word, word) for word in label.split(" "))


def as_hashed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings in the layout that identities hash: a value that has an old name is under that name.

    A new value is under its new name, beside the first old value, so that all earlier identities stay.
    """
    hashed = dict(values)
    for old, new in RENAMED.items():
        if new.key in hashed:
            value = hashed.pop(new.key)
            names = {today: before for before, today in new.values.items()}
            hashed |= {old: names[value]} if value in names else {old: next(iter(new.values)), new.key: value}
    return hashed


def instead_of(key: str) -> str:
    """Returns what to write instead of a toggle of earlier versions; empty for other keys."""
    if key not in RENAMED:
        return ""
    new = RENAMED[key]
    pairs = (
        f"{new.key}={as_typed(today)} for {as_typed(value)}"
        for value, today in sorted(new.values.items(), reverse=True)
    )
    return f"write {', '.join(pairs)}"


def _today(key: str, value: Any) -> tuple[str, Any]:
    if key not in RENAMED:
        return key, value
    new = RENAMED[key]
    return new.key, new.values.get(value, value) if isinstance(value, bool) else value
