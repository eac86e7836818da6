"""Real training in rounds, so that two ways of training take turns: ours, and `model.fit`."""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.result import Estimate, ratio_of_pairs
from src.config.settings import checked, edited
from src.training.clock import Timing
from src.trial.prepare import Prepared, prepare

EPOCHS = 10_000  # a benchmark stops earlier
Times = list[float]  # milliseconds of each step; nan where a step traced, compiled or started something


def prepared(task: str = "sentiment", **changes: Any) -> Prepared:
    """Returns a trial of a task with its default settings, except for changes; keys may contain dots."""
    return prepare(edited(checked({"task": task}), {"tracking.histograms": False, "epochs": EPOCHS, **changes}))


def ours(trial: Prepared, count: int | None = None, *, repeats: bool = False) -> Iterator[Times]:
    """Trains as a trial does, and yields the milliseconds of the steps of each round; arguments as in `timings`."""
    for of_round in timings(trial, count, repeats=repeats):
        yield [math.nan if timing.is_first else timing.batch_ms for timing in of_round]


def timings(trial: Prepared, count: int | None = None, *, repeats: bool = False) -> Iterator[list[Timing]]:
    """Trains as a trial does, without validation and records, and yields the timings of each round.

    Args:
      trial: the trial.
      count: batches of a round: the first ones of each epoch; None for the whole epoch.
      repeats: take the batches of the first epoch in every round, already read.
    """
    from src.spec.record import EVALUATION
    from src.training.evaluation import Evaluated
    from src.training.fit import Fit, train
    from src.training.phase import LOSS, Learner
    from src.training.startup import fresh_session, import_tensorflow

    import_tensorflow()
    task: Any = trial.task
    fresh_session(trial.settings.seed)
    model, phase, fit = task.model(trial.settings, trial.data), task.phase(trial.settings, trial.data), Fit()
    if count is not None:
        phase = _shortened(phase, count, repeats=repeats)
    learner = Learner(model, phase, task.metrics, trial.settings)
    one = {name: np.ones(1) for name in (LOSS, *learner.quantities)}
    judged = Evaluated(one, one, scores={metric.name: 1.0 for metric in task.metrics if metric.of_corpus})
    optimizer = task.optimizer(model, trial.settings)
    for record in train(learner, lambda: judged, fit, optimizer=optimizer):
        if record.kind == EVALUATION:
            yield [timing for timing in fit.timings if timing.epoch == record.detail["epoch"]]


def _shortened(phase: Any, count: int, *, repeats: bool) -> Any:
    """Returns a phase with the first batches of each epoch, or with those of the first epoch in all epochs."""
    whole = phase.training
    first = list(itertools.islice(whole(1), count)) if repeats else []
    training = (lambda epoch: iter(first)) if repeats else (lambda epoch: itertools.islice(whole(epoch), count))
    return dataclasses.replace(phase, training=training, batches_per_epoch=count)


def shapes(trial: Prepared, count: int) -> list[tuple[int, ...]]:
    """Returns the shape of the inputs of the first batches of the first epoch."""
    task: Any = trial.task
    batches = task.phase(trial.settings, trial.data).training(1)
    return [tuple(inputs.shape) for inputs, _, _ in itertools.islice(batches, count)]


def plain_fit(model: Any, data: Callable[[int], Any]) -> Iterator[Times]:
    """Trains a compiled model with `model.fit` and its default settings, and yields the times of each round.

    The first step of a round also starts the epoch and its pipeline, so it has no time.

    Args:
      model: a compiled Keras model.
      data: round, counted from 1 → its `tf.data.Dataset`.
    """
    import keras

    class Ends(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            ends.append(time.perf_counter())

    for number in itertools.count(1):
        ends: list[float] = []
        model.fit(data(number), epochs=1, verbose=0, callbacks=[Ends()])
        yield [math.nan, *(1e3 * (end - begin) for begin, end in itertools.pairwise(ends))]


def in_turn(sides: Mapping[str, Iterator[Times]], rounds: int, *, warm_up: int = 1) -> dict[str, list[Times]]:
    """Returns side → the times of each of its rounds; the order of the sides is drawn anew in each round."""
    rng = np.random.default_rng(0)
    for side in itertools.chain(*[sides.values()] * warm_up):
        next(side)
    measured: dict[str, list[Times]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name in rng.permutation(list(sides)):
            measured[name].append(next(sides[name]))
    return measured


def ratio(above: Sequence[Times], below: Sequence[Times]) -> Estimate:
    """Returns the ratio of the times of two sides over the rounds: of the steps that count on both sides.

    A round's time is the sum over the batches that both sides have, one for one: times of other batches, such as a
    first one of a shape, are left out on both sides.
    """
    pairs = [_sums(*round_) for round_ in zip(above, below, strict=True)]
    return ratio_of_pairs([a for a, _ in pairs], [b for _, b in pairs])


def _sums(above: Times, below: Times) -> tuple[float, float]:
    count = min(len(above), len(below))  # a slow side may take only the first batches of a round
    a, b = np.array(above[:count]), np.array(below[:count])
    both = ~np.isnan(a) & ~np.isnan(b)
    if not both.any():
        raise ValueError("no batch of a round has a time on both sides; take more batches a round")
    return float(a[both].sum()), float(b[both].sum())


def details(times: Mapping[str, Sequence[Times]]) -> dict[str, Any]:
    """Returns every measurement, and the median of each side in milliseconds."""
    medians = {name: round(median_ms(rounds), 3) for name, rounds in times.items()}
    return {"median_ms": medians, "ms": {name: rounded(rounds) for name, rounds in times.items()}}


def median_ms(rounds: Sequence[Times]) -> float:
    """Returns the median milliseconds of all steps that count."""
    return float(np.nanmedian(np.concatenate([np.array(each) for each in rounds])))


def rounded(rounds: Sequence[Times]) -> list[list[float | None]]:
    """Returns the times for JSON, in microseconds' precision; None for a step that does not count."""
    return [[None if math.isnan(value) else round(value, 3) for value in each] for each in rounds]


def epoch_ms(times: Times) -> float:
    """Returns the time of an epoch: steps that do not count have the mean time of the others."""
    return float(np.nanmean(times) * len(times))
