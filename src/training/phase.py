"""The interface between a Keras task and training: batches, and measures of a model's outputs.

A batch is a triple (inputs, targets, rows). Inputs and targets are nests of tensors [B, ...]; rows int64[B] are the
numbers of the examples within their split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from src.spec.metric import Metric, on_every_split
from src.spec.settings import Settings

if TYPE_CHECKING:
    import keras

LOSS = "loss"  # the quantity that training minimises

# Values and weights, [B] each; the quantity is sum(values) / sum(weights). Values are float32, or bool to count
# examples. float32 is summed and divided in float32; a count is divided as an exact fraction.
Measured = tuple[Any, Any]


def nothing(*inputs: Any) -> dict[str, Any]:
    """Returns no predictions, or no scores."""
    return {}


@dataclass(frozen=True)
class Phase:
    """The data of one training with its validation and test.

    Attributes:
      training: epoch (counted from 1) → its batches. They depend only on the settings and the epoch, and their order
        or their examples differ between epochs.
      batches_per_epoch: number of training batches of an epoch.
      held_out: split (`validation`, `test`) → its batches; their rows are 0, 1, 2, … in any order, each once.
      signature: inputs and targets as nests of `tf.TensorSpec`, with None for dimensions that differ between batches
        (always for B).
      measure: (outputs of the model, targets) → quantity (`loss`, and the sources of the task's metrics) → `Measured`
        of each example.
      predictions: outputs → name → [B, ...], stored for each example of a held-out split. All dimensions but B are the
        same in every batch.
      positions: (outputs, targets) → name → values [B, T] and bool[B, T], the positions whose values are stored for a
        held-out split. T may differ between batches.
      scores: (split, predictions for all of its examples, in the order of its rows) → value of each metric with
        `of_corpus`.
      scores_of_model: the model → value of further metrics with `of_corpus`, those that no example of a split decides.
      shape: inputs → (examples, positions of each): B and T of a batch of sequences, including padding; T is 1 for
        other data.
      real_positions: inputs → float32 scalar, the number of positions of a batch without padding; None if nothing is
        padded.
      shapes: number of different shapes that full batches may have.
      is_eager: whether to run the model without graphs, whatever `execution` says.
      minimises_sum: whether a step minimises the sum of the loss over its examples instead of their mean. Then the
        learning rate is that of one example, whatever the size of the batch; for batches whose examples have few
        weights in common, such as rows of an embedding.
      is_fitted: whether the model is complete before the first step, because something other than steps has fitted it.
        Its steps change nothing, so the times of epochs and batches are left out of the results; `time/train_s` is the
        time of building the model.
      chance: value of the metric that chooses the epoch that a constant guess may reach by chance; None if unknown.
      chances: the same for further metrics of validation and test; a trial has learnt if one of all these is better.
    """

    training: Callable[[int], Iterable[Any]]
    batches_per_epoch: int
    held_out: Mapping[str, Callable[[], Iterable[Any]]]
    signature: tuple[Any, Any]
    measure: Callable[[Any, Any], Mapping[str, Measured]]
    shape: Callable[[Any], tuple[int, int]]
    predictions: Callable[[Any], Mapping[str, Any]] = nothing
    positions: Callable[[Any, Any], Mapping[str, tuple[Any, Any]]] = nothing
    scores: Callable[[str, Mapping[str, Any]], Mapping[str, float]] = nothing
    real_positions: Callable[[Any], Any] | None = None
    shapes: int = 1
    is_eager: bool = False
    scores_of_model: Callable[[Any], Mapping[str, float]] = nothing
    minimises_sum: bool = False
    is_fitted: bool = False
    chance: float | None = None
    chances: Mapping[str, float] = field(default_factory=dict)


class Averaging(Protocol):
    """Averages of the weights over the steps of training, which a model is judged by in place of its trained weights.

    Their state is variables of the optimizer, so that a checkpoint holds them.
    """

    def begins(self, *, steps: int) -> str | None:
        """Returns the step or the epoch whose weights are the first averaged ones, after `steps`; None before that."""

    def epoch_ended(self, epoch: int) -> None:
        """Takes the weights after an epoch, counted from 1; it is called before the epoch's validation."""

    def trigger(self, validations: Sequence[float]) -> None:
        """Begins to average if it is time to; gets the first metric's value of each epoch so far."""

    def applied(self) -> AbstractContextManager[None]:
        """Gives the model the averages, if averaging has begun; at the end it gets its trained weights back."""


@dataclass(frozen=True)
class Learner:
    """A model together with its data, metrics and settings.

    Attributes:
      model: inputs → outputs, a model of Keras' functional interface.
      phase: its batches, its loss and its measures.
      metrics: metrics of the task.
      settings: settings of the trial.
      averaging: averages of the model's weights; None for none.
      chosen_by: the metric whose validation value chooses the best epoch; None for the first one.
    """

    model: keras.Model
    phase: Phase
    metrics: Sequence[Metric]
    settings: Settings
    averaging: Averaging | None = None
    chosen_by: Metric | None = None

    @property
    def selection(self) -> Metric:
        """The metric whose validation value chooses the best epoch."""
        return self.chosen_by or self.metrics[0]

    @property
    def chances(self) -> dict[Metric, float]:
        """Metric → value that a trial which learnt nothing may reach by chance; empty if unknown."""
        own = {} if self.phase.chance is None else {self.selection: self.phase.chance}
        return own | {metric: by for metric in self.metrics if (by := self.phase.chances.get(metric.name)) is not None}

    @property
    def has_slices(self) -> bool:
        """Whether the gradient of a looked-up table has only the rows that were looked up.

        Only plain SGD may add the rows one by one. Elsewhere, a row that was looked up twice would count twice in a
        norm, or in the squares of an optimizer.
        """
        settings = self.settings
        is_plain = settings.optimizer == "sgd" and not settings.momentum and settings.clip_norm is None
        is_single = settings.execution != "graph_epoch" and settings.accumulate == 1
        return self.phase.minimises_sum and is_plain and is_single

    def averaged(self) -> AbstractContextManager[None]:
        """Gives the model the weights that it is judged by; at the end it gets its trained weights back."""
        return self.averaging.applied() if self.averaging else nullcontext()

    @property
    def is_eager(self) -> bool:
        """Whether the model runs without graphs."""
        return self.phase.is_eager or self.settings.execution == "eager"

    def as_graph(self, function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        """Returns a function of tensors as this trial runs it: in Python, as a graph, or compiled with XLA.

        Args:
          function: the function.
          options: further options of `tf.function`.
        """
        if self.is_eager:
            return function
        import tensorflow as tf

        graph: Callable[..., Any] = tf.function(
            function, jit_compile=self.settings.uses_xla, autograph=False, **options
        )
        return graph

    @cached_property
    def quantities(self) -> tuple[str, ...]:
        """The names of the measured quantities other than the loss, each once."""
        return tuple(dict.fromkeys(metric.source for metric in on_every_split(self.metrics) if metric.source != LOSS))

    def measure(self, outputs: Any, targets: Any) -> dict[str, Measured]:
        """Returns the loss and the quantities of a batch.

        Raises:
          ValueError: a quantity is missing or has a wrong shape.
        """
        measured = self.phase.measure(outputs, targets)
        needed = (LOSS, *self.quantities)
        if missing := [name for name in needed if name not in measured]:
            names = ", ".join(missing)
            raise ValueError(f"the task measures {', '.join(measured)}, but its metrics also need {names}")
        for name in needed:
            if (ranks := [part.shape.rank for part in measured[name]]) != [1, 1]:
                rule = f"values and weights of {name} must have one number per example, [B]"
                raise ValueError(f"{rule}; they have {ranks} dimensions; sum over the other dimensions")
        return {name: measured[name] for name in needed}
