"""Losses and metrics are weighted means over a batch, a step of several batches, an epoch and a split."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from src.spec.metric import LOSS, Metric
from src.spec.settings import Settings, Tracking
from src.training.evaluation import evaluators, mean
from src.training.fit import Fit, best_epoch, train
from src.training.phase import Learner, Phase
from src.training.update import Numbers, updater

pytestmark = pytest.mark.training
PERPLEXITY = Metric("perplexity", "lower", of="loss", finish="exp")
ERROR = Metric("error", "lower", finish="sqrt")
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(12, 3)).astype(np.float32), RNG.normal(size=12).astype(np.float32)
KINDS = RNG.integers(0, 5, 12).astype(np.int32)
WEIGHTS = np.array([3, 0, 1, 5, 2, 2, 0, 7, 1, 1, 4, 9], np.float32)


def batch(rows):
    rows = np.asarray(rows)
    inputs = {"values": tf.constant(X[rows]), "kinds": tf.constant(KINDS[rows])}
    return inputs, (tf.constant(Y[rows]), tf.constant(WEIGHTS[rows])), tf.constant(rows)


def measure(outputs, targets):
    values, weights = targets
    squares = tf.square(outputs[:, 0] - values)
    return {"loss": (weights * squares, weights), "error": (squares, tf.ones_like(squares))}


def phase_of(*batches, held_out=None):
    """Returns a phase whose batches have two inputs of different types, and targets with weights."""
    return Phase(
        training=lambda epoch: map(batch, batches),
        batches_per_epoch=len(batches),
        held_out={"validation": lambda: map(batch, held_out or batches)},
        signature=(
            {"values": tf.TensorSpec([None, 3], tf.float32), "kinds": tf.TensorSpec([None], tf.int32)},
            (tf.TensorSpec([None], tf.float32), tf.TensorSpec([None], tf.float32)),
        ),
        measure=measure,
        predictions=lambda outputs: {"value": outputs[:, 0]},
        shape=lambda inputs: (int(inputs["kinds"].shape[0]), 1),
    )


def phase_of_positions(*batches):
    """Returns a phase of sequences with values at positions; a batch has rows, values [B, T] and a mask."""

    def held_out():
        for rows, values, mask in batches:
            yield tf.constant(values, tf.float32), tf.constant(mask), tf.constant(rows)

    return Phase(
        training=lambda epoch: held_out(),
        batches_per_epoch=len(batches),
        held_out={"validation": held_out},
        signature=(tf.TensorSpec([None, None], tf.float32), tf.TensorSpec([None, None], tf.bool)),
        measure=lambda outputs, mask: {"loss": (tf.reduce_sum(outputs, 1), tf.ones(tf.shape(outputs)[0]))},
        positions=lambda outputs, mask: {"twice": (2 * outputs, mask)},
        shape=lambda inputs: tuple(inputs.shape),
    )


@pytest.mark.parametrize("execution", ["graph", "eager", "xla"])
def test_values_of_positions_stand_in_the_order_of_the_examples_whatever_the_batches(execution):
    inputs = keras.Input((None,))
    model = keras.Model(inputs, keras.layers.Identity()(inputs))
    batches = [
        ([2, 0], [[9, 6, 9], [1, 2, 3]], [[False, True, False], [True, True, True]]),
        ([3], [[9]], [[False]]),
        ([1], [[8, 4, 5, 9]], [[False, True, True, False]]),
    ]
    settings = Settings(task="t", execution=execution)

    found = evaluators(Learner(model, phase_of_positions(*batches), [LOSS], settings))["validation"]().positions

    np.testing.assert_array_equal(found["twice"], [2, 4, 6, 8, 10, 12])


def test_a_metric_of_the_test_alone_needs_no_quantity():
    learner = learner_of(phase_of(range(12)), metrics=(PERPLEXITY, Metric("other", "lower", test_only=True)))

    recorded = evaluators(learner)["validation"]().recorded(learner.metrics, prefix="val/")

    assert set(recorded) == {"val/loss", "val/perplexity"} and learner.quantities == ()


def test_a_metric_of_a_corpus_is_computed_from_all_predictions_in_order():
    spread = Metric("spread", "higher", of_corpus=True)
    seen = {}

    def scores(split, predictions):
        seen[split] = predictions["value"]
        return {"spread": np.ptp(predictions["value"])}

    phase = dataclasses.replace(phase_of(range(7, 12), range(7)), scores=scores)
    learner = learner_of(phase, metrics=(spread, LOSS))

    found = evaluators(learner)["validation"]()

    assert found.recorded(learner.metrics, prefix="val/") == {
        "val/loss": found.mean("loss"),
        "val/spread": float(np.ptp(found.predictions["value"])),
    }
    np.testing.assert_array_equal(seen["validation"], found.predictions["value"])
    assert len(seen["validation"]) == 12 and learner.quantities == ()


def test_training_has_no_metric_of_a_corpus_and_it_chooses_the_best_epoch():
    values = iter([1.0, 3.0, 2.0])
    phase = dataclasses.replace(phase_of(range(12)), scores=lambda split, predictions: {"made": next(values)})
    learner = learner_of(phase, metrics=(Metric("made", "higher", of_corpus=True), LOSS), epochs=3)
    fit = Fit()

    records = list(train(learner, evaluators(learner)["validation"], fit, optimizer=keras.optimizers.SGD(0.1)))

    assert fit.best_epoch == 2 and fit.validations == [1.0, 3.0, 2.0]
    assert all("train/made" not in record.metrics for record in records)


def test_a_metric_of_a_corpus_without_a_score_is_named():
    learner = learner_of(phase_of(range(12)), metrics=(Metric("bleu", "higher", of_corpus=True), LOSS))

    with pytest.raises(ValueError, match="the scores of the phase lack bleu"):
        evaluators(learner)["validation"]().recorded(learner.metrics, prefix="val/")


def model_of():
    values, kinds = keras.Input((3,), name="values"), keras.Input((), dtype="int32", name="kinds")
    both = keras.layers.Concatenate()([values, keras.layers.Embedding(5, 2)(kinds)])
    model = keras.Model({"values": values, "kinds": kinds}, keras.layers.Dense(1, name="head")(both))
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(size=weight.shape).astype(np.float32) for weight in model.get_weights()])
    return model


def learner_of(phase, metrics=(PERPLEXITY, ERROR), *, histograms=False, **changes):
    changes = {"optimizer": "sgd", "batch_size": 12, "epochs": 1, **changes}
    return Learner(
        model_of(), phase, metrics, Settings(task="any", tracking=Tracking(histograms=histograms), **changes)
    )


def outputs_of(model):
    return np.asarray(model({"values": X, "kinds": KINDS}))[:, 0]


def gradients(*batches, **changes):
    """Returns the gradients and the numbers of one optimizer step."""
    learner = learner_of(phase_of(*batches), **changes)
    update = updater(learner, on_trace=lambda: None)
    parts = []
    for number, rows in enumerate(batches, 1):
        inputs, targets, _ = batch(rows)
        part, of_step = update(inputs, targets, number == len(batches))
        parts.append(part)
    return [np.asarray(gradient) for gradient in of_step], Numbers(learner, [np.asarray(part) for part in parts])


HALVES = [range(6), range(6, 12)], [[1, 6], [0, 2, 3, 4, 5, 7, 8, 9, 10, 11]], [[0], range(1, 12)]


@pytest.mark.parametrize("halves", HALVES, ids=["equal", "one without weight", "one of one example"])
def test_two_parts_of_different_weight_give_the_gradient_of_the_whole_batch(halves):
    of_whole, whole = gradients(range(12))
    of_parts, parts = gradients(*halves, accumulate=2)

    for ours, theirs in zip(of_parts, of_whole, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
    assert parts.norm == pytest.approx(whole.norm, rel=1e-5) and parts.loss == pytest.approx(whole.loss, rel=1e-6)
    assert whole.sums["loss"][1] == parts.sums["loss"][1] == WEIGHTS.sum() and whole.sums["error"][1] == 12
    assert parts.sums["error"][0] == pytest.approx(whole.sums["error"][0], rel=1e-6)


def test_a_mean_with_weights_of_zero_is_not_a_number():
    assert np.isnan(mean(np.ones(3, np.float32), np.zeros(3, np.float32)))


def test_the_gradient_is_that_of_the_weighted_mean():
    of_step, numbers = gradients(range(12))
    residuals = outputs_of(model_of()) - Y

    assert numbers.loss == pytest.approx((WEIGHTS * residuals**2).sum() / WEIGHTS.sum(), rel=1e-5)
    assert of_step[-1] == pytest.approx(
        [2 * (WEIGHTS * residuals).sum() / WEIGHTS.sum()], rel=1e-4
    )  # of the head's bias


def test_a_batch_without_weight_changes_nothing():
    of_step, numbers = gradients([1, 6])

    assert all((gradient == 0).all() for gradient in of_step)
    assert (numbers.loss, numbers.norm, numbers.sums["loss"]) == (0, 0, (0, 0))


def test_running_metrics_are_weighted_over_the_epoch_so_far():
    learner = learner_of(phase_of(range(4), [4], range(5, 12)), learning_rate=1e-9)
    squares = (outputs_of(learner.model) - Y) ** 2
    records = list(train(learner, evaluators(learner)["validation"], Fit()))

    steps = [record.metrics for record in records if record.kind == "step"]
    for metrics, seen in zip(steps, (4, 5, 12), strict=True):
        loss = (WEIGHTS * squares)[:seen].sum() / WEIGHTS[:seen].sum()
        assert metrics["train/loss"] == pytest.approx(loss, rel=1e-5)
        assert metrics["train/perplexity"] == pytest.approx(math.exp(loss), rel=1e-4)
        assert metrics["train/error"] == pytest.approx(math.sqrt(squares[:seen].mean()), rel=1e-5)


@pytest.mark.parametrize("split", [[range(12)], [[11, 3], [0, 1, 2, 4], [5], [10, 9, 8, 7, 6]]])
def test_the_evaluation_of_a_split_does_not_depend_on_its_batches(split):
    learner = learner_of(phase_of(range(12), held_out=split))
    evaluated = evaluators(learner)["validation"]()
    outputs = outputs_of(learner.model)
    squares = (outputs - Y) ** 2
    loss = (WEIGHTS * squares).sum() / WEIGHTS.sum()

    recorded = evaluated.recorded(learner.metrics, prefix="val/")
    assert set(recorded) == {"val/loss", "val/perplexity", "val/error"}
    assert recorded["val/loss"] == pytest.approx(loss, rel=1e-5)
    assert recorded["val/perplexity"] == math.exp(recorded["val/loss"])
    assert recorded["val/error"] == pytest.approx(math.sqrt(squares.mean()), rel=1e-5)
    np.testing.assert_allclose(evaluated.predictions["value"], outputs, rtol=1e-5)
    np.testing.assert_array_equal(evaluated.weights["loss"], WEIGHTS)


@pytest.mark.parametrize("split", [[[0, 1], [1, 2]], [[0, 2]], [[1, 2]]])
def test_a_split_that_repeats_or_omits_an_example_is_refused(split):
    with pytest.raises(ValueError, match="the rows of a held-out split must be 0, 1, 2, …, each once"):
        evaluators(learner_of(phase_of(range(12), held_out=split)))["validation"]()


@pytest.mark.parametrize(
    ("values", "metric", "best"),
    [
        ([30.0, 20.0, 20.0, 25.0], PERPLEXITY, 2),
        ([0.5, 0.8, 0.8, 0.7], Metric("accuracy", "higher"), 2),
        ([math.nan, 9.0, math.nan], PERPLEXITY, 2),
        ([math.inf, math.inf, 9.0], PERPLEXITY, 3),
        ([math.nan, math.nan], PERPLEXITY, 1),
        ([3.0, 2.0], Metric("size", None), 1),
        ([], PERPLEXITY, 0),
    ],
)
def test_the_best_epoch_follows_the_direction_of_the_metric_and_ties_go_to_the_earliest(values, metric, best):
    assert best_epoch(values, metric) == best


def test_the_weights_of_the_lowest_perplexity_are_restored():
    learner, values, kept = (
        learner_of(phase_of(range(12)), epochs=4, learning_rate=0.1),
        iter([30.0, 20.0, 25.0, 20.0]),
        [],
    )

    def evaluate():
        kept.append(learner.model.get_weights())
        value = next(values)
        return SimpleNamespace(
            recorded=lambda metrics, prefix: {f"{prefix}loss": math.log(value), f"{prefix}perplexity": value}
        )

    fit = Fit()
    list(train(learner, evaluate, fit))

    assert (fit.best_epoch, fit.validations) == (2, [30.0, 20.0, 25.0, 20.0])
    for ours, theirs, last in zip(learner.model.get_weights(), kept[1], kept[3], strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert not np.array_equal(ours, last)


def test_batches_of_two_inputs_need_two_graphs_and_histograms_show_every_layer():
    learner = learner_of(phase_of(range(4), range(4, 8), [8, 9]), batch_size=4, epochs=2, histograms=True)
    layers = [layer for layer in learner.model.layers if not isinstance(layer, keras.layers.InputLayer)]
    fit = Fit()

    records = list(train(learner, evaluators(learner)["validation"], fit, layers=layers))

    assert fit.traces == 2 and [timing.shapes for timing in fit.timings] == [((4, 1),), ((4, 1),), ((2, 1),)] * 2
    assert [timing.tokens for timing in fit.timings] == [4, 4, 2] * 2
    shown = [record for record in records if record.kind == "histograms"][-1].detail
    assert {f"activations/{layer.name}" for layer in layers} < set(shown)


def test_a_loss_that_is_also_a_metric_is_recorded_once():
    learner = learner_of(phase_of(range(12)), metrics=(LOSS,))
    records = list(train(learner, evaluators(learner)["validation"], Fit()))

    assert [set(record.metrics) - {"time/batch_ms", "time/epoch_s"} for record in records] == [
        {"train/loss"},
        {"val/loss"},
    ]


@pytest.mark.parametrize(
    ("measured", "message"),
    [
        ({"loss": ([1.0], [1.0])}, "the task measures loss, but its metrics also need error"),
        (
            {"loss": ([[1.0]], [1.0]), "error": ([1.0], [1.0])},
            r"of loss must have one number per example, \[B\]; they have \[2, 1\] dimensions",
        ),
        (
            {"loss": (1.0, 1.0), "error": ([1.0], [1.0])},
            r"they have \[0, 0\] dimensions; sum over the other dimensions",
        ),
    ],
)
def test_a_task_whose_measures_do_not_fit_its_metrics_is_refused(measured, message):
    tensors = {name: tuple(map(tf.constant, pair)) for name, pair in measured.items()}
    learner = learner_of(dataclasses.replace(phase_of(range(12)), measure=lambda outputs, targets: tensors))

    with pytest.raises(ValueError, match=message):
        list(train(learner, evaluators(learner)["validation"], Fit()))


@pytest.mark.parametrize("count", [1, 3])
def test_an_epoch_with_another_number_of_batches_than_declared_is_refused(count):
    declared = phase_of([0, 1], [2, 3])
    phase = dataclasses.replace(declared, training=lambda epoch: map(batch, [[0, 1]] * count))
    learner = learner_of(phase)

    with pytest.raises(ValueError, match=f"epoch 1 has {count} batches; the phase says batches_per_epoch=2"):
        list(train(learner, evaluators(learner)["validation"], Fit()))
