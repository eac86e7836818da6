"""Optimizer steps: the gradient of one batch, or of several added up, and what it does to the weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from src.settings import Settings

OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": keras.optimizers.SGD,
}

# targets [B] and outputs float32[B, K] → float32[B]
LOSSES: dict[str, Callable[[Any, Any], Any]] = {
    "sigmoid": lambda classes, logits: tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(classes, tf.float32), logits[:, 0]),
    "softmax": tf.nn.sparse_softmax_cross_entropy_with_logits,
    "squared": lambda values, outputs: tf.square(outputs[:, 0] - values),
}
Update = Callable[[Any, Any, bool], tuple[Any, list[Any]]]
Gradients = Callable[[Any, Any], tuple[list[Any], list[Any]]]


def new_optimizer(model: keras.Model, settings: Settings) -> keras.optimizers.Optimizer:
    """Returns the optimizer of a model's weights, with all of its variables."""
    optimizer = OPTIMIZERS[settings.optimizer](settings.learning_rate, global_clipnorm=settings.clip_norm)
    optimizer.build(model.trainable_variables)
    # One device has nothing to add up, and the sum that Keras takes all the same goes through a custom gradient, of which TensorFlow keeps
    # a registration, and with it this graph, for as long as the process lives: some megabytes a trial (tensorflow issues 92094, 97697).
    optimizer._all_reduce_sum_gradients = lambda gradients_and_variables: gradients_and_variables
    return optimizer


def updater(
    model: keras.Model,
    *,
    loss: str,
    settings: Settings,
    on_trace: Callable[[], None],
    optimizer: keras.optimizers.Optimizer | None = None,
) -> Update:
    """Returns a function that takes a batch and changes the weights.

    Args:
      model: inputs → outputs float32[B, K].
      loss: key of `LOSSES`.
      settings: optimizer, learning rate, clipping, `accumulate`, and how the step is compiled.
      on_trace: called whenever Python is traced into a graph.
      optimizer: of the model's weights, as `new_optimizer` returns it; a new one if left out.

    Returns:
      (inputs, targets, is_whole) → (float32[4]: mean loss, examples whose class was right, real steps, global norm of the gradient;
      the gradients). Until `is_whole`, gradients are added up, and norm and gradients stay out (0 and []). With a mask and
      without dropout, a step of several batches is that of one batch which holds all of their examples.
    """
    applied = optimizer or new_optimizer(model, settings)

    def gradients_of(inputs: Any, targets: Any) -> tuple[list[Any], list[Any]]:
        with tf.GradientTape() as tape:
            outputs = model(inputs, training=True)
            value = tf.reduce_mean(LOSSES[loss](targets, outputs))
        # Dense: as slices, a word that occurs twice would be two rows, for the norm, for clipping and for Adam's squares, and an
        # embedding would not train as the one-hot vector times a matrix that it is.
        gradients = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(value, model.trainable_variables)]
        right = tf.reduce_sum(tf.cast(tf.equal(classes(outputs, threshold=0.0), _wanted(targets)), tf.float32))
        tokens = tf.math.count_nonzero(inputs) if inputs.dtype == tf.int32 else tf.size(inputs)  # id 0 is padding; noise has none
        return [value, right, tf.cast(tokens, tf.float32)], gradients

    def apply(gradients: list[Any]) -> Any:
        applied.apply(gradients, model.trainable_variables)
        return tf.linalg.global_norm(gradients)

    compiled = _compiler(model, settings, targets=tf.float32 if loss == "squared" else tf.int32, on_trace=on_trace)
    if settings.accumulate == 1:
        return _at_once(gradients_of, apply, compiled=compiled)
    whole = None if settings.implementation == "eager_loop" else {"jit_compile": settings.jit_compile, "autograph": False}
    return _accumulating(model.trainable_variables, gradients_of, apply, compiled=compiled, whole=whole)


def _at_once(gradients_of: Gradients, apply: Callable[[list[Any]], Any], *, compiled: Callable[..., Any]) -> Update:
    """Returns an update that takes a step with every batch, in one graph."""

    def step(inputs: Any, targets: Any) -> tuple[Any, list[Any]]:
        numbers, gradients = gradients_of(inputs, targets)
        return tf.stack([*numbers, apply(gradients)]), gradients

    taken = compiled(step)
    return lambda inputs, targets, is_whole: taken(inputs, targets)


def _accumulating(
    variables: list[Any],
    gradients_of: Gradients,
    apply: Callable[[list[Any]], Any],
    *,
    compiled: Callable[..., Any],
    whole: dict[str, Any] | None,
) -> Update:
    """Returns an update that adds gradients up, each by its number of examples, and takes a step with their mean.

    Args:
      variables: that the gradients are of.
      gradients_of: (inputs, targets) → numbers and gradients of the mean loss.
      apply: changes the weights by gradients, and returns their norm.
      compiled: makes a graph of what takes a batch.
      whole: how the step itself is compiled; None if it is not.
    """
    sums, rows = [tf.Variable(tf.zeros_like(variable)) for variable in variables], tf.Variable(0.0)

    def add(inputs: Any, targets: Any) -> Any:
        numbers, gradients = gradients_of(inputs, targets)
        count = tf.cast(tf.shape(targets)[0], tf.float32)
        for total, gradient in zip(sums, gradients, strict=True):
            total.assign_add(count * gradient)
        rows.assign_add(count)
        return tf.stack(numbers)

    def finish() -> tuple[Any, list[Any]]:
        gradients = [total / rows for total in sums]
        norm = apply(gradients)
        for total in (*sums, rows):
            total.assign(tf.zeros_like(total))
        return norm, gradients

    added, finished = compiled(add), finish if whole is None else tf.function(finish, **whole)

    def update(inputs: Any, targets: Any, is_whole: bool) -> tuple[Any, list[Any]]:
        numbers = added(inputs, targets)
        norm, gradients = finished() if is_whole else (tf.constant(0.0), [])
        return tf.concat([numbers, [norm]], axis=0), gradients

    return update


def signature(model: keras.Model, *, targets: tf.DType, batch_size: int | None = None) -> list[tf.TensorSpec]:
    """Returns what a graph for batches of any length takes: inputs and targets."""
    inputs = model.inputs[0]
    return [tf.TensorSpec([batch_size, *inputs.shape[1:]], inputs.dtype), tf.TensorSpec([batch_size], targets)]


def classes(scores: Any, threshold: float = 0.5) -> Any:
    """int32[B] from probabilities, or from logits with threshold 0; one column is the score of class 1."""
    if scores.shape[-1] == 1:
        return (
            (scores[:, 0] > threshold).astype(np.int32) if isinstance(scores, np.ndarray) else tf.cast(scores[:, 0] > threshold, tf.int32)
        )
    return scores.argmax(-1) if isinstance(scores, np.ndarray) else tf.argmax(scores, -1, tf.int32)


def _wanted(targets: Any) -> Any:
    """int32[B]: classes as they are, and 1 for a value above 0."""
    return targets if targets.dtype == tf.int32 else tf.cast(targets > 0, tf.int32)


def _compiler(model: keras.Model, settings: Settings, *, targets: tf.DType, on_trace: Callable[[], None]) -> Callable[..., Any]:
    """Returns what makes a graph of a function of (inputs, targets), as `implementation` and `retracing` want it."""

    def compiled(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        if settings.implementation == "eager_loop":
            return function

        def traced(inputs: Any, labels: Any) -> Any:
            on_trace()  # Python runs only while the function is traced
            return function(inputs, labels)

        how: dict[str, Any] = {"jit_compile": settings.jit_compile, "autograph": False}
        if settings.retracing != "signature":
            graph: Callable[[Any, Any], Any] = tf.function(traced, reduce_retracing=settings.retracing == "relaxed", **how)
            return graph
        # Two graphs for any number of lengths: with its batch size known, a step takes about a quarter less time.
        full = tf.function(traced, input_signature=signature(model, targets=targets, batch_size=settings.batch_size), **how)
        smaller = tf.function(traced, input_signature=signature(model, targets=targets), **how)
        return lambda inputs, labels: (full if inputs.shape[0] == settings.batch_size else smaller)(inputs, labels)

    return compiled
