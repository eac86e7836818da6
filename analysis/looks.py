"""One style for all figures: colours, marks and dashes of variants, texts beside the marks, and files.

Colours are safe for the colour-blind, and beside every colour stands a mark or a dash that survives grey print; a
variant has the same in every figure. In SVG, what a reader points at says its name and its numbers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import seaborn as sns
from matplotlib.figure import Figure

from analysis.texts import halves
from src import environment
from src.terminal.visible import one_line

MAX_VARIANTS = 10  # that colours, dashes and marks tell apart
INK = "#1c1e21"
QUIET = "#8a8f98"
DASHES = ["-", "--", "-.", ":"]
MARKS = ["o", "s", "^", "D", "v", "P", "X", "<", ">", "*"]
HOVER = "hover: "  # what an artist's id begins with that says something
STYLE: Any = {
    "axes.edgecolor": QUIET, "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK,
    "grid.color": "#d9dce1", "grid.linewidth": 0.6, "axes.spines.top": False, "axes.spines.right": False,
    "axes.titlesize": 11, "axes.titleweight": "bold", "legend.frameon": False, "font.size": 10,
    "figure.facecolor": "none", "axes.facecolor": "none", "svg.fonttype": "path", "svg.hashsalt": "ablation",
    "savefig.facecolor": "none", "text.parse_math": False,
}  # fmt: skip


@dataclass(frozen=True)
class Look:
    """What tells a variant from others, in every figure."""

    colour: Any
    mark: str
    dash: str


def looks(names: Iterable[str]) -> dict[str, Look]:
    """Returns a look for each name, the first in ink; from the eleventh on they repeat."""
    colours = [INK, *sns.color_palette("colorblind", MAX_VARIANTS)[: MAX_VARIANTS - 1]]
    return {
        name: Look(colours[place % MAX_VARIANTS], MARKS[place % MAX_VARIANTS], DASHES[place % len(DASHES)])
        for place, name in enumerate(dict.fromkeys(names))
    }


@contextmanager
def style() -> Iterator[None]:
    """Draws what is drawn in the block in the style of all figures, without a window."""
    if not environment.is_in_kernel():  # whose own plots would not be shown any more
        mpl.use("agg")
    with sns.axes_style("whitegrid"), mpl.rc_context(STYLE):
        yield


def hover(text: str) -> str:
    """Returns the id of an artist that says a text where a reader points at it; SVG allows no noncharacters."""
    return HOVER + re.sub(r"[^\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", short(text, 200))


def break_labels(figure: Figure) -> None:
    """Writes labels that are wider than their axes in two lines.

    They would reach into their neighbours or out of the figure.
    """
    figure.draw_without_rendering()  # places the axes
    for axes in figure.axes:
        label = axes.xaxis.label
        if label.get_window_extent().width > axes.get_window_extent().width:
            label.set_text("\n".join(filter(None, halves(label.get_text()))))


def short(text: str, most: int = 60) -> str:
    """Returns a text that leaves room for the picture, its middle left out where it is long."""
    text = one_line(text)  # SVG allows no control characters
    return text if len(text) <= most else f"{text[: most // 2]} … {text[-most // 2 + 3 :]}"


def estimate(middle: float, low: float, high: float, decimals: int, *, sign: str = "") -> str:
    """Returns an estimate with its interval, where it has one."""
    text = f"{middle:{sign}.{decimals}f}"
    return text if math.isnan(low) else f"{text} [{low:{sign}.{decimals}f}, {high:{sign}.{decimals}f}]"


def save(figure: Figure, stem: Path) -> Path:
    """Writes a figure as PNG, SVG and PDF, and returns the path of the SVG."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(stem.with_suffix(".png"), dpi=150, facecolor="white")
    figure.savefig(stem.with_suffix(".pdf"), facecolor="white")
    svg = stem.with_suffix(".svg")
    figure.savefig(svg, metadata={"Date": None})
    svg.write_text(with_titles(svg.read_text(encoding="utf-8")), encoding="utf-8")
    return svg


def with_titles(svg: str) -> str:
    """Returns an SVG in which artists say their texts as titles, which browsers show where one points."""
    return re.sub(
        rf'<g id="{HOVER}([^"]*)">', lambda found: f"<g><title>{found[1].replace(chr(39), '&#39;')}</title>", svg
    )
