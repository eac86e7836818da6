"""What a Keras task hands to training: batches, and what is measured of a model's outputs.

A batch is a triple (inputs, targets, rows). Inputs and targets are any nests of tensors [B, ...]; rows int64[B] numbers
the examples within their split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from src.spec.metric import Metric
from src.spec.settings import Settings

if TYPE_CHECKING:
    import keras

LOSS = "loss"  # the quantity that training minimises

# Values and weights [B] each, whose quantity is sum(values) / sum(weights). Values are float32, or bool where examples
# are counted: float32 is summed and divided in float32, a count is divided as an exact fraction.
Measured = tuple[Any, Any]


def nothing(outputs: Any) -> dict[str, Any]:
    """Returns no predictions."""
    return {}


@dataclass(frozen=True)
class Phase:
    """One training with its validation and its test.

    Attributes:
      training: epoch, from 1 → its batches, in an order or a draw of its own. They depend on the settings and the epoch
        alone.
      batches_per_epoch: of training.
      held_out: the splits `validation` and `test` → their batches; their rows are 0, 1, 2, … in any order, each once.
      signature: inputs and targets as nests of `tf.TensorSpec`, with None for whatever differs between batches (B
        always).
      measure: outputs of the model, targets → quantity (`loss`, and the sources of the task's metrics) → `Measured` of
        each example.
      predictions: outputs → name → [B, ...], what is kept of each example of a held-out split; all but B is the same in
        every batch.
      shape: inputs → (examples, positions of each): B and T of a batch of sequences, padding included; T is 1 where
        there are none.
      real_positions: inputs → float32 scalar, how many positions of a batch are no padding; None where nothing is
        padded.
      shapes: how many different shapes full batches may have.
      is_eager: run the training step without a graph.
      chance: value of the task's first metric that a constant guess may reach by chance; None where nobody knows it.
    """

    training: Callable[[int], Iterable[Any]]
    batches_per_epoch: int
    held_out: Mapping[str, Callable[[], Iterable[Any]]]
    signature: tuple[Any, Any]
    measure: Callable[[Any, Any], Mapping[str, Measured]]
    shape: Callable[[Any], tuple[int, int]]
    predictions: Callable[[Any], Mapping[str, Any]] = nothing
    real_positions: Callable[[Any], Any] | None = None
    shapes: int = 1
    is_eager: bool = False
    chance: float | None = None


@dataclass(frozen=True)
class Learner:
    """A model with what it learns from and how.

    Attributes:
      model: inputs → outputs, made by Keras' functional interface.
      phase: its batches, its loss and what is measured.
      metrics: of the task; the first one chooses the best epoch.
      settings: of the trial.
    """

    model: keras.Model
    phase: Phase
    metrics: Sequence[Metric]
    settings: Settings

    @cached_property
    def quantities(self) -> tuple[str, ...]:
        """What is measured beside the loss, each once."""
        return tuple(dict.fromkeys(metric.source for metric in self.metrics if metric.source != LOSS))

    def measure(self, outputs: Any, targets: Any) -> dict[str, Measured]:
        """Returns the loss and the quantities of a batch.

        Raises:
          ValueError: the phase measures something else.
        """
        measured = self.phase.measure(outputs, targets)
        wanted = (LOSS, *self.quantities)
        if missing := [name for name in wanted if name not in measured]:
            raise ValueError(f"the task measures {', '.join(measured)}, but its metrics need {', '.join(missing)}, too")
        for name in wanted:
            if (ranks := [part.shape.rank for part in measured[name]]) != [1, 1]:
                what = f"values and weights of {name} must be one number an example, [B]; they have {ranks} dimensions"
                raise ValueError(f"{what}; sum over the others")
        return {name: measured[name] for name in wanted}
