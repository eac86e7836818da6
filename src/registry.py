"""The tasks by name: built-in ones, those of installed packages (entry points `ablation.tasks`), and `module:NAME` of a file on the path.

A task is imported when somebody asks for it. One of another package that cannot be used is left out, with a line that says why.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from src.spec import contract
from src.spec.section import SettingsError
from src.spec.task import Task
from src.terminal.errors import first_line, nearest
from src.terminal.visible import echoed, one_line

ENTRY_POINTS = "ablation.tasks"
BUILT_IN = {
    "sentiment": "src.tasks.sentiment.task:TASK",
    "integration": "src.tasks.integration.task:TASK",
}
DEFAULT = "sentiment"
PLACE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")  # module:NAME
NAME = re.compile(r"[a-z][a-z0-9_]{0,49}")
AnyTask = Task[Any, Any]
_allowed: set[str] = set()


class Unusable(SettingsError):
    """A task that cannot be used. The text says whose it is, why, and the fix."""


class Origin(NamedTuple):
    """Where a task comes from.

    Attributes:
      place: `module:NAME`.
      package: that installed it, with its version; None for a built-in task and for one on the path.
    """

    place: str
    package: str | None


def named(words: Sequence[str]) -> list[str]:
    """Returns the names of tasks in the words of a command line, as in `task=a,b`.

    A task at `module:NAME` may be imported then. What a file names is never imported.
    """
    typed = [
        name.strip("'\" ")
        for word in words
        if word.startswith("task=")
        for name in word.removeprefix("task=").split(",")
    ]
    for place in filter(is_place, typed):
        allow(place)
    return typed


def allow(place: str) -> None:
    """Lets the task at a place be imported, because the command line names it. What a file names is never imported."""
    _allowed.add(place)


def is_importable(name: str) -> bool:
    """Returns whether a task may be imported: every registered one, and one at a place only if the command line names it."""
    return not is_place(name) or name in _allowed


def is_place(name: str) -> bool:
    """Returns whether a task's name is a place, `module:NAME`."""
    return PLACE.fullmatch(name) is not None


def task(name: str) -> AnyTask:
    """Returns a task by its name, or by its place `module:NAME` if the command line names it.

    Raises:
      SettingsError: there is none, or it cannot be used.
    """
    if is_place(name):
        if not is_importable(name):
            raise SettingsError(
                f"task: {echoed(name)} is imported only where the command line names it; add task={echoed(name)}"
            )
        return _loaded(name, None)
    if name not in origins():
        near = nearest(echoed(name), list(origins()))
        fix = f"Did you mean task={near}?" if near else "For a task of your own, write task=module:NAME"
        raise SettingsError(f"task: got {echoed(name)!r}; allowed: {', '.join(origins())}. {fix}")
    origin = origins()[name]
    return _loaded(origin.place, name)


@functools.cache
def origins() -> Mapping[str, Origin]:
    """Returns the registered tasks: name → where it comes from. A name of a built-in task stays its own."""
    known = {name: Origin(place, None) for name, place in BUILT_IN.items()}
    for point in sorted(importlib.metadata.entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        distribution = point.dist
        package = f"{distribution.name} {distribution.version}" if distribution else point.value.partition(":")[0]
        if point.name in known:
            of_whom = "a built-in task" if point.name in BUILT_IN else f"a task of {known[point.name].package}"
            _warn(
                f"task {echoed(point.name)!r} of {package} is ignored, because {of_whom} has this name; rename its entry point"
            )
        elif not NAME.fullmatch(point.name):
            _warn(f"task {echoed(point.name)!r} of {package} is ignored; a name is a-z, 0-9 and _, up to 50 characters")
        else:
            known[point.name] = Origin(point.value, package)
    return MappingProxyType(known)


@functools.cache
def usable() -> Mapping[str, AnyTask]:
    """Returns every registered task that can be used, by name; a line on standard error says why another one cannot."""
    tasks = {}
    for name, origin in origins().items():
        try:
            tasks[name] = _loaded(origin.place, name)
        except Unusable as error:
            if origin.package is None:
                raise
            _warn(str(error))
    return MappingProxyType(tasks)


def known() -> list[AnyTask]:
    """Returns every task whose keys may be typed: the registered ones, and those at a place that the command line names."""
    tasks = list(usable().values())
    for place in sorted(_allowed):
        with contextlib.suppress(Unusable):  # which the command that named it has said
            tasks.append(_loaded(place, None))
    return tasks


def version(name: str) -> str | None:
    """Returns the package and version that a task comes from, for a trial's record; None for a built-in task."""
    if is_place(name):
        return name
    origin = origins().get(name)
    return origin.package if origin else None


@functools.cache
def _loaded(place: str, name: str | None) -> AnyTask:
    """Returns the task at `module:NAME`, checked against the contract.

    Args:
      place: of the task.
      name: that it is registered under; None for one that is not registered.
    """
    module, _, attribute = place.partition(":")
    called = f"task {name}" if name else f"task={place}"
    try:
        found = getattr(importlib.import_module(module), attribute)
        if isinstance(found, type) and issubclass(found, Task):
            found = found()
    except (Exception, SystemExit) as error:  # whatever the import of somebody's module raises
        raise Unusable(
            f"{called} cannot be imported from {place} ({type(error).__name__}: {echoed(first_line(error))})"
        ) from None
    if not isinstance(found, Task):
        raise Unusable(
            f"{called}: {place} is a {type(found).__name__}, not a spec.task.Task; make it an instance of a subclass"
        )
    if place in BUILT_IN.values():  # tests check these
        return found
    try:
        reason = next(faults(found, name, place=place), None)
    except Exception as error:  # it is made of other things than the contract says
        reason = f"{type(error).__name__}: {echoed(first_line(error))}"
    if reason:
        raise Unusable(f"{called} ({place}) cannot be used: {reason}")
    return found


def faults(found: AnyTask, name: str | None, *, place: str) -> Iterator[str]:
    """Yields why a task cannot be registered, each with its fix.

    Args:
      found: the task.
      name: that it is registered under; None for one that is not registered.
      place: `module:NAME` that it was imported from.
    """
    if name is not None and found.name != name:
        yield f"its name is {found.name!r}, but it is registered as {name!r}; use one name"
    registered = origins().get(found.name)
    if name is None and registered is not None and registered.place != place:
        whose = "a built-in task" if found.name in BUILT_IN else f"a task of {registered.package}"
        yield f"{found.name!r} is the name of {whose}; choose another name"
    if not NAME.fullmatch(found.name):
        yield f"its name is {found.name!r}; allowed: a-z, 0-9 and _, up to 50 characters"
    yield from contract.faults(found)
    ours = {corpus: options for built_in in BUILT_IN for corpus, options in task(built_in).settings.corpora().items()}
    for corpus, options in found.settings.corpora().items():
        if ours.get(corpus, options) is not options:
            yield f"its corpus {corpus!r} has the name of another one; rename it"


def _warn(text: str) -> None:
    print(f"warning: {one_line(text)}", file=sys.stderr)
