from __future__ import annotations

import csv

import keras
import numpy as np
import pytest
import tensorflow as tf

from src import run
from src.models.build import classifier
from src.settings import Settings, edited
from src.tracking import journal, outcome
from src.training import diagnosis
from src.training.problem import Problem
from tests.conftest import BAD, GOOD, PLAIN

pytestmark = pytest.mark.training
SMALL = "data=table vocab_size=60 units=8 embedding_dim=4 batch_size=4 bucketing=false epochs=3 tracking=offline tracking.histograms=false"


@pytest.fixture
def early(tmp_path):
    """Texts that say in their first words what they are, and then go on; the first one for 100 words."""
    rng, path = np.random.default_rng(0), tmp_path / "early.csv"
    plain = [*PLAIN, *(f"word{number}" for number in range(20))]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for row in range(200):
            telling = rng.choice(GOOD if row % 2 else BAD, 3)
            writer.writerow([" ".join([*telling, *rng.choice(plain, 100 if row == 0 else rng.integers(20, 25))]), "bg"[row % 2]])
    return path


def tags_of(home):
    [folder] = journal.folders(home / "outputs" / "adhoc")
    return outcome.of_journal(folder).tags


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        ("vocab_size=5", "inputs: 9"),
        ("learning_rate=30", "learning rate too high: the loss grew to "),
        ("forget_bias=-100", "saturated gates: the forget gate is within 0.01 of 0 or 1 in 100% of the steps"),
        ("epochs=2", "too few steps: 7"),
        (
            "masking=false padding=dataset cell=simple_rnn recurrent_initializer=random_uniform",
            "vanishing gradient: the gradient at the first step is ",
        ),
    ],
)
def test_a_broken_setting_is_named(home, early, capsys, broken, named):
    assert run.main([*SMALL.split(), f"data.path={early}", *broken.split()]) == 0

    tags = tags_of(home)
    assert tags["ablation.health"] == "no_learning"
    assert tags["ablation.diagnosis"].startswith(named)
    shown = capsys.readouterr().out.split("1 trial learnt nothing; likely cause:\n  data=table ")[1]
    assert f" seed=0: {named}" in shown.splitlines()[0]


def test_words_of_validation_that_training_has_not_are_named(home, tmp_path, capsys):
    """Every text is one word of its own, as a sentence without spaces is."""
    rng, signs = np.random.default_rng(0), list("这部电影演员情节音乐场面结尾导演故事人物画面好坏")
    lines = [f"{''.join(rng.choice(signs, 9))},{'ab'[row % 2]}" for row in range(200)]
    (tmp_path / "t.csv").write_text("\n".join(["text,label", *lines]), encoding="utf-8")
    small = [*SMALL.replace("vocab_size=60", "vocab_size=1000").split(), f"data.path={tmp_path / 't.csv'}", "epochs=1"]

    assert run.main(small) == 0

    said = "inputs: 100% of the validation words are outside the vocabulary, against 0% in training"
    assert tags_of(home)["ablation.diagnosis"] == f"{said}; set tokens=character, or train on more texts"
    assert "warning: 140 of 140 training texts are in Chinese or Japanese, which has no spaces between words" in capsys.readouterr().out


@pytest.mark.parametrize("healthy", ["readout=mean_state learning_rate=0.02", "readout=max_state cell=gru learning_rate=0.02"])
def test_a_trial_that_learns_is_not_accused(home, early, healthy):
    assert run.main([*SMALL.split(), f"data.path={early}", *healthy.split()]) == 0

    tags = tags_of(home)
    assert tags["ablation.health"] == "ok" and "ablation.diagnosis" not in tags


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize(("implementation", "initial_state"), [("keras", "zeros"), ("graph_loop", "learned")])
def test_gates_in_numpy_lead_to_the_states_of_the_layer(cell, implementation, initial_state):
    changes = {"cell": cell, "implementation": implementation, "initial_state": initial_state}
    settings = edited(Settings(), {**changes, "units": 3, "vocab_size": 9, "embedding_dim": 4})
    model = classifier(settings, classes=2)
    ids = tf.constant([[1, 5, 6, 7, 0], [1, 8, 0, 0, 0]], tf.int32)
    x = keras.Model(model.inputs, model.get_layer("encoding").output)(ids).numpy()
    states = None if initial_state == "zeros" else np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    if states is not None:
        model.get_layer("recurrent_1_initial_state").set_weights(list(states[: 1 + (cell == "lstm")]))
    weights = model.get_layer("recurrent_1").get_weights()
    values = diagnosis.gates(cell, weights, x=x, mask=ids.numpy() > 0, states=states)

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


def test_the_reach_of_a_gradient_is_that_of_a_linear_recurrence():
    """With h_t = tanh(x_t w + a h_{t-1}) near zero, dL/dx_t shrinks by a at every step back."""
    settings = edited(Settings(), {"cell": "simple_rnn", "units": 1, "vocab_size": 9, "embedding_dim": 1})
    model = classifier(settings, classes=2)
    ids, labels = tf.constant([[1, 5, 6, 7, 5]], tf.int32), tf.constant([1], tf.int32)
    model.get_layer("encoding").set_weights([np.full((9, 1), 1e-4, np.float32)])
    for a in (0.1, 3.0):
        model.get_layer("recurrent_1").set_weights([np.ones((1, 1)), np.full((1, 1), a), np.zeros(1)])
        assert diagnosis.gradient_reach(model, (ids, labels), loss="sigmoid", settings=settings) == pytest.approx(a**4, rel=1e-2)


def test_padding_is_a_step_to_go_back_without_a_mask_alone():
    short = tf.constant([[1, 5, 6, 0, 0, 0]], tf.int32), tf.constant([1], tf.int32)
    reach = {}
    for masking in (True, False):
        settings = edited(Settings(), {"cell": "simple_rnn", "units": 1, "vocab_size": 9, "embedding_dim": 1, "masking": masking})
        model = classifier(settings, classes=2)
        model.get_layer("encoding").set_weights([np.full((9, 1), 1e-4, np.float32)])
        model.get_layer("recurrent_1").set_weights([np.ones((1, 1)), np.full((1, 1), 0.1), np.zeros(1)])
        reach[masking] = diagnosis.gradient_reach(model, short, loss="sigmoid", settings=settings)
    assert reach[True] == pytest.approx(0.1**2, rel=1e-2)
    assert reach[False] == pytest.approx(0.1**5, rel=1e-2)


def test_states_that_never_differ_are_dead():
    settings = edited(Settings(), {"cell": "gru", "units": 2, "vocab_size": 9, "embedding_dim": 3})
    model = classifier(settings, classes=2)
    ids = tf.constant([[1, 5, 6], [1, 7, 8], [1, 4, 4]], tf.int32)

    assert diagnosis.dead_share(model, ids, settings) == 0
    model.get_layer("encoding").set_weights([np.zeros((9, 3), np.float32)])
    assert diagnosis.dead_share(model, ids, settings) == 1
    assert diagnosis.dead_share(model, ids[:1], settings) == 0  # one sequence has nothing to differ from


def test_a_maximum_over_steps_is_never_taken_for_an_explosion():
    """Most sequences have no unit with its maximum at the last step, and no gradient there."""
    settings = edited(Settings(), {"units": 2, "vocab_size": 9, "embedding_dim": 3, "readout": "max_state", "masking": False})
    ids, labels = np.random.default_rng(0).integers(4, 9, (32, 40)).astype(np.int32), np.arange(32, dtype=np.int32) % 2
    batch = tf.constant(ids), tf.constant(labels)

    assert 0 <= diagnosis.gradient_reach(classifier(settings, classes=2), batch, loss="sigmoid", settings=settings) <= 1


def test_gradients_that_were_cut_on_purpose_are_said_to_be():
    settings = edited(Settings(), {"units": 2, "vocab_size": 9, "embedding_dim": 3, "implementation": "graph_loop", "bptt_steps": 2})

    assert "try bptt_steps=null" in diagnosis._shorter_way(settings)
    unpadded = edited(Settings(), {"padding": "equal", "masking": False})  # where masking counts as false
    assert "masking" not in diagnosis._shorter_way(unpadded) and "masking" in diagnosis._shorter_way(edited(unpadded, {"padding": "batch"}))
    assert diagnosis._shorter_way(edited(settings, {"bptt_steps": None})) == "try readout=mean_state, shorter sequences"


def test_sequences_that_are_all_the_same_are_named():
    same = np.array([[1, 5, 6], [1, 5, 6]])

    assert diagnosis.are_equal([same, same[:1]])
    assert not diagnosis.are_equal([same, np.array([[1, 5, 7]])])
    assert not diagnosis.are_equal([same[:1]])


def test_the_loss_before_training_is_the_mean_over_examples():
    settings = edited(Settings(), {"units": 2, "vocab_size": 9, "embedding_dim": 3})
    model = classifier(settings, classes=2)
    batches = [
        (tf.constant([[1, 5], [1, 6]], tf.int32), tf.constant([0, 1], tf.int32)),
        (tf.constant([[1, 7]], tf.int32), tf.constant([1], tf.int32)),
    ]
    chances = [1 / (1 + np.exp(-model(inputs).numpy()[:, 0])) for inputs, _ in batches]

    expected = -np.log([1 - chances[0][0], chances[0][1], chances[1][0]]).mean()
    assert diagnosis.mean_loss(model, batches, "sigmoid", settings) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("changes", [
    {"encoding": "onehot"}, {"encoding": "onehot_projected"}, {"bidirectional": True},
    {"bidirectional": True, "implementation": "graph_loop"},
    {"depth": 2, "readout": "max_state"}, {"implementation": "packed_loop"}, {"implementation": "eager_loop"}, {"initial_state": "learned"},
    {"task": {"name": "integration"}}, {"task": {"name": "integration", "target": "integral"}}, {"head": "softmax"},
])  # fmt: skip
def test_every_kind_of_model_can_be_diagnosed(changes):
    settings = edited(edited(Settings(), {"task": changes.pop("task", {"name": "sentiment"})}), changes)
    settings = edited(settings, {"units": 4, "vocab_size": 9, "embedding_dim": 4})
    model, loss = classifier(settings, classes=2), settings.head
    inputs, targets = tf.constant([[1, 5, 6, 7, 0], [1, 8, 0, 0, 0]], tf.int32), tf.constant([0, 1], tf.int32)
    if settings.task.name == "integration":
        inputs = tf.random.normal([2, 5, 1], seed=0)
        targets, loss = (tf.constant([0.5, 1.0]), "squared") if settings.task.target == "integral" else (targets, loss)

    problem = Problem(lambda epoch: [(inputs, targets, None)], 1, {}, loss, None)
    cause = diagnosis.diagnose(model, model, problem, losses=[[0.7, 0.7]], settings=settings)
    assert cause.startswith("learning rate too low: training changed the weights by only 0 of")
    assert set(diagnosis.saturation(model, inputs, settings)) == {"input", "forget", "output"}
    reach = diagnosis.gradient_reach(model, (inputs, targets), loss=loss, settings=settings)
    assert reach is None if settings.encoding != "embedding" else 0 < reach < 1e3
    assert diagnosis.dead_share(model, inputs, settings) < 1
