"""Pictures of attention: source tokens from left to right, written tokens from top to bottom, one scale from 0 to 1.

Letters: n written tokens, S source tokens, both with their end.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from src.artifacts import LARGEST
from src.files import beside, replaced
from src.spec.section import SettingsError
from src.terminal.visible import echoed, one_line, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")
MOST = 200  # tokens of an axis
CELL, LEAST = 0.24, 2.0  # inches of a weight, and least inches of a side of a panel
LETTERS, LETTER = 24, 0.085  # letters of a label, and inches of one
DOTS, MOST_DOTS = 150, 8_000  # pixels of an inch; pixels of the longer side of a picture


class Attention(NamedTuple):
    """The attention of one translation: S source labels, n written labels, and float[n, S] weights."""

    source: list[str]
    written: list[str]
    weights: np.ndarray


def check_path(path: Path) -> None:
    """Checks that a picture can be written to a path.

    Raises:
      SettingsError: the ending is unknown, or the folder is missing or protected.
    """
    shown = echoed(str(path))
    if path.suffix.lower() not in FORMATS:
        raise SettingsError(f"--plot {shown!r}: allowed endings: {', '.join(FORMATS)}")
    if path.is_dir():
        raise SettingsError(f"--plot {shown}: is a folder; name a file")
    try:
        beside(path).touch()
        beside(path).unlink()
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise SettingsError(f"--plot {shown}: cannot be written ({reason}); name a file in another folder") from None


def figure(rows: Sequence[Sequence[Attention]], titles: Sequence[str] = ()) -> Figure:
    """Draws attentions in rows and columns, with one colour scale.

    Args:
      rows: for each row its panels, equally many, at least one.
      titles: one for each panel, row by row, or none.
    """
    from matplotlib.figure import Figure

    columns = list(zip(*rows, strict=True))
    panels = [panel for row in rows for panel in row]
    widths = [max(LEAST, *(CELL * len(panel.source) for panel in column)) for column in columns]
    heights = [max(LEAST, *(CELL * len(panel.written) for panel in row)) for row in rows]
    beside_each = 0.5 + LETTER * max(len(_label(token)) for panel in panels for token in panel.written)
    above_each = 0.6 + LETTER * max(len(_label(token)) for panel in panels for token in panel.source)
    of_titles = 0.2 * max((title.count("\n") + 1 for title in titles), default=0)
    height = sum(heights) + len(rows) * (above_each + of_titles)
    size = (sum(widths) + len(columns) * beside_each + 1.0, height)
    drawn = Figure(figsize=size, layout="constrained")
    several = drawn.subplots(len(rows), len(columns), squeeze=False, width_ratios=widths, height_ratios=heights)
    for axes, panel in zip(several.flat, panels, strict=True):
        image = _draw(axes, panel)
    for axes, title in zip(several.flat, titles, strict=False):
        axes.set_title(title, fontsize=10, parse_math=False)
    shrink, top = min(1.0, 3 / height), (0.5, 1.0)  # all panels begin at the top
    drawn.colorbar(image, ax=several, label="attention weight", shrink=shrink, anchor=top, panchor=top)
    return drawn


def _draw(axes: Any, panel: Attention) -> Any:
    """Draws an attention; returns what the colour scale belongs to."""
    look = {"fontsize": 9, "parse_math": False}
    image = axes.imshow(panel.weights, cmap="Blues", vmin=0, vmax=1, aspect="equal", interpolation="nearest")
    axes.set_xticks(range(len(panel.source)), [*map(_label, panel.source)], rotation=90, **look)
    axes.set_yticks(range(len(panel.written)), [*map(_label, panel.written)], **look)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set(xlabel="source token", ylabel="written token")
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for side in axes.spines.values():
        side.set(color="#8a8f98", visible=True)
    return image


def _label(token: str) -> str:
    return shortened(one_line(token), LETTERS)


def pixels(drawn: Figure) -> np.ndarray:
    """Returns a figure as uint8[H, W, 3], at most `LARGEST` pixels high and wide."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(drawn)
    drawn.set_dpi(min(DOTS, LARGEST / max(drawn.get_size_inches())))
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


def write(path: Path, drawn: Figure) -> bool:
    """Writes a picture; returns whether its font has all characters.

    Raises:
      SettingsError: the file cannot be written.
    """
    dots = min(DOTS, MOST_DOTS / max(drawn.get_size_inches()))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with replaced(path) as new:
                drawn.savefig(new, dpi=dots, facecolor="white")
        except OSError as error:
            raise SettingsError(f"--plot {echoed(str(path))}: cannot be written ({error.strerror})") from None
    return not any("Glyph" in str(warning.message) for warning in caught)
