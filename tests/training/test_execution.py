"""The four executions give the same records and weights; a graph of an epoch takes its steps in runs."""

from __future__ import annotations

import dataclasses
import functools
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from src.config.settings import checked, edited
from src.data.batching import Padding
from src.spec.record import EVALUATION, HISTOGRAMS, STEP, Diverged
from src.tasks.images.networks import classifier as images_classifier
from src.tasks.sentiment.model import classifier
from src.tasks.sentiment.settings import Settings
from src.training import epoch_graph
from src.training.epoch_graph import EpochGraph
from src.training.evaluation import Evaluated
from src.training.fit import Fit, train
from src.training.phase import Learner, Phase
from src.training.startup import fresh_session
from src.training.update import new_optimizer
from tests.training.test_fit import METRICS, SMALL, examples, phase_of

OTHERS = ["eager", "graph_epoch", "xla"]
ONES = {"loss": np.ones(1), "accuracy": np.ones(1)}
EVALUATED = Evaluated(ONES, ONES)


def of_images(**changes):
    """A tiny perceptron on 5 batches of images, the last of which is smaller."""
    rng, shape = np.random.default_rng(0), (4, 4, 1)
    images, labels = rng.random((18, *shape), np.float32), rng.integers(0, 3, 18).astype(np.int32)
    settings = checked({"task": "images", "width": 3, "depth": 1, "batch_size": 4, "epochs": 2, **changes})
    fresh_session(0)

    def batches(epoch):
        order = np.random.default_rng(epoch).permutation(len(labels))
        for begin in range(0, len(order), 4):
            rows = order[begin : begin + 4]
            yield tf.constant(images[rows]), tf.constant(labels[rows]), rows

    phase = Phase(
        training=batches,
        batches_per_epoch=5,
        held_out={},
        signature=(tf.TensorSpec([None, *shape], tf.float32), tf.TensorSpec([None], tf.int32)),
        measure=phase_of(examples(), edited(Settings(), {"head": "softmax"})).measure,
        shape=lambda inputs: (int(inputs.shape[0]), 1),
    )
    return Learner(images_classifier(settings, shape=shape, outputs=3), phase, METRICS, settings)


def of_texts(**changes):
    """A recurrent classifier with a mask on batches of two buckets."""
    settings = edited(Settings(), {**SMALL, "cell": "simple_rnn", "implementation": "graph_loop", **changes})
    fresh_session(0)
    phase = phase_of(examples(), settings, Padding((5, 9), False, "post"))
    return Learner(classifier(settings, classes=2), phase, METRICS, settings)


LEARNERS = {"images": of_images, "texts": of_texts}


@functools.cache  # no test changes the result
def trained(kind, **changes):
    learner, fit, records = LEARNERS[kind](**changes), Fit(), []
    records.extend(train(learner, lambda: EVALUATED, fit))
    return learner, fit, records


def numbers_of(steps):
    """Returns the numbers of step records other than times and traces, one row a step."""
    names = ("gradient_norm", "epoch", "batch", "length", "tokens")
    return np.array(
        [
            [
                *(value for name, value in step.metrics.items() if "time" not in name),
                *(step.detail[key] for key in names),
            ]
            for step in steps
        ]
    )


@pytest.mark.parametrize(
    ("kind", "execution"),
    [
        *(("images", execution) for execution in OTHERS),
        *(("texts", execution) for execution in OTHERS[:2]),
        pytest.param("texts", "xla", marks=pytest.mark.slow),  # compiles four shapes
    ],
)
def test_every_execution_gives_the_records_and_weights_of_graph(kind, execution):
    changes = {"evaluate_every": 3, **({"tracking.histograms": True} if kind == "texts" else {})}
    wanted, _, plain = trained(kind, execution="graph", **changes)
    other, _, records = trained(kind, execution=execution, **changes)

    assert [(record.kind, record.step) for record in records] == [(record.kind, record.step) for record in plain]
    steps, plain_steps = ([one for one in each if one.kind == STEP] for each in (records, plain))
    assert [step.detail["shapes"] for step in steps] == [step.detail["shapes"] for step in plain_steps]
    np.testing.assert_allclose(numbers_of(steps), numbers_of(plain_steps), rtol=1e-5, atol=1e-6)
    for ours, theirs in zip(other.model.get_weights(), wanted.model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    for ours, theirs in zip(
        *([one for one in each if one.kind == HISTOGRAMS] for each in (records, plain)), strict=True
    ):
        assert ours.detail.keys() == theirs.detail.keys()
        for name, histogram in ours.detail.items():
            assert histogram["sum_squares"] == pytest.approx(theirs.detail[name]["sum_squares"], rel=1e-4, abs=1e-6)


def test_an_epoch_has_two_graphs_and_only_the_first_step_of_each_traces():
    _, fit, _ = trained("images", execution="graph_epoch", evaluate_every=3)

    assert fit.traces == 2
    assert [timing.is_first for timing in fit.timings] == [True, *[False] * 3, True, *[False] * 5]


def test_the_steps_of_a_run_have_equal_shares_of_its_time():
    _, fit, records = trained("images", execution="graph_epoch", evaluate_every=3)
    times = [timing.batch_ms for timing in fit.timings]

    # Runs: 1 (traces) | 2, 3 | 4 | 5 (smaller) || 6 | 7, 8, 9 | 10 (smaller). A validation ends a run.
    assert times[1] == times[2] != times[3] and times[5] != times[6] == times[7] == times[8] != times[9]
    assert [record.step for record in records if record.kind == EVALUATION] == [3, 5, 6, 9, 10]
    assert all(0 <= timing.wait_ms < timing.batch_ms for timing in fit.timings)


def test_an_eager_step_traces_nothing():
    _, fit, _ = trained("images", execution="eager", evaluate_every=3)

    assert fit.traces == 0 and not any(timing.is_first for timing in fit.timings)


def test_max_steps_ends_a_run():
    learner, fit = of_images(execution="graph_epoch", max_steps=7), Fit()
    optimizer = new_optimizer(learner.model, learner.settings)

    records = list(train(learner, lambda: EVALUATED, fit, optimizer=optimizer))

    assert len(fit.timings) == int(optimizer.iterations) == 7
    assert records[-1].kind == EVALUATION


@pytest.mark.parametrize("execution", ["graph", "graph_epoch"])
def test_a_diverging_trial_has_records_until_the_diverging_step(execution):
    learner, records = of_images(execution=execution), []

    def broken(epoch):
        for number, (images, labels, rows) in enumerate(learner.phase.training(epoch), 1):
            yield images * (np.nan if number == 3 else 1.0), labels, rows

    phase = dataclasses.replace(learner.phase, training=broken)
    with pytest.raises(Diverged) as raised:
        for record in train(dataclasses.replace(learner, phase=phase), lambda: EVALUATED, Fit()):
            records.append(record)

    steps = [record for record in records if record.kind == STEP]
    assert len(steps) == raised.value.step == 3


def runs_of(sizes, *, most, called=(True, False)):
    """Returns the sizes of the batches of every run, for full batches of 4."""
    graph = EpochGraph.__new__(EpochGraph)
    graph._learner, graph._called = SimpleNamespace(settings=SimpleNamespace(batch_size=4)), {*called}
    runs = []
    for run in graph.runs([(tf.zeros([size, 2]), tf.zeros([size]), None) for size in sizes], lambda: most):
        graph._called.add(len(run[0][1]) == 4)
        runs.append([len(targets) for _, targets, _ in run])
    return runs


def test_a_run_has_full_batches_or_others_up_to_the_next_stop():
    assert runs_of([4, 4, 4, 3, 2, 4], most=99) == [[4, 4, 4], [3, 2], [4]]
    assert runs_of([4] * 5, most=2) == [[4, 4], [4, 4], [4]]


def test_the_first_call_of_each_graph_has_one_batch():
    assert runs_of([4, 4, 4, 3, 2, 1], most=99, called=()) == [[4], [4, 4], [3], [2, 1]]


def test_the_batches_of_a_run_are_limited_in_bytes(monkeypatch):
    monkeypatch.setattr(epoch_graph, "MOST_BYTES", 2 * 4 * 3 * 4)  # two batches of 4 times 3 numbers of 4 bytes

    assert runs_of([4] * 5, most=99) == [[4, 4], [4, 4], [4]]


def test_a_batch_counts_as_many_bytes_as_the_longest_of_its_run(monkeypatch):
    monkeypatch.setattr(epoch_graph, "MOST_BYTES", 90)
    batches = [(tf.zeros([1, steps]), tf.zeros([1]), None) for steps in (1, 1, 6, 1, 1, 1, 1, 1)]

    stream = iter(batches)
    runs = []
    while run := epoch_graph._up_to(stream, 99):
        runs.append([inputs.shape[1] for inputs, _, _ in run])

    assert runs == [[1, 1, 6, 1], [1, 1, 1, 1]]  # four times 7 numbers of 4 bytes are 112 bytes
