from __future__ import annotations

import json
import sys
import time
import types
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import faults_data
from src.artifacts import MODEL, SETTINGS, Artifacts
from src.data.batching import Padding
from src.parts.words import preprocessing
from src.parts.words.preprocessing import FILE, Loaded, Preprocessing
from src.spec.section import SettingsError
from src.tasks.sentiment import predicting
from src.tasks.sentiment.settings import Settings
from src.training import model_file
from src.trial import locate

ODD_FILES = list(faults_data.odd_preprocessing())
MODELS = list(faults_data.odd_models())
WHOLE = {
    SETTINGS: Settings().model_dump(),
    FILE: {"words": ["good"], "classes": ["a", "b"], "padding": {"edges": [4], "to_longest": True, "side": "post"}},
}


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (SETTINGS, "[]", "settings.json: settings: got []; allowed: keys with values"),
        (SETTINGS, "{", "settings.json: Expecting property name"),
        (SETTINGS, '{"cell": "foo"}', "settings.json: cell: got 'foo'; allowed: one of simple_rnn, gru, lstm"),
        (FILE, "[]", "preprocessing.json: Input should be"),
        (FILE, "", "preprocessing.json: Invalid JSON"),
        (FILE, "{}", "preprocessing.json: words: Field required"),
        (FILE, json.dumps(WHOLE[FILE] | {"words": 3}), "preprocessing.json: words: Input should be a valid array"),
        (FILE, json.dumps(WHOLE[FILE] | {"padding": {}}), "preprocessing.json: padding.edges: Field required"),
        (FILE, json.dumps(WHOLE[FILE] | {"padding": None}), "preprocessing.json: padding: Input should be"),
    ],
)
def test_a_broken_file_of_a_trial_is_named_before_tensorflow_is_imported(
    home, tmp_path, capsys, monkeypatch, file, content, message
):
    monkeypatch.setitem(sys.modules, "keras", None)  # importing it would raise
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    written(tmp_path)
    (tmp_path / MODEL).write_bytes(b"")
    (tmp_path / file).write_text(content, encoding="utf-8")

    assert predicting.main([str(tmp_path), "a text"]) == 2

    err = capsys.readouterr().err
    assert f"error: {tmp_path}: holds no whole trained model ({message}" in err and len(err.splitlines()) == 1


@pytest.mark.training
@pytest.mark.parametrize(
    ("tokens", "text", "ids"),
    [
        ("word", "Good फिल्म", [1, 4, 5]),
        ("list", "good Good फिल्म!", [1, 4, 2, 2]),
        ("character", "ab a", [1, 6, 7, 8, 6]),
        ("word_before_marks", "Good फ", [1, 4, 9]),
    ],
)
def test_a_text_is_divided_as_in_training(tokens, text, ids):
    seen = []

    def model(inputs, training):
        seen.append(inputs.tolist())
        return np.zeros((len(inputs), 1), np.float32)

    words = ["good", "फिल्म", "a", "b", " ", "फ"]
    of_trial = Preprocessing(words, ["x", "y"], Padding((4,), True, "post"), tokens)
    trained = Loaded(Settings(implementation="eager_loop"), model, of_trial)

    predicting.probabilities(trained, [text])

    assert seen == [[ids]]


def refused(folder, monkeypatch, capsys, *more):
    """Returns the error of `predict`; it must be one line, and come quickly and without TensorFlow."""
    monkeypatch.setitem(sys.modules, "keras", None)  # importing it would raise
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    begin = time.process_time()

    assert predicting.main([str(folder), *(more or ("a text",))]) == 2

    assert time.process_time() - begin < 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and len(err.splitlines()) == 1 and len(err) < 1_000
    return err


def written(folder):
    for name, values in WHOLE.items():
        (folder / name).write_text(json.dumps(values), encoding="utf-8")


@pytest.mark.parametrize("spoil", [spoil for _, spoil in ODD_FILES], ids=[name for name, _ in ODD_FILES])
def test_preprocessing_that_does_not_fit_the_trial_is_refused_in_one_line(home, tmp_path, capsys, monkeypatch, spoil):
    written(tmp_path)
    (tmp_path / MODEL).write_bytes(b"")
    spoil(tmp_path)

    assert f"{tmp_path}: holds no whole trained model ({FILE}: " in refused(tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize("write", [write for _, write in MODELS], ids=[name for name, _ in MODELS])
def test_a_model_that_is_damaged_or_could_run_code_is_refused_before_keras_reads_it(
    home, tmp_path, capsys, monkeypatch, write
):
    written(tmp_path)
    write(tmp_path)

    assert "model.keras" in refused(tmp_path, monkeypatch, capsys)
    assert not (tmp_path / "ran").exists()


def test_a_changed_byte_in_the_weights_is_reported_as_damage(home, tmp_path, capsys, monkeypatch):
    written(tmp_path)
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("config.json", json.dumps({"module": "keras", "class_name": "Sequential", "config": {}}))
        archive.writestr("model.weights.h5", b"weights" * 100)
    content = (tmp_path / "model.keras").read_bytes()
    (tmp_path / "model.keras").write_bytes(content.replace(b"weights" * 100, b"weights" * 99 + b"weighty"))

    assert "model.keras: model.weights.h5 is damaged" in refused(tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize(
    "content", ["[" * faults_data.DEEP, "\0" * 100, '{"cell": "lstm", "of_another_version": 1}', "1" * 10_000]
)
def test_settings_that_cannot_be_read_are_named(home, tmp_path, capsys, monkeypatch, content):
    written(tmp_path)
    (tmp_path / MODEL).write_bytes(b"")
    (tmp_path / SETTINGS).write_text(content, encoding="utf-8")

    assert "settings.json: " in refused(tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize(("file", "named"), [(SETTINGS, "a trial's folder"), (FILE, FILE), (MODEL, MODEL)])
def test_a_missing_file_is_named(home, tmp_path, capsys, monkeypatch, file, named):
    written(tmp_path)
    (tmp_path / MODEL).write_bytes(b"")
    (tmp_path / file).unlink()

    assert named in refused(tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize(
    ("task", "fix"),
    [
        ("images", "Use `python -m src.use {run} predict …` or `python -m src.use {run} errors …`"),
        ("integration", "That task has no commands; name a trial of task=sentiment"),
        ({"name": "integration", "sequence_length": 10}, "That task has no commands; name a trial of task=sentiment"),
        ("prices_of_mine:TASK", "`python -m src.use --task prices_of_mine:TASK {run}` lists the commands of that task"),
    ],
)
@pytest.mark.parametrize("has_file", [False, True])
def test_a_trial_of_another_task_is_refused_with_the_commands_of_that_task(
    home, tmp_path, capsys, monkeypatch, task, fix, has_file
):
    (tmp_path / SETTINGS).write_text(json.dumps({"task": task}), encoding="utf-8")
    (tmp_path / MODEL).write_bytes(b"")
    if has_file:  # as integration wrote it in the past
        names = {"words": [], "classes": ["a", "b"], "padding": None, "tokens": "word"}
        (tmp_path / FILE).write_text(json.dumps(names), encoding="utf-8")

    err = refused(tmp_path, monkeypatch, capsys)

    name = task if isinstance(task, str) else task["name"]
    what = f"error: {tmp_path}: trained with task={name}; src.predict classifies texts. "
    assert err == f"{what}{fix.format(run=tmp_path)}\n"


def test_a_trial_of_images_on_a_server_is_refused_by_its_settings(home, capsys, monkeypatch):
    downloaded = []

    class Files:
        def __init__(self, uri, run_id, address):
            pass

        def names(self):
            return {SETTINGS, MODEL, "images.json"}

        def download(self, name, folder):
            downloaded.append(name)
            (folder / name).write_text('{"task": "images"}', encoding="utf-8")

    run = SimpleNamespace(info=SimpleNamespace(artifact_uri="s3://bucket/x"))
    monkeypatch.setattr("mlflow.tracking.MlflowClient", lambda uri: SimpleNamespace(get_run=lambda run_id: run))
    monkeypatch.setattr(locate.download, "Files", Files)

    assert predicting.main(["0" * 32, "a text", "--uri", "http://host:5000"]) == 2

    assert f"Use `python -m src.use --uri URI {'0' * 32} predict …` or `python" in capsys.readouterr().err
    assert downloaded == [SETTINGS]


def test_a_name_that_is_too_long_for_a_file_is_refused(home, tmp_path, capsys, monkeypatch):
    long = faults_data.LONG
    written(tmp_path)

    assert "RUN: got 'nnn" in refused(long, monkeypatch, capsys)
    assert "File name too long" in refused(tmp_path, monkeypatch, capsys, "--file", long)
    assert "Not a directory" in refused(tmp_path, monkeypatch, capsys, "--file", str(tmp_path / SETTINGS / "t.txt"))
    assert "Is a directory" in refused(tmp_path, monkeypatch, capsys, "--file", str(tmp_path))


@pytest.mark.parametrize(
    "error",
    [
        type("NoCredentialsError", (Exception,), {})("Unable to locate credentials"),
        ModuleNotFoundError("No module named 'boto3'"),
        ConnectionError("connection refused"),
        RuntimeError("first line\nsecond line"),
    ],
)
def test_an_artifact_store_that_cannot_be_read_gives_an_error_of_one_line(home, capsys, monkeypatch, error):
    class Client:
        def __init__(self, uri):
            pass

        def get_run(self, run):
            return SimpleNamespace(info=SimpleNamespace(artifact_uri="s3://bucket/1/artifacts"))

    class Files:
        def __init__(self, uri, run_id, address):
            pass

        def names(self):
            return {"settings.json", "preprocessing.json", "model.keras"}

        def download(self, name, folder):
            raise error

    monkeypatch.setattr(locate.download, "Files", Files)
    monkeypatch.setitem(sys.modules, "mlflow", types.ModuleType("mlflow"))
    tracking = types.ModuleType("mlflow.tracking")
    tracking.MlflowClient = Client
    monkeypatch.setitem(sys.modules, "mlflow.tracking", tracking)

    err = refused("0" * 32, monkeypatch, capsys, "a text", "--uri", "http://localhost:1")

    assert str(error).splitlines()[0] in err


@pytest.mark.training
def test_a_trained_model_is_loaded_and_a_foreign_one_is_refused_in_one_line(home, tmp_path, capsys, monkeypatch):
    from src.tasks.sentiment.model import classifier

    settings = Settings(
        units=2, embedding_dim=2, vocab_size=5, max_length=4, cell="gru", bidirectional=True, initial_state="learned"
    )
    padding = Padding((4,), False, "post")
    files = Artifacts(tmp_path)
    files.write_settings(settings)
    model_file.write(tmp_path, classifier(settings, classes=2))
    preprocessing.write(tmp_path, Preprocessing(["good"], ["a", "b"], padding))

    assert predicting.main([str(tmp_path), "good", "bad \udcff"]) == 1
    assert len(capsys.readouterr().out.splitlines()) == 2

    whole = (tmp_path / "model.keras").read_bytes()
    for name, write in faults_data.models_of_others():
        write(tmp_path)

        assert predicting.main([str(tmp_path), "good"]) == 2, name
        err = capsys.readouterr().err
        assert err.startswith("error: ") and "model.keras: " in err and len(err.splitlines()) == 1, name
    (tmp_path / "model.keras").write_bytes(whole)
    files.write_settings(settings.model_copy(update={"vocab_size": 50}))
    larger = Preprocessing([f"word {number}" for number in range(40)], ["a", "b"], padding)
    preprocessing.write(tmp_path, larger)

    assert predicting.main([str(tmp_path), "good"]) == 2
    assert "model.keras: 5 ids, but vocab_size=50; the files belong to different trials" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["file:///etc", "/etc", "runs:/x"])
def test_a_server_that_names_local_files_is_refused(home, capsys, monkeypatch, address):
    run = SimpleNamespace(info=SimpleNamespace(artifact_uri=address))
    monkeypatch.setattr("mlflow.tracking.MlflowClient", lambda uri: SimpleNamespace(get_run=lambda run_id: run))

    assert predicting.main(["0" * 32, "a text", "--uri", "http://host:5000"]) == 2

    err = capsys.readouterr().err
    assert err.startswith("error: http://host:5000 says that the files of run") and len(err.splitlines()) == 1


def test_only_the_files_that_predicting_needs_are_downloaded(home, tmp_path, monkeypatch):
    downloaded = []

    class Files:
        def __init__(self, uri, run_id, address):
            pass

        def names(self):
            return {"settings.json", "preprocessing.json", "model.keras", "steps.parquet"}

        def download(self, name, folder):
            downloaded.append(name)

    run = SimpleNamespace(info=SimpleNamespace(artifact_uri="s3://bucket/x"))
    monkeypatch.setattr("mlflow.tracking.MlflowClient", lambda uri: SimpleNamespace(get_run=lambda run_id: run))
    monkeypatch.setattr(locate.download, "Files", Files)

    assert locate.folder_of("0" * 32, uri="http://host:5000", download_to=tmp_path, files=predicting.FILES) == tmp_path
    assert downloaded == ["settings.json", "preprocessing.json", "model.keras"]


@pytest.mark.parametrize("count", [1, 3, 5])
def test_the_name_of_a_study_is_refused_with_a_list_of_its_trials(count, home, tmp_path):
    identities = [f"{number:016x}" for number in range(count)]
    for identity in identities:
        (home / "outputs" / "mine" / identity).mkdir(parents=True)
        for name in (SETTINGS, MODEL):
            (home / "outputs" / "mine" / identity / name).touch()

    with pytest.raises(SettingsError) as refusal:
        locate.folder_of("mine", uri=None, download_to=tmp_path)

    more = "" if count <= 3 else f", … ({count} in all)"
    assert (
        str(refusal.value)
        == f"RUN: 'mine' is a study; name one of its finished trials: {', '.join(identities[:3])}{more}"
    )
