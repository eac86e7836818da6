"""The pairs of words that the course asks about, in two dimensions: do lines between pairs point in one direction?

Letters: N words, D size of a vector.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from src.files import replaced
from src.tasks.word_vectors import scores

FILE = "pairs.json"
PAIRS = (  # each kind has a colour
    (("man", "woman"), ("king", "queen"), ("prince", "princess"), ("uncle", "aunt"), ("boy", "girl")),
    (("france", "paris"), ("germany", "berlin"), ("england", "london"), ("italy", "rome"), ("japan", "tokyo")),
)
COLOURS = ("tab:blue", "tab:orange")


def places(vectors: np.ndarray, words: Sequence[str]) -> dict[str, list[float]]:
    """Returns word → its two coordinates: the first principal components of the course's words that have a vector.

    Args:
      vectors: float32[R, D], of which each is divided by its length.
      words: R words.
    """
    ids = {word: number for number, word in enumerate(words)}
    known = [word for kind in PAIRS for pair in kind for word in pair if word in ids]
    if len(known) < 3:
        return {}
    units = scores.unit(vectors[[ids[word] for word in known]]).astype(np.float64)
    left, values, _ = np.linalg.svd(units - units.mean(axis=0), full_matrices=False)
    flat = (left * values)[:, :2]
    flat = np.pad(flat, ((0, 0), (0, 2 - flat.shape[1])))
    return {word: [round(float(number), 5) for number in row] for word, row in zip(known, flat, strict=True)}


def write(folder: Path, of_words: Mapping[str, Sequence[float]]) -> str:
    """Writes the coordinates; returns the file's name."""
    with replaced(folder / FILE) as path:
        path.write_text(json.dumps(dict(of_words)), encoding="utf-8")
    return FILE


def read(content: Path) -> dict[str, list[float]]:
    """Returns the coordinates of a trial's file."""
    values: dict[str, list[float]] = json.loads(content.read_text(encoding="utf-8"))
    return values


def draw(axes: Axes, of_words: Mapping[str, Sequence[float]]) -> None:
    """Draws the words, and an arrow from the first to the second word of each pair."""
    for kind, colour in zip(PAIRS, COLOURS, strict=True):
        for pair in kind:
            known = [(word, of_words[word]) for word in pair if word in of_words]
            for word, (x, y) in known:
                axes.plot(x, y, ".", color=colour)
                axes.annotate(word, (x, y), textcoords="offset points", xytext=(3, 3), fontsize="small")
            if len(known) == 2:
                arrow: Any = {"arrowstyle": "->", "color": colour, "alpha": 0.6}
                begin, end = ((place[0], place[1]) for _, place in known)
                axes.annotate("", end, xytext=begin, arrowprops=arrow)
    axes.set(xlabel="first principal component", ylabel="second")
    axes.grid(alpha=0.3)
