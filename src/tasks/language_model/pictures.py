"""What TensorBoard shows of a language model: the loss per word by frequency and by position, after the test."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from src.tasks.language_model import losses
from src.tasks.language_model.baselines import LONGEST

SIZE, DOTS = (4.6, 3.2), 100  # inches, and pixels of an inch


def of_losses(values: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns name → picture uint8[320, 460, 3] of the means that `losses.of_trial` returns."""
    return {
        "loss_by_frequency": _picture(values[losses.FREQUENCY], unit="occurrences of the word in training"),
        "loss_by_position": _picture(
            values[losses.POSITION], unit="position of the word in its text", length=values["length"]
        ),
    }


def _picture(ranges: Sequence[Mapping[str, Any]], *, unit: str, length: int | None = None) -> np.ndarray:
    figure = Figure(figsize=SIZE, dpi=DOTS, layout="constrained")
    axes = figure.subplots()
    middles = [math.sqrt(one["low"] * one["high"]) for one in ranges]
    for key, label, look in (("model", "model", "o-k"), ("ngrams", f"{LONGEST}-gram", "--")):
        axes.plot(middles, [one[key] for one in ranges], look, ms=3, lw=1.2, label=label)
    if length is not None:
        axes.axvline(length, color="grey", ls=":", label=f"training length {length:,}")
    axes.set(xscale="log", xlabel=unit, ylabel="test loss per word (nats)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", frameon=False)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])
