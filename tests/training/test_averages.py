"""Averages of the weights, alone and in whole trials, against plain NumPy."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from src.config.settings import checked, edited
from src.spec.record import EVALUATION, STEP
from src.spec.task import Trial
from src.tasks.images import toggles as of_images
from src.tasks.images.settings import Settings as Images
from src.tasks.sentiment.settings import Settings
from src.tasks.sentiment.task import TASK, Sentiment
from src.training import model_file
from src.training.averages import averages
from src.training.evaluation import evaluators
from src.training.phase import Learner
from src.training.update import new_optimizer
from src.trial.prepare import prepare

pytestmark = pytest.mark.training
EPOCHS, PER_EPOCH, MOMENTUM = 5, 4, 0.8


def expected(name, weights):
    """Returns the average after each epoch, of the weights after each step; the weights themselves before it begins."""
    found, ema = [], weights[0]
    for step, now in enumerate(weights, 1):
        ema = now if step == 1 else MOMENTUM * ema + (1 - MOMENTUM) * now
        if step % PER_EPOCH == 0:
            ends = weights[PER_EPOCH * (EPOCHS // 2 + 1) - 1 : step : PER_EPOCH]
            found.append(ema if name == "ema" else np.mean(ends, axis=0) if len(ends) else now)
    return found


@pytest.mark.parametrize("name", ["ema", "swa"])
@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_the_average_of_every_epoch_is_that_of_its_equation(name, kind):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, use_bias=False)])
    changes = {"optimizer": kind, "learning_rate": 0.1, "averaging": name, "ema_momentum": MOMENTUM, "epochs": EPOCHS}
    settings = edited(Settings(), changes)
    optimizer = new_optimizer(model, settings)
    made, rng = averages(optimizer, settings), np.random.default_rng(0)
    weights, found = [], []

    for epoch in range(1, EPOCHS + 1):
        for _ in range(PER_EPOCH):
            optimizer.apply([tf.constant(rng.normal(size=(2, 3)), tf.float32)], model.trainable_variables)
            weights.append(model.get_weights()[0])
        made.epoch_ended(epoch)
        with made.applied():
            found.append(model.get_weights()[0])
        np.testing.assert_array_equal(model.get_weights()[0], weights[-1])

    np.testing.assert_allclose(found, expected(name, weights), atol=1e-6)
    assert made.begins(steps=len(weights)) == {"ema": "step 1", "swa": "epoch 3"}[name]


def test_averages_begin_with_training():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    for name in ("ema", "swa"):
        settings = edited(Settings(), {"averaging": name})
        made = averages(new_optimizer(model, settings), settings)
        with made.applied():
            assert made.begins(steps=0) is None and np.any(model.get_weights()[0])
    assert averages(new_optimizer(model, Settings()), Settings()) is None


@pytest.mark.parametrize("execution", ["eager", "graph_epoch"])
@pytest.mark.parametrize("name", ["ema", "swa"])
def test_a_trial_validates_tests_and_keeps_the_averages(home, table, tmp_path, monkeypatch, name, execution):
    built, model = [], Sentiment.model
    monkeypatch.setattr(Sentiment, "model", lambda *args: built.append(model(*args)) or built[-1])
    small = {"encoder": "bag", "vocab_size": 40, "embedding_dim": 4, "batch_size": 35, "bucketing": False}
    small |= {"learning_rate": 0.05, "epochs": EPOCHS, "execution": execution, "tracking": {"histograms": False}}
    averaged = {"averaging": name, "ema_momentum": MOMENTUM}
    prepared = prepare(checked({"data": {"name": "table", "path": str(table)}, **small, **averaged}))
    assert prepared.data.rows["train"] == 35 * PER_EPOCH
    trial = Trial(prepared.settings, prepared.data, tmp_path, "trial", True, "attempt", "i")
    weights, values = [], []

    for record in TASK.records(trial):
        weights += [built[0].get_weights()[0]] if record.kind == STEP else []
        values += [record.metrics["val/loss"]] if record.kind == EVALUATION else []
        last = record

    kept = model_file.load(tmp_path)
    best = int(last.detail["tags"]["ablation.best_epoch"].split()[0])
    if execution == "eager":  # a graph of an epoch yields its steps after the last one
        np.testing.assert_allclose(kept.get_weights()[0], expected(name, weights)[best - 1], atol=1e-5)
    learner = Learner(kept, TASK.phase(trial.settings, trial.data), TASK.metrics, trial.settings)
    for split, found in (("validation", values[best - 1]), ("test", last.metrics["test/loss"])):
        assert found == pytest.approx(evaluators(learner)[split]().mean("loss"), rel=1e-5)
    assert last.detail["tags"]["ablation.averaging"] == f"from {'step 1' if name == 'ema' else 'epoch 3'} on"


def test_batch_normalisation_is_refused_with_an_average_of_epochs():
    settings = edited(Images(), {"averaging": "swa", "batch_norm": True})

    assert "averaging=swa does not work with batch normalisation" in of_images.refusals(settings, shape=(9, 9, 1))[0]
    assert of_images.refusals(edited(settings, {"averaging": "ema"}), shape=(9, 9, 1)) == []
