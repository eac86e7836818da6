"""Training as a generator of records: the reader decides what to do with them, outside the timed region."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from src.settings import Settings
from src.streams import generator
from src.training.clock import Timing, epoch_seconds
from src.training.health import Diverged
from src.training.histograms import of_all
from src.training.records import EVALUATION, HISTOGRAMS, STEP, Record

OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": keras.optimizers.SGD,
}
Batches = Callable[[np.ndarray], tf.data.Dataset]


@dataclass
class Fit:
    """What training leaves behind, filled while its records are read.

    Attributes:
      timings: one a step.
      accuracies: validation accuracy at the end of each epoch.
      traces: how often the training step was traced.
      best_epoch: the epoch of highest validation accuracy, the earliest on ties, counted from 1.
      best_weights: the weights after it.
    """

    timings: list[Timing] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    traces: int = 0
    best_epoch: int = 0
    best_weights: list[np.ndarray] = field(default_factory=list)


class Evaluated:
    """Loss and accuracy of a model on one split.

    Attributes:
      loss: mean cross-entropy.
      accuracy: share of examples whose class is right.
      probabilities: float32[N, K] in the order of the split's rows; one column for a sigmoid head.
    """

    def __init__(self, probabilities: np.ndarray, losses: np.ndarray, labels: np.ndarray) -> None:
        """Takes the result for every example."""
        self.probabilities = probabilities
        self.loss = float(losses.mean())
        self.accuracy = float((_classes(probabilities) == labels).mean())


def train(
    model: keras.Model, batches: Batches, evaluate: Callable[[], Evaluated], fit: Fit, *, settings: Settings, rows: int, last: int
) -> Iterator[Record]:
    """Trains the model, validates it, and says so; the model ends with the weights of the best epoch.

    A step's time runs from asking for its batch until its result is back. What the reader does between two records is in no
    step's time.

    Args:
      model: ids → logits.
      batches: order of rows → batches.
      evaluate: measures the model on the validation split.
      fit: filled while training goes on.
      settings: of the trial.
      rows: number of training examples.
      last: number of batches in an epoch; after the last one the epoch's own validation follows.

    Yields:
      `step` after every optimizer step; `evaluation` every `evaluate_every` steps and at the end of an epoch (with the epoch in
      its detail), also of one that `max_steps` cuts short (which has no `time/epoch_s`); `histograms` at the end of an epoch.

    Raises:
      Diverged: the loss or the gradient is not finite, after the record of that step.
    """
    update = _update(model, settings, fit)
    for epoch in range(1, settings.epochs + 1):
        order = generator(settings.seed, "order", epoch).permutation(rows)
        step = yield from _epoch(
            _steps(update, batches, order, fit, epoch=epoch, jit_compile=settings.jit_compile), evaluate, settings=settings, last=last
        )
        result = evaluate()
        fit.accuracies.append(result.accuracy)
        if result.accuracy > max(fit.accuracies[:-1], default=-1.0):
            fit.best_epoch, fit.best_weights = epoch, model.get_weights()
        epoch_s = epoch_seconds(fit.timings, epoch) if step.in_epoch == last else None
        yield _evaluation_record(step.number, result, epoch=epoch, epoch_s=epoch_s)
        if settings.tracking.histograms:
            yield Record(HISTOGRAMS, step.number, detail=of_all(_distributions(model, step.gradients, step.ids)))
        if step.number == settings.max_steps:
            break
        del step  # its gradients are as large as the model, and the next epoch has its own
    model.set_weights(fit.best_weights)


class _Step(NamedTuple):
    """One optimizer step.

    Attributes:
      number: counted from 1 over all epochs.
      in_epoch: counted from 1 in its epoch.
      timing: how long it took, and on what.
      loss: mean over the batch.
      right: examples of the batch whose class was right.
      norm: of the gradient, before it is clipped.
      ids: int32[B, T], what the model read.
      gradients: one for each trainable variable.
    """

    number: int
    in_epoch: int
    timing: Timing
    loss: float
    right: float
    norm: float
    ids: Any
    gradients: list[Any]


def _epoch(steps: Iterator[_Step], evaluate: Callable[[], Evaluated], *, settings: Settings, last: int) -> Generator[Record, None, _Step]:
    """Yields the records of an epoch's steps, with the means of the epoch so far, and of the validations between them.

    Returns:
      The last step: the epoch's, or that of `max_steps`.
    """
    seen, losses, correct = 0, 0.0, 0.0
    for step in steps:
        batch = step.timing.shape[0]
        seen, losses, correct = seen + batch, losses + step.loss * batch, correct + step.right
        yield _step_record(step, loss=losses / seen, accuracy=correct / seen)
        if not np.isfinite([step.loss, step.norm]).all():
            raise Diverged(step.number, "the loss" if not np.isfinite(step.loss) else "the gradient")
        if step.number == settings.max_steps:
            break
        if settings.evaluate_every and step.number % settings.evaluate_every == 0 and step.in_epoch < last:
            yield _evaluation_record(step.number, evaluate())
    return step


def _steps(update: Any, batches: Batches, order: np.ndarray, fit: Fit, *, epoch: int, jit_compile: bool) -> Iterator[_Step]:
    """Takes the optimizer steps of an epoch and measures each; what happens between two of them is in nobody's time."""
    shapes = {timing.shape for timing in fit.timings}
    begin, traces = time.perf_counter(), fit.traces  # setting up the pipeline belongs to the first batch's wait
    for in_epoch, (ids, labels, _) in enumerate(batches(order), 1):
        waited = time.perf_counter()
        numbers, gradients = update(ids, labels)
        loss, right, tokens, norm = numbers.numpy().tolist()  # waits for the step to end
        end = time.perf_counter()

        shape = (int(ids.shape[0]), int(ids.shape[1]))
        is_first = fit.traces > traces or (jit_compile and shape not in shapes)
        timing = Timing(epoch, (end - begin) * 1e3, (waited - begin) * 1e3, shape, int(tokens), is_first)
        shapes.add(shape)
        fit.timings.append(timing)
        yield _Step(len(fit.timings), in_epoch, timing, loss, right, norm, ids, gradients)
        begin, traces = time.perf_counter(), fit.traces


def evaluator(model: keras.Model, batches: Batches, labels: np.ndarray, *, settings: Settings) -> Callable[[], Evaluated]:
    """Returns a function that measures the model on one split as it is then.

    The split is batched and padded as in training: for a model without mask, padding is part of what it reads.

    Args:
      model: ids → logits.
      batches: order of rows → batches.
      labels: int32[N].
      settings: of the trial.
    """
    probabilities_of = {"sigmoid": tf.sigmoid, "softmax": tf.nn.softmax}[settings.head]

    def predict(ids: Any, targets: Any) -> Any:
        logits = model(ids, training=False)
        return probabilities_of(logits), _losses(settings.head, targets, logits)

    if settings.implementation != "eager_loop":
        predict = tf.function(predict, jit_compile=settings.jit_compile, input_signature=_signature())

    def evaluate() -> Evaluated:
        found, losses = None, np.zeros(len(labels), np.float32)
        for ids, targets, rows in batches(np.arange(len(labels))):
            probabilities, loss = predict(ids, targets)
            if found is None:
                found = np.zeros((len(labels), probabilities.shape[1]), np.float32)
            found[rows.numpy()], losses[rows.numpy()] = probabilities.numpy(), loss.numpy()
        assert found is not None, "no split is empty"
        return Evaluated(found, losses, labels)

    return evaluate


def weights_digest(model: keras.Model) -> str:
    """Returns a hash of all weights, the tag `ablation.weights`: equal exactly if every bit is."""
    total = hashlib.blake2b(digest_size=8)
    for weight in model.get_weights():
        total.update(np.ascontiguousarray(weight).tobytes())
    return total.hexdigest()


def _update(model: keras.Model, settings: Settings, fit: Fit) -> Any:
    optimizer = OPTIMIZERS[settings.optimizer](settings.learning_rate, global_clipnorm=settings.clip_norm)
    optimizer.build(model.trainable_variables)

    def update(ids: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            logits = model(ids, training=True)
            loss = tf.reduce_mean(_losses(settings.head, labels, logits))
        # Dense: as slices, a word that occurs twice would be two rows, for the norm, for clipping and for Adam's squares, and an
        # embedding would not train as the one-hot vector times a matrix that it is.
        gradients = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, model.trainable_variables)]
        optimizer.apply(gradients, model.trainable_variables)
        right = tf.reduce_sum(tf.cast(tf.equal(_classes(logits, threshold=0.0), labels), tf.float32))
        tokens = tf.cast(tf.math.count_nonzero(ids), tf.float32)
        return tf.stack([loss, right, tokens, tf.linalg.global_norm(gradients)]), gradients

    def traced(ids: Any, labels: Any) -> Any:
        fit.traces += 1  # Python runs only while the function is traced
        return update(ids, labels)

    if settings.implementation == "eager_loop":
        return update
    # Two graphs for any number of lengths: with its batch size known, a step takes about a quarter less time.
    full = tf.function(traced, jit_compile=settings.jit_compile, input_signature=_signature(settings.batch_size))
    smaller = tf.function(traced, jit_compile=settings.jit_compile, input_signature=_signature())
    return lambda ids, labels: (full if ids.shape[0] == settings.batch_size else smaller)(ids, labels)


def _signature(batch_size: int | None = None) -> list[tf.TensorSpec]:
    return [tf.TensorSpec([batch_size, None], tf.int32), tf.TensorSpec([batch_size], tf.int32)]


def _losses(head: str, labels: Any, logits: Any) -> Any:
    if head == "softmax":
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    return tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(labels, tf.float32), logits[:, 0])


def _classes(scores: Any, threshold: float = 0.5) -> Any:
    """int32[B] from probabilities, or from logits with threshold 0; one column is the score of class 1."""
    if scores.shape[-1] == 1:
        return (
            (scores[:, 0] > threshold).astype(np.int32) if isinstance(scores, np.ndarray) else tf.cast(scores[:, 0] > threshold, tf.int32)
        )
    return scores.argmax(-1) if isinstance(scores, np.ndarray) else tf.argmax(scores, -1, tf.int32)


def _step_record(step: _Step, *, loss: float, accuracy: float) -> Record:
    timing = step.timing
    metrics = {"train/loss": loss, "train/accuracy": accuracy, "time/batch_ms": timing.batch_ms}
    detail = {
        "epoch": timing.epoch,
        "wait_ms": timing.wait_ms,
        "batch": timing.shape[0],
        "length": timing.shape[1],
        "tokens": timing.tokens,
        "is_first": timing.is_first,
        "gradient_norm": step.norm,
    }
    return Record(STEP, step.number, metrics, detail)


def _evaluation_record(step: int, result: Evaluated, *, epoch: int | None = None, epoch_s: float | None = None) -> Record:
    metrics = {"val/loss": result.loss, "val/accuracy": result.accuracy}
    if epoch_s is not None:
        metrics["time/epoch_s"] = epoch_s
    return Record(EVALUATION, step, metrics, {"epoch": epoch})


def _distributions(model: keras.Model, gradients: list[Any], ids: Any) -> dict[str, dict[str, np.ndarray]]:
    """The weights, the gradients of the epoch's last step, and what every layer makes of that step's batch."""
    variables = model.trainable_variables
    shown = ("encoding", "recurrent", "readout", "head")
    layers = [layer for layer in model.layers if layer.name.startswith(shown) and not layer.name.endswith("initial_state")]
    outputs = keras.Model(model.inputs, [layer.output for layer in layers])(ids)
    return {
        "weights": {variable.path: variable.numpy() for variable in variables},
        "gradients": {variable.path: gradient.numpy() for variable, gradient in zip(variables, gradients, strict=True)},
        "activations": {layer.name: output.numpy() for layer, output in zip(layers, outputs, strict=True)},
    }
