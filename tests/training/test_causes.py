"""General causes against plain computations, on small networks."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from src.spec.metric import LOSS
from src.spec.record import Record
from src.tasks.sentiment.settings import Settings
from src.training import diagnosis
from src.training.diagnosis import Evidence
from src.training.phase import Learner, Phase

pytestmark = pytest.mark.training
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(64, 5)).astype(np.float32)
TARGETS = INPUTS[:, 0] - 2 * INPUTS[:, 1]


def network(activation="tanh", *, scale=1.0, bias=0.0):
    inputs = keras.Input((5,))
    first = keras.layers.Dense(
        8, name="first", kernel_initializer=keras.initializers.RandomNormal(stddev=scale, seed=1)
    )
    hidden = keras.layers.Activation(activation, name="act")(first(inputs))
    model = keras.Model(inputs, keras.layers.Dense(1, name="last")(hidden))
    first.bias.assign(np.full(8, bias, np.float32))
    return model


def copied(model):
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def measure(outputs, targets):
    return {"loss": (tf.square(outputs[:, 0] - targets), tf.ones_like(targets))}


def steps_of(losses, *, batch=64, per_epoch=10):
    """Returns step records with the running means of epochs."""
    records = []
    for step, loss in enumerate(losses):
        begin = step - step % per_epoch
        running = float(np.mean(losses[begin : step + 1]))
        detail = {"epoch": step // per_epoch + 1, "batch": batch, "loss": loss}
        records.append(Record("step", step + 1, {"train/loss": running}, detail))
    return records


def evidence(before, after=None, *, inputs=INPUTS, held_out=(), losses=(5.0, 4.0), has_learnt=False, batch=64):
    phase = Phase(
        training=lambda epoch: [(tf.constant(inputs), tf.constant(TARGETS), None)],
        batches_per_epoch=1,
        held_out={
            name: lambda part=part: [(tf.constant(part), tf.zeros(len(part)), None)]
            for name, part in zip(("validation", "test"), held_out, strict=False)
        },
        signature=(tf.TensorSpec([None, 5], tf.float32), tf.TensorSpec([None], tf.float32)),
        measure=measure,
        shape=lambda x: (len(x), 1),
    )
    learner = Learner(after or before, phase, (LOSS,), Settings())
    return Evidence(learner, lambda: before, steps_of(losses, batch=batch), has_learnt=has_learnt)


def trained(before, *, without=()):
    after = copied(before)
    for weight in after.trainable_variables:
        if weight.path not in without:
            weight.assign(weight + 0.1)
    return after


def test_the_share_of_saturated_outputs_is_numpys():
    model = network(scale=2.0)
    kernel, bias = model.get_layer("first").get_weights()
    values = np.tanh(INPUTS @ kernel + bias)

    [share] = diagnosis.saturated_shares(diagnosis.activations(model, INPUTS)).values()

    assert share == pytest.approx((np.abs(values) > 0.99).mean()) and 0.2 < share < 0.9
    model = network("sigmoid", scale=20.0)
    kernel, bias = model.get_layer("first").get_weights()
    chance = 1 / (1 + np.exp(-(INPUTS @ kernel + bias).astype(float)))
    [share] = diagnosis.saturated_shares(diagnosis.activations(model, INPUTS)).values()
    assert share == pytest.approx(((chance < 0.01) | (chance > 0.99)).mean(), abs=0.01)


@pytest.mark.parametrize(("scale", "told"), [(0.3, False), (30.0, True)])
def test_units_that_are_saturated_before_training_are_named_in_a_trial_that_learnt_too(scale, told):
    found = list(diagnosis.saturated_units(evidence(network(scale=scale), has_learnt=True)))

    assert bool(found) == told and all(" of the outputs of act are within 0.01 of -1 or 1" in line for line in found)


def test_the_share_of_dead_units_is_numpys():
    model = network("relu", scale=0.4, bias=-1.5)
    kernel, bias = model.get_layer("first").get_weights()

    [share] = diagnosis.dead_shares(diagnosis.activations(model, INPUTS)).values()

    assert share == ((INPUTS @ kernel + bias) <= 0).all(axis=0).mean() and 0 < share < 1
    assert diagnosis.dead_shares(diagnosis.activations(model, INPUTS[:1])) == {}


def test_units_that_died_in_training_are_told_from_those_that_were_dead():
    healthy, dead = network("relu"), network("relu", bias=-90.0)

    [before] = diagnosis.dead_units(evidence(dead, dead, has_learnt=True))
    [after] = diagnosis.died(evidence(healthy, dead))

    assert before.startswith("dead units: 100% of the units of act are 0 for every example before training")
    assert after == "dead units: 100% of the units of act became 0 for every example; lower learning_rate"
    assert not [*diagnosis.dead_units(evidence(healthy, dead)), *diagnosis.died(evidence(healthy))]


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_batch_normalisation_makes_up_for_the_scale_of_inputs(activation):
    inputs = keras.Input((5,))
    normal = keras.layers.BatchNormalization()(keras.layers.Dense(8, name="first")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Activation(activation, name="act")(normal)))
    large = {"inputs": 500 * INPUTS, "has_learnt": True}

    assert not list(diagnosis.inputs_out_of_scale(evidence(model, **large)))
    assert not list(diagnosis.saturated_units(evidence(model, **large)))
    [found] = diagnosis.inputs_out_of_scale(evidence(network("linear"), **large))
    size = np.sqrt(np.mean((500 * INPUTS) ** 2))
    assert f"with a root mean square of {size:.3g}" in found


def standardised(values):
    return ((values - values.mean(0)) / values.std(0)).astype(np.float32)


def test_splits_that_are_standardised_by_themselves_are_told_from_those_standardised_by_training():
    parts = [3 + 7 * RNG.normal(size=(200, 5)) for _ in range(3)]
    mean, deviation = parts[0].mean(0), parts[0].std(0)
    right = [((part - mean) / deviation).astype(np.float32) for part in parts]
    wrong = [standardised(part) for part in parts]

    def found(train, *held_out):
        return list(diagnosis.scaled_apart(evidence(network(), inputs=train[:64], held_out=held_out, has_learnt=True)))

    assert found(*right) == []
    [text] = found(*wrong)
    assert text.startswith("held-out inputs scaled apart: validation and test each have mean 0 and deviation 1 to ")
    [text] = found(right[0], *(255 * part for part in right[1:]))
    assert "their deviation is " in text and " in validation and " in text


def test_a_miss_is_the_distance_of_the_moments_in_standard_errors():
    values = RNG.normal(0.02, 1.01, size=(300, 1)).astype(np.float32)

    found = diagnosis._missed([(tf.constant(values[:100]), 0, 0), (tf.constant(values[100:]), 0, 0)])

    of_mean = abs(values.mean()) / (values.std() / math.sqrt(300))
    squares = values.astype(float) ** 2
    of_square = abs(squares.mean() - 1) / (squares.std() / math.sqrt(300))
    assert found == pytest.approx(max(of_mean, of_square), rel=1e-4)


def test_weights_that_stay_although_they_have_a_gradient_are_named():
    before = network()
    left_out = ["first/kernel", "first/bias"]
    after = trained(before, without=left_out)

    [found] = diagnosis.weights_not_updated(evidence(before, after, has_learnt=True))

    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(before(INPUTS)[:, 0] - TARGETS))
    norms = [float(tf.norm(gradient)) for gradient in tape.gradient(loss, before.trainable_variables)]
    numbers = f"{math.hypot(*norms[:2]):.2g} of {math.hypot(*norms):.2g}"
    assert found.startswith("weights not updated: first/kernel, first/bias never changed") and numbers in found
    assert not list(diagnosis.weights_not_updated(evidence(before, trained(before), has_learnt=True)))
    assert not list(diagnosis.weights_not_updated(evidence(before, copied(before), has_learnt=True)))


def test_weights_without_a_gradient_are_only_a_likely_cause():
    before = network("relu", bias=-90.0)
    after = trained(before, without=["first/kernel", "first/bias", "last/kernel"])

    [found] = diagnosis.weights_not_updated(evidence(before, after))

    assert found.startswith("weights without gradient: first/kernel, first/bias, last/kernel have no gradient")
    assert not list(diagnosis.weights_not_updated(evidence(before, after, has_learnt=True)))


def test_the_highest_loss_is_the_mean_of_as_many_steps_as_have_enough_examples():
    losses = [1.0, 9.0, 2.0, 3.0, 8.0, 8.0, 1.0]

    assert evidence(network(), losses=losses).highest == 9
    assert evidence(network(), losses=losses, batch=32).highest == 8
    assert evidence(network(), losses=losses, batch=1).highest == pytest.approx(np.mean(losses))
    assert evidence(network(), losses=[1.0, math.nan]).highest == math.inf


@pytest.mark.parametrize(
    ("factor", "has_learnt", "named"),
    [
        (1.4, True, None),
        (1.4, False, None),
        (1.8, True, None),
        (2.5, True, "learning rate too high (oscillating)"),
        (2.5, False, "learning rate too high"),
        (40.0, True, "learning rate too high"),
        (math.inf, False, "learning rate too high"),
    ],
)
def test_a_loss_that_grows_is_named_by_how_far_and_by_whether_the_trial_learnt(factor, has_learnt, named):
    model = network()
    initial = float(np.mean((model(INPUTS).numpy()[:, 0] - TARGETS) ** 2))
    losses = [initial, *[initial / 2] * 110]
    losses[50] = factor * initial

    found = list(diagnosis.learning_rate_too_high(evidence(model, losses=losses, has_learnt=has_learnt)))

    assert [text.split(":")[0] for text in found] == ([named] if named else [])
    assert named is None or factor == math.inf or f" {factor:.3g} times its initial value" in found[0]


def test_few_steps_accuse_no_trial_that_learnt():
    model = network()
    few = {"losses": [1.0] * 50, "has_learnt": True}

    assert not list(diagnosis.learning_rate_too_low(evidence(model, copied(model), **few)))
    assert not list(diagnosis.too_few_steps(evidence(model, **few)))
    [found] = diagnosis.learning_rate_too_low(evidence(model, copied(model), losses=[1.0] * 200, has_learnt=True))
    assert found.startswith("learning rate too low: training changed the weights by only 0 of their norm")


def test_inputs_that_are_not_finite_are_named_first():
    broken = INPUTS.copy()
    broken[3, 2] = math.nan

    found = next(diagnosis.causes(evidence(network(), inputs=broken, losses=[math.nan])))

    assert (
        found == f"inputs not finite: {1 / broken.size:.2%} of the numbers are NaN or infinite; check how they are read"
    )


def test_a_healthy_trial_has_no_cause():
    model = network(scale=0.4)
    losses = list(np.linspace(5, 1, 120))

    found = list(
        diagnosis.causes(evidence(model, trained(model), losses=losses, has_learnt=True, held_out=[INPUTS] * 2))
    )

    assert found == []


def test_a_trial_that_diverged_is_not_told_to_train_longer():
    def of(loss, norm):
        made = evidence(network(), losses=[2.0, loss])
        made.steps[-1].detail["gradient_norm"] = norm
        return [text.split(":")[0] for text in diagnosis.too_few_steps(made)]

    assert of(1.0, 1.0) == ["too few steps"]
    assert of(math.nan, 1.0) == of(1.0, math.inf) == []


def test_weights_that_became_nan_have_changed():
    before = [np.ones(2), np.ones(2)]

    assert diagnosis.relative_change([np.ones(2), np.full(2, np.nan)], before) == math.inf
    assert diagnosis.relative_change([np.ones(2), np.array([1.0, 2.0])], before) == pytest.approx(1 / math.sqrt(2))


def test_layers_without_names_and_layers_as_activations_are_understood():
    def unnamed(value):
        inputs = keras.Input((5,))
        same = keras.initializers.Constant(value)
        hidden = keras.layers.Dense(8, activation=keras.layers.LeakyReLU(), kernel_initializer=same)(inputs)
        return keras.Model(inputs, keras.layers.Dense(1)(hidden))

    made = evidence(unnamed(0.1), unnamed(0.2), held_out=[INPUTS] * 2)

    assert [layer.name for layer in made.untrained.layers] != [layer.name for layer in made.learner.model.layers]
    [found] = diagnosis.identical_units(made)
    assert found.startswith("identical units: all 8 units of dense")
    assert "identical units" in next(diagnosis.causes(made))
