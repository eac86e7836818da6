"""Optimizer steps: the gradient of one batch, or accumulated over several, and the update of the weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from src.spec.settings import Settings
from src.training.phase import LOSS, Learner

OPTIMIZERS: dict[str, Callable[..., keras.optimizers.Optimizer]] = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": keras.optimizers.SGD,
}

Update = Callable[[Any, Any, bool], tuple[Any, list[Any]]]
Step = Callable[[Any, Any], tuple[Any, list[Any]]]
Gradients = Callable[[Any, Any], tuple[list[Any], list[Any]]]
Apply = Callable[[list[Any]], Any]


def new_optimizer(
    model: keras.Model, settings: Settings, *, kind: Callable[..., keras.optimizers.Optimizer] | None = None
) -> keras.optimizers.Optimizer:
    """Returns an optimizer for a model's weights, with all of its variables created.

    Args:
      model: the model.
      settings: `optimizer` and its options.
      kind: a task's own variant of `optimizer`, called with its options; None for Keras' own.
    """
    of_kind: dict[str, Any] = {"momentum": settings.momentum} if settings.optimizer == "sgd" else {}
    kind = kind or OPTIMIZERS[settings.optimizer]
    if settings.averaging == "ema":
        of_kind |= {"use_ema": True, "ema_momentum": settings.ema_momentum}
    optimizer = kind(settings.learning_rate, global_clipnorm=settings.clip_norm, **of_kind)
    optimizer.build(model.trainable_variables)
    # Keras sums the gradients over devices, even on one device, through a custom gradient. TensorFlow registers it, and
    # with it this graph, until the process ends, which would leak several megabytes per trial (tensorflow issues
    # 92094, 97697).
    optimizer._all_reduce_sum_gradients = lambda gradients_and_variables: gradients_and_variables
    return optimizer


def updater(
    learner: Learner, *, on_trace: Callable[[], None], optimizer: keras.optimizers.Optimizer | None = None
) -> Update:
    """Returns a function that processes a batch and updates the weights.

    Args:
      learner: model, phase and settings (optimizer, learning rate, clipping, `accumulate`, `execution`).
      on_trace: called whenever the step is traced.
      optimizer: from `new_optimizer`; None creates a new one.

    Returns:
      (inputs, targets, is_whole) → (the numbers of the batch, float32[K], the input of `Numbers`; the gradients). While
      `is_whole` is false, the function accumulates gradients, weighted by the weight of the batch's loss; the norm is
      then 0 and the gradients are []. A step of several batches equals a step of one batch with all their examples, if
      the model processes each example independently of the others.
    """
    compiled = _compiler(learner, on_trace=on_trace)
    if learner.settings.accumulate == 1:
        taken = compiled(step_of(learner, optimizer))
        return lambda inputs, targets, is_whole: taken(inputs, targets)
    return _accumulating(learner, *_parts(learner, optimizer), compiled=compiled)


def step_of(learner: Learner, optimizer: keras.optimizers.Optimizer | None = None) -> Step:
    """Returns the optimizer step with one batch, in Python: (inputs, targets) → (numbers float32[K], gradients)."""
    gradients_of, apply = _parts(learner, optimizer)

    def step(inputs: Any, targets: Any) -> tuple[Any, list[Any]]:
        numbers, gradients = gradients_of(inputs, targets)
        return tf.stack([*numbers, apply(gradients)]), gradients

    return step


def _parts(learner: Learner, optimizer: keras.optimizers.Optimizer | None) -> tuple[Gradients, Apply]:
    """Returns the parts of a step: (inputs, targets) → numbers and gradients; gradients → their norm, after the update.

    The second number is the weight of the loss, whose mean the gradients are of.
    """
    model, phase = learner.model, learner.phase
    applied = optimizer or new_optimizer(model, learner.settings)

    def gradients_of(inputs: Any, targets: Any) -> tuple[list[Any], list[Any]]:
        with tf.GradientTape() as tape:
            measured = learner.measure(model(inputs, training=True), targets)
            value, weight = _sums(measured[LOSS])
            mean = tf.math.divide_no_nan(value, weight)  # a batch without weight changes nothing
            minimised = value if phase.minimises_sum else mean
        # Gradients are made dense, except where `has_slices` allows slices. As slices, a word that occurs twice would
        # count as two rows in the norm, in clipping and in Adam's squares, and an embedding would train differently
        # from a one-hot vector times a matrix.
        gradients = tape.gradient(minimised, model.trainable_variables)
        if not learner.has_slices:
            gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        numbers = [mean, weight, *(number for name in learner.quantities for number in _sums(measured[name]))]
        real = [] if phase.real_positions is None else [tf.cast(phase.real_positions(inputs), tf.float32)]
        return [*numbers, *real], gradients

    def apply(gradients: list[Any]) -> Any:
        applied.apply(gradients, model.trainable_variables)
        return tf.linalg.global_norm(gradients)

    return gradients_of, apply


class Numbers:
    """The results of one optimizer step over all of its batches.

    Attributes:
      loss: weighted mean of the loss.
      sums: quantity → its sum and its weight.
      real_positions: number of positions without padding; None if nothing is padded.
      norm: norm of the gradient before clipping.
    """

    def __init__(self, learner: Learner, parts: Sequence[np.ndarray]) -> None:
        """Reads the numbers float32[K] that the update returned for each batch."""
        weighted_loss, sums, self.norm = _over_batches(parts)
        total = sums[1]
        self.loss = weighted_loss / total if total else 0.0
        self.sums = {LOSS: (self.loss * total, total)}
        for place, name in enumerate(learner.quantities, 1):
            self.sums[name] = (sums[2 * place], sums[2 * place + 1])
        self.real_positions = None if learner.phase.real_positions is None else int(sums[-2])


def _over_batches(values: Sequence[np.ndarray]) -> tuple[float, list[float], float]:
    """Returns the weighted sum of the losses, the sum of each number, and the last number of the last batch.

    Most steps have one batch. Between two steps the processor's caches are cold, and NumPy's functions take twenty
    times as long as in a loop. A step of one batch therefore does not use them; its numbers are the same to the last
    bit.

    Args:
      values: float32[N] of each batch; the first two numbers are its mean loss and the weight of that loss.
    """
    if len(values) == 1:
        numbers = values[0].tolist()
        return numbers[0] * numbers[1], numbers, numbers[-1]
    table = np.array(values, np.float64)
    return float((table[:, 0] * table[:, 1]).sum()), [float(column.sum()) for column in table.T], float(table[-1, -1])


def _sums(measured: tuple[Any, Any]) -> tuple[Any, Any]:
    """Returns the sum and the weight of a quantity over a batch, float32 scalars."""
    values, weights = measured
    return tf.reduce_sum(tf.cast(values, tf.float32)), tf.reduce_sum(tf.cast(weights, tf.float32))


def _accumulating(learner: Learner, gradients_of: Gradients, apply: Apply, *, compiled: Callable[..., Any]) -> Update:
    """Returns an update that accumulates gradients, weighted by the weight of the loss, and applies their mean.

    Args:
      learner: model and settings.
      gradients_of: as `_parts` returns it.
      apply: as `_parts` returns it.
      compiled: compiles the function that processes a batch.
    """
    variables = learner.model.trainable_variables
    sums, total_weight = [tf.Variable(tf.zeros_like(variable)) for variable in variables], tf.Variable(0.0)

    def add(inputs: Any, targets: Any) -> Any:
        numbers, gradients = gradients_of(inputs, targets)
        weight = tf.constant(1.0) if learner.phase.minimises_sum else numbers[1]
        for total, gradient in zip(sums, gradients, strict=True):
            total.assign_add(weight * gradient)
        total_weight.assign_add(weight)
        return tf.stack(numbers)

    def finish() -> tuple[Any, list[Any]]:
        divisor = tf.constant(1.0) if learner.phase.minimises_sum else total_weight
        gradients = [tf.math.divide_no_nan(total, divisor) for total in sums]
        norm = apply(gradients)
        for total in (*sums, total_weight):
            total.assign(tf.zeros_like(total))
        return norm, gradients

    added, finished = compiled(add), learner.as_graph(finish)

    def update(inputs: Any, targets: Any, is_whole: bool) -> tuple[Any, list[Any]]:
        numbers = added(inputs, targets)
        norm, gradients = finished() if is_whole else (tf.constant(0.0), [])
        return tf.concat([numbers, [norm]], axis=0), gradients

    return update


def batch_size(batch: Any) -> int:
    """Returns B of a nest of tensors [B, ...]."""
    return int(tf.nest.flatten(batch)[0].shape[0])


def _compiler(learner: Learner, *, on_trace: Callable[[], None]) -> Callable[..., Any]:
    """Returns a function that compiles a function of (inputs, targets), according to the phase and `retracing`."""
    settings, signature = learner.settings, learner.phase.signature

    def compiled(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        if learner.is_eager:
            return function

        def traced(inputs: Any, targets: Any) -> Any:
            on_trace()  # Python code runs only while TensorFlow traces the function
            return function(inputs, targets)

        if settings.retracing != "signature":
            return learner.as_graph(traced, reduce_retracing=settings.retracing == "relaxed")
        # Two graphs serve any number of lengths. With a known batch size, a step takes about a quarter less time.
        full = learner.as_graph(traced, input_signature=with_batch_size(signature, settings.batch_size))
        smaller = learner.as_graph(traced, input_signature=list(signature))
        return lambda inputs, targets: (full if batch_size(inputs) == settings.batch_size else smaller)(inputs, targets)

    return compiled


def with_batch_size(signature: tuple[Any, Any], size: int) -> list[Any]:
    """Returns the signature of batches with exactly `size` examples."""
    return [
        tf.nest.map_structure(lambda spec: tf.TensorSpec([size, *spec.shape[1:]], spec.dtype), part)
        for part in signature
    ]
