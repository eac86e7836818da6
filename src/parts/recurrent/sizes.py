"""How large recurrent models are, known before TensorFlow is imported. Letters: B examples, T steps, D width of the input, H units."""

from __future__ import annotations

import bisect
import functools
from collections.abc import Callable

from src.models.cell_facts import FACTS
from src.parts.recurrent.toggles import Recurrent
from src.spec.rules import Change
from src.spec.settings import Settings

MAX_UNITS = 65_536
TENSORFLOW_MB = 750


def parameters(settings: Recurrent, *, width: int) -> int:
    """Returns the trainable numbers of the recurrent layers, in Keras' layout.

    Args:
      settings: of the trial.
      width: D, of what the first layer reads.
    """
    total, directions, cell = 0, _directions(settings), FACTS[settings.cell]
    for _ in range(settings.depth):
        total += directions * len(cell.gates) * settings.units * (width + settings.units + cell.biases)
        total += directions * cell.states * settings.units if settings.initial_state == "learned" else 0
        width = directions * settings.units
    return total


def output_width(settings: Recurrent) -> int:
    """Returns the size of what the last layer makes of a step."""
    return _directions(settings) * settings.units


def required_mb(settings: Recurrent, *, steps: int, width: int, parameters: int, others: int = 0) -> float:
    """Returns a rough lower bound of the memory that one training step takes, in megabytes.

    Counted, in 4-byte numbers: the parameters with gradient and two moments; what the first layer reads and its gradient; the states and
    gates that back-propagation through time keeps. Measured for one-hot input of 10,000 x 200 x 64: 1.9 GB, of which 0.7 GB are
    TensorFlow itself.

    Args:
      settings: of the trial.
      steps: T, of the longest sequence.
      width: D, of what the first layer reads.
      parameters: of the whole model.
      others: numbers that are held besides.
    """
    rows = settings.batch_size * steps
    kept = rows * settings.units * (len(FACTS[settings.cell].gates) + 2) * _directions(settings) * settings.depth
    return (4 * parameters + 2 * rows * width + kept + others) * 4 / 2**20 + TENSORFLOW_MB


def units_for(settings: Recurrent, count: Callable[[int], int]) -> Change:
    """Returns the units with which the model comes nearest to `settings.parameters`, which is a way to choose them.

    Args:
      settings: with `parameters`.
      count: units → parameters of the whole model; it grows with them.
    """
    wanted = settings.parameters or 0
    above = bisect.bisect_left(range(1, MAX_UNITS), wanted, key=count) + 1
    units = min((width for width in (above - 1, above) if width), key=lambda width: abs(count(width) - wanted))
    reason = f"the model then has {count(units):,} parameters, which is closest to parameters={wanted}"
    return Change("units", settings.units, units, reason)


@functools.cache
def memory_mb() -> float:
    """Returns the memory of this machine, in megabytes. What is free at the moment would make a study's cells depend on what else runs."""
    import psutil

    return float(psutil.virtual_memory().total / 2**20)


def memory_refusals(settings: Settings, needed_mb: float, *, keys: tuple[str, ...], steps: int, fix: str) -> list[str]:
    """Returns the refusal of a model that needs more memory than this machine has; none if it has enough.

    Args:
      settings: of the trial.
      needed_mb: as `required_mb`.
      keys: toggles that make it large.
      steps: T.
      fix: what to set instead.
    """
    if needed_mb <= memory_mb():
        return []
    what = " ".join(f"{key}={getattr(settings, key)}" for key in keys)
    return [
        f"{what} with {steps} steps needs about {needed_mb:,.0f} MB of memory; this machine has {memory_mb():,.0f} MB; {fix}"
    ]


def _directions(settings: Recurrent) -> int:
    return 2 if settings.bidirectional else 1
