"""What each recurrent cell is made of, in Keras' layout. Without an import, because sizes are known before TensorFlow is there."""

from __future__ import annotations

from typing import NamedTuple


class Facts(NamedTuple):
    """A cell in numbers.

    Attributes:
      gates: names in the order of the weights' columns; G is their number.
      states: that it carries from step to step.
      biases: numbers for each unit and gate.
    """

    gates: tuple[str, ...]
    states: int
    biases: int


FACTS = {
    "simple_rnn": Facts(("state",), 1, 1),
    "gru": Facts(("update", "reset", "cell"), 1, 2),  # an input and a recurrent bias (reset_after)
    "lstm": Facts(("input", "forget", "cell", "output"), 2, 1),
}
GATED = ("gru", "lstm")  # cells with gates that open and close; the gate called cell is none of these
