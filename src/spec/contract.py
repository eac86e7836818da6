"""Checks that a task keeps the contract where its types cannot express it."""

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

COLUMNS = """
label identity variant role metric values code within is_reference status dropped normalised run_id started ended
health diagnosis error best_epoch resumed weights position record batches kernel workers threads processor environment
versions package own_code git_commit git_dirty git_diff data_hash last_step step_before steps_to steps_to_never n
verdict mean spread change low high effect_size comparisons correlation pairs p p_holm p_sign_flip seeds_needed
seeds_needed_high sign outlier twin_of is_same is_unchanged idle diverged missing never unfinished reference_mean
reference_idle reference_diverged reference_dropped reference_never reference_unfinished time_ratio time_low time_high
time_p time_holm
"""  # of the analysis, beside those of the toggles; a test compares them with its tables
RESERVED = {"hydra", "experiments", "defaults", *COLUMNS.split()}  # the first three are keys of files and commands


def faults(task: Task[Any, Any]) -> Iterator[str]:
    """Yields each violation of the contract, with its fix.

    Raises:
      Exception: an attribute of the task has a wrong type, or its settings reject their own defaults.
    """
    yield from _metric_faults(task.metrics)
    if not (isinstance(task.settings, type) and issubclass(task.settings, Settings)):
        yield "its settings are not a subclass of spec.settings.Settings"
        return
    yield from _settings_faults(task.settings, task.name)
    yield from _corpus_faults(task.settings)
    for what, places in (("command", {k: v.function for k, v in task.commands.items()}), ("figure", task.figures)):
        for name, place in places.items():
            if not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
                yield f"its {what} is called {name!r}; allowed: a-z, 0-9, _ and -, beginning with a letter"
            if not re.fullmatch(r"[\w.]+:\w+", place):
                yield f"its {what} {name!r} is at {place!r}; write module:function"
    task.settings(task=task.name)


def is_plain(kind: Any) -> bool:
    """Returns whether an annotation allows only booleans, numbers, text and None."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return is_plain(args[0])
    if origin in (typing.Union, types.UnionType):
        return all(map(is_plain, args))
    if origin is dict:  # toggles that the user names
        return is_plain(args[1])
    return origin is Literal or kind in (bool, int, float, str, types.NoneType)


def _metric_faults(metrics: Sequence[Metric]) -> Iterator[str]:
    names = [metric.name for metric in metrics]
    if not names:
        yield "it has no metric; give at least one, the first chooses the best epoch"
    elif not metrics[0].sign:
        yield f"its first metric {names[0]!r} has no direction; set direction to higher or lower"
    elif metrics[0].test_only:
        yield f"its first metric {names[0]!r} has test_only=True, but validation must have it; put another one first"
    for metric in metrics:
        if names.count(metric.name) > 1:
            yield f"it has {names.count(metric.name)} metrics called {metric.name!r}; use each name once"
        if not re.fullmatch(r"\w+", metric.name, re.ASCII):
            yield f"its metric is called {metric.name!r}; allowed: a-z, A-Z, 0-9 and _"
        if metric.name == "gradient_norm":
            yield "its metric is called 'gradient_norm', which is recorded for every task; use another name"
        if metric.of_corpus and metric.test_only:
            yield f"its metric {metric.name!r} has of_corpus=True and test_only=True; remove one of them"
        if metric.finish not in FINISH:
            yield f"its metric {metric.name!r} has finish={metric.finish!r}; allowed: {', '.join(FINISH)}"


def _is_at_least(kind: Any, core: Any) -> bool:
    """Returns whether a type is that of the core, or has all of its choices and more."""
    are_choices = typing.get_origin(kind) is Literal and typing.get_origin(core) is Literal
    return kind == core or (are_choices and set(typing.get_args(core)) <= set(typing.get_args(kind)))


def _settings_faults(kind: type[Settings], name: str) -> Iterator[str]:
    default = kind.model_fields["task"].default
    if default is PydanticUndefined:
        yield f"its settings give task no default; write task: str = {name!r}"
    elif default != name:
        yield f"its settings have task={default!r}; write task: str = {name!r}"
    for key, field in kind.model_fields.items():
        core = Settings.model_fields.get(key)
        if (
            core is not None
            and key != "task"
            and (not _is_at_least(field.annotation, core.annotation) or field.metadata != core.metadata)
        ):
            fix = "change only its default, or add choices"
            yield f"its toggle {key!r} shadows the core's with another type or other limits; {fix}"
        elif key in RESERVED:
            yield f"its toggle {key!r} has a name that the command line or the analysis reserves; rename it"
        elif field.default is PydanticUndefined and field.default_factory is None:
            yield f"its toggle {key!r} has no default; give it one"
        elif core is None and key != "data" and key not in kind.sections() and not is_plain(field.annotation):
            yield f"its toggle {key!r} is not a plain value; use bool, int, float, str or Literal, optionally with None"


def _corpus_faults(kind: type[Settings]) -> Iterator[str]:
    if "data" not in kind.model_fields:
        return
    annotation = kind.model_fields["data"].annotation
    for options in typing.get_args(annotation) or (annotation,):
        if not (isinstance(options, type) and issubclass(options, Section) and "name" in options.model_fields):
            yield "the type of its key 'data' is not a corpus; use a Section with a field `name`, or a union of them"
