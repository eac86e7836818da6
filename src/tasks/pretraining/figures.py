"""Figures of this task, in addition to the usual ones of a report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from src.tasks.pretraining import pictures
from src.terminal.visible import shortened, wrapped

if TYPE_CHECKING:
    from analysis.load import Study

PANELS, COLUMNS = 4, 2  # variants in a figure, and beside each other
LINE = 36  # characters in a line of a variant's name
SHADES = np.array(pictures.COLOURS) / 255


def codes(study: Study) -> tuple[Figure, str]:
    """Draws the codes of test images by their first two principal components, for the first seed of each variant."""
    frames = {label: pd.read_parquet(path) for label, path in _files(study, pictures.CODES).items()}
    what = "Codes of test images after training, their first two principal components; one trial a variant."
    return _scattered(frames, pictures.PCA), what


def codes_by_umap(study: Study) -> tuple[Figure, str] | None:
    """Draws the codes of test images by UMAP; None if the trials that `codes` draws had no umap-learn."""
    every = {label: pd.read_parquet(path) for label, path in _files(study, pictures.CODES).items()}
    frames = {label: frame for label, frame in every.items() if {*pictures.UMAP} <= {*frame.columns}}
    if not frames:
        return None
    lacking = len(every) - len(frames)
    note = f"; {lacking} of {len(every)} variants were trained without umap-learn" if lacking else ""
    caption = f"Codes of test images after training, by UMAP; one trial a variant{note}."
    return _scattered(frames, pictures.UMAP), caption


def _scattered(found: Mapping[str, pd.DataFrame], names: tuple[str, str]) -> Figure:
    columns = min(COLUMNS, len(found))
    lines = math.ceil(len(found) / columns)
    figure = Figure(figsize=(3.8 * columns, 4.0 * lines), layout="constrained")
    places = figure.subplots(lines, columns, squeeze=False).ravel().tolist()
    for axes in places[len(found) :]:
        axes.set_axis_off()
    x, y = names
    for axes, (label, frame) in zip(places, found.items(), strict=False):
        for number, (name, points) in enumerate(frame.groupby("class")):
            axes.scatter(points[x], points[y], s=5, color=SHADES[number % len(SHADES)], label=name)
        axes.set(xticks=[], yticks=[])
        axes.set_title(wrapped(label, LINE), fontsize=9)
    handles, classes = places[0].get_legend_handles_labels()
    if len(classes) <= 2 * len(SHADES):
        classes = [shortened(name, 20) for name in classes]
        beside = max(1, int(12 * figure.get_figwidth() / (5 + max(map(len, classes)))))
        figure.legend(handles, classes, loc="outside lower center", ncols=min(10, beside), markerscale=2, fontsize=8)
    return figure


def reconstructions(study: Study) -> tuple[Figure, str]:
    """Draws image, input and output of each pretext that reconstructs, for the first seed of each variant."""
    found = _files(study, pictures.RECONSTRUCTIONS)
    figure = Figure(figsize=(6.4, 1.9 * len(found)), layout="constrained")
    for axes, (label, path) in zip(figure.subplots(len(found), 1, squeeze=False)[:, 0], found.items(), strict=True):
        tiles = np.load(path, allow_pickle=False)  # uint8[N, 3, H, W, C]
        lines = np.concatenate([np.concatenate(list(tiles[:, row]), axis=1) for row in range(3)], axis=0)
        axes.imshow(lines[..., 0] if lines.shape[-1] == 1 else lines, cmap="gray", vmin=0, vmax=255)
        axes.set_title(wrapped(label, 2 * LINE), fontsize=9)
        axes.set_axis_off()
    return figure, "Test images (above), what the pretext reads of them, and what it makes of that (below)."


def _files(study: Study, name: str) -> dict[str, str]:
    """Returns label → path of a file, of the first trial of at most `PANELS` variants, the reference first.

    Raises:
      LookupError: no trial has the file.
    """
    finished = study.finished.sort_values(["is_reference", "seed"], ascending=[False, True], kind="stable")
    found: dict[str, str] = {}
    for run_id, label in finished[["run_id", "label"]].astype(str).to_numpy():
        if label not in found and len(found) < PANELS and (path := study.store.artifact(run_id, name)):
            found[label] = str(path)
    if not found:
        raise LookupError(f"no finished trial has {name}")
    return found
