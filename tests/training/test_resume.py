"""Training that goes on from the end of an epoch, in variables of its own, is training that went through."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from src.config.settings import edited
from src.spec.record import EVALUATION, HISTOGRAMS, STEP, Record
from src.tasks.sentiment.model import classifier
from src.tasks.sentiment.settings import Settings
from src.training.clock import shapes_digest, summary
from src.training.evaluation import evaluators
from src.training.fit import Fit, restore, train, weights_digest
from src.training.startup import fresh_session
from src.training.update import new_optimizer
from tests.training.test_fit import METRICS, SMALL, examples, learner_of, metrics, phase_of

pytestmark = pytest.mark.training

KINDS = {
    "dropout between two layers": {"dropout": 0.4, "depth": 2},
    "a bidirectional GRU": {"cell": "gru", "bidirectional": True, "optimizer": "rmsprop", "learning_rate": 0.01},
    "accumulated gradients": {"batch_size": 6, "accumulate": 3, "optimizer": "adamw", "dropout": 0.2},
    "clipped gradients and learned states": {
        "clip_norm": 0.1,
        "initial_state": "learned",
        "optimizer": "sgd",
        "learning_rate": 0.5,
    },
    "validations between epochs": {"evaluate_every": 2, "dropout": 0.2},
    "a loop of ours": {"implementation": "graph_loop", "bptt_steps": 4, "cell": "simple_rnn"},
    "Python's loop": {"implementation": "eager_loop", "cell": "gru", "dropout": 0.2},
    "an epoch that max_steps cuts": {"max_steps": 8},
}


@pytest.fixture
def eager():
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


class Training:
    """A training of three epochs, from its beginning or from where another one was."""

    def __init__(self, earlier=None, *, after=None, **changes):
        """Trains; what the next epoch after `after` depends on, and the records until then, are kept."""
        settings = edited(Settings(), {**SMALL, "epochs": 3, **changes})
        fresh_session(settings.seed)
        self.model = classifier(settings, classes=2)
        learner = learner_of(self.model, phase_of(examples(), settings), settings)
        optimizer = new_optimizer(self.model, settings)
        variables = [*self.model.variables, *optimizer.variables]
        self.fit = Fit.of_records(as_journalled(earlier.until) if earlier else [], METRICS[0])
        if earlier is not None:
            self.fit.best_weights = earlier.best
            for variable, value in zip(variables, earlier.values, strict=True):
                variable.assign(value)
        evaluate, self.records = evaluators(learner)["validation"], []
        for record in train(learner, evaluate, self.fit, optimizer=optimizer):
            self.records.append(record)
            if record.kind == EVALUATION and record.detail["epoch"] == after:
                self.until, self.values = list(self.records), [np.asarray(variable) for variable in variables]
                self.best = self.fit.best_weights


def as_journalled(records):
    return [Record(**json.loads(json.dumps(vars(record)))) for record in records]


def resumed(*, after=1, **changes):
    """Returns a training that went through, and one that went on after an epoch in variables of its own."""
    whole = Training(after=after, **changes)
    return whole, Training(whole, **changes)


@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)
def test_training_goes_on_as_if_it_had_never_stopped(changes, eager):
    whole, later = resumed(after=2, **changes)

    assert weights_digest(later.model) == weights_digest(whole.model)
    count = len(later.records)
    for name in ("train/loss", "train/accuracy", "val/loss", "val/accuracy"):
        assert metrics(later.records, name) == metrics(whole.records[-count:], name)
    assert [(record.kind, record.step) for record in later.records] == [
        (record.kind, record.step) for record in whole.records[-count:]
    ]
    assert (later.fit.best_epoch, later.fit.validations) == (whole.fit.best_epoch, whole.fit.validations)
    assert shapes_digest(later.fit.timings) == shapes_digest(whole.fit.timings)


@pytest.mark.parametrize(
    "changes",
    [
        {"dropout": 0.3},
        {"batch_size": 3, "retracing": "relaxed"},
        pytest.param(  # whose compiling takes half a minute
            {"jit_compile": True, "implementation": "graph_loop", "cell": "simple_rnn", "dropout": 0.3},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_graphs_that_are_traced_anew_change_no_bit_and_are_counted(changes):
    whole, later = resumed(**changes)

    assert weights_digest(later.model) == weights_digest(whole.model)
    traces = [summary(one.fit.timings)["data/traces"] for one in (whole, later)]
    assert traces[0] < traces[1] <= 2 * traces[0]
    assert later.fit.timings[later.fit.earlier].is_first


def test_what_was_left_behind_is_read_from_records(eager):
    whole = Training(accumulate=2, batch_size=8, evaluate_every=2)

    fit = Fit.of_records(as_journalled(whole.records), METRICS[0])

    assert (fit.timings, fit.validations, fit.best_epoch) == (
        whole.fit.timings,
        whole.fit.validations,
        whole.fit.best_epoch,
    )
    assert fit.earlier == len(fit.timings)
    nothing = Fit.of_records([], METRICS[0])
    assert (nothing.timings, nothing.validations, nothing.best_epoch, nothing.earlier) == ([], [], 0, 0)


def test_nothing_is_trained_where_every_epoch_was(eager):
    whole, later = resumed(after=3)

    assert later.records == [] and weights_digest(later.model) == weights_digest(whole.model)


def test_the_evaluation_is_the_last_record_of_an_epoch(eager):
    records = Training(**{"tracking.histograms": True}).records

    assert [record.kind for record in records if record.kind != STEP] == [HISTOGRAMS, *[HISTOGRAMS, EVALUATION] * 3]


def test_a_state_is_for_variables_of_its_own_shapes_and_types():
    given = []
    variables = [SimpleNamespace(shape=(2,), dtype="float32", assign=given.append)]
    for others in ([], [np.zeros(3, np.float32)], [np.zeros(2)], [np.zeros(2, np.float32)] * 2):
        with pytest.raises(
            ValueError,
            match="the checkpoint holds the variables of another model; rerun=true trains from the beginning",
        ):
            restore(variables, others)
    assert given == []

    restore(variables, [np.ones(2, np.float32)])

    assert given[0].tolist() == [1, 1]
