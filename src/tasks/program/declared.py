"""The toggles that a user declares: their types, and why a program cannot run with them."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path

from src.spec.section import Value, as_typed
from src.spec.settings import Settings as Core
from src.tasks.program import command
from src.tasks.program.report import check_patterns
from src.tasks.program.settings import Declared, Settings
from src.terminal.errors import nearest

TYPES = {"bool": bool, "int": int, "float": float, "text": str}


def typed(settings: Settings) -> dict[str, Value]:
    """Returns the toggles; a whole number is a float where a toggle is declared as one, so that 1 and 1.0 are one."""
    kinds = {name: each.type for name, each in settings.program.toggles.items()}
    return {
        name: float(value) if kinds.get(name) == "float" and type(value) is int else value
        for name, value in settings.toggles.items()
    }


def refusals(settings: Settings, folder: Path) -> list[str]:
    """Returns why a program cannot run with these settings, each with its fix."""
    words = command.words_of(settings.command)
    reasons = [*_names(settings, words), *_of_the_core(settings), *_executable(words, folder)]
    for name, value in settings.toggles.items():
        if name in settings.program.toggles:
            reasons += _outside(name, value, settings.program.toggles[name])
    if wrong := check_patterns(settings.program.patterns):
        reasons.append(wrong)
    return reasons


def _names(settings: Settings, words: list[str]) -> Iterator[str]:
    """Yields why the names in the command do not fit the toggles."""
    toggles, used = settings.toggles, command.names_in(words)
    for name in toggles:
        if name in command.RESERVED:
            yield f"toggles.{name}: the name is reserved; rename it"
    known = [*toggles, "seed", *command.PLACES]
    for name in used:
        if name not in known:
            near = nearest(name, known) if name else None
            fix = f"did you mean {{{near}}}?" if near else f"declare it with toggles.{name or 'NAME'}=VALUE"
            plain = f"; for plain braces write {{{{{name}}}}}"
            yield f"command: {{{name}}} is no toggle; allowed: {', '.join(map('{{{}}}'.format, known))}; {fix}{plain}"
    if settings.program.passes == "environment" or "settings" in used:
        return
    for name in (*toggles, "seed"):
        if name not in used:
            what = "the seed" if name == "seed" else f"toggles.{name}"
            variable = "ABLATION_SEED" if name == "seed" else f"ABLATION_TOGGLE_{name}"
            yield (
                f"command: {{{name}}} is missing, so {what} would change nothing; add it, or, if the program reads "
                f"${variable}, set program.passes=environment"
            )


def _of_the_core(settings: Settings) -> Iterator[str]:
    """Yields why a toggle of other tasks has no effect: a program knows only what it gets."""
    for key in Core.toggles():
        if key in ("task", "seed"):
            continue
        value = getattr(settings, key)
        if value != Core.model_fields[key].default:
            yield (
                f"{key}={as_typed(value)} has no effect on a program; "
                f"write toggles.{key}={as_typed(value)} and {{{key}}} in the command"
            )


def _executable(words: list[str], folder: Path) -> Iterator[str]:
    """Yields why the first word cannot be run."""
    first = words[0]
    if command.names_in([first]):
        return
    place = str(folder / first) if "/" in first else first
    if shutil.which(place):
        return
    if "/" in first and Path(place).is_file():
        yield f"command: {first} is not executable; run chmod +x {first}, or write its interpreter first"
    else:
        near = "; did you mean python3?" if first == "python" else ""
        yield f"command: there is no program {first!r} {f'in {folder}' if '/' in first else 'on the PATH'}{near}"


def _outside(name: str, value: Value, rule: Declared) -> Iterator[str]:
    """Yields why a value does not fit its declaration."""
    kind = TYPES[rule.type] if rule.type else None
    fits = kind is None or value is None or type(value) is kind or (kind is float and type(value) is int)
    if not fits:
        yield f"toggles.{name}: got {as_typed(value)}; allowed: {rule.type} (program.toggles.{name}.type)"
        return
    if rule.choices and value not in rule.choices:
        yield f"toggles.{name}: got {as_typed(value)}; allowed: {', '.join(map(as_typed, rule.choices))}"
    low, high = (-math.inf if rule.low is None else rule.low), (math.inf if rule.high is None else rule.high)
    if isinstance(value, int | float) and not isinstance(value, bool) and not low <= value <= high:
        yield f"toggles.{name}: got {as_typed(value)}; allowed: from {low:g} to {high:g}"
