"""Code of the user in place of a built-in model or layer: a toggle has the value `module:NAME`.

An import runs the module. Therefore only a command line allows it, and no file does. The source counts in the identity
of a trial, and a copy of it is kept with the trial.
"""

from __future__ import annotations

import importlib
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FunctionType
from typing import Any

from src import registry
from src.files import digest, digest_of
from src.spec.section import SettingsError
from src.spec.settings import Settings
from src.terminal.errors import first_line, nearest
from src.terminal.visible import echoed

FOLDER = "own_code"  # in a trial's folder: copies of the sources
_allowed: set[str] = set()


def named(words: Sequence[str]) -> None:
    """Allows the import of each `module:NAME` among the values of a command line; tasks have `registry.named`."""
    for word in words:
        key, _, values = word.partition("=")
        for value in re.split(r"[\s,\[\]'\"]+", values) if key != "task" else ():
            if registry.is_place(value):
                allow(value)


def allow(place: str) -> None:
    """Allows the import of the code at `module:NAME`, which must come from the command line and not from a file."""
    _allowed.add(place)


def is_allowed(place: str) -> bool:
    """Returns whether the code at `module:NAME` may be imported."""
    return place in _allowed


def of(settings: Settings) -> dict[str, str]:
    """Returns toggle → `module:NAME` for each toggle whose value is code of the user."""
    values = {key: getattr(settings, key) for key in type(settings).places()}
    return {key: value for key, value in values.items() if isinstance(value, str) and registry.is_place(value)}


def hashes(settings: Settings) -> dict[str, str]:
    """Returns toggle → hash of the source, for each toggle whose value is code of the user. It imports none of it.

    Raises:
      SettingsError: there is no source.
    """
    return {key: _hash(key, place) for key, place in of(settings).items()}


def sources(settings: Settings) -> dict[str, Path]:
    """Returns path in `FOLDER` → file for the user's code in these settings."""
    return {
        f"{_top(place)}/{name}": path
        for place in of(settings).values()
        for name, path in registry.sources_of(place).items()
    }


def described(settings: Settings) -> str:
    """Returns the user's code in these settings for a record: `model=mine:build (mine.py, code 0123456789abcdef)`."""
    texts = []
    for key, place in of(settings).items():
        first, *others = registry.sources_of(place)
        files = f"{1 + len(others)} files of its package" if others else first
        texts.append(f"{key}={place} ({files}, code {_hash(key, place)})")
    return ", ".join(texts)


def imported(key: str, place: str) -> Any:
    """Returns what a toggle names as `module:NAME`.

    Raises:
      SettingsError: the command line does not name it, or it cannot be imported.
    """
    shown = f"{key}={place}"
    if not is_allowed(place):
        how = f"write {shown} in a study, --code {place} in other commands"
        raise SettingsError(f"{key}: {place} is imported only if the command line names it; {how}")
    _hash(key, place)  # before the import, so that the hash is not that of a later change
    name, _, attribute = place.partition(":")
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:  # the import of a foreign module may raise anything
        raise SettingsError(f"{shown}: importing {name} raised {raised(error, place)}") from None
    if attribute not in vars(module):
        near = nearest(attribute, [each for each in vars(module) if not each.startswith("_")])
        fix = f"did you mean {name}:{near}?" if near else "define it there, or correct the name"
        raise SettingsError(f"{shown}: {name} has no {attribute}; {fix}")
    return vars(module)[attribute]


def raised(error: BaseException, place: str) -> str:
    """Returns an exception in one line, with the line of the user's code that raised it."""
    files = {str(path) for path in registry.sources_of(place).values()}
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    text = first_line(error)
    if text.startswith("Exception encountered when calling"):  # Keras puts this line before the error of a layer
        lines = [line for line in str(error).splitlines() if line.strip()]
        text = re.sub(r"\x1b\[\d*m", "", (lines[1:] or lines)[0])
    return f"{type(error).__name__}: {echoed(text)}{where}"


def kind_of(value: Any) -> str:
    """Returns what a value is, for an error: `the class Model`, `an object of type Dense`, `None`."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return "None" if value is None else f"an object of type {type(value).__name__}"


def objects(place: str) -> dict[str, type | FunctionType]:
    """Returns name → class or function of the user's own in the module of `module:NAME` and in its package."""
    imported("code", place)
    top = _top(place)
    found = [vars(module) for name, module in sorted(sys.modules.items()) if _top(name) == top]
    own = [value for names in found for value in names.values() if isinstance(value, type | FunctionType)]
    return {value.__name__: value for value in own if _top(value.__module__) == top}


def is_of(place: str, module: str) -> bool:
    """Returns whether a module is that of `module:NAME`, or one of its package."""
    return _top(module) == _top(place)


def of_trial(folder: Path) -> list[str]:
    """Returns the modules and packages of the user's code in a trial's folder."""
    return sorted(path.name for path in (folder / FOLDER).glob("*") if path.is_dir())


def allowed_of(folder: Path) -> list[str]:
    """Returns each `module:NAME` of the user's code in a trial's folder that may be imported."""
    return [place for place in sorted(_allowed) if _top(place) in of_trial(folder)]


def has_changed(place: str, folder: Path) -> bool:
    """Returns whether the source at `module:NAME` differs from the copy in a trial's folder, which may lack one."""
    kept = folder / FOLDER / _top(place)
    copies = {str(path.relative_to(kept)): digest_of(path) for path in sorted(kept.rglob("*.py"))}
    return bool(copies) and digest(copies) != _hash("code", place)


def _top(name: str) -> str:
    return re.split(r"[.:]", name)[0]


def _hash(key: str, place: str) -> str:
    try:
        return registry.code(place)
    except LookupError:
        name, _, attribute = place.partition(":")
        fix = "run the command in the folder of its file, or correct its name"
        if name.endswith(".py"):
            fix = f"did you mean {name.removesuffix('.py')}:{attribute}?"
        raise SettingsError(f"{key}={place}: there is no module {name} with a source file; {fix}") from None
