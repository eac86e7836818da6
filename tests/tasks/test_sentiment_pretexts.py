"""Classifiers of texts that start from a language model or from word vectors, and that have few labels."""

from __future__ import annotations

import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from src import paths, registry
from src.config.settings import edited
from src.data.splits import TEST, TRAIN, VALIDATION
from src.data.tokens import FIRST_WORD
from src.spec.section import SettingsError
from src.tasks.sentiment import pretexts, texts
from src.tasks.sentiment.settings import Settings
from src.tasks.sentiment.task import TASK
from src.tracking import outcome
from src.tracking.journal import FINISHED
from src.training import model_file
from src.trial import first_phase
from src.trial import run as trial
from src.trial.prepare import prepare
from tests.conftest import write_table

SMALL = {"vocab_size": 30, "units": 4, "embedding_dim": 3, "max_length": 12, "cell": "simple_rnn", "batch_size": 20}
LANGUAGE_MODEL, WORD_VECTORS = {"pretext": "language_model"}, {"pretext": "word_vectors"}
IDS = np.random.default_rng(0).integers(FIRST_WORD, 30, (2, 7)).astype(np.int32)


@pytest.fixture(scope="module")
def path(shared_home):
    return write_table(shared_home / "table.csv")


@pytest.fixture
def settings(path):
    def made(**changes):
        quiet = {"name": "offline", "histograms": False, "pictures": False}
        data = {"name": "table", "path": str(path)}
        return edited(Settings(), {**SMALL, "data": data, "tracking": quiet, "study": "s", "epochs": 1, **changes})

    return made


def test_word_vectors_as_a_pretext_name_their_batches_so_that_a_new_default_does_not_change_them(settings):
    prepared = prepare(settings(**WORD_VECTORS))
    first = TASK.first(prepared.settings, prepared.data)

    assert first.settings.batch_size == 4_096 and "batch_size" in first.settings.model_fields_set


@pytest.fixture
def written(tmp_path):
    """Returns a function that writes a pretext's model with drawn weights, and returns the folder and the model."""

    def write(prepared):
        phase = TASK.first(prepared.settings, prepared.data)
        model = phase.task.model(phase.settings, phase.data or prepared.data)
        rng = np.random.default_rng(1)
        for variable in model.trainable_variables:
            variable.assign(rng.normal(size=variable.shape))
        (tmp_path / model_file.write(tmp_path, model)).rename(tmp_path / phase.file)
        return tmp_path, model

    return write


def begun(prepared, folder):
    """Returns a classifier before and after it took over what the pretext has learnt."""
    pair = [TASK.model(prepared.settings, prepared.data) for _ in range(2)]
    pretexts.take_over(pair[1], prepared.settings, folder)
    return pair


# What a classifier starts from


@pytest.mark.parametrize(
    "changes",
    [
        {"cell": "lstm", "implementation": "keras", "depth": 2, "forget_bias": 0.0},
        {"cell": "gru", "implementation": "keras", "initial_state": "learned"},
        {"cell": "gru", "implementation": "cell_loop", "encoding": "onehot_projected"},
        {"cell": "lstm", "implementation": "graph_loop", "encoding": "onehot"},
        {"cell": "simple_rnn", "implementation": "fused_loop"},
    ],
    ids=lambda changes: f"{changes['implementation']} {changes['cell']}",
)
def test_a_classifier_reads_texts_as_the_language_model_does_whatever_its_loop(settings, written, changes):
    prepared = prepare(settings(readout="mean_state", masking=False, **LANGUAGE_MODEL, **changes))
    folder, model = written(prepared)

    before, after = begun(prepared, folder)

    last = f"recurrent_{prepared.settings.depth}"
    states = [keras.Model(one.input, one.get_layer(last).output) for one in (before, after, model)]
    expected = states[2](np.pad(IDS, [(0, 0), (0, 1)]))  # what the last id is does not matter: it is only predicted
    np.testing.assert_allclose(states[1](IDS), expected, atol=1e-5)
    assert np.abs(states[0](IDS) - expected).max() > 0.1
    np.testing.assert_array_equal(*(one.get_layer("head").get_weights()[0] for one in (before, after)))


@pytest.mark.parametrize("encoder", ["recurrent", "bag"])
def test_an_embedding_starts_from_word_vectors_and_words_without_one_as_before(settings, written, path, encoder):
    rare = [f"the film was rare{number},{'good' if number % 2 else 'bad'}\n" for number in range(60)]
    other = path.with_name("rare.csv")
    other.write_text(path.read_text(encoding="utf-8") + "".join(rare), encoding="utf-8")
    prepared = prepare(settings(encoder=encoder, data={"name": "table", "path": str(other)}, **WORD_VECTORS))
    folder, model = written(prepared)
    phase = TASK.first(prepared.settings, prepared.data)

    before, after = (one.get_layer("encoding").get_weights()[0] for one in begun(prepared, folder))

    vectors, words = model.get_layer("words").input_table.numpy(), prepared.data.words(30)
    known = len(vectors)
    assert 5 < known < len(words)  # the others occur less often than min_count
    assert phase.data.words[:known] == words[:known]
    np.testing.assert_array_equal(after[FIRST_WORD : FIRST_WORD + known], vectors)
    rest = np.r_[:FIRST_WORD, FIRST_WORD + known : 30]
    np.testing.assert_array_equal(after[rest], before[rest])


@pytest.mark.parametrize(
    ("changes", "trained"),
    [
        (LANGUAGE_MODEL, ["head"]),
        (WORD_VECTORS, ["recurrent_1", "recurrent_2", "head"]),
        ({}, ["encoding", "recurrent_1", "recurrent_2", "head"]),
    ],
)
def test_what_starts_from_a_frozen_pretext_is_not_trained(settings, changes, trained):
    prepared = prepare(settings(pretext_trainable=False, depth=2, **changes))
    model = TASK.model(prepared.settings, prepared.data)

    assert [layer.name for layer in model.layers if layer.trainable_weights] == trained
    tuned = TASK.model(prepared.settings.model_copy(update={"pretext_trainable": True}), prepared.data)
    assert all(layer.trainable for layer in tuned.layers)


# Trials


@pytest.mark.training
@pytest.mark.parametrize(
    ("changes", "metric", "layers"),
    [
        (LANGUAGE_MODEL, "pretext/test/perplexity", ["encoding", "recurrent_1"]),
        (WORD_VECTORS, "pretext/test/cross_entropy", ["encoding"]),
    ],
)
def test_trials_share_a_pretext_and_frozen_layers_stay_as_it_left_them(settings, changes, metric, layers):
    shutil.rmtree(paths.outputs() / ".shared", ignore_errors=True)
    tf.config.run_functions_eagerly(True)
    frozen, tuned = settings(labels=5, pretext_trainable=False, **changes), settings(**changes)
    assert [trial.run(one) for one in (frozen, tuned)] == [FINISHED] * 2
    tf.config.run_functions_eagerly(False)

    folders = [prepare(one).folder for one in (frozen, tuned)]
    ends = [outcome.of_journal(folder) for folder in folders]
    assert [end.tags["ablation.first_phase"].split(", ")[1] for end in ends] == ["trained in this trial", "reused"]
    assert ends[0].metrics[metric] == ends[1].metrics[metric] > 0
    assert [end.metrics["data/labels"] for end in ends] == [10, 140]
    start = TASK.model(prepare(frozen).settings, prepare(frozen).data)
    pretexts.take_over(start, frozen, folders[0])
    models = [model_file.load(folder) for folder in folders]
    for layer in layers:
        weights, *of_trials = (one.get_layer(layer).get_weights() for one in (start, *models))
        for place, expected in enumerate(weights):
            np.testing.assert_array_equal(of_trials[0][place], expected)
            assert np.abs(of_trials[1][place] - expected).max() > 0


def test_only_what_changes_the_pretext_makes_another_one(settings):
    def kept(**changes):
        prepared = prepare(settings(**LANGUAGE_MODEL, **changes))
        return first_phase.prepared(TASK.first(prepared.settings, prepared.data), prepared.data).identity

    same = [{"labels": 3}, {"label_seed": 1, "labels": 3}, {"pretext_trainable": False}, {"readout": "max_state"}]
    same += [{"learning_rate": 0.1}, {"epochs": 2}, {"max_length": 9}, {"dropout": 0.3}, {"pretext_epochs": 6}]
    other = [{"pretext_epochs": 2}, {"pretext_learning_rate": 0.1}, {"units": 5}, {"cell": "gru"}, {"vocab_size": 20}]
    other += [{"seed": 1}, {"embedding_dim": 4}, {"depth": 2}, {"initial_state": "learned"}]
    assert {kept(**changes) for changes in same} == {kept()}
    assert len({kept(), *(kept(**changes) for changes in other)}) == 1 + len(other)


def test_the_identity_holds_the_epochs_and_the_learning_rate_of_the_pretext(settings):
    default, given, other = (
        prepare(settings(**LANGUAGE_MODEL, **changes))
        for changes in ({}, {"pretext_epochs": 6, "pretext_learning_rate": 0.003}, {"pretext_epochs": 5})
    )

    assert (default.settings.pretext_epochs, default.settings.pretext_learning_rate) == (6, 0.003)
    assert default.identity == given.identity != other.identity
    assert prepare(settings(pretext_epochs=5, pretext_trainable=False)).identity == prepare(settings()).identity


# Labels


@pytest.mark.parametrize("truncation", ["pre", "remove"])
def test_few_labels_leave_everything_but_the_training_texts_as_it_is(settings, truncation):
    few, every = (prepare(settings(labels=labels, truncation=truncation)) for labels in (3, None))
    data = few.data
    parts, whole = (texts.splits_of(one.settings, data) for one in (few, every))

    assert np.bincount(parts[TRAIN].labels).tolist() == [3, 3] and few.data.digest == every.data.digest
    known = {tuple(whole[TRAIN].ids[a:b]) for a, b in zip(whole[TRAIN].starts, whole[TRAIN].starts[1:], strict=False)}
    assert {
        tuple(parts[TRAIN].ids[a:b]) for a, b in zip(parts[TRAIN].starts, parts[TRAIN].starts[1:], strict=False)
    } < known
    for name in (VALIDATION, TEST):
        np.testing.assert_array_equal(parts[name].ids, whole[name].ids)
    phases = [texts.phase(one.settings, data) for one in (few, every)]
    assert phases[0].shapes == phases[1].shapes
    assert sum(len(rows) for _, _, rows in phases[0].training(1)) == 6
    assert TASK.measures(few.settings, data)["data/labels"] == 6
    assert TASK.measures(every.settings, data)["data/labels"] == len(whole[TRAIN].labels)


def test_a_fitted_classifier_reads_only_the_texts_with_labels(settings):
    few, every = (prepare(settings(labels=labels, encoder="tfidf")) for labels in (3, None))

    idf = [TASK.model(one.settings, one.data).get_layer("encoding").idf.numpy() for one in (few, every)]

    assert (idf[0] != idf[1]).any()


def test_as_many_labels_as_there_are_is_null(settings):
    used = prepare(settings(labels=70, label_seed=3))

    assert (used.settings.labels, used.settings.label_seed) == (None, None)
    assert used.identity == prepare(settings()).identity


# Refusals


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {**LANGUAGE_MODEL, "encoder": "cnn"},
            "pretext=language_model trains recurrent layers, which encoder=cnn has not; set encoder=recurrent",
        ),
        ({**LANGUAGE_MODEL, "bidirectional": True}, "but bidirectional=true; set bidirectional=false, or pretext="),
        ({**WORD_VECTORS, "tokens": "character"}, "not with tokens=character; set tokens=word"),
        ({"labels": 71}, "labels=71: class 'bad' has 70 training texts; set labels=70 or less, or labels=null for all"),
        ({"labels": 50, "truncation": "remove"}, "training texts; set labels="),
        ({"labels": 3, "drop_remainder": True}, "drop_remainder=true leaves no batch: no 20 of the 6"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_fix(settings, changes, message):
    with pytest.raises(SettingsError, match=message):
        prepare(settings(**changes))


def test_an_embedding_has_one_start(settings):
    prepared = prepare(settings(**LANGUAGE_MODEL))
    both = prepared.settings.model_copy(update={"embedding_from": "0123456789abcdef"})

    (reason,) = pretexts.refusals(both, prepared.data)

    fix = "set pretext=none or embedding_from=null"
    assert reason == f"pretext=language_model and embedding_from=0123456789abcdef both start the embedding; {fix}"


def test_reasons_of_the_pretexts_task_are_passed_on(settings, monkeypatch):
    of_task = registry.task("language_model")
    monkeypatch.setattr(type(of_task), "refusals", lambda self, settings, data: [f"units={settings.units} is too many"])

    with pytest.raises(SettingsError, match="pretext=language_model: units=4 is too many"):
        prepare(settings(**LANGUAGE_MODEL))


def test_toggles_of_a_pretext_are_inert_where_they_change_nothing(settings):
    def used(**changes):
        return prepare(settings(**changes)).settings

    assert used(encoding="onehot", **WORD_VECTORS).pretext == "none"
    assert used(encoder="tfidf", **LANGUAGE_MODEL).pretext == "none"
    assert used(dropout=0.5, pretext_trainable=False, **LANGUAGE_MODEL).dropout == 0
    assert used(dropout=0.5, pretext_trainable=False, **WORD_VECTORS).dropout == 0.5
