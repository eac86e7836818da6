"""Gates, states and biases of each recurrent cell, in Keras' layout.

This module imports nothing heavy, because sizes are computed before TensorFlow is imported.
"""

from __future__ import annotations

from typing import NamedTuple


class Facts(NamedTuple):
    """A cell in numbers.

    Attributes:
      gates: their names, in the order of the weights' columns; G is their number.
      states: how many states it carries from step to step.
      biases: bias parameters per unit and gate.
    """

    gates: tuple[str, ...]
    states: int
    biases: int


FACTS = {
    "simple_rnn": Facts(("state",), 1, 1),
    "gru": Facts(("update", "reset", "cell"), 1, 2),  # an input and a recurrent bias (reset_after)
    "lstm": Facts(("input", "forget", "cell", "output"), 2, 1),
}
GATED = (
    "gru",
    "lstm",
)  # cells with gates between 0 and 1; the entry "cell" in `gates` is a candidate state, not a gate
