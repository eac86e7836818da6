"""Figures of this task, in addition to the usual ones of a report."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from analysis.looks import short
from src.tasks.word_vectors import course

if TYPE_CHECKING:
    import pandas as pd

    from analysis.load import Study

MOST, COLUMNS = 6, 3  # variants, and those in a row
TIME = "time/batch_ms_median"
LOSS, WORDS = "loss", "vocab_size"


def pairs(study: Study) -> tuple[Figure, str]:
    """Draws the course's pairs of words for each variant of the lowest seed."""
    finished = study.finished.sort_values(["seed", "is_reference"], ascending=[True, False], kind="stable")
    panels, seed = {}, None
    for run_id, label, number in finished[["run_id", "label", "seed"]].itertuples(index=False):
        file = study.store.artifact(str(run_id), course.FILE) if seed in (None, number) else None
        found = course.read(file) if file is not None else {}
        if found:
            seed = number
            panels[str(label)] = found
    if not panels:
        raise LookupError(f"no finished trial has words in {course.FILE}")
    shown = dict(list(panels.items())[:MOST])
    rows = math.ceil(len(shown) / COLUMNS)
    width = min(COLUMNS, len(shown))
    figure = Figure(figsize=(4.6 * width, 3.8 * rows), layout="constrained")
    axes = figure.subplots(rows, width, squeeze=False).ravel()
    for place, (label, of_words) in zip(axes, shown.items(), strict=False):
        course.draw(place, of_words)
        place.set_title(short(label, 40), fontsize="medium")
    for place in axes[len(shown) :]:
        place.axis("off")
    text = "The course's pairs of words in the plane of their first two principal components"
    left = len(panels) - len(shown)
    more = f" {left} more variant{'s are' if left > 1 else ' is'} not shown." if left else ""
    return figure, f"{text}, for seed {seed}; vectors know a relation if its arrows are parallel.{more}"


def softmax_costs(study: Study) -> tuple[Figure, str]:
    """Draws the time per batch over the vocabulary for each loss, with its slope on logarithmic axes."""
    trials = study.finished
    if not {LOSS, WORDS, TIME} <= set(trials.columns) or trials[WORDS].nunique() < 2:
        raise LookupError("the study does not vary vocab_size")
    figure = Figure(figsize=(5.4, 3.8), layout="constrained")
    axes = figure.subplots()
    for name, rows in trials.dropna(subset=[WORDS, TIME]).groupby(LOSS, sort=False):
        words, times = medians(rows)
        if len(words) < 2:
            continue
        slope = np.polyfit(np.log(words), np.log(times), 1)[0]
        axes.plot(words, times, "o-", label=f"loss={name}: slope {slope:.2f}")
    axes.set(xscale="log", yscale="log", xlabel="words of the vocabulary", ylabel="milliseconds per batch")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", frameon=False)
    return figure, (
        "Time per batch by the size of the vocabulary, the median over seeds. A slope of 1 means that the time is "
        "proportional to the number of words, a slope of 0 that it does not depend on it."
    )


def medians(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Returns the sizes of vocabularies, rising, and the median milliseconds per batch of each, float64[K]."""
    middle = rows[TIME].astype(float).groupby(rows[WORDS].astype(float)).median().sort_index()
    return middle.index.to_numpy(float), middle.to_numpy(float)
