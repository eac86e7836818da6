"""Training as a generator of records: the reader decides what to do with them, outside the timed region."""

from __future__ import annotations

import functools
import hashlib
import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from src.settings import Settings
from src.training.clock import Timing, epoch_times
from src.training.health import Diverged
from src.training.histograms import of_all
from src.training.problem import HeldOut, Problem
from src.training.records import EVALUATION, HISTOGRAMS, STEP, Record
from src.training.update import LOSSES, Update, classes, signature, updater


@dataclass
class Fit:
    """What training leaves behind, filled while its records are read.

    Attributes:
      timings: one a step.
      accuracies: validation accuracy at the end of each epoch.
      traces: how often the training step was traced.
      best_epoch: the epoch of highest validation accuracy, the earliest on ties, counted from 1.
      best_weights: the weights after it.
      best_probabilities: float32[N, K] that it gave the validation split; empty if another process trained that epoch.
      earlier: steps that another process took, whose graphs this one has not.
      peak_mb: of that process' memory.
    """

    timings: list[Timing] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    traces: int = 0
    best_epoch: int = 0
    best_weights: list[np.ndarray] = field(default_factory=list)
    best_probabilities: np.ndarray = field(default_factory=lambda: np.empty((0, 1), np.float32))
    earlier: int = 0
    peak_mb: float = 0.0

    @classmethod
    def of_records(cls, records: Iterable[Record]) -> Fit:
        """Returns what training had left behind, without weights, when it had yielded these records; the last ends an epoch."""
        fit = cls()
        for record in records:
            if record.kind == STEP:
                fit.timings.append(_timing(record))
            elif record.kind == EVALUATION and record.detail["epoch"] is not None:
                fit.accuracies.append(record.metrics["val/accuracy"])
        fit.earlier = len(fit.timings)
        fit.best_epoch = fit.accuracies.index(max(fit.accuracies)) + 1 if fit.accuracies else 0
        return fit

    def count_trace(self) -> None:
        """Counts one."""
        self.traces += 1


class Evaluated:
    """Loss and accuracy of a model on one split.

    Attributes:
      loss: mean over the examples.
      accuracy: share of examples whose class is right.
      probabilities: float32[N, K] in the order of the split's rows; one column for a sigmoid head.
    """

    def __init__(self, probabilities: np.ndarray, losses: np.ndarray, labels: np.ndarray) -> None:
        """Takes the result for every example."""
        self.probabilities = probabilities
        self.loss = float(losses.mean())
        self.accuracy = float((classes(probabilities) == labels).mean())


def train(
    model: keras.Model,
    problem: Problem,
    evaluate: Callable[[], Evaluated],
    fit: Fit,
    *,
    settings: Settings,
    optimizer: keras.optimizers.Optimizer | None = None,
) -> Iterator[Record]:
    """Trains the model, validates it, and says so; the model ends with the weights of the best epoch.

    A step's time runs from asking for its first batch until its result is back. What the reader does between two records is in no
    step's time.

    Args:
      model: inputs → outputs.
      problem: what it learns.
      evaluate: measures the model on the validation split.
      fit: filled while training goes on. With `Fit.of_records`, training goes on after the epochs that are in it: the caller
        has given the variables of the model and of the optimizer the values that they had then.
      settings: of the trial.
      optimizer: as `update.new_optimizer` returns it; a new one if left out.

    Yields:
      `step` after every optimizer step; `evaluation` every `evaluate_every` steps and at the end of an epoch (with the epoch in
      its detail and `clock.epoch_times` among its metrics), also of one that `max_steps` cuts short (which has no such times);
      `histograms` of the weights before the first step, and of everything at the end of an epoch, before its evaluation, which is the
      epoch's last record.

    Raises:
      Diverged: the loss or the gradient is not finite, after the record of that step.
    """
    update = updater(model, loss=problem.loss, settings=settings, on_trace=fit.count_trace, optimizer=optimizer)
    last = steps_per_epoch(problem, settings)
    if settings.tracking.histograms and not fit.timings:
        yield Record(HISTOGRAMS, 0, detail=of_all({"weights": _weights(model)}))
    while len(fit.accuracies) < settings.epochs and len(fit.timings) != settings.max_steps:
        epoch = len(fit.accuracies) + 1
        step = yield from _epoch(_steps(update, problem, fit, epoch=epoch, settings=settings), evaluate, settings=settings, last=last)
        result = evaluate()
        fit.accuracies.append(result.accuracy)
        if result.accuracy > max(fit.accuracies[:-1], default=-1.0):
            fit.best_epoch, fit.best_weights, fit.best_probabilities = epoch, model.get_weights(), result.probabilities
        times = epoch_times(fit.timings, epoch) if step.in_epoch == last else {}
        if settings.tracking.histograms:
            yield Record(HISTOGRAMS, step.number, detail=of_all(_distributions(model, step.gradients, step.inputs)))
        number = step.number
        del step  # its gradients are as large as the model, and the next epoch has its own
        yield _evaluation_record(number, result, epoch=epoch, times=times)
    model.set_weights(fit.best_weights)


def steps_per_epoch(problem: Problem, settings: Settings) -> int:
    """Returns the optimizer steps of an epoch: its batches, `accumulate` of them a step."""
    return math.ceil(problem.batches_per_epoch / settings.accumulate)


class _Step(NamedTuple):
    """One optimizer step.

    Attributes:
      number: counted from 1 over all epochs.
      in_epoch: counted from 1 in its epoch.
      timing: how long it took, and on what.
      loss: mean over the batch.
      right: examples of the batch whose class was right.
      norm: of the gradient, before it is clipped.
      inputs: of its last batch.
      gradients: one for each trainable variable.
    """

    number: int
    in_epoch: int
    timing: Timing
    loss: float
    right: float
    norm: float
    inputs: Any
    gradients: list[Any]


def _epoch(steps: Iterator[_Step], evaluate: Callable[[], Evaluated], *, settings: Settings, last: int) -> Generator[Record, None, _Step]:
    """Yields the records of an epoch's steps, with the means of the epoch so far, and of the validations between them.

    Returns:
      The last step: the epoch's, or that of `max_steps`.
    """
    seen, losses, correct = 0, 0.0, 0.0
    for step in steps:
        batch = step.timing.examples
        seen, losses, correct = seen + batch, losses + step.loss * batch, correct + step.right
        yield _step_record(step, loss=losses / seen, accuracy=correct / seen)
        if not np.isfinite([step.loss, step.norm]).all():
            raise Diverged(step.number, "the loss" if not np.isfinite(step.loss) else "the gradient")
        if step.number == settings.max_steps:
            break
        if settings.evaluate_every and step.number % settings.evaluate_every == 0 and step.in_epoch < last:
            yield _evaluation_record(step.number, evaluate())
    return step


def _steps(update: Update, problem: Problem, fit: Fit, *, epoch: int, settings: Settings) -> Iterator[_Step]:
    """Takes the optimizer steps of an epoch and measures each; what happens between two of them is in nobody's time."""
    known = {shape for timing in fit.timings[fit.earlier :] for shape in timing.shapes}
    shapes, parts, waited, in_epoch = [], [], 0.0, 0
    begin = asked = time.perf_counter()  # setting up the pipeline belongs to the first batch's wait
    traces = fit.traces
    for number, (inputs, targets, _) in enumerate(problem.training(epoch), 1):
        waited += time.perf_counter() - asked
        is_whole = number % settings.accumulate == 0 or number == problem.batches_per_epoch
        numbers, gradients = update(inputs, targets, is_whole)
        shapes.append((int(inputs.shape[0]), int(inputs.shape[1])))
        parts.append(numbers)
        if not is_whole:
            asked = time.perf_counter()
            continue
        values = np.array([part.numpy() for part in parts], np.float64)  # waits for the step to end
        end = time.perf_counter()

        in_epoch += 1
        traced = max(fit.traces - traces, len({*shapes} - known) if settings.jit_compile else 0)
        timing = Timing(epoch, (end - begin) * 1e3, waited * 1e3, tuple(shapes), int(values[:, 2].sum()), traced)
        loss = float(np.average(values[:, 0], weights=[rows for rows, _ in shapes]))
        known.update(shapes)
        fit.timings.append(timing)
        yield _Step(len(fit.timings), in_epoch, timing, loss, float(values[:, 1].sum()), float(values[-1, 3]), inputs, gradients)
        shapes, parts, waited = [], [], 0.0
        begin = asked = time.perf_counter()
        traces = fit.traces


def evaluators(model: keras.Model, problem: Problem, *, settings: Settings) -> dict[str, Callable[[], Evaluated]]:
    """Returns for each held-out split a function that measures the model on it as it is then.

    A split is batched and padded as in training: for a model without mask, padding is part of what it reads. With the loss `squared`,
    which has no probabilities, they are sigmoid(output): on the side of 1/2 of the class.

    Args:
      model: inputs → outputs.
      problem: what it learns.
      settings: of the trial.
    """
    probabilities_of = tf.nn.softmax if problem.loss == "softmax" else tf.sigmoid

    def predict(inputs: Any, targets: Any) -> Any:
        outputs = model(inputs, training=False)
        return probabilities_of(outputs), LOSSES[problem.loss](targets, outputs)

    if settings.implementation != "eager_loop":
        specs = signature(model, targets=tf.float32 if problem.loss == "squared" else tf.int32)
        predict = tf.function(predict, jit_compile=settings.jit_compile, autograph=False, input_signature=specs)
    return {name: functools.partial(_evaluated, predict, split) for name, split in problem.held_out.items()}


def _evaluated(predict: Callable[[Any, Any], Any], split: HeldOut) -> Evaluated:
    found, losses = None, np.full(len(split.labels), np.nan, np.float32)
    for inputs, targets, rows in split.batches():
        probabilities, lost = predict(inputs, targets)
        if found is None:
            found = np.full((len(losses), probabilities.shape[1]), np.nan, np.float32)
        found[rows.numpy()], losses[rows.numpy()] = probabilities.numpy(), lost.numpy()
    assert found is not None, "no split is empty"
    return Evaluated(found, losses, split.labels)


def weights_digest(model: keras.Model) -> str:
    """Returns a hash of all weights, the tag `ablation.weights`: equal exactly if every bit is."""
    total = hashlib.blake2b(digest_size=8)
    for weight in model.get_weights():
        total.update(np.ascontiguousarray(weight).tobytes())
    return total.hexdigest()


def _step_record(step: _Step, *, loss: float, accuracy: float) -> Record:
    timing = step.timing
    metrics = {"train/loss": loss, "train/accuracy": accuracy, "time/batch_ms": timing.batch_ms}
    detail = {
        "epoch": timing.epoch,
        "wait_ms": timing.wait_ms,
        "batch": timing.examples,
        "length": timing.cells / timing.examples,
        "tokens": timing.tokens,
        "is_first": timing.is_first,
        "gradient_norm": step.norm,
        "traces": timing.traces,
        "shapes": timing.shapes,
    }
    return Record(STEP, step.number, metrics, detail)


def _timing(record: Record) -> Timing:
    """Returns the timing of a step from its record."""
    detail = record.detail
    shapes = tuple((rows, steps) for rows, steps in detail["shapes"])
    batch_ms, wait_ms = record.metrics["time/batch_ms"], detail["wait_ms"]
    is_profiled = detail["is_first"] and detail["traces"] == 0
    return Timing(detail["epoch"], batch_ms, wait_ms, shapes, detail["tokens"], detail["traces"], is_profiled)


def _evaluation_record(step: int, result: Evaluated, *, epoch: int | None = None, times: Mapping[str, float] | None = None) -> Record:
    return Record(EVALUATION, step, {"val/loss": result.loss, "val/accuracy": result.accuracy, **(times or {})}, {"epoch": epoch})


def _weights(model: keras.Model) -> dict[str, np.ndarray]:
    return {variable.path: variable.numpy() for variable in model.trainable_variables}


def _distributions(model: keras.Model, gradients: list[Any], inputs: Any) -> dict[str, dict[str, np.ndarray]]:
    """The weights, the gradients of the epoch's last step, and what every layer makes of that step's batch."""
    shown = ("encoding", "recurrent", "readout", "head")
    layers = [layer for layer in model.layers if layer.name.startswith(shown) and not layer.name.endswith("initial_state")]
    outputs = keras.Model(model.inputs, [layer.output for layer in layers])(inputs)
    return {
        "weights": _weights(model),
        "gradients": {one.path: gradient.numpy() for one, gradient in zip(model.trainable_variables, gradients, strict=True)},
        "activations": {layer.name: output.numpy() for layer, output in zip(layers, outputs, strict=True)},
    }
