"""The learning rate of every step, against plain NumPy."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from src.config.settings import edited
from src.tasks.sentiment.settings import Settings
from src.training.fit import Fit
from src.training.schedules import schedule
from src.training.update import new_optimizer
from src.trial import rules

STEPS, RATE = 40, 0.5
WITHOUT_WARM_UP = {
    "constant": lambda s, n: RATE,
    "linear": lambda s, n: RATE * (1 - s / n),
    "cosine": lambda s, n: RATE * (1 + np.cos(np.pi * s / n)) / 2,
    "step": lambda s, n: RATE / 10 ** ((s >= n / 2) + (s >= 3 * n / 4)),
}


def rates(name, warm):
    rest = STEPS - warm
    rising = [RATE * (s + 1) / warm for s in range(warm)]
    return [*rising, *(WITHOUT_WARM_UP[name](s, rest) for s in range(rest))]


def of(**changes):
    return edited(Settings(), {"learning_rate": RATE, **changes})


@pytest.mark.parametrize("name", WITHOUT_WARM_UP)
@pytest.mark.parametrize("share", [0.0, 0.2])
def test_the_rate_of_every_step_is_that_of_its_equation(name, share):
    made = schedule(of(schedule=name, warmup=share), steps=STEPS)

    if name == "constant" and not share:
        assert made is None
        return
    np.testing.assert_allclose(
        [made(tf.constant(s)) for s in range(STEPS)], rates(name, round(share * STEPS)), atol=1e-6
    )
    assert all(float(made(tf.constant(s))) >= 0 for s in (STEPS, 10 * STEPS))  # of a timing pass


@pytest.mark.parametrize("warm", [0, 10])
def test_the_weights_move_by_the_rate_of_each_step(warm):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
    settings = of(optimizer="sgd", schedule="cosine", warmup=warm / STEPS)
    optimizer = new_optimizer(model, settings)
    optimizer.learning_rate = schedule(settings, steps=STEPS)

    moved = []
    for _ in range(STEPS):
        before = float(model.get_weights()[0][0, 0])
        optimizer.apply([tf.constant([[-1.0]])], model.trainable_variables)
        moved.append(float(model.get_weights()[0][0, 0]) - before)

    np.testing.assert_allclose(moved, rates("cosine", warm), atol=1e-5)


@pytest.mark.parametrize(
    ("validations", "patience", "has_stalled"),
    [
        ([], 1, False),
        ([0.5], 1, False),
        ([0.5, 0.5], 1, True),
        ([0.5, 0.6], 1, False),
        ([0.5, 0.4, 0.3], 3, False),
        ([0.5, 0.4, 0.3, 0.5], 3, True),
        ([0.5, 0.4, 0.3], None, False),
    ],
)
def test_patience_counts_the_epochs_since_the_best_one(validations, patience, has_stalled):
    from src.tasks.sentiment.task import TASK
    from src.training.fit import best_epoch

    fit = dataclasses.replace(Fit(), validations=validations, best_epoch=best_epoch(validations, TASK.metrics[0]))

    assert fit.has_stalled(of(patience=patience, epochs=9)) == has_stalled


def test_patience_that_cannot_end_training_early_is_refused():
    (reason,) = rules.refusals(of(patience=2, epochs=3))

    assert reason == ("patience=2 cannot end a training of epochs=3 early; set epochs=4 or more, or patience=null")
    assert rules.refusals(of(patience=2, epochs=4)) == [] == rules.refusals(of(epochs=1))
