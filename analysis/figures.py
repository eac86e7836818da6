"""Frames to figures: colour-blind safe, readable in grey, every axis with its unit."""

from __future__ import annotations

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure


def learning_curves(steps: pd.DataFrame, *, title: str) -> Figure:
    """Returns validation accuracy by optimizer step and by training time, one line a variant.

    Args:
      steps: `variant`, `step`, `seconds` (of training, validation left out) and `value` (accuracy, 0 to 1); one row a
        validation.
      title: above the figure.
    """
    mpl.use("agg")
    sns.set_theme(context="notebook", style="whitegrid", palette="colorblind")
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    by_step, by_time = figure.subplots(1, 2, sharey=True)
    for axes, x, unit in ((by_step, "step", "optimizer steps"), (by_time, "seconds", "training time (s)")):
        _curves(axes, steps, x=x)
        axes.set(xlabel=unit, ylabel="validation accuracy")
        axes.set_xlim(left=0)
    handles, labels = by_step.get_legend_handles_labels()
    for axes in (by_step, by_time):
        axes.get_legend().remove()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4), frameon=False, fontsize="small")
    figure.suptitle(title)
    return figure


def _curves(axes: Axes, steps: pd.DataFrame, *, x: str) -> None:
    """Lines that differ in colour, dash and mark; several seeds of a variant are drawn each."""
    sns.lineplot(steps, x=x, y="value", hue="variant", style="variant", markers=True, units="run_id", estimator=None, ax=axes)
