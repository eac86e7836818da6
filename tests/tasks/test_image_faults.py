"""Faults of image trials: what each changes, and that its cause is found from what was observed alone."""

from __future__ import annotations

import dataclasses
import typing

import numpy as np
import pytest

from src.config.settings import checked, edited
from src.data import order
from src.spec.record import STEP, Diverged
from src.tasks.images import faults
from src.tasks.images.settings import Settings
from src.tasks.images.task import TASK
from src.trial.identity import identity
from src.trial.prepare import prepare
from tests.tasks.test_images import refusals

SMALL = {"task": "images", "data": {"name": "digits", "limit": 600}, "width": 24, "batch_size": 20}
SMALL |= {"optimizer": "sgd", "learning_rate": 0.05, "epochs": 4}
CAUSES = {
    "none": None,
    "inputs_unscaled": "inputs out of scale: they are from 0 to 255, with a root mean square of 8",
    "inputs_constant": "identical inputs: all of 80 images are the same",
    "scaled_apart": "held-out inputs scaled apart: validation and test each have mean 0 and deviation 1",
    "labels_shuffled": "labels independent of inputs: the class explains 1.",
    "labels_sorted": "batches of one class: the largest class has 100% of a batch",
    "loss_of_numbers": "wrong loss: it raises the output of the example's own class in only ",
    "weights_zero": "identical units: all 24 units of hidden_1 have the same weights (zeros)",
    "weights_large": "saturated units: ",
    "units_dead": "dead units: 100% of the units of hidden_1_activation are 0 for every example before training",
    "softmax_twice": "softmax applied twice: the outputs are probabilities already, so that the loss cannot fall "
    "below 1.461",
    "rate_diverging": "learning rate too high: the loss ",
    "rate_oscillating": "learning rate too high",
    "rate_too_low": "learning rate too low: training changed the weights by only ",
    "layer_left_out": "weights not updated: hidden_1/kernel, hidden_1/bias never changed",
}


def settings_of(fault, **changes):
    activation = "tanh" if fault == "weights_large" else "relu"
    return prepare(checked({**SMALL, "fault": fault, "activation": activation, **changes}))


def evidence_of(fault):
    """Returns the evidence of a trained trial."""
    from src.training.diagnosis import Evidence
    from src.training.evaluation import evaluators
    from src.training.fit import Fit, train
    from src.training.health import judge
    from src.training.phase import Learner

    trial = settings_of(fault)
    settings, data = trial.settings, trial.data
    model, phase, fit, records = TASK.model(settings, data), TASK.phase(settings, data), Fit(), []
    learner = Learner(model, phase, TASK.metrics, edited(settings, {"tracking.histograms": False}))
    evaluate = evaluators(learner)["validation"]
    try:
        for record in train(learner, evaluate, fit, optimizer=TASK.optimizer(model, settings)):
            records.append(record)
        has_learnt = judge(learner.chances, fit.epochs, traces=1) != "no_learning"
    except Diverged:
        has_learnt = False
    steps = [record for record in records if record.kind == STEP]
    return Evidence(learner, lambda: TASK.model(settings, data), steps, has_learnt=has_learnt)


@pytest.mark.training
@pytest.mark.parametrize("fault", CAUSES)
def test_the_cause_of_each_fault_is_found_without_the_settings(home, fault):
    evidence = evidence_of(fault)
    blind = dataclasses.replace(evidence, learner=dataclasses.replace(evidence.learner, settings=Settings()))

    found = next(TASK.causes(evidence), None)

    assert found is None if fault == "none" else str(found).startswith(CAUSES[fault]), found
    assert next(TASK.causes(blind), None) == found
    assert found is None or found.count("; ") >= 1  # a fix follows the finding


def test_every_fault_has_a_description_and_a_cause():
    names = typing.get_args(Settings.model_fields["fault"].annotation)

    assert set(names) == {"none", *faults.FAULTS} == set(CAUSES)
    assert all(fault.__doc__ for fault in faults.FAULTS.values())


def test_a_trial_without_a_fault_keeps_its_identity_and_each_fault_has_its_own():
    ids = {identity(edited(Settings(), {"fault": fault}), TASK, data_digest="d") for fault in CAUSES}

    assert len(ids) == len(CAUSES) and identity(Settings(), TASK, data_digest="d") in ids


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"fault": "weights_large"}, "needs a hidden layer whose units saturate; set activation=tanh or sigmoid"),
        ({"fault": "weights_zero", "network": "linear"}, "as a linear model learns from zeros; set network=mlp"),
        ({"fault": "units_dead", "activation": "tanh"}, "set network=mlp activation=relu batch_norm=false"),
        ({"fault": "units_dead", "batch_norm": True}, "needs a hidden layer of ReLUs with biases"),
        ({"fault": "layer_left_out", "network": "linear"}, "needs a layer after the first"),
    ],
)
def test_a_fault_that_a_network_cannot_have_is_refused_with_the_fix(changes, told):
    assert told in " ".join(refusals(changes))
    assert not refusals({**changes, "fault": "none"})


def test_faults_of_a_softmax_need_one():
    told = refusals({"fault": "softmax_twice", "head": "sigmoid"}, classes=2)

    assert told == ["fault=softmax_twice needs a softmax in the loss; set head=softmax"]


def test_a_fault_that_the_settings_already_make_is_no_fault(home):
    assert settings_of("inputs_unscaled", normalise="none").settings.fault == "none"
    assert settings_of("weights_zero", initializer="zeros").settings.fault == "none"
    assert settings_of("scaled_apart", normalise="standard").identity == settings_of("scaled_apart").identity


def test_the_fault_stands_in_the_plan(home):
    trial = settings_of("labels_sorted")

    assert "fault=labels_sorted: the images are stored class by class, and nobody shuffles" in " ".join(
        TASK.summary([trial.settings], trial.data)
    )
    assert "fault" not in " ".join(TASK.summary([settings_of("none").settings], trial.data))


@pytest.mark.training
def test_each_split_has_its_own_statistics_if_scaled_apart(home):
    trial = settings_of("scaled_apart")
    for name in ("train", "validation", "test"):
        images = trial.data.split(name).images

        scaled = faults.scaling(trial.settings, trial.data, name)(images)

        np.testing.assert_allclose(scaled, (images - images.mean()) / images.std(), atol=1e-4)


@pytest.mark.training
def test_shuffled_labels_belong_to_other_images_and_stay_the_same_in_each_epoch(home):
    trial = settings_of("labels_shuffled")
    right = trial.data.split("train").labels
    given = [np.empty_like(right) for _ in range(2)]
    for epoch, labels in enumerate(given, 1):
        for _, targets, rows in TASK.phase(trial.settings, trial.data).training(epoch):
            labels[rows.numpy()] = targets

    np.testing.assert_array_equal(*given)
    np.testing.assert_array_equal(np.bincount(given[0]), np.bincount(right))
    assert 0.02 < (given[0] == right).mean() < 0.25


@pytest.mark.training
def test_sorted_batches_contain_each_image_once_class_by_class(home):
    trial = settings_of("labels_sorted")
    batches = list(TASK.phase(trial.settings, trial.data).training(1))

    labels, rows = (np.concatenate([np.asarray(batch[place]) for batch in batches]) for place in (1, 2))

    assert (np.diff(labels) >= 0).all() and sorted(rows) == list(range(trial.data.rows["train"]))
    np.testing.assert_array_equal(labels, trial.data.split("train").labels[rows])


@pytest.mark.training
@pytest.mark.parametrize("fault", ["labels_sorted", "labels_shuffled"])
def test_what_is_recorded_of_the_batches_holds_for_those_of_the_fault(home, fault):
    trial = settings_of(fault, pipeline="batch_shuffle_repeat")
    batches = [labels.numpy() for _, labels, _ in TASK.phase(trial.settings, trial.data).training(1)]

    found = TASK.measures(trial.settings, trial.data)

    assert found["data/class_entropy"] == pytest.approx(order.class_entropy(batches, classes=10))
    assert found["data/repeated_batches_fraction"] == found["data/seen_once_fraction"] == 1


def test_no_setting_of_the_batches_has_an_effect_on_the_sorted_ones(home):
    others = {"prefetch": 2, "pipeline": "repeat_batch_shuffle", "shuffle_buffer": 7, "augment": "shift"}

    assert settings_of("labels_sorted", **others).identity == settings_of("labels_sorted").identity
    assert settings_of("none", **others).identity != settings_of("none").identity


@pytest.mark.training
def test_the_loss_of_numbers_compares_each_output_with_the_number_of_the_class(home):
    trial, rng = settings_of("loss_of_numbers"), np.random.default_rng(0)
    outputs, classes = rng.normal(size=(6, 10)).astype(np.float32), rng.integers(0, 10, 6).astype(np.int32)

    values, weights = TASK.phase(trial.settings, trial.data).measure(outputs, classes)["loss"]

    expected = [np.mean([(output - label) ** 2 for output in row]) for row, label in zip(outputs, classes, strict=True)]
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    assert (np.asarray(weights) == 1).all()


@pytest.mark.training
def test_only_the_first_layer_stays_as_it_is_if_left_out(home):
    import tensorflow as tf

    trial = settings_of("layer_left_out")
    model = TASK.model(trial.settings, trial.data)
    before = model.get_weights()

    optimizer = TASK.optimizer(model, trial.settings)
    optimizer.apply([tf.ones_like(weight) for weight in model.trainable_variables], model.trainable_variables)

    changed = [not np.array_equal(*pair) for pair in zip(model.get_weights(), before, strict=True)]
    assert changed == [False, False, True, True, True, True]


def trained(trial, *, until=None, earlier=None):
    """Returns the model and the optimizer's variables after some epochs, from the beginning or from other variables."""
    from src.training.evaluation import Evaluated
    from src.training.fit import Fit, train
    from src.training.phase import Learner
    from src.training.startup import fresh_session
    from tests.training.test_execution import ONES

    fresh_session(0)
    settings = edited(trial.settings, {"tracking.histograms": False, "epochs": until or trial.settings.epochs})
    model, fit = TASK.model(settings, trial.data), Fit()
    optimizer = TASK.optimizer(model, settings)
    variables = [*model.variables, *optimizer.variables]
    if earlier is not None:
        for variable, value in zip(variables, earlier, strict=True):
            variable.assign(value)
        fit.validations, fit.best_epoch, fit.best_weights = [1.0], 1, model.get_weights()
    learner, weights = Learner(model, TASK.phase(settings, trial.data), TASK.metrics, settings), []
    scores = {metric.name: 0.5 for metric in TASK.metrics if metric.of_corpus}
    for _ in train(learner, lambda: Evaluated(ONES, ONES, scores=scores), fit, optimizer=optimizer):
        weights = model.get_weights()
    return weights, [np.asarray(variable) for variable in variables]


@pytest.mark.training
@pytest.mark.parametrize("execution", ["eager", "graph", "graph_epoch"])
def test_a_fault_of_the_update_is_the_same_in_each_execution_and_after_a_checkpoint(home, execution):
    changes = {"epochs": 2, "optimizer": "adam", "prefetch": 2, "drop_remainder": True, "batch_size": 100}
    plain = settings_of("layer_left_out", **changes)
    trial = settings_of("layer_left_out", **changes, execution=execution)
    begin = TASK.model(trial.settings, trial.data).get_weights()

    whole, _ = trained(trial)
    _, checkpoint = trained(trial, until=1)
    resumed, _ = trained(trial, earlier=checkpoint)

    assert [np.array_equal(*pair) for pair in zip(whole, begin, strict=True)] == [True, True, *[False] * 4]
    for ours, again, of_graph in zip(whole, resumed, trained(plain)[0], strict=True):
        np.testing.assert_array_equal(ours, again)
        np.testing.assert_allclose(ours, of_graph, atol=1e-5)
