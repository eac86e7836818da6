from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from src.config.settings import edited
from src.streams import generator
from src.tasks.sentiment.model import classifier
from src.tasks.sentiment.settings import Settings
from src.training.clock import summary
from src.training.startup import fresh_session
from src.training.update import Numbers, new_optimizer, updater
from tests.training.test_fit import SMALL, N, examples, learner_of, metrics, phase_of, trained

pytestmark = pytest.mark.training


def test_a_step_of_several_small_batches_equals_that_of_one_large_batch():
    (large, whole, of_large, _), (small, parts, of_small, _) = (
        trained(epochs=1, clip_norm=0.5),
        trained(epochs=1, clip_norm=0.5, batch_size=2, accumulate=8, is_graph=True),
    )

    assert len(whole.timings) == len(parts.timings) == 3  # 16, 16 and 8 examples
    assert [step.examples for step in parts.timings] == [step.examples for step in whole.timings]
    assert [step.tokens for step in parts.timings] == [step.tokens for step in whole.timings]
    assert [len(step.shapes) for step in parts.timings] == [8, 8, 4]
    for name in ("train/loss", "train/accuracy"):
        np.testing.assert_allclose(metrics(of_small, name), metrics(of_large, name), atol=1e-5)
    for ours, theirs in zip(small.get_weights(), large.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_batches_of_one_example_have_no_padding():
    _, fit, records, _ = trained(12, epochs=1, batch_size=1, accumulate=6)

    assert [step.positions for step in fit.timings] == [step.tokens for step in fit.timings]
    lengths = [record.detail["length"] for record in records if record.kind == "step"]
    assert lengths == [step.tokens / 6 for step in fit.timings]


def test_the_eager_loop_accumulates_too():
    (graph, _, _, _), (eager, _, _, _) = (
        trained(epochs=1, batch_size=8, accumulate=2, implementation=loop) for loop in ("keras", "eager_loop")
    )

    for ours, theirs in zip(eager.get_weights(), graph.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_retracing_sets_the_number_of_traces_and_does_not_change_the_losses():
    """There are 5 shapes, of batches of 3 and a last batch of 1; `relaxed` generalises the second length."""
    fits, losses = {}, {}
    for retracing in ("signature", "relaxed", "per_shape"):
        _, fits[retracing], records, _ = trained(batch_size=3, retracing=retracing, is_graph=True)
        losses[retracing] = metrics(records, "train/loss")
        assert len({step.shapes for step in fits[retracing].timings}) == 5
        assert sum(step.is_first for step in fits[retracing].timings) == fits[retracing].traces

    assert {name: fit.traces for name, fit in fits.items()} == {"signature": 2, "relaxed": 3, "per_shape": 5}
    np.testing.assert_allclose(losses["relaxed"], losses["signature"], atol=1e-5)
    np.testing.assert_allclose(losses["per_shape"], losses["signature"], atol=1e-5)


def test_every_trace_of_an_accumulated_step_counts():
    """40 examples in batches of 16, 16 and 8 make one step with two graphs."""
    _, fit, _, _ = trained(epochs=1, accumulate=3, is_graph=True)

    assert [step.traces for step in fit.timings] == [2]
    assert summary(fit.timings)["data/traces"] == 2


@pytest.mark.parametrize("batches", [1, 2, 9])
def test_the_numbers_of_a_step_equal_numpys_to_the_last_bit(batches):
    rng = generator(0, "numbers of a step")
    learner = SimpleNamespace(quantities=("error",), phase=SimpleNamespace(real_positions=len))
    for weight in (0.0, 1.0, *rng.uniform(0, 200, 100)):
        # The columns are mean loss, its weight, error, its weight, real positions, norm.
        table = rng.normal(size=(batches, 6)).astype(np.float32)
        table[:, 1] *= weight

        numbers = Numbers(learner, list(table))

        table = table.astype(np.float64)
        total = table[:, 1].sum()
        loss = (table[:, 0] * table[:, 1]).sum() / total if total else 0.0
        assert (numbers.loss, numbers.norm, numbers.real_positions) == (loss, table[-1, 5], int(table[:, 4].sum()))
        assert numbers.sums == {"loss": (loss * total, total), "error": (table[:, 2].sum(), table[:, 3].sum())}


def test_drop_remainder_drops_smaller_batches_from_training_but_not_from_evaluation():
    _, fit, _, evaluate = trained(drop_remainder=True)

    assert [step.examples for step in fit.timings] == [16, 16] * 2
    assert np.isfinite(evaluate().predictions["probability"]).sum() == N


@pytest.mark.parametrize("implementation", ["keras", "fused_loop"])
def test_the_graph_of_a_step_is_freed_after_training(implementation):
    """Otherwise every trial would leak megabytes, which would count in the peak memory of later trials."""
    settings, graphs = edited(Settings(), {**SMALL, "implementation": implementation}), []

    def train_one_step():
        model = classifier(settings, classes=2)
        learner = learner_of(model, phase_of(examples(), settings), settings)
        update = updater(learner, on_trace=lambda: graphs.append(weakref.ref(tf.compat.v1.get_default_graph())))
        update(tf.constant([[1, 5, 6]] * 16), tf.constant([0, 1] * 8), True)

    train_one_step()
    fresh_session(0)
    gc.collect()

    assert [graph() for graph in graphs] == [None]


def test_momentum_is_that_of_the_equation():
    """velocity = momentum * velocity - rate * gradient; weight += velocity (Polyak, 1964, as Keras' SGD has it)."""
    settings = edited(Settings(), {"optimizer": "sgd", "momentum": 0.9, "learning_rate": 0.5})
    inputs = keras.Input((1,))
    model = keras.Model(inputs, keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")(inputs))
    optimizer = new_optimizer(model, settings)

    velocity = weight = 0.0
    for gradient in (1.0, -2.0, 3.0):
        optimizer.apply([tf.constant([[gradient]])], model.trainable_variables)
        velocity = 0.9 * velocity - 0.5 * gradient
        weight += velocity

    np.testing.assert_allclose(model.get_weights()[0], [[weight]], rtol=1e-6)
