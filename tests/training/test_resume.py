"""Training that resumes after an epoch, in new variables, equals uninterrupted training."""

from __future__ import annotations

import json
from dataclasses import asdict
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
    """A training of three epochs, from the beginning or resumed from another training."""

    def __init__(self, earlier=None, *, after=None, **changes):
        """Trains; keeps the records until the end of epoch `after` and the state on which the next epoch depends."""
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
    return [Record(**json.loads(json.dumps(asdict(record)))) for record in records]


def resumed(*, after=1, **changes):
    """Returns an uninterrupted training, and one that resumes after an epoch in new variables."""
    whole = Training(after=after, **changes)
    return whole, Training(whole, **changes)


@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)
def test_resumed_training_equals_uninterrupted_training(changes, eager):
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
        {"dropout": 0.3, "execution": "graph_epoch"},
        pytest.param(  # compilation takes half a minute
            {"execution": "xla", "implementation": "graph_loop", "cell": "simple_rnn", "dropout": 0.3},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_resumed_process_counts_its_traces_and_changes_no_bit_of_the_weights(changes):
    whole, later = resumed(**changes)

    assert weights_digest(later.model) == weights_digest(whole.model)
    traces = [summary(training.fit.timings)["data/traces"] for training in (whole, later)]
    assert traces[0] < traces[1] <= 2 * traces[0]
    assert later.fit.timings[later.fit.earlier].is_first


def test_the_results_of_training_are_restored_from_its_records(eager):
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


def test_nothing_is_trained_if_every_epoch_is_done(eager):
    whole, later = resumed(after=3)

    assert later.records == [] and weights_digest(later.model) == weights_digest(whole.model)


def test_the_evaluation_is_the_last_record_of_an_epoch(eager):
    records = Training(**{"tracking.histograms": True}).records

    assert [record.kind for record in records if record.kind != STEP] == [HISTOGRAMS, *[HISTOGRAMS, EVALUATION] * 3]


def test_a_checkpoint_of_variables_with_other_shapes_or_types_is_refused():
    assigned = []
    variables = [SimpleNamespace(shape=(2,), dtype="float32", assign=assigned.append)]
    message = "the checkpoint holds the variables of another model; rerun=true trains from the beginning"
    for wrong in ([], [np.zeros(3, np.float32)], [np.zeros(2)], [np.zeros(2, np.float32)] * 2):
        with pytest.raises(ValueError, match=message):
            restore(variables, wrong)
    assert assigned == []

    restore(variables, [np.ones(2, np.float32)])

    assert assigned[0].tolist() == [1, 1]
