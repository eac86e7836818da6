"""Removes from a study what tells of the machine that it was made on: paths, and the addresses of its stores."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any

import pandas as pd

from analysis.load import Study

ADDRESS = re.compile(r"\b(?:sqlite|postgresql|mysql|mssql|file)(?:\+\w+)?:/{2,}[^\s'\"<>)]*")
# A path of two parts or more that begins at a root, a home or a drive; not the end of a word, an address, a tag, or a
# path that is shortened already.
PATH = re.compile(r"(?<![\w.:/<>\\…-])(?:~|[A-Za-z]:)?(?:[/\\][^\s/\\'\"`<>|,;:()\[\]{}=]+){2,}[/\\]?")
TRACKING = re.compile(r"\s(?:\S*['\"])?\+{0,2}tracking(?:\.[\w./-]+)?=(?:'[^']*'|\"[^\"]*\"|\S)*")
HIDDEN = "…"

Hide = Callable[[str], str]


def hiding(values: Any) -> Hide:
    """Returns a function that shortens the paths in a text: `/home/me/data/reviews.csv` becomes `…/reviews.csv`.

    Args:
      values: plain values (mappings, lists, texts) that may be or contain paths. Different ones among them stay
        different: `…/a/reviews.csv` and `…/b/reviews.csv`.
    """
    found = {text for text in _texts(values) if _is_path(text)}
    found |= {path for text in _texts(values) if text not in found for path in PATH.findall(text)}
    short = _short(sorted(found))
    longest = sorted(short, key=len, reverse=True)
    exact = re.compile("|".join(map(re.escape, longest)) if longest else r"(?!)")

    def hide(text: str) -> str:
        text = ADDRESS.sub(HIDDEN, exact.sub(lambda match: short[match[0]], text))
        return PATH.sub(lambda match: f"{HIDDEN}/{_pure(match[0]).name}", text)

    return hide


def everywhere(value: Any, hide: Hide) -> Any:
    """Returns plain values with each text in them hidden."""
    if isinstance(value, str):
        return hide(value)
    if isinstance(value, Mapping):
        return {hide(str(key)): everywhere(each, hide) for key, each in value.items()}
    return [everywhere(each, hide) for each in value] if isinstance(value, list | tuple) else value


def plans(records: list[dict[str, Any]], hide: Hide) -> list[dict[str, Any]]:
    """Returns recorded plans; their commands do not name the tracker's settings, which change no result."""
    hidden: list[dict[str, Any]] = everywhere(records, hide)
    for record in hidden:
        for each in record.get("commands", []):
            each["command"] = TRACKING.sub("", each["command"])
    return hidden


def study(loaded: Study, hide: Hide) -> Study:
    """Returns a study whose plan, rows and notes tell nothing of the machine; its store is unchanged."""
    texts = {
        name: loaded.rows[name].map(lambda each: everywhere(each, hide))
        for name in loaded.rows.columns
        if not pd.api.types.is_numeric_dtype(loaded.rows[name])
        and not pd.api.types.is_datetime64_any_dtype(loaded.rows[name])
    }
    rows = loaded.rows.assign(**{name: column.astype(object) for name, column in texts.items()})
    [plan] = plans([loaded.plan], hide)
    return replace(loaded, plan=plan, rows=rows, notes=everywhere(loaded.notes, hide), of_plans=hide(loaded.of_plans))


def _texts(values: Any) -> Iterable[str]:
    if isinstance(values, str):
        yield values
    elif isinstance(values, Mapping):
        for key, value in values.items():
            yield str(key)
            yield from _texts(value)
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _texts(value)


def _is_path(text: str) -> bool:
    return bool(re.match(r"[/~\\]|[A-Za-z]:[/\\]", text)) and len(_pure(text).parts) > 1 and "\n" not in text


def _pure(path: str) -> PurePath:
    return PureWindowsPath(path) if "\\" in path else PurePosixPath(path)


def _short(found: list[str]) -> dict[str, str]:
    """Returns path → its shortest end that no other path has, at least its last part."""
    short = {}
    for path in found:
        parts = _pure(path).parts
        others = [_pure(other).parts for other in found if other != path]
        count = next(
            (n for n in range(1, len(parts)) if all(other[-n:] != parts[-n:] for other in others)), len(parts) - 1
        )
        short[path] = "/".join([HIDDEN, *parts[len(parts) - count :]])
    return short


def lines_with_paths(text: str) -> int:
    """Returns how many lines of a text have a path of a machine."""
    return sum(bool(PATH.search(line) or ADDRESS.search(line)) for line in text.splitlines())
