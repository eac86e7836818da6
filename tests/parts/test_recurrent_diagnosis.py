from __future__ import annotations

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from src import registry
from src.config.settings import checked, edited
from src.models.cell_facts import FACTS
from src.parts.classes.measures import MEASURES, measure_sigmoid
from src.parts.recurrent import diagnosis as recurrent_diagnosis
from src.spec.record import Record
from src.tasks.sentiment.model import classifier
from src.tasks.sentiment.settings import Settings
from src.training.diagnosis import Evidence
from src.training.phase import Learner, Phase
from tests.training.test_fit import METRICS

pytestmark = pytest.mark.training


def reach_of(model, batch, settings):
    return recurrent_diagnosis.gradient_reach(
        model, batch, measure=measure_sigmoid, readout=settings.readout, is_masked=settings.masking
    )


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize(("implementation", "initial_state"), [("keras", "zeros"), ("graph_loop", "learned")])
def test_states_computed_from_the_gates_equal_those_of_the_layer(cell, implementation, initial_state):
    changes = {"cell": cell, "implementation": implementation, "initial_state": initial_state}
    settings = edited(Settings(), {**changes, "units": 3, "vocab_size": 9, "embedding_dim": 4})
    model = classifier(settings, classes=2)
    ids = tf.constant([[1, 5, 6, 7, 0], [1, 8, 0, 0, 0]], tf.int32)
    x = keras.Model(model.inputs, model.get_layer("encoding").output)(ids).numpy()
    states = None if initial_state == "zeros" else np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    first = None if states is None else list(states[: FACTS[cell].states])
    if first is not None:
        model.get_layer("recurrent_1_initial_state").set_weights(first)
    weights = model.get_layer("recurrent_1").get_weights()
    values = recurrent_diagnosis.gates(cell, weights, x=x, mask=ids.numpy() > 0, states=first)

    h, c = (np.zeros((2, 3)) if states is None else np.tile(states[place], (2, 1)) for place in (0, 1))
    for t in range(5):
        real = (ids.numpy()[:, t] > 0)[:, None]
        if cell == "lstm":
            i, f, g, o = (value[:, t] for value in values)
            c = np.where(real, f * c + i * g, c)
            h = np.where(real, o * np.tanh(c), h)
        else:
            z, _, new = (value[:, t] for value in values)
            h = np.where(real, z * h + (1 - z) * new, h)
    expected = keras.Model(model.inputs, model.get_layer("recurrent_1").output)(ids)
    np.testing.assert_allclose(h, expected, atol=1e-5)


def test_the_gradient_reach_of_a_linear_recurrence_is_its_factor_to_the_number_of_steps():
    """With h_t = tanh(x_t w + a h_{t-1}) near zero, dL/dx_t shrinks by a at every step back."""
    settings = edited(Settings(), {"cell": "simple_rnn", "units": 1, "vocab_size": 9, "embedding_dim": 1})
    model = classifier(settings, classes=2)
    ids, labels = tf.constant([[1, 5, 6, 7, 5]], tf.int32), tf.constant([1], tf.int32)
    model.get_layer("encoding").set_weights([np.full((9, 1), 1e-4, np.float32)])
    for a in (0.1, 3.0):
        model.get_layer("recurrent_1").set_weights([np.ones((1, 1)), np.full((1, 1), a), np.zeros(1)])
        assert reach_of(model, (ids, labels), settings) == pytest.approx(a**4, rel=1e-2)


def test_padded_steps_shrink_the_gradient_only_without_a_mask():
    short = tf.constant([[1, 5, 6, 0, 0, 0]], tf.int32), tf.constant([1], tf.int32)
    reach = {}
    for masking in (True, False):
        settings = edited(
            Settings(), {"cell": "simple_rnn", "units": 1, "vocab_size": 9, "embedding_dim": 1, "masking": masking}
        )
        model = classifier(settings, classes=2)
        model.get_layer("encoding").set_weights([np.full((9, 1), 1e-4, np.float32)])
        model.get_layer("recurrent_1").set_weights([np.ones((1, 1)), np.full((1, 1), 0.1), np.zeros(1)])
        reach[masking] = reach_of(model, short, settings)
    assert reach[True] == pytest.approx(0.1**2, rel=1e-2)
    assert reach[False] == pytest.approx(0.1**5, rel=1e-2)


def test_units_with_equal_states_in_all_sequences_are_dead():
    settings = edited(Settings(), {"cell": "gru", "units": 2, "vocab_size": 9, "embedding_dim": 3})
    model = classifier(settings, classes=2)
    ids = tf.constant([[1, 5, 6], [1, 7, 8], [1, 4, 4]], tf.int32)

    assert recurrent_diagnosis.dead_share(model, ids, settings) == 0
    model.get_layer("encoding").set_weights([np.zeros((9, 3), np.float32)])
    assert recurrent_diagnosis.dead_share(model, ids, settings) == 1
    assert (
        recurrent_diagnosis.dead_share(model, ids[:1], settings) == 0
    )  # a single sequence has no other one to differ from


def test_a_readout_of_the_maximum_is_never_reported_as_an_exploding_gradient():
    """Most sequences have no unit with its maximum at the last step, and no gradient there."""
    settings = edited(
        Settings(), {"units": 2, "vocab_size": 9, "embedding_dim": 3, "readout": "max_state", "masking": False}
    )
    ids, labels = np.random.default_rng(0).integers(4, 9, (32, 40)).astype(np.int32), np.arange(32, dtype=np.int32) % 2
    batch = tf.constant(ids), tf.constant(labels)

    assert 0 <= reach_of(classifier(settings, classes=2), batch, settings) <= 1


def test_a_vanishing_gradient_suggests_only_settings_that_are_not_in_use():
    settings = edited(
        Settings(), {"units": 2, "vocab_size": 9, "embedding_dim": 3, "implementation": "graph_loop", "bptt_steps": 2}
    )

    assert "try bptt_steps=null" in recurrent_diagnosis.shorter_path(settings, is_masked=True, is_padded=True)
    fixes = {
        padded: recurrent_diagnosis.shorter_path(settings, is_masked=False, is_padded=padded)
        for padded in (True, False)
    }
    assert "masking=true" in fixes[True] and "masking" not in fixes[False]  # without padding there is nothing to mask
    all_steps = edited(settings, {"bptt_steps": None})
    suggested = recurrent_diagnosis.shorter_path(all_steps, is_masked=True, is_padded=True)
    assert suggested == "try readout=mean_state, shorter sequences"


@pytest.mark.parametrize("changes", [
    {"encoding": "onehot"}, {"encoding": "onehot_projected"}, {"bidirectional": True},
    {"bidirectional": True, "implementation": "graph_loop"},
    {"depth": 2, "readout": "max_state"}, {"implementation": "packed_loop"}, {"implementation": "eager_loop"},
    {"initial_state": "learned"}, {"task": "integration"}, {"task": "integration", "target": "integral"},
    {"head": "softmax"},
])  # fmt: skip
def test_every_kind_of_model_can_be_diagnosed(changes):
    small = {"units": 4, "embedding_dim": 4} | ({} if "task" in changes else {"vocab_size": 9})
    settings = checked(small | changes)
    task = registry.task(settings.task)
    model = task.model(settings, SimpleNamespace(classes=["a", "b"]))
    inputs, targets = tf.constant([[1, 5, 6, 7, 0], [1, 8, 0, 0, 0]], tf.int32), tf.constant([0, 1], tf.int32)
    if settings.task == "integration":
        inputs = tf.random.normal([2, 5, 1], seed=0)
        targets = tf.constant([0.5, 1.0]) if settings.target == "integral" else targets
    loss = "squared" if targets.dtype == tf.float32 else settings.head
    phase = Phase(
        training=lambda epoch: [(inputs, targets, None)],
        batches_per_epoch=1,
        held_out={},
        signature=tuple(
            tf.TensorSpec([None, None, *part.shape[2:]][: len(part.shape)], part.dtype) for part in (inputs, targets)
        ),
        measure=MEASURES[loss],
        shape=lambda x: x.shape[:2],
        is_eager=settings.implementation == "eager_loop",
    )

    steps = [Record("step", step, {"train/loss": 0.7}, {"epoch": 1, "batch": 2, "loss": 0.7}) for step in (1, 2)]
    causes = list(task.causes(Evidence(Learner(model, phase, METRICS, settings), lambda: model, steps)))
    assert causes[0].startswith("learning rate too low: training changed the weights by only 0 of")
    assert "too few steps: 2 optimizer steps; train longer, or on more data" in causes
    assert set(recurrent_diagnosis.saturation(model, inputs, settings, is_masked=True)) == {"input", "forget", "output"}
    how = {"measure": phase.measure, "readout": settings.readout, "is_masked": settings.task == "sentiment"}
    reach = recurrent_diagnosis.gradient_reach(model, (inputs, targets), **how)
    assert reach is None if "encoding" in changes else 0 < reach < 1e3
    assert recurrent_diagnosis.dead_share(model, inputs, settings) < 1
