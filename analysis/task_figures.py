"""The figures that a study's task has beside the usual ones; its code is imported late, and may be missing."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from src.terminal.errors import first_line
from src.terminal.visible import one_line

from analysis.figures import FIGURES, Drawn
from analysis.load import Study
from analysis.looks import style


def places(study: Study) -> tuple[Mapping[str, str], list[str]]:
    """Returns the figures of a study's task, name → `module:function`, and why some or all of them cannot be drawn.

    A plan that names no task, as older versions wrote it, has none.
    """
    name = study.plan.get("task")
    if not name:
        return {}, []
    try:
        registry = importlib.import_module("src.registry")
        figures = dict(registry.task(name).figures)
    except Exception as error:  # whatever a third party's package raises when it is imported
        return {}, [f"the figures of task {one_line(str(name))} are not drawn: {first_line(error)}"]
    taken = [figure for figure in figures if figure in FIGURES]
    notes = [f"figure {figure} of task {name} is not drawn, as there is a usual one of that name" for figure in taken]
    return {figure: place for figure, place in figures.items() if figure not in taken}, notes


def draw(study: Study, names: Sequence[str] | None = None) -> tuple[list[Drawn], list[str]]:
    """Returns the figures of a study's task, of these names alone if there are any, and a line on each failure."""
    known, notes = places(study)
    drawn = []
    for name, place in known.items():
        if names and name not in names:
            continue
        try:
            with style():
                figure, caption = _picture(_function(place)(study))
            drawn.append(Drawn(name, one_line(caption), figure))
        except Exception as error:  # it is another's code, and the report is made without its figure
            notes.append(f"figure {name} ({place}) failed: {first_line(error)}")
    return drawn, notes


def _function(place: str) -> Callable[[Study], Any]:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]


def _picture(returned: Any) -> tuple[Figure, str]:
    """Returns a figure and its caption.

    Raises:
      TypeError: it is something else.
    """
    match returned:
        case (Figure() as figure, str() as caption):
            return figure, caption
    raise TypeError(f"it returned {type(returned).__name__}; return a matplotlib Figure and its caption")
