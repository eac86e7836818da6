"""Figures of classifiers: accuracy by labels; from test predictions, the confusion matrix and reliability diagram."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from src.artifacts import PREDICTION, PROBABILITIES
from src.inference.student import interval
from src.parts.classes.labelled import LABELS
from src.parts.classes.probabilities import confusion_shares, decided
from src.parts.classes.scores import calibration_error, reliability_of
from src.spec.section import as_typed
from src.terminal.visible import shortened, wrapped

if TYPE_CHECKING:
    from analysis.load import Study

ACCURACY, THRESHOLD = "test/accuracy", "test/decision_threshold"
PANELS, COLUMNS = 4, 2  # variants in a figure, and beside each other
MOST_NAMED = 20  # classes
LONGEST, LINE, LEGEND = 18, 40, 60  # characters of a class, and of a line of a variant in a title and in a legend
MARKS, DASHES, WIDTHS = "os^D", ("-", "--", "-.", ":"), (4.0, 3.0, 2.0, 1.2)  # of each variant, so that none is hidden
SYNONYMS = {  # other names → those of the figures, which an error suggests
    **dict.fromkeys(("calibration", "calibration_curve", "calibration_diagram", "calibration_error"), "reliability"),
    **dict.fromkeys(("matrix", "errors", "misclassification"), "confusion"),
    **dict.fromkeys(("labels", "few_labels"), "accuracy_by_labels"),
}
NAMING = ("images.json", "preprocessing.json")  # files of trials with the names of the classes, as `classes`


def confusion(study: Study) -> tuple[Figure, str]:
    """Draws the confusion matrix of each variant, as the mean of its seeds.

    A cell is the share of the examples of its row's class, from 0 to 1; rows add up to 1. Predictions are those of the
    trial, with its own decision threshold.
    """
    frames, classes = _frames(study)
    shown = dict(list(frames.items())[:PANELS])
    columns = min(COLUMNS, len(shown))
    lines = math.ceil(len(shown) / columns)
    figure = Figure(figsize=(4.8 * columns, 5.0 * lines), layout="constrained")
    places = figure.subplots(lines, columns, squeeze=False).ravel().tolist()
    names = [shortened(name, LONGEST) for name in classes]
    for axes in places[len(shown) :]:
        axes.set_axis_off()
    for axes, (label, each) in zip(places, shown.items(), strict=False):
        mean = np.mean([matrix(frame) for frame in each], axis=0)
        axes.imshow(mean, cmap="Blues", vmin=0, vmax=1)
        axes.set_title(f"{wrapped(label, LINE)} (n = {len(each)})", fontsize=9)
        axes.set(xlabel="prediction", ylabel="class")
        axes.grid(visible=False)
        ticks = range(len(classes)) if len(classes) <= MOST_NAMED else []
        axes.set_xticks(ticks, [names[tick] for tick in ticks], rotation=90)
        axes.set_yticks(ticks, [names[tick] for tick in ticks])
        for row, column in np.ndindex(mean.shape) if len(classes) <= MOST_NAMED else ():
            if mean[row, column] >= 0.005:
                colour = "white" if mean[row, column] > 0.5 else "black"
                text = f"{100 * mean[row, column]:.0f}"
                axes.text(column, row, text, ha="center", va="center", fontsize=7, color=colour)
    what = "Share of the test examples of each class by what they were taken for, percent, mean over n seeds."
    return figure, what + _not_shown(len(frames) - len(shown))


def reliability(study: Study) -> tuple[Figure, str]:
    """Draws the share of right predictions, 0 to 1, by the probability of the most probable class, from 1 / K to 1.

    A point is a bin of the test examples of all seeds of a variant; the diagonal is perfect calibration. A decision
    threshold changes no probability, so the figure does not depend on it.
    """
    frames, _ = _frames(study)
    shown = dict(list(frames.items())[:PANELS])
    figure = Figure(figsize=(5.6, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":", linewidth=1)
    for (label, each), mark, dash, width in zip(shown.items(), MARKS, DASHES, WIDTHS, strict=False):
        bins = reliability_of(*(np.concatenate(parts) for parts in zip(*map(_columns, each), strict=True)))
        error = np.mean([calibration_error(reliability_of(*_columns(frame))) for frame in each])
        counts, mean, right = bins[bins[:, 0] > 0].T
        text = f"{wrapped(label, LEGEND)} (error {error:.3f}, n = {len(each)})"
        line = axes.plot(mean, right, linestyle=dash, marker=mark, linewidth=width, alpha=0.7, label=text)[0]
        line.set(markersize=4, markerfacecolor="none")
        sizes = 4 + 120 * counts / counts.sum()
        axes.scatter(mean, right, s=sizes, marker=mark, facecolors="none", edgecolors=line.get_color())
    axes.set(xlabel="probability of the most probable class", ylabel="share of these that are right")
    axes.set(xlim=(0, 1.03), ylim=(0, 1.03))  # points at 1 are whole
    _legend_below(figure, *axes.get_legend_handles_labels())
    what = (
        "Reliability on the test split: the larger a point, the more examples its bin has; below the diagonal a model "
    )
    what += "is too sure of itself. The error is the expected calibration error, mean over n seeds."
    return figure, what + _not_shown(len(frames) - len(shown))


def _legend_below(figure: Figure, handles: list[Any], labels: list[str], title: str = "") -> None:
    """Adds a legend below the axes, a line each, and makes the figure higher by as much."""
    lines = sum(label.count("\n") + 1 for label in (*labels, *filter(None, [title])))
    figure.set_figheight(figure.get_figheight() + 0.25 + 0.16 * lines)
    figure.legend(handles, labels, title=title or None, loc="outside lower left", fontsize=7, title_fontsize=7)


def matrix(frame: pd.DataFrame) -> np.ndarray:
    """Returns float64[K, K], the share of the examples of each class (row) by prediction (column).

    Args:
      frame: of a trial's test: `label`, `prediction`, and `probability_0` to `probability_K-1`.
    """
    probabilities, labels = _columns(frame)
    return confusion_shares(labels, frame[PREDICTION].to_numpy(), probabilities.shape[1])


def accuracy_by_labels(study: Study) -> tuple[Figure, str] | None:
    """Draws the test accuracy by the number of labelled examples, a line for each combination of the other toggles.

    It is None for trials that have one number of labels. A toggle that follows the number of labels or other toggles,
    as the number of epochs may do, distinguishes no lines.
    """
    rows = study.finished
    if LABELS not in rows or rows[LABELS].nunique() < 2:
        return None
    others = [toggle for toggle in study.toggles if toggle not in ("labels", "label_seed")]
    others = [toggle for toggle in others if rows.groupby(LABELS)[toggle].nunique(dropna=False).max() > 1]
    is_whole = {toggle: bool(rows[toggle].notna().all()) for toggle in others}
    for toggle in sorted(others, key=lambda toggle: (is_whole[toggle], -others.index(toggle))):  # null follows others
        rest = [other for other in others if other != toggle]
        if rest and rows.groupby(rest, dropna=False).ngroups == rows.groupby(others, dropna=False).ngroups:
            others = rest
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    groups = rows.groupby(others, sort=False, dropna=False) if others else [((), rows)]
    for number, (values, group) in enumerate(groups):
        shown = ", ".join(_as_written(value) for value in values)
        points = group.groupby(LABELS)[ACCURACY].apply(lambda found: found.dropna().to_numpy(float))
        means = [values.mean() for values in points]
        bounds = [(found.low, found.high) for found in map(interval, points)]
        off = points.index * 1.03 ** (number - (len(groups) - 1) / 2)  # so that intervals do not hide each other
        errors = np.abs(np.array(bounds).T - np.array(means))
        name = wrapped(shown or "all", LEGEND)
        axes.errorbar(off, means, yerr=errors, marker="o", markersize=4, capsize=2, label=name)
    axes.set(xscale="log", xlabel="labelled examples", ylabel="test accuracy")
    ticks = sorted(rows[LABELS].unique())
    axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    axes.minorticks_off()
    _legend_below(figure, *axes.get_legend_handles_labels(), title=wrapped(", ".join(others), LEGEND))
    seeds = rows["seed"].nunique()
    over = f"mean and 95 % interval over {seeds} seeds" if seeds > 1 else "single seed, no intervals"
    return figure, f"Test accuracy by the number of labelled examples: {over}."


def _as_written(value: Any) -> str:
    """Returns the value of a toggle as a command has it; beside missing values, pandas has floats for integers."""
    plain = None if pd.isna(value) else value.item() if isinstance(value, np.generic) else value
    return as_typed(int(plain) if isinstance(plain, float) and plain.is_integer() else plain)


def _columns(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Returns probabilities float[N, K] and labels int[N] of a trial's test."""
    names = (name for name in frame.columns if name.startswith("probability_"))
    columns = sorted(names, key=lambda name: int(name.rsplit("_", 1)[1]))
    return frame[columns].to_numpy(), frame["label"].to_numpy()


def _frames(study: Study) -> tuple[dict[str, list[pd.DataFrame]], list[str]]:
    """Returns label → the test predictions of each finished trial, the reference first, and the classes.

    Files of earlier versions have no predicted class; it follows from the probabilities and the decision threshold.

    Raises:
      LookupError: no trial has kept its probabilities.
    """
    frames: dict[str, list[pd.DataFrame]] = {}
    classes: list[str] = []
    finished = study.finished.sort_values("is_reference", ascending=False, kind="stable")
    thresholds = finished[THRESHOLD].fillna(0.5) if THRESHOLD in finished else [0.5] * len(finished)
    trials = finished[["run_id", "label"]].astype(str).to_numpy()
    for (run_id, label), threshold in zip(trials, thresholds, strict=True):
        file = study.store.artifact(run_id, PROBABILITIES)
        if file is None:
            continue
        frame = pd.read_parquet(file)
        if PREDICTION not in frame:
            frame[PREDICTION] = decided(_columns(frame)[0], threshold)
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
