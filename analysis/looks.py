"""One style for all figures: colours, marks and dashes of variants, texts beside the marks, and files.

Colours are safe for the colour-blind. A mark or a dash accompanies every colour, so that variants stay distinct in grey
print. A variant has the same look in every figure. In SVG, marks and lines have tooltips with their name and numbers.
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
from src.terminal.visible import one_line, wrapped

MAX_VARIANTS = 10  # with distinct colours, dashes and marks
INK = "#1c1e21"
QUIET = "#8a8f98"
DASHES = ["-", "--", "-.", ":"]
MARKS = ["o", "s", "^", "D", "v", "P", "X", "<", ">", "*"]
LINE = 40  # characters in a line of a variant's name
HOVER = "hover: "  # prefix of the id of an artist with a tooltip
STYLE: Any = {
    "axes.edgecolor": QUIET, "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK,
    "grid.color": "#d9dce1", "grid.linewidth": 0.6, "axes.spines.top": False, "axes.spines.right": False,
    "axes.titlesize": 11, "axes.titleweight": "bold", "legend.frameon": False, "font.size": 10,
    "figure.facecolor": "none", "axes.facecolor": "none", "svg.fonttype": "path", "svg.hashsalt": "ablation",
    "savefig.facecolor": "none", "text.parse_math": False,
}  # fmt: skip


@dataclass(frozen=True)
class Look:
    """Colour, mark and dash of a variant in every figure."""

    colour: Any
    mark: str
    dash: str


def looks(names: Iterable[str]) -> dict[str, Look]:
    """Returns a look for each name, the first in the ink colour; the looks repeat from the eleventh name on."""
    colours = [INK, *sns.color_palette("colorblind", MAX_VARIANTS)[: MAX_VARIANTS - 1]]
    return {
        name: Look(colours[place % MAX_VARIANTS], MARKS[place % MAX_VARIANTS], DASHES[place % len(DASHES)])
        for place, name in enumerate(dict.fromkeys(names))
    }


@contextmanager
def style() -> Iterator[None]:
    """Sets the common style of all figures, without a window, for the block."""
    if (
        not environment.is_in_kernel()
    ):  # in a notebook, the backend must stay, or the user's plots would no longer be shown
        mpl.use("agg")
    with sns.axes_style("whitegrid"), mpl.rc_context(STYLE):
        yield


def hover(text: str) -> str:
    """Returns the id that gives an artist a tooltip; noncharacters, which SVG does not allow, become question marks."""
    return HOVER + re.sub(r"[^\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", short(text, 200))


def break_labels(figure: Figure) -> None:
    """Breaks labels that are longer than their axes into lines.

    They would overlap their neighbours or be cut off otherwise.
    """
    figure.draw_without_rendering()  # places the axes
    for axes in figure.axes:
        room = axes.get_window_extent()
        for label, most in ((axes.xaxis.label, room.width), (axes.yaxis.label, room.height)):
            box, text = label.get_window_extent(), label.get_text()
            length = box.width if label is axes.xaxis.label else box.height
            if length > most:
                broken = "\n".join(filter(None, halves(text)))
                fitting = max(1, int(len(text) * most / length))
                label.set_text(broken if max(map(len, broken.split("\n"))) <= fitting else wrapped(text, fitting))


def in_lines(name: str, width: int = LINE) -> str:
    """Returns the name of a variant in up to three lines, so that it stays whole beside a row or in a legend."""
    return wrapped(name, width)


def short(text: str, most: int = 60) -> str:
    """Returns a text in one line, with its middle left out if it is too long."""
    text = one_line(text)  # SVG allows no control characters
    return text if len(text) <= most else f"{text[: most // 2]} … {text[-most // 2 + 3 :]}"


def estimate(middle: float, low: float, high: float, decimals: int, *, sign: str = "") -> str:
    """Returns an estimate with its interval, if it has one."""
    text = f"{middle:{sign}.{decimals}f}"
    return text if math.isnan(low) else f"{text} [{low:{sign}.{decimals}f}, {high:{sign}.{decimals}f}]"


def save(figure: Figure, stem: Path) -> Path:
    """Writes a figure as PNG, SVG and PDF, and returns the path of the SVG."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(stem.with_suffix(".png"), dpi=150, facecolor="white")
    figure.savefig(stem.with_suffix(".pdf"), facecolor="white", metadata={"CreationDate": None})  # equal bytes
    svg = stem.with_suffix(".svg")
    with mpl.rc_context({"svg.hashsalt": STYLE["svg.hashsalt"]}):  # its ids are random without
        figure.savefig(svg, metadata={"Date": None})
    svg.write_text(with_titles(svg.read_text(encoding="utf-8")), encoding="utf-8")
    return svg


def with_titles(svg: str) -> str:
    """Returns an SVG in which the texts of artists are titles, which browsers show as tooltips."""
    return re.sub(
        rf'<g id="{HOVER}([^"]*)">', lambda match: f"<g><title>{match[1].replace(chr(39), '&#39;')}</title>", svg
    )
