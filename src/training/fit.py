"""Training as a generator of records. The consumer handles them outside the timed region."""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from src.spec.metric import TRAIN, VAL, Metric, on_every_split
from src.spec.record import EPOCH_SAMPLES, EVALUATION, FILES, HISTOGRAMS, PICTURES, STEP, Diverged, Record
from src.spec.settings import Settings
from src.training.clock import Timing, epoch_times
from src.training.epoch_graph import EpochGraph
from src.training.evaluation import Evaluated
from src.training.histograms import of_all
from src.training.phase import LOSS, Learner, Phase
from src.training.update import Numbers, Update, updater


@dataclass
class Fit:
    """The results of training, updated while its records are consumed.

    Attributes:
      timings: one per step.
      validations: validation value of the metric that chooses the epoch, after each one.
      epochs: the validation values of all metrics, after each one.
      traces: how often the training step was traced.
      best_epoch: the epoch with the best validation value, the earliest on ties, counted from 1.
      best_weights: the weights after the best epoch.
      best: the evaluation of the validation split after the best epoch; None if another process trained that epoch.
      samples: what the model could do after each epoch, with the `epoch`; see `KerasTask.epoch_samples`.
      earlier: number of steps of earlier processes; this process has no graphs of them.
      peak_mb: peak memory of the earlier processes and, after the test, of this one, in megabytes.
    """

    timings: list[Timing] = field(default_factory=list)
    validations: list[float] = field(default_factory=list)
    epochs: list[Mapping[str, float]] = field(default_factory=list)
    traces: int = 0
    best_epoch: int = 0
    best_weights: list[np.ndarray] = field(default_factory=list)
    best: Evaluated | None = None
    samples: list[dict[str, Any]] = field(default_factory=list)
    earlier: int = 0
    peak_mb: float = 0.0

    @classmethod
    def of_records(cls, records: Iterable[Record], metric: Metric) -> Fit:
        """Returns the results, without weights, of the training with these records; the last record ends an epoch."""
        fit = cls()
        for record in records:
            if record.kind == STEP:
                fit.timings.append(_timing(record))
            elif record.kind == EPOCH_SAMPLES:
                fit.samples += record.detail["samples"]
            elif record.kind == EVALUATION and record.detail["epoch"] is not None:
                fit.validations.append(record.metrics[f"{VAL}{metric.name}"])
                fit.epochs.append(record.metrics)
        fit.earlier = len(fit.timings)
        fit.best_epoch = best_epoch(fit.validations, metric)
        return fit

    def has_stalled(self, settings: Settings) -> bool:
        """Returns whether `patience` epochs have passed since the best one, which depends on the validations alone."""
        return settings.patience is not None and len(self.validations) - self.best_epoch >= settings.patience

    def count_trace(self) -> None:
        """Increments `traces`."""
        self.traces += 1


def best_epoch(values: Sequence[float], metric: Metric) -> int:
    """Returns the epoch of the best value, counted from 1.

    It is the earliest on ties, 1 if all values are NaN, and 0 if there are no values.
    """
    best = 0
    for epoch, value in enumerate(values, 1):
        if not best or metric.is_better(value, values[best - 1]):
            best = epoch
    return best


def train(
    learner: Learner,
    evaluate: Callable[[], Evaluated],
    fit: Fit,
    *,
    optimizer: keras.optimizers.Optimizer | None = None,
    layers: Sequence[Any] = (),
    samples: Callable[[], Iterable[Mapping[str, Any]]] = tuple,
    pictures: Callable[[int], Mapping[str, str]] = lambda _: {},
) -> Iterator[Record]:
    """Trains and validates the model, and yields its records. At the end the model has the weights of its best epoch.

    The time of a step runs from the request for its first batch until its result is available. It does not include
    what the consumer does between two records. With `execution=graph_epoch` the steps of a run (`epoch_graph`) are
    yielded after it, and each has an equal share of its time. A run ends before a validation and at `max_steps`.

    Training ends after `epochs`, at `max_steps`, or once `patience` epochs brought no better validation value.

    With averages of the weights, each validation, the samples and the best epoch's weights are those of the averages;
    training and the histograms have the trained weights.

    Args:
      learner: model, phase, metrics, settings and averages.
      evaluate: evaluates the model on the validation split.
      fit: updated during training. A `fit` of `Fit.of_records` resumes training after its epochs; the caller has
        already restored the variables of the model and of the optimizer.
      optimizer: from `update.new_optimizer`; None creates a new one.
      layers: the layers whose activations the histograms show.
      samples: returns what the model can do by now, as plain values; called after the validation of each epoch.
      pictures: writes pictures of the model by now, given the steps done; returns name → file. Called after `samples`.

    Yields:
      `step` after every optimizer step.
      `evaluation` every `evaluate_every` steps and at the end of every epoch. At the end of an epoch, its detail has
        the epoch and its metrics include `clock.epoch_times`, unless the model is fitted. An epoch that `max_steps`
        ends early is evaluated too, without these times.
      `histograms` of the weights before the first step, and of weights, gradients and activations at the end of every
        epoch.
      `epoch_samples` and `pictures` at the end of every epoch, unless there are none. The evaluation comes after them
        and is the last record of the epoch.

    Raises:
      Diverged: the loss or the gradient is not finite; raised after the record of that step.
    """
    model, settings, metrics = learner.model, learner.settings, learner.metrics
    steps_of = _taker(learner, fit, optimizer)
    last = steps_per_epoch(learner.phase, settings)
    if settings.tracking.histograms and not fit.timings:
        yield Record(HISTOGRAMS, 0, detail=of_all({"weights": _weights(model)}))
    while (
        len(fit.validations) < settings.epochs
        and len(fit.timings) != settings.max_steps
        and not fit.has_stalled(settings)
    ):
        epoch = len(fit.validations) + 1
        step = yield from _epoch(steps_of(epoch), evaluate, learner=learner, last=last)
        if learner.averaging:
            learner.averaging.epoch_ended(epoch)
        with learner.averaged():
            result = evaluate()
            recorded = result.recorded(metrics, prefix=VAL)
            fit.validations.append(recorded[f"{VAL}{learner.selection.name}"])
            fit.epochs.append(recorded)
            if best_epoch(fit.validations, learner.selection) == epoch:
                fit.best_epoch, fit.best_weights, fit.best = epoch, model.get_weights(), result
            shown = [{"epoch": epoch, **sample} for sample in samples()]
            drawn = pictures(step.number)
        if learner.averaging:
            learner.averaging.trigger(fit.validations)
        is_timed = step.in_epoch == last and not learner.phase.is_fitted
        times = epoch_times(fit.timings, epoch) if is_timed else {}
        if settings.tracking.histograms:
            yield Record(HISTOGRAMS, step.number, detail=of_all(_distributions(model, step, layers)))
        number = step.number
        del step  # frees its gradients, which are as large as the model
        if shown:
            fit.samples += shown
            yield Record(EPOCH_SAMPLES, number, detail={"samples": shown})
        if drawn:
            yield Record(PICTURES, number, detail={FILES: drawn})
        yield _evaluation_record(number, recorded, epoch=epoch, times=times)
    model.set_weights(fit.best_weights)


def endless(learner: Learner, optimizer: keras.optimizers.Optimizer, *, every: int) -> Iterator[Record]:
    """Trains without end, without validation, and yields a `step` after every optimizer step.

    The epochs of the settings are repeated. Steps are timed as in `train`.

    Args:
      learner: model, phase, metrics and settings.
      optimizer: optimizer of the model.
      every: with `execution=graph_epoch`, the number of steps of one call.
    """
    settings = learner.settings.model_copy(update={"max_steps": None, "evaluate_every": every})
    steps_of = _taker(replace(learner, settings=settings), Fit(), optimizer)
    for number in itertools.count():
        for step in steps_of(number % settings.epochs + 1):
            yield _step_record(step, {})


def steps_per_epoch(phase: Phase, settings: Settings) -> int:
    """Returns the number of optimizer steps of an epoch, each of which has `accumulate` batches."""
    return math.ceil(phase.batches_per_epoch / settings.accumulate)


def planned_steps(phase: Phase, settings: Settings) -> int:
    """Returns the number of optimizer steps of the training."""
    return min(settings.epochs * steps_per_epoch(phase, settings), settings.max_steps or sys.maxsize)


class _Step(NamedTuple):
    """One optimizer step.

    Attributes:
      number: counted from 1 over all epochs.
      in_epoch: counted from 1 in its epoch.
      timing: its time, shapes and traces.
      numbers: its loss, quantities and gradient norm.
      inputs: inputs of its last batch.
      gradients: one per trainable variable; empty for a step of a run that is not its last.
    """

    number: int
    in_epoch: int
    timing: Timing
    numbers: Numbers
    inputs: Any
    gradients: list[Any]


def _epoch(
    steps: Iterator[_Step], evaluate: Callable[[], Evaluated], *, learner: Learner, last: int
) -> Generator[Record, None, _Step]:
    """Yields the records of an epoch's steps, with running means, and of the evaluations between them.

    Returns:
      The last step: that of the epoch, or the one at which `max_steps` ends training.
    """
    settings, totals = learner.settings, dict.fromkeys((LOSS, *learner.quantities), (0.0, 0.0))
    for step in steps:
        totals = {
            name: (total + step.numbers.sums[name][0], weight + step.numbers.sums[name][1])
            for name, (total, weight) in totals.items()
        }
        yield _step_record(step, _running(totals, learner.metrics))
        loss, norm = step.numbers.loss, step.numbers.norm
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise Diverged(step.number, "the gradient" if math.isfinite(loss) else "the loss")
        if step.number == settings.max_steps:
            break
        if settings.evaluate_every and step.number % settings.evaluate_every == 0 and step.in_epoch < last:
            with learner.averaged():
                result = evaluate()
            yield _evaluation_record(step.number, result.recorded(learner.metrics, prefix=VAL))
    return step


def _running(totals: Mapping[str, tuple[float, float]], metrics: Sequence[Metric]) -> dict[str, float]:
    """Returns the loss and the task's metrics over all examples so far; NaN if their weight is zero."""
    means = {name: total / weight if weight else math.nan for name, (total, weight) in totals.items()}
    return {
        f"{TRAIN}{LOSS}": means[LOSS],
        **{f"{TRAIN}{metric.name}": metric.value(means[metric.source]) for metric in on_every_split(metrics)},
    }


def _taker(
    learner: Learner, fit: Fit, optimizer: keras.optimizers.Optimizer | None
) -> Callable[[int], Iterator[_Step]]:
    """Returns a function that takes the steps of an epoch (counted from 1)."""
    if learner.settings.execution == "graph_epoch":
        graph = EpochGraph(learner, on_trace=fit.count_trace, optimizer=optimizer)
        return functools.partial(_steps_of_runs, graph, learner, fit)
    update = updater(learner, on_trace=fit.count_trace, optimizer=optimizer)
    return functools.partial(_steps, update, learner, fit)


def _steps(update: Update, learner: Learner, fit: Fit, epoch: int) -> Iterator[_Step]:
    """Takes the optimizer steps of an epoch and times each; no step's time includes what the consumer does."""
    phase, settings = learner.phase, learner.settings
    seen = {shape for timing in fit.timings[fit.earlier :] for shape in timing.shapes}
    shapes, parts, waited, in_epoch = [], [], 0.0, 0
    begin = requested = time.perf_counter()  # the input wait of the first batch includes the set-up of the pipeline
    traces, number = fit.traces, 0
    for number, (inputs, targets, _) in enumerate(phase.training(epoch), 1):
        waited += time.perf_counter() - requested
        is_whole = number % settings.accumulate == 0 or number == phase.batches_per_epoch
        part, gradients = update(inputs, targets, is_whole)
        shapes.append(phase.shape(inputs))
        parts.append(part)
        if not is_whole:
            requested = time.perf_counter()
            continue
        numbers = Numbers(learner, [part.numpy() for part in parts])  # waits for the end of the step
        end = time.perf_counter()

        in_epoch += 1
        traced = max(fit.traces - traces, len({*shapes} - seen) if settings.uses_xla else 0)
        timing = _timed(numbers, shapes, epoch=epoch, seconds=(end - begin, waited), traces=traced)
        seen.update(shapes)
        fit.timings.append(timing)
        yield _Step(len(fit.timings), in_epoch, timing, numbers, inputs, gradients)
        shapes, parts, waited = [], [], 0.0
        begin = requested = time.perf_counter()
        traces = fit.traces
    _check_count(number, phase, epoch)


def _steps_of_runs(graph: EpochGraph, learner: Learner, fit: Fit, epoch: int) -> Iterator[_Step]:
    """Takes the optimizer steps of an epoch in runs and times each run; a step's time is that of its run / its steps.

    The input wait is the time in which the batches of a run are collected, before its call.
    """
    phase, in_epoch = learner.phase, 0
    begin = time.perf_counter()
    for run in graph.runs(phase.training(epoch), lambda: _steps_until_stop(learner.settings, done=len(fit.timings))):
        waited, traces = time.perf_counter() - begin, fit.traces
        table, gradients = graph(run)
        seconds = ((time.perf_counter() - begin) / len(run), waited / len(run))
        for place, (row, (inputs, _, _)) in enumerate(zip(table, run, strict=True), 1):
            numbers, shapes = Numbers(learner, [row]), [phase.shape(inputs)]
            timing = _timed(numbers, shapes, epoch=epoch, seconds=seconds, traces=fit.traces - traces)
            fit.timings.append(timing)
            in_epoch += 1
            of_step = gradients if place == len(run) else []
            yield _Step(len(fit.timings), in_epoch, timing, numbers, inputs, of_step)
        begin = time.perf_counter()
    _check_count(in_epoch, phase, epoch)


def _steps_until_stop(settings: Settings, *, done: int) -> int:
    """Returns the number of steps until the next validation within an epoch or until `max_steps`."""
    every, most = settings.evaluate_every, settings.max_steps
    return min(every - done % every if every else sys.maxsize, most - done if most else sys.maxsize)


def _timed(
    numbers: Numbers, shapes: Sequence[tuple[int, int]], *, epoch: int, seconds: tuple[float, float], traces: int
) -> Timing:
    """Returns the timing of a step with batches of these shapes; `seconds` are its time and its input wait."""
    positions = sum(examples * steps for examples, steps in shapes)
    real = positions if numbers.real_positions is None else numbers.real_positions
    return Timing(epoch, seconds[0] * 1e3, seconds[1] * 1e3, tuple(shapes), real, traces)


def _check_count(number: int, phase: Phase, epoch: int) -> None:
    if number != phase.batches_per_epoch:
        raise ValueError(
            f"epoch {epoch} has {number} batches; the phase says batches_per_epoch={phase.batches_per_epoch}"
        )


def weights_digest(model: keras.Model) -> str:
    """Returns a hash of all weights, the tag `ablation.weights`; it is equal only if every bit is equal."""
    total = hashlib.blake2b(digest_size=8)
    for weight in model.get_weights():
        total.update(np.ascontiguousarray(weight).tobytes())
    return total.hexdigest()


def _step_record(step: _Step, means: Mapping[str, float]) -> Record:
    timing = step.timing
    detail = {
        "epoch": timing.epoch,
        "wait_ms": timing.wait_ms,
        "batch": timing.examples,
        "length": timing.positions / timing.examples,
        "tokens": timing.tokens,
        "is_first": timing.is_first,
        "loss": step.numbers.loss,
        "gradient_norm": step.numbers.norm,
        "traces": timing.traces,
        "shapes": timing.shapes,
    }
    return Record(STEP, step.number, {**means, "time/batch_ms": timing.batch_ms}, detail)


def _timing(record: Record) -> Timing:
    """Returns the timing of a step from its record."""
    detail = record.detail
    shapes = tuple((rows, steps) for rows, steps in detail["shapes"])
    batch_ms, wait_ms = record.metrics["time/batch_ms"], detail["wait_ms"]
    is_profiled = detail["is_first"] and detail["traces"] == 0
    return Timing(detail["epoch"], batch_ms, wait_ms, shapes, detail["tokens"], detail["traces"], is_profiled)


def _evaluation_record(
    step: int, metrics: Mapping[str, float], *, epoch: int | None = None, times: Mapping[str, float] | None = None
) -> Record:
    return Record(EVALUATION, step, {**metrics, **(times or {})}, {"epoch": epoch})


def _weights(model: keras.Model) -> dict[str, np.ndarray]:
    return {variable.path: variable.numpy() for variable in model.trainable_variables}


def _distributions(model: keras.Model, step: _Step, layers: Sequence[Any]) -> dict[str, dict[str, np.ndarray]]:
    """Returns the weights, the gradients of a step, and the layers' outputs for the last batch of that step."""
    outputs = keras.Model(model.input, {layer.name: layer.output for layer in layers})(step.inputs) if layers else {}
    gradients = zip(model.trainable_variables, map(tf.convert_to_tensor, step.gradients), strict=True)
    return {
        "weights": _weights(model),
        "gradients": {variable.path: gradient.numpy() for variable, gradient in gradients},
        "activations": _arrays(outputs),
    }


def _arrays(outputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns every output of every layer by name; the second output of `attention` is `attention_2`."""
    arrays = {}
    for name, output in outputs.items():
        for place, part in enumerate(tf.nest.flatten(output), 1):
            arrays[name if place == 1 else f"{name}_{place}"] = np.asarray(part)
    return arrays


def restore(variables: Sequence[Any], values: Sequence[np.ndarray]) -> None:
    """Assigns the values of a checkpoint to the variables.

    Raises:
      ValueError: the number, a shape or a type differs.
    """
    expected = [(tuple(variable.shape), str(variable.dtype)) for variable in variables]
    if expected != [(value.shape, value.dtype.name) for value in values]:
        raise ValueError("the checkpoint holds the variables of another model; rerun=true trains from the beginning")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
