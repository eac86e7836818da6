"""Figures of this task, in addition to the usual ones of a report."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis import drawing
from analysis.looks import MAX_VARIANTS, QUIET, Look, looks
from src.inference.student import interval
from src.spec.metric import Metric
from src.tasks.language_model import losses
from src.tasks.language_model.baselines import LONGEST

if TYPE_CHECKING:
    from analysis.load import Study

LOSS = Metric("loss", None, title="loss per test word (nats)", digits=2)
GAIN = Metric("gain", None, title=f"model minus {LONGEST}-gram (nats)", digits=2)


def frequency(study: Study) -> tuple[Figure, str]:
    """Draws the loss per test word by how often the word occurs in training."""
    tables = _tables(study)
    figure, look = _drawn(tables, losses.FREQUENCY, unit="occurrences of the word in training")
    axes = figure.axes[0]
    for label, each in tables.items():
        for other in _points(each, "others").to_dict("records"):
            mine = look[label]
            axes.plot(other["x"], other["mean"], mine.mark, color=mine.colour, ms=7, mfc="none")
            if label == next(iter(tables)):
                place = (other["x"], other["mean"])
                axes.annotate(other["name"], place, (0, 6), textcoords="offset points", ha="center", fontsize=8)
    text = "Loss per test word by how often the word occurs in training; open marks are the unknown word and the end of"
    return figure, f"{text} a text. {_about(study, tables)}"


def position(study: Study) -> tuple[Figure, str]:
    """Draws the loss per test word by its position in the text, up to positions beyond the training length."""
    tables = _tables(study)
    figure, look = _drawn(tables, losses.POSITION, unit="position of the word in its text")
    lengths = {label: each[0]["length"] for label, each in tables.items()}
    is_one = len({*lengths.values()}) == 1
    for axes in figure.axes:
        for label, length in list(lengths.items())[: 1 if is_one else None]:
            axes.axvline(length, color=QUIET if is_one else look[label].colour, ls=":", lw=1.2)
    trained = f"training length, {next(iter(lengths.values())):,} words" if is_one else "training length of a variant"
    text = f"Loss per test word by its position in the text; a dotted line is the {trained}. Only long texts have late"
    return figure, f"{text} positions; the {LONGEST}-gram reads the same words. {_about(study, tables)}"


def _tables(study: Study) -> dict[str, list[dict[str, Any]]]:
    """Returns label → the means of each finished trial, the reference first, of at most `MAX_VARIANTS` variants.

    Raises:
      LookupError: no trial has them.
    """
    tables: dict[str, list[dict[str, Any]]] = {}
    finished = study.finished.sort_values("is_reference", ascending=False, kind="stable")
    for run_id, label in finished[["run_id", "label"]].astype(str).to_numpy():
        file = study.store.artifact(run_id, losses.FILE)
        if file is not None and (label in tables or len(tables) < MAX_VARIANTS):
            tables.setdefault(label, []).append(json.loads(file.read_text(encoding="utf-8")))
    if not tables:
        raise LookupError(f"no finished trial has {losses.FILE}")
    return tables


def _points(tables: list[dict[str, Any]], kind: str) -> pd.DataFrame:
    """Returns one row per range: `x`, its middle, the `mean`, `low` and `high` over seeds, those of the difference."""
    rows = []
    for ranges in zip(*(table[kind] for table in tables), strict=True):
        first = ranges[0]
        own = interval(np.array([one["model"] for one in ranges]))
        gain = interval(np.array([one["model"] - one["ngrams"] for one in ranges]))
        rows.append({
            "name": first.get("name"), "x": math.sqrt(first["low"] * first["high"]), "ngrams": first["ngrams"],
            "mean": own.mean, "low": own.low, "high": own.high,
            "gain": gain.mean, "gain_low": gain.low, "gain_high": gain.high,
        })  # fmt: skip
    return pd.DataFrame(rows)


def _drawn(tables: dict[str, list[dict[str, Any]]], kind: str, *, unit: str) -> tuple[Figure, dict[str, Look]]:
    """Draws the loss (left) and its difference from that of the n-grams (right) by a range; returns the looks, too."""
    look = looks(tables)
    figure = Figure(figsize=(10.5, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    points = pd.concat([_points(each, kind).assign(group=label) for label, each in tables.items()])
    gains = points.drop(columns=["mean", "low", "high"])
    gains = gains.rename(columns={"gain": "mean", "gain_low": "low", "gain_high": "high"})
    drawing.curves(left, points, look, x="x", unit=unit, metric=LOSS)
    drawing.curves(right, gains, look, x="x", unit=unit, metric=GAIN)
    of_first = points[points["group"] == next(iter(tables))]
    left.plot(of_first["x"], of_first["ngrams"], color=QUIET, lw=1.4, label=f"{LONGEST}-gram")
    right.axhline(0, color=QUIET, lw=1.4)
    widest = [one["low"] for each in tables.values() for one in each[0]["others"]] if kind == losses.FREQUENCY else []
    for axes in (left, right):
        axes.set_xlim(points["x"].min() / 1.3, max([points["x"].max(), *widest]) * 1.5)
        axes.set_xscale("log")
    drawing.legend_beside(figure, left)
    return figure, look


def _about(study: Study, tables: dict[str, list[dict[str, Any]]]) -> str:
    """Returns the end of a caption: what the right side shows, over how many seeds, and what is not shown."""
    counts = [len(each) for each in tables.values()]
    seeds = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    over = f"Means with 95 % intervals over {seeds} seeds" if max(counts) > 1 else "Single seed, no intervals"
    left = study.finished["label"].nunique() - len(tables)
    more = f" {left} more variant{'s are' if left > 1 else ' is'} not shown." if left else ""
    right = f"Right: the difference from the loss of the {LONGEST}-gram (Kneser-Ney), below 0 where the model is better"
    return f"{right}. {over}.{more}"
