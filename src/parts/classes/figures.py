"""Figures of classifiers: accuracy by labels; from probabilities, the confusion matrix and the reliability diagram."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from src.artifacts import PROBABILITIES
from src.inference.student import interval
from src.parts.classes.labelled import LABELS
from src.parts.classes.probabilities import confusion_shares
from src.parts.classes.scores import calibration_error, reliability_of

if TYPE_CHECKING:
    from analysis.load import Study

ACCURACY = "test/accuracy"
PANELS = 4  # variants
MOST_NAMED = 20  # classes
NAMING = ("images.json", "preprocessing.json")  # files of trials with the names of the classes, as `classes`


def confusion(study: Study) -> tuple[Figure, str]:
    """Draws the confusion matrix of each variant, as the mean of its seeds.

    A cell is the share of the examples of its row's class, from 0 to 1; rows add up to 1.
    """
    frames, classes = _frames(study)
    shown = dict(list(frames.items())[:PANELS])
    figure = Figure(figsize=(4.4 * len(shown), 4.4), layout="constrained")
    for axes, (label, each) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown.items(), strict=True):
        mean = np.mean([matrix(frame) for frame in each], axis=0)
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
    what = "Share of the test examples of each class by what they were taken for, percent, mean over n seeds."
    return figure, what + _not_shown(len(frames) - len(shown))


def reliability(study: Study) -> tuple[Figure, str]:
    """Draws the share of right predictions, 0 to 1, by the probability of the predicted class, from 1 / K to 1.

    A point is a bin of the test examples of all seeds of a variant; the diagonal is perfect calibration.
    """
    frames, _ = _frames(study)
    shown = dict(list(frames.items())[:PANELS])
    figure = Figure(figsize=(5.2, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":", linewidth=1)
    for label, each in shown.items():
        bins = reliability_of(*(np.concatenate(parts) for parts in zip(*map(_columns, each), strict=True)))
        error = np.mean([calibration_error(reliability_of(*_columns(frame))) for frame in each])
        counts, mean, right = bins[bins[:, 0] > 0].T
        line = axes.plot(mean, right, label=f"{label} (error {error:.3f}, n = {len(each)})")[0]
        axes.scatter(mean, right, s=4 + 80 * counts / counts.sum(), color=line.get_color())
    axes.set(xlabel="probability of the prediction", ylabel="share of right predictions", xlim=(0, 1), ylim=(0, 1))
    axes.legend(fontsize=7)
    what = (
        "Reliability on the test split: the larger a point, the more examples its bin has; below the diagonal a model "
    )
    what += "is too sure of itself. The error is the expected calibration error, mean over n seeds."
    return figure, what + _not_shown(len(frames) - len(shown))


def matrix(frame: pd.DataFrame) -> np.ndarray:
    """Returns float64[K, K], the share of the examples of each class (row) by prediction (column).

    Args:
      frame: of a trial's test: `label`, and `probability_0` to `probability_K-1`.
    """
    probabilities, labels = _columns(frame)
    return confusion_shares(labels, probabilities.argmax(axis=1), probabilities.shape[1])


def accuracy_by_labels(study: Study) -> tuple[Figure, str] | None:
    """Draws the test accuracy by the number of labelled examples, a line for each combination of the other toggles.

    It is None for trials that have one number of labels. A toggle that follows the number of labels, as the number of
    epochs may do, distinguishes no lines.
    """
    rows = study.finished
    if LABELS not in rows or rows[LABELS].nunique() < 2:
        return None
    others = [toggle for toggle in study.toggles if toggle not in ("labels", "label_seed")]
    others = [toggle for toggle in others if rows.groupby(LABELS)[toggle].nunique(dropna=False).max() > 1]
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    groups = rows.groupby(others, sort=False, dropna=False) if others else [((), rows)]
    for number, (values, group) in enumerate(groups):
        shown = ", ".join(str(value) for value in (values if isinstance(values, tuple) else (values,)))
        points = group.groupby(LABELS)[ACCURACY].apply(lambda found: found.dropna().to_numpy(float))
        means = [values.mean() for values in points]
        bounds = [(found.low, found.high) for found in map(interval, points)]
        off = points.index * 1.03 ** (number - (len(groups) - 1) / 2)  # so that intervals do not hide each other
        errors = np.abs(np.array(bounds).T - np.array(means))
        axes.errorbar(off, means, yerr=errors, marker="o", markersize=4, capsize=2, label=shown or "all")
    axes.set(xscale="log", xlabel="labelled examples", ylabel="test accuracy")
    ticks = sorted(rows[LABELS].unique())
    axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    axes.minorticks_off()
    axes.legend(title=", ".join(others), fontsize=8)
    seeds = rows["seed"].nunique()
    over = f"mean and 95 % interval over {seeds} seeds" if seeds > 1 else "single seed, no intervals"
    return figure, f"Test accuracy by the number of labelled examples: {over}."


def _columns(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Returns probabilities float[N, K] and labels int[N] of a trial's test."""
    names = (name for name in frame.columns if name.startswith("probability_"))
    columns = sorted(names, key=lambda name: int(name.rsplit("_", 1)[1]))
    return frame[columns].to_numpy(), frame["label"].to_numpy()


def _frames(study: Study) -> tuple[dict[str, list[pd.DataFrame]], list[str]]:
    """Returns label → the test probabilities of each finished trial, the reference first, and the classes.

    Raises:
      LookupError: no trial has kept its probabilities.
    """
    frames: dict[str, list[pd.DataFrame]] = {}
    classes: list[str] = []
    finished = study.finished.sort_values("is_reference", ascending=False, kind="stable")
    for run_id, label in finished[["run_id", "label"]].astype(str).to_numpy():
        file = study.store.artifact(run_id, PROBABILITIES)
        if file is None:
            continue
        frame = pd.read_parquet(file)
        known = _names(study, run_id) or [str(number) for number in range(_columns(frame)[0].shape[1])]
        classes = classes or known
        if known == classes:  # other data than the first one's would be another table
            frames.setdefault(label, []).append(frame)
    if not frames:
        raise LookupError(f"no finished trial has {PROBABILITIES}")
    return frames, classes


def _names(study: Study, run_id: str) -> list[str]:
    """Returns the names of the classes of a trial; empty if it has no file with them."""
    for name in NAMING:
        if (file := study.store.artifact(run_id, name)) is not None:
            return [str(one) for one in json.loads(file.read_text(encoding="utf-8"))["classes"]]
    return []


def _not_shown(count: int) -> str:
    return f" {count} more variant{'s are' if count > 1 else ' is'} not shown." if count else ""
