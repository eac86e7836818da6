"""Figures of this task, in addition to the usual ones of a report."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from src.parts.classes import errors
from src.tasks.images import pictures
from src.terminal.visible import shortened, wrapped

if TYPE_CHECKING:
    from analysis.load import Study


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
    file = study.store.artifact(row.run_id, errors.FILE)
    if file is None:
        raise LookupError(f"{row.run_id} has no {errors.FILE}")
    frame = pd.read_parquet(file)
    figure, places = _empty_places(len(frame), columns=8, size=(1.25, 1.55))
    for axes, one in zip(places, frame.to_dict("records"), strict=False):
        pixels = np.frombuffer(one["pixels"], np.uint8).reshape(one["height"], one["width"], one["channels"])
        axes.imshow(pixels[..., 0] if one["channels"] == 1 else pixels, cmap="gray", vmin=0, vmax=255)
        names = wrapped(" → ".join(shortened(one[name], 18) for name in ("class", "prediction")), 20)
        axes.set_title(f"{names}\n{one['probability']:.2f}", fontsize=7, fontweight="normal")
    wrong = int(frame["is_wrong"].sum())
    what = f"The {len(frame)} worst test images, {wrong} of them misclassified, which come first"
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


def _first_trial(study: Study) -> pd.Series:
    finished = study.finished
    if finished.empty:
        raise LookupError("no trial has finished")
    return finished.sort_values(["is_reference", "seed"], ascending=[False, True], kind="stable").iloc[0]
