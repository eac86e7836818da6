from __future__ import annotations

import csv

import numpy as np
import pytest
import tensorflow as tf

from src import run
from src.config.settings import edited
from src.tasks.sentiment.model import classifier
from src.tasks.sentiment.settings import Settings
from src.tracking import journal, outcome
from src.training import diagnosis
from tests.conftest import BAD, GOOD, PLAIN
from tests.training.test_fit import examples, learner_of, phase_of

pytestmark = pytest.mark.training
SMALL = "data=table vocab_size=60 units=8 embedding_dim=4 batch_size=4 bucketing=false epochs=3"
SMALL += " tracking=offline tracking.histograms=false"


@pytest.fixture
def early(tmp_path):
    """Texts whose first three words tell the class; about 20 plain words follow, 100 in the first text."""
    rng, path = np.random.default_rng(0), tmp_path / "early.csv"
    plain = [*PLAIN, *(f"word{number}" for number in range(20))]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for row in range(200):
            telling = rng.choice(GOOD if row % 2 else BAD, 3)
            writer.writerow(
                [" ".join([*telling, *rng.choice(plain, 100 if row == 0 else rng.integers(20, 25))]), "bg"[row % 2]]
            )
    return path


def tags_of(home):
    [folder] = journal.folders(home / "outputs" / "adhoc")
    return outcome.of_journal(folder).tags


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        ("vocab_size=5", "unknown words: 9"),
        ("learning_rate=30", "learning rate too high: the loss grew to "),
        ("forget_bias=-100", "saturated gates: the forget gate is within 0.01 of 0 or 1 in 100% of the steps"),
        ("epochs=2", "too few steps: 7"),
        (
            "masking=false padding=dataset cell=simple_rnn recurrent_initializer=random_uniform",
            "vanishing gradient: the gradient at the first step is ",
        ),
    ],
)
def test_the_diagnosis_names_a_bad_setting(home, early, capsys, broken, named):
    assert run.main([*SMALL.split(), f"data.path={early}", *broken.split()]) == 0

    tags = tags_of(home)
    assert tags["ablation.health"] == "no_learning"
    assert tags["ablation.diagnosis"].startswith(named)
    cause, variant = capsys.readouterr().out.split("1 trial learnt nothing; likely cause: ")[1].splitlines()[:2]
    assert cause.startswith(named) and variant.startswith("  data=table ") and variant.endswith(" seed=0")


def test_the_diagnosis_names_validation_words_that_training_does_not_have(home, tmp_path, capsys):
    """Every text is a single, unique word, like a sentence without spaces."""
    rng, characters = np.random.default_rng(0), list("这部电影演员情节音乐场面结尾导演故事人物画面好坏")
    lines = [f"{''.join(rng.choice(characters, 9))},{'ab'[row % 2]}" for row in range(200)]
    (tmp_path / "t.csv").write_text("\n".join(["text,label", *lines]), encoding="utf-8")
    small = [*SMALL.replace("vocab_size=60", "vocab_size=1000").split(), f"data.path={tmp_path / 't.csv'}", "epochs=1"]

    assert run.main(small) == 0

    finding = "unknown words: 100% of the validation words are outside the vocabulary, against 0% in training"
    assert tags_of(home)["ablation.diagnosis"] == f"{finding}; set tokens=character, or train on more texts"
    assert (
        "warning: 140 of 140 training texts are in Chinese or Japanese, which has no spaces between words"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    "healthy", ["readout=mean_state learning_rate=0.02", "readout=max_state cell=gru learning_rate=0.02"]
)
def test_a_trial_that_learns_has_no_diagnosis(home, early, healthy):
    assert run.main([*SMALL.split(), f"data.path={early}", *healthy.split()]) == 0

    tags = tags_of(home)
    assert tags["ablation.health"] == "ok" and "ablation.diagnosis" not in tags


def test_batches_are_equal_if_all_of_several_sequences_are():
    same = np.array([[1, 5, 6], [1, 5, 6]])

    assert diagnosis.are_equal([same, same[:1]])
    assert not diagnosis.are_equal([same, np.array([[1, 5, 7]])])
    assert not diagnosis.are_equal([same[:1]])


def test_the_initial_loss_is_the_mean_over_examples():
    settings = edited(Settings(), {"units": 2, "vocab_size": 9, "embedding_dim": 3})
    model = classifier(settings, classes=2)
    batches = [
        (tf.constant([[1, 5], [1, 6]], tf.int32), tf.constant([0, 1], tf.int32)),
        (tf.constant([[1, 7]], tf.int32), tf.constant([1], tf.int32)),
    ]
    chances = [1 / (1 + np.exp(-model(inputs).numpy()[:, 0])) for inputs, _ in batches]

    expected = -np.log([1 - chances[0][0], chances[0][1], chances[1][0]]).mean()
    learner = learner_of(model, phase_of(examples(), settings), settings)
    assert diagnosis.mean_loss(learner, model, batches) == pytest.approx(expected, abs=1e-6)
