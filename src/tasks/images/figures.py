"""Figures of this task, in addition to the usual ones of a report."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from src.artifacts import PROBABILITIES
from src.parts.images import reading
from src.tasks.images import pictures, worst

if TYPE_CHECKING:
    from analysis.load import Study

PANELS = 4  # variants
MOST_NAMED = 20  # classes


def confusion(study: Study) -> tuple[Figure, str]:
    """Draws the confusion matrix of each variant, as the mean of its seeds.

    A cell is the share of the images of its row's class, from 0 to 1; rows add up to 1.
    """
    tables, classes = _tables(study)
    shown = dict(list(tables.items())[:PANELS])
    figure = Figure(figsize=(4.4 * len(shown), 4.4), layout="constrained")
    for axes, (label, each) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown.items(), strict=True):
        mean = np.mean(each, axis=0)
        axes.imshow(mean, cmap="Blues", vmin=0, vmax=1)
        axes.set(title=f"{label} (n = {len(each)})", xlabel="prediction", ylabel="class")
        axes.grid(visible=False)
        ticks = range(len(classes)) if len(classes) <= MOST_NAMED else []
        axes.set_xticks(ticks, [classes[tick] for tick in ticks], rotation=90)
        axes.set_yticks(ticks, [classes[tick] for tick in ticks])
        for row, column in np.ndindex(mean.shape) if len(classes) <= MOST_NAMED else ():
            if mean[row, column] >= 0.005:
                colour = "white" if mean[row, column] > 0.5 else "black"
                text = f"{100 * mean[row, column]:.0f}"
                axes.text(column, row, text, ha="center", va="center", fontsize=7, color=colour)
    left = len(tables) - len(shown)
    more = f" {left} more variant{'s are' if left > 1 else ' is'} not shown." if left else ""
    return (
        figure,
        f"Share of the test images of each class by what they were taken for, percent, mean over n seeds.{more}",
    )


def _empty_places(count: int, *, columns: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """Returns a figure with at least `count` axes in rows, all without lines; `size` is that of one, in inches."""
    columns = min(columns, count)
    lines = math.ceil(count / columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * lines), layout="constrained")
    places = figure.subplots(lines, columns, squeeze=False).ravel().tolist()
    for axes in places:
        axes.set_axis_off()
    return figure, places


def misclassified(study: Study) -> tuple[Figure, str]:
    """Draws the worst-classified test images of one trial of the reference, with class and prediction."""
    row = _first_trial(study)
    file = study.store.artifact(row.run_id, worst.FILE)
    if file is None:
        raise LookupError(f"{row.run_id} has no {worst.FILE}")
    frame = pd.read_parquet(file)
    figure, places = _empty_places(len(frame), columns=8, size=(1.25, 1.55))
    for axes, one in zip(places, frame.to_dict("records"), strict=False):
        pixels = np.frombuffer(one["pixels"], np.uint8).reshape(one["height"], one["width"], one["channels"])
        axes.imshow(pixels[..., 0] if one["channels"] == 1 else pixels, cmap="gray", vmin=0, vmax=255)
        axes.set_title(
            f"{one['class']} → {one['prediction']}\n{one['probability']:.2f}", fontsize=7, fontweight="normal"
        )
    wrong = int(frame["is_wrong"].sum())
    what = (
        f"The {len(frame)} test images to whose own class the model gave the least probability, {wrong} misclassified"
    )
    return figure, f"{what}: class → prediction and its probability; {row.label}, seed {row.seed}."


def filters(study: Study) -> tuple[Figure, str]:
    """Draws the first layer's filters of one trial of the reference: kernels, or the weights of each unit."""
    row = _first_trial(study)
    file = study.store.artifact(row.run_id, pictures.FILTERS)
    if file is None:
        raise LookupError(f"{row.run_id} has no {pictures.FILTERS}")
    kernels = np.load(file, allow_pickle=False).astype(np.float64)
    figure, places = _empty_places(len(kernels), columns=9, size=(0.9, 0.9))
    high = float(np.abs(kernels).max()) or 1.0
    for axes, kernel in zip(places, kernels, strict=False):
        is_grey = kernel.shape[-1] == 1
        axes.imshow(kernel[..., 0] if is_grey else (kernel / high + 1) / 2, cmap="RdBu_r", vmin=-high, vmax=high)
    colours = "red is positive, blue is negative" if kernels.shape[-1] == 1 else "grey is 0 in each channel"
    what = f"The first {len(kernels)} filters of the first layer after training; {colours}, up to {high:.2g}"
    return figure, f"{what}; {row.label}, seed {row.seed}."


def _tables(study: Study) -> tuple[dict[str, list[np.ndarray]], list[str]]:
    """Returns label → a confusion matrix float64[K, K] for each finished trial, the reference first, and the classes.

    Raises:
      LookupError: no trial has kept its probabilities.
    """
    tables: dict[str, list[np.ndarray]] = {}
    classes: list[str] = []
    finished = study.finished.sort_values("is_reference", ascending=False, kind="stable")
    for run_id, label in finished[["run_id", "label"]].astype(str).to_numpy():
        file = study.store.artifact(run_id, PROBABILITIES)
        about = study.store.artifact(run_id, reading.FILE)
        if file is None or about is None:
            continue
        known = reading.load(about.parent).classes
        classes = classes or known
        if known == classes:  # other data than the first one's would be another table
            tables.setdefault(label, []).append(matrix(pd.read_parquet(file)))
    if not tables:
        raise LookupError(f"no finished trial has {PROBABILITIES} and {reading.FILE}")
    return tables, classes


def matrix(frame: pd.DataFrame) -> np.ndarray:
    """Returns float64[K, K], the share of the examples of each class (row) by prediction (column).

    Args:
      frame: of a trial's test: `label`, and `probability_0` to `probability_K-1`.
    """
    columns = sorted(
        (name for name in frame.columns if name.startswith("probability_")),
        key=lambda name: int(name.rsplit("_", 1)[1]),
    )
    best = frame[columns].to_numpy().argmax(axis=1)
    return pictures.confusion_shares(frame["label"].to_numpy(), best, len(columns))


def _first_trial(study: Study) -> pd.Series:
    finished = study.finished
    if finished.empty:
        raise LookupError("no trial has finished")
    return finished.sort_values(["is_reference", "seed"], ascending=[False, True], kind="stable").iloc[0]
