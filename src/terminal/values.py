"""Types of settings in words, and the allowed value that is nearest to an invalid one."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import annotated_types
from pydantic.fields import FieldInfo

from src.spec.section import WORDS_OF, Place
from src.terminal.errors import nearest
from src.terminal.visible import echoed

TRUTHS = dict.fromkeys(("yes", "y", "on", "t", "1"), "true") | dict.fromkeys(("no", "n", "off", "f", "0"), "false")


def in_words(field: FieldInfo) -> str:
    """Returns the allowed values of a field in words: `true or false`, `an integer from 1 to 64`."""
    extra = field.json_schema_extra
    if isinstance(extra, dict) and "words" in extra:
        return str(extra["words"])
    return _words(field.annotation, list(field.metadata))


def plain_types(kind: Any) -> set[type]:
    """Returns the plain types in an annotation."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return set(map(type, args))
    parts = args if origin in (Annotated, typing.Union, types.UnionType) else ()
    return {kind} if kind in (bool, int, float, str) else set[type]().union(*map(plain_types, parts))


def has_text(kind: Any) -> bool:
    """Returns whether an annotation allows free text."""
    parts = typing.get_args(kind) if typing.get_origin(kind) in (Annotated, typing.Union, types.UnionType) else ()
    return kind is str or any(map(has_text, parts))


def nearest_choice(got: str, choices: Sequence[str]) -> str | None:
    """Returns the choice that the user probably meant; `yes`, `on` and the like mean true."""
    if set(choices) == {"true", "false"} and got.casefold() in TRUTHS:
        return TRUTHS[got.casefold()]
    return nearest(echoed(got), choices)


def nearest_number(got: Any, field: FieldInfo) -> str | None:
    """Returns the number within a field's bounds nearest to `got`; None at an open bound or for a non-number."""
    kinds = plain_types(field.annotation) & {int, float}
    try:
        number = float(got)
    except (TypeError, ValueError, OverflowError):
        return None
    if not kinds or isinstance(got, bool) or not math.isfinite(number):
        return None
    parts: list[Any] = _limits(field.annotation, list(field.metadata))
    least: list[Any] = [part.ge for part in parts if isinstance(part, annotated_types.Ge)]
    most: list[Any] = [part.le for part in parts if isinstance(part, annotated_types.Le)]
    inside = min([max([number, *least]), *most])
    is_open = any(isinstance(part, annotated_types.Gt) and inside <= part.gt for part in parts)
    is_open |= any(isinstance(part, annotated_types.Lt) and inside >= part.lt for part in parts)
    return None if is_open else str(round(inside)) if int in kinds else f"{inside:g}"


def _limits(annotation: Any, metadata: list[Any]) -> list[Any]:
    """Returns the bounds of an annotation, including those of its parts."""
    if typing.get_origin(annotation) is Annotated:
        kind, *extras = typing.get_args(annotation)
        inner = [part for extra in extras for part in (extra.metadata if isinstance(extra, FieldInfo) else [extra])]
        return _limits(kind, inner + metadata)
    parts = typing.get_args(annotation) if typing.get_origin(annotation) in (typing.Union, types.UnionType) else ()
    return metadata + [limit for part in parts for limit in _limits(part, [])]


def choices_of(field: FieldInfo | None) -> list[str]:
    """Returns the choices of a boolean or Literal field, or of one that takes these or `module:NAME`; else none."""
    if field is not None and field.annotation is bool:
        return ["true", "false"]
    kind: Any = field.annotation if field is not None else None
    first, *others = typing.get_args(kind) or (None,)
    kind = first if others == [Place] else kind
    return list(map(str, typing.get_args(kind))) if typing.get_origin(kind) is Literal else []


def _words(annotation: Any, metadata: list[Any]) -> str:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _words(args[0], _limits(annotation, metadata))
    if origin is Literal:
        return "one of " + ", ".join(map(str, args))
    if origin in (typing.Union, types.UnionType):
        return " or ".join("null" if arg is type(None) else _words(arg, metadata) for arg in args)
    if origin is dict:
        of_toggles = "{toggle: [value, …]}" if typing.get_origin(args[1]) is list else "{toggle: value}"
        return "{name: text}" if args[1] is str else of_toggles
    if origin is list:
        return f"a list, each {_words(args[0], [])}"
    if annotation is bool:
        return "true or false"
    if annotation is str:
        return _text(metadata)
    return {int: "an integer", float: "a number"}[annotation] + _range(metadata)


def _text(metadata: list[Any]) -> str:
    if any(isinstance(part, annotated_types.MinLen) for part in metadata):
        return "text that is not empty"
    longest = next(
        (
            f" of at most {part.max_length:,} characters"
            for part in metadata
            if isinstance(part, annotated_types.MaxLen)
        ),
        "",
    )
    return next(
        (WORDS_OF[part.pattern] for part in metadata if getattr(part, "pattern", None) in WORDS_OF), f"text{longest}"
    )


def _range(metadata: list[Any]) -> str:
    """Returns the bounds of a number in words: ` from 1 to 64`, ` above 0`."""
    bounds = {
        annotated_types.Ge: (" from {:,}", "ge"),
        annotated_types.Gt: (" above {:,}", "gt"),
        annotated_types.Le: (" to {:,}", "le"),
        annotated_types.Lt: (" to below {:,}", "lt"),
    }
    words = [
        text.format(getattr(part, name))
        for kind, (text, name) in bounds.items()
        for part in metadata
        if isinstance(part, kind)
    ]
    if len(words) == 2 and words[0].startswith(" above"):
        words[1] = words[1].replace(" to below ", " and below ").replace(" to ", " and up to ")
    return "".join(words)
