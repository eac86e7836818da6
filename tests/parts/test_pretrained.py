"""Embeddings that start from the vectors of a trial of `word_vectors`."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest

from src import paths, registry
from src.artifacts import Artifacts
from src.config.settings import edited
from src.data.tokens import FIRST_WORD
from src.models.word_pairs import WordPairs
from src.parts.words import pretrained, vectors_file
from src.spec.section import SettingsError
from src.tasks.language_model.settings import Settings as LanguageModel
from src.tasks.sentiment.settings import Settings as Sentiment
from src.tasks.translation.settings import Settings as Translation
from src.tasks.word_vectors.settings import Settings as WordVectors
from src.training import model_file
from src.trial.prepare import prepare

IDENTITY = "0123456789abcdef"
WORDS = ["good", "bad", "film", "the"]
SIZE = 5


def written(words=WORDS, name=IDENTITY, **changes):
    """Writes the files of a finished trial of word vectors; returns its folder and its vectors."""
    folder = paths.study_folder("vectors") / name
    folder.mkdir(parents=True, exist_ok=True)
    Artifacts(folder).write_settings(edited(WordVectors(), {"vector_size": SIZE, **changes}))
    vectors_file.write(folder, words, [3] * len(words))
    inputs = keras.Input((1,), dtype="int32"), keras.Input((None,), dtype="int32")
    layer = WordPairs(len(words), SIZE, name="words")
    model = keras.Model(inputs, layer(*inputs))
    table = np.random.default_rng(0).normal(size=(2, len(words), SIZE)).astype(np.float32)
    layer.set_weights([*table, np.zeros(len(words)), np.zeros(len(words))])
    model_file.write(folder, model)
    (folder / "journal.jsonl").write_text("", encoding="utf-8")
    return folder, table


@pytest.fixture
def vectors(home, monkeypatch):
    monkeypatch.setattr("src.trial.locate.is_finished", lambda folder: (paths.Path(folder) / "settings.json").is_file())
    return written()


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.csv"
    rows = [f"the {word} film other{number % 2},{label}" for number in range(20) for label, word in enumerate(WORDS)]
    path.write_text("text,label\n" + "\n".join(row[:-1] + str(int(row[-1]) % 2) for row in rows), encoding="utf-8")
    return path


def settings_of(kind, path, **changes):
    of_kind = {"name": "table"} if kind is Sentiment else {"name": "text", "texts": "line"}
    small = {"vocab_size": 20, "embedding_dim": SIZE, "units": 6, "embedding_from": IDENTITY[:6]}
    return kind(data={**of_kind, "path": str(path)}, **small | changes)


@pytest.mark.parametrize("kind", [Sentiment, LanguageModel])
@pytest.mark.parametrize("is_trained", [True, False])
def test_known_words_start_with_their_vectors_and_others_as_without(vectors, texts, kind, is_trained):
    trial = prepare(settings_of(kind, texts, embedding_trainable=is_trained))
    model = trial.task.model(trial.settings, trial.data)
    plain = trial.task.model(trial.settings.model_copy(update={"embedding_from": None}), trial.data)

    table, before = (one.get_layer("encoding").get_weights()[0] for one in (model, plain))

    words = trial.data.words(20)
    for place, word in enumerate(words):
        expected = vectors[1][0][WORDS.index(word)] if word in WORDS else before[FIRST_WORD + place]
        np.testing.assert_array_equal(table[FIRST_WORD + place], expected)
    np.testing.assert_array_equal(table[:FIRST_WORD], before[:FIRST_WORD])
    names = [variable.path for variable in model.trainable_variables]
    assert any("encoding" in name for name in names) == is_trained


def test_the_source_of_a_translation_starts_with_its_vectors(home, tmp_path, vectors):
    path = tmp_path / "pairs.tsv"
    path.write_text("\n".join(f"the {a} film {b}\tder {b}" for a in WORDS for b in "abcdefghij"), encoding="utf-8")
    settings = Translation(
        data={"name": "pairs", "path": str(path)}, embedding_dim=SIZE, units=6, embedding_from=IDENTITY
    )
    trial = prepare(settings)

    embedding = trial.task.model(trial.settings, trial.data).get_layer("encoder").embedding

    words = trial.data.vocabulary("source", trial.settings.vocab_size).words
    for word in WORDS:
        if word in words:
            row = np.asarray(embedding.embeddings)[FIRST_WORD + words.index(word)]
            np.testing.assert_array_equal(row, vectors[1][0][WORDS.index(word)])


def test_the_vectors_are_those_that_the_other_trial_combines(vectors, texts):
    written(combine="sum")
    trial = prepare(settings_of(Sentiment, texts))

    table = trial.task.model(trial.settings, trial.data).get_layer("encoding").get_weights()[0]

    words = trial.data.words(20)
    np.testing.assert_allclose(table[FIRST_WORD + words.index("film")], vectors[1].sum(axis=0)[2], rtol=1e-6)


def test_the_identity_holds_that_of_the_other_trial(vectors, texts):
    short, folder, none = (
        prepare(settings_of(Sentiment, texts, embedding_from=value)) for value in (IDENTITY[:6], str(vectors[0]), None)
    )
    written(name="fedcba9876543210")
    other = prepare(settings_of(Sentiment, texts, embedding_from="fedcba"))

    assert short.settings.embedding_from == folder.settings.embedding_from == IDENTITY
    assert short.identity == folder.identity
    assert len({short.identity, none.identity, other.identity}) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embedding_dim": 7}, "has vectors of size 5, but embedding_dim=7; set embedding_dim=5"),
        ({"encoding": "onehot_projected"}, "does not work with encoding=onehot_projected; set encoding=embedding"),
        ({"tokens": "character"}, "has another vocabulary: only 0 of the"),
        ({"embedding_from": "ffffff"}, "embedding_from: no finished trial 'ffffff'"),
        ({"embedding_from": "no such run"}, "embedding_from: got 'no such run'; allowed: a trial's folder"),
    ],
)
def test_vectors_that_do_not_fit_are_refused(vectors, texts, changes, message):
    with pytest.raises(SettingsError, match=message):
        prepare(settings_of(Sentiment, texts, **changes))


def test_files_without_vectors_are_refused(vectors, texts):
    (vectors[0] / "words.json").write_text(json.dumps({"words": ["a"]}), encoding="utf-8")

    with pytest.raises(SettingsError, match=r"embedding_from: .*it has no words of a model"):
        prepare(settings_of(Sentiment, texts))


def test_without_vectors_nothing_is_frozen():
    (rule,) = pretrained.INERT

    assert rule.key == "embedding_trainable" and rule.applies(Sentiment())
    assert not rule.applies(Sentiment(embedding_from=IDENTITY))
    assert {"embedding_from", "embedding_trainable"} <= set(registry.task("translation").settings.model_fields)
