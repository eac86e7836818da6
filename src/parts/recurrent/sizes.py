"""Sizes of recurrent models, computed without TensorFlow.

Letters: B examples, T steps, D width of the input, H units.
"""

from __future__ import annotations

from collections.abc import Callable

from src.models.cell_facts import FACTS
from src.parts.recurrent import own_cell
from src.parts.recurrent.toggles import Recurrent, has_own_cell
from src.parts.sizes import TENSORFLOW_MB, nearest
from src.spec.rules import Change

MAX_UNITS = 65_536


def parameters(settings: Recurrent, *, width: int) -> int:
    """Returns the number of trainable parameters of the recurrent layers, in Keras' layout.

    Args:
      settings: settings of the trial.
      width: D, the input width of the first recurrent layer.
    """
    total, directions = 0, _directions(settings)
    for _ in range(settings.depth):
        total += directions * _of_cell(settings, width)
        width = directions * settings.units
    return total


def _of_cell(settings: Recurrent, width: int) -> int:
    """Returns the number of trainable parameters of one direction of a layer, with its initial states."""
    if has_own_cell(settings):
        return own_cell.parameters(settings.cell, settings.units, width=width)
    cell = FACTS[settings.cell]
    states = cell.states * settings.units if settings.initial_state == "learned" else 0
    return len(cell.gates) * settings.units * (width + settings.units + cell.biases) + states


def output_width(settings: Recurrent) -> int:
    """Returns the output width of the last recurrent layer."""
    return _directions(settings) * settings.units


def required_mb(settings: Recurrent, *, steps: int, width: int, parameters: int, extra: int = 0) -> float:
    """Returns a rough lower bound of the memory that one training step needs, in megabytes.

    The bound counts 4-byte numbers: the parameters with their gradient and two moments, the input of the first layer
    and its gradient, and the states and gates that back-propagation through time stores. One-hot input of
    10,000 x 200 x 64 was measured at 1.9 GB, including 0.7 GB for TensorFlow itself.

    Args:
      settings: settings of the trial.
      steps: T of the longest sequence.
      width: D, the input width of the first recurrent layer.
      parameters: number of parameters of the whole model.
      extra: further numbers in memory.
    """
    rows = settings.batch_size * steps
    gates = len(FACTS.get(settings.cell, FACTS["lstm"]).gates)  # those of the user's own cell are unknown
    stored = rows * settings.units * (gates + 2) * _directions(settings) * settings.depth
    return (4 * parameters + 2 * rows * width + stored + extra) * 4 / 2**20 + TENSORFLOW_MB


def units_for(settings: Recurrent, count: Callable[[int], int]) -> Change:
    """Returns the number of units for which the size of the model is closest to `settings.parameters`.

    Args:
      settings: settings that set `parameters`.
      count: units → parameters of the whole model; an increasing function.
    """
    target = settings.parameters or 0
    units = nearest(target, count, most=MAX_UNITS)
    reason = f"the model then has {count(units):,} parameters, which is closest to parameters={target}"
    return Change("units", settings.units, units, reason)


def _directions(settings: Recurrent) -> int:
    return 2 if settings.bidirectional else 1
