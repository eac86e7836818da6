"""The tasks by name: built-in tasks, tasks of installed packages (entry points `ablation.tasks`), and `module:NAME`.

A task is imported on first use. An unusable task of another package is omitted, and a warning gives the reason.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import importlib.util
import itertools
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from src import files
from src.spec import contract
from src.spec.section import PLACE, SettingsError
from src.spec.task import Task
from src.terminal.errors import first_line, nearest
from src.terminal.visible import echoed, one_line

ENTRY_POINTS = "ablation.tasks"
BUILT_IN = {
    "sentiment": "src.tasks.sentiment.task:TASK",
    "integration": "src.tasks.integration.task:TASK",
    "images": "src.tasks.images.task:TASK",
    "language_model": "src.tasks.language_model.task:TASK",
    "translation": "src.tasks.translation.task:TASK",
    "word_vectors": "src.tasks.word_vectors.task:TASK",
    "pretraining": "src.tasks.pretraining.task:TASK",
    "program": "src.tasks.program.task:TASK",
}
DEFAULT = "sentiment"
NAME = re.compile(r"[a-z][a-z0-9_]{0,49}")
AnyTask = Task[Any, Any]
_allowed: set[str] = set()
_named: set[str] = set()


class Unusable(SettingsError):
    """Raised for a task that cannot be used. The message names the task, the reason and the fix."""


class Origin(NamedTuple):
    """Where a task comes from.

    Attributes:
      place: `module:NAME`.
      package: the package that installed it, with its version; None for a built-in task and for `module:NAME`.
    """

    place: str
    package: str | None


def named(words: Sequence[str]) -> list[str]:
    """Returns the tasks that a command line names, as in `task=a,b`; allows the import of each `module:NAME`.

    Names in a file never allow an import.
    """
    names = [
        name.strip("'\" ")
        for word in words
        if word.startswith("task=")
        for name in word.removeprefix("task=").split(",")
    ]
    for place in filter(is_place, names):
        allow(place)
    _named.update(names)
    return names


def is_named(name: str) -> bool:
    """Returns whether the command line names a task, and so allows it to run commands that a study file holds."""
    return name in _named


def allow(place: str) -> None:
    """Allows the import of the task at `module:NAME`, which must come from the command line and not from a file."""
    _allowed.add(place)


def is_importable(name: str) -> bool:
    """Returns whether a task may be imported: it is registered, or the command line names its `module:NAME`."""
    return not is_place(name) or name in _allowed


def is_place(name: str) -> bool:
    """Returns whether a task's name has the form `module:NAME`."""
    return re.fullmatch(PLACE, name) is not None


def task(name: str) -> AnyTask:
    """Returns a task by its name, or by its `module:NAME` if the command line names it.

    Raises:
      SettingsError: no such task, or it cannot be used.
    """
    if is_place(name):
        if not is_importable(name):
            raise SettingsError(
                f"task: {echoed(name)} is imported only if the command line names it; add task={echoed(name)}"
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
    """Returns the registered tasks, name → origin. A package cannot replace a built-in task."""
    origins = {name: Origin(place, None) for name, place in BUILT_IN.items()}
    for point in sorted(importlib.metadata.entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        distribution = point.dist
        package = f"{distribution.name} {distribution.version}" if distribution else point.value.partition(":")[0]
        if point.name in origins:
            owner = "a built-in task" if point.name in BUILT_IN else f"a task of {origins[point.name].package}"
            _warn(
                f"task {echoed(point.name)!r} of {package} is ignored, because {owner} has this name; "
                "rename its entry point"
            )
        elif not NAME.fullmatch(point.name):
            _warn(f"task {echoed(point.name)!r} of {package} is ignored; a name is a-z, 0-9 and _, up to 50 characters")
        else:
            origins[point.name] = Origin(point.value, package)
    return MappingProxyType(origins)


@functools.cache
def usable() -> Mapping[str, AnyTask]:
    """Returns the usable registered tasks by name; a line on standard error gives the reason for each unusable one."""
    tasks = {}
    for name, origin in origins().items():
        try:
            tasks[name] = _loaded(origin.place, name)
        except Unusable as error:
            if origin.package is None:
                raise
            _warn(str(error))
    return MappingProxyType(tasks)


def available() -> list[AnyTask]:
    """Returns every task that a command can use: the registered ones, and each `module:NAME` on the command line."""
    tasks = list(usable().values())
    for place in sorted(_allowed):
        with contextlib.suppress(Unusable):  # the command itself reports the error
            tasks.append(_loaded(place, None))
    return tasks


def version(name: str) -> str | None:
    """Returns a task's package, version and a hash of its code, for a trial's record; None for a built-in task.

    A task of a file has its `module:NAME` in place of package and version.
    """
    if name in BUILT_IN:
        return None
    place, package = (name, name) if is_place(name) else origins()[name]
    return f"{package}, code {code(place)}"


@functools.cache
def code(place: str) -> str:
    """Returns a hash of the source of the module or package of `module:NAME`; raises as `sources_of` does."""
    return files.digest({name: files.digest_of(path) for name, path in sources_of(place).items()})


def sources_of(place: str) -> dict[str, Path]:
    """Returns relative path → file for the module of `module:NAME`, or for all modules of its package; imports neither.

    Raises:
      LookupError: there is no such module, or it has no file.
    """
    for name in itertools.accumulate(place.partition(":")[0].split("."), "{}.{}".format):
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            spec = None
        if spec is None:
            break
        if not spec.has_location or spec.origin is None:  # a namespace package, which several distributions share
            continue
        path = Path(spec.origin)
        sources = sorted(path.parent.rglob("*.py")) if spec.submodule_search_locations is not None else [path]
        return {str(source.relative_to(path.parent)): source for source in sources}
    raise LookupError(place)


@functools.cache
def _loaded(place: str, name: str | None) -> AnyTask:
    """Returns the task at `module:NAME`, checked against the contract.

    Args:
      place: `module:NAME`.
      name: its registered name; None if it is not registered.
    """
    module, _, attribute = place.partition(":")
    shown = f"task {name}" if name else f"task={place}"
    try:
        candidate = getattr(importlib.import_module(module), attribute)
        if isinstance(candidate, type) and issubclass(candidate, Task):
            candidate = candidate()
    except (Exception, SystemExit) as error:  # the import of a foreign module may raise anything
        raise Unusable(
            f"{shown} cannot be imported from {place} ({type(error).__name__}: {echoed(first_line(error))})"
        ) from None
    if not isinstance(candidate, Task):
        raise Unusable(
            f"{shown}: {place} is a {type(candidate).__name__}, not a spec.task.Task; make it an instance of a subclass"
        )
    if place in BUILT_IN.values():  # tests check these
        return candidate
    try:
        reason = next(faults(candidate, name, place=place), None)
    except Exception as error:  # an attribute has a wrong type
        reason = f"{type(error).__name__}: {echoed(first_line(error))}"
    if reason:
        raise Unusable(f"{shown} ({place}) cannot be used: {reason}")
    return candidate


def faults(candidate: AnyTask, name: str | None, *, place: str) -> Iterator[str]:
    """Yields each reason why a task cannot be registered, with its fix.

    Args:
      candidate: the task.
      name: its registered name; None if it is not registered.
      place: the `module:NAME` from which it was imported.
    """
    if name is not None and candidate.name != name:
        yield f"its name is {candidate.name!r}, but it is registered as {name!r}; use one name"
    registered = origins().get(candidate.name)
    if name is None and registered is not None and registered.place != place:
        owner = "a built-in task" if candidate.name in BUILT_IN else f"a task of {registered.package}"
        yield f"{candidate.name!r} is the name of {owner}; choose another name"
    if not NAME.fullmatch(candidate.name):
        yield f"its name is {candidate.name!r}; allowed: a-z, 0-9 and _, up to 50 characters"
    yield from contract.faults(candidate)
    built_in = {corpus: options for name in BUILT_IN for corpus, options in task(name).settings.corpora().items()}
    for corpus, options in candidate.settings.corpora().items():
        if built_in.get(corpus, options) is not options:
            yield f"its corpus {corpus!r} has the same name as a built-in corpus; rename it"


def _warn(text: str) -> None:
    print(f"warning: {one_line(text)}", file=sys.stderr)
