"""What a task must be like so that the core can use it, beyond what its types say."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic_core import PydanticUndefined

from src.spec.metric import FINISH, Metric
from src.spec.section import Section
from src.spec.settings import Settings
from src.spec.task import Task

RESERVED = ("hydra", "experiments", "defaults")  # keys of the command line and of study files


def faults(task: Task[Any, Any]) -> Iterator[str]:
    """Yields what a task has that the contract forbids, each with its fix.

    Raises:
      Exception: whatever follows where it is made of other things than its types say, or where its settings refuse their own defaults.
    """
    yield from _of_metrics(task.metrics)
    if not (isinstance(task.settings, type) and issubclass(task.settings, Settings)):
        yield "its settings are no subclass of spec.settings.Settings"
        return
    yield from _of_settings(task.settings, task.name)
    yield from _of_corpora(task.settings)
    task.settings(task=task.name)


def is_plain(kind: Any) -> bool:
    """Returns whether an annotation takes truth values, numbers, texts and None alone."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return is_plain(args[0])
    if origin in (typing.Union, types.UnionType):
        return all(map(is_plain, args))
    return origin is Literal or kind in (bool, int, float, str, types.NoneType)


def _of_metrics(metrics: Sequence[Metric]) -> Iterator[str]:
    names = [metric.name for metric in metrics]
    if not names:
        yield "it has no metric; give at least one, the first chooses the best epoch"
    elif not metrics[0].sign:
        yield f"its first metric {names[0]!r} has no direction; set direction to higher or lower"
    for metric in metrics:
        if names.count(metric.name) > 1:
            yield f"it has {names.count(metric.name)} metrics called {metric.name!r}; use each name once"
        if not re.fullmatch(r"\w+", metric.name):
            yield f"its metric is called {metric.name!r}; allowed: letters, digits and _"
        if metric.finish not in FINISH:
            yield f"its metric {metric.name!r} has finish={metric.finish!r}; allowed: {', '.join(FINISH)}"


def _of_settings(kind: type[Settings], name: str) -> Iterator[str]:
    default = kind.model_fields["task"].default
    if default is PydanticUndefined:
        yield f"its settings give task no default; write task: str = {name!r}"
    elif default != name:
        yield f"its settings have task={default!r}; write task: str = {name!r}"
    for key, field in kind.model_fields.items():
        core = Settings.model_fields.get(key)
        if core is not None and key != "task" and field.annotation != core.annotation:
            yield f"its toggle {key!r} shadows the core's; rename it"
        elif key in RESERVED:
            yield f"its toggle {key!r} has a name that the command line needs; rename it"
        elif field.default is PydanticUndefined and field.default_factory is None:
            yield f"its toggle {key!r} has no default; give it one"
        elif core is None and key != "data" and not is_plain(field.annotation):
            yield f"its toggle {key!r} is no plain value; use bool, int, float, str or Literal, perhaps with None"


def _of_corpora(kind: type[Settings]) -> Iterator[str]:
    if "data" not in kind.model_fields:
        return
    read = kind.model_fields["data"].annotation
    for each in typing.get_args(read) or (read,):
        if not (isinstance(each, type) and issubclass(each, Section) and "name" in each.model_fields):
            yield "its key 'data' takes no corpora; make it a Section with a name, or a union of several"
