"""The model that MLflow serves without our package: it takes raw texts and returns probabilities."""

from __future__ import annotations

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.protos.databricks_pb2 import ENDPOINT_NOT_FOUND

from src.artifacts import MODEL, SETTINGS, Artifacts
from src.config.settings import edited
from src.data.batching import Padding
from src.parts.words import preprocessing
from src.parts.words.preprocessing import Preprocessing
from src.spec.metric import LOSS, Metric, as_records
from src.spec.record import METRICS, START, Record
from src.tasks.sentiment import task as sentiment
from src.tasks.sentiment.served import TEXTS as TEXTS_FILE
from src.tasks.sentiment.served import Served
from src.tasks.sentiment.serving import CODE, SRC
from src.tasks.sentiment.settings import Settings
from src.tracking.journal import FINISHED, Journal, end
from src.tracking.mlflow_replay import Store
from src.training import model_file

WORDS = ["the", "film", "good", "bad", "very", "long", "plot"]
TEXTS = [
    "the film",
    "good",
    "a very very very long film the plot bad",
    "Bad film!",
    "unknown words alone",
    "good good good the",
]
KNOWN = {
    **{"words": WORDS, "classes": ["bad", "good"], "tokens": "word"},
    **{"max_length": None, "truncation": "pre", "head": "sigmoid", "batch_size": 2},
    **{"edges": [3, 6], "to_longest": False, "side": "post"},
}
PORT = 5109


@pytest.fixture
def trial(home, blank):
    """A finished trial with fake files."""
    folder = home / "outputs" / "s" / "cafe"
    folder.mkdir(parents=True)
    Artifacts(folder).write_settings(Settings())
    known = {
        "words": WORDS,
        "classes": ["bad", "good"],
        "tokens": "word",
        "padding": {"edges": [4], "to_longest": True, "side": "post"},
    }
    (folder / preprocessing.FILE).write_text(json.dumps(known), encoding="utf-8")
    (folder / MODEL).write_bytes(b"a model")
    write(folder)
    return folder


def write(folder):
    detail = {"attempt": "one", "name": "cell=gru", "tags": {"ablation.kind": "trial", "ablation.identity": "cafe"}}
    with Journal(folder) as book:
        book.append(Record(START, 0, detail={**detail, "params": {"cell": "gru"}}))
        metrics = {"test/accuracy": 0.8, "time/epoch_s": 3.0}
        book.append(end(step=7, status=FINISHED, metrics=metrics, artifacts=[SETTINGS, MODEL, preprocessing.FILE]))


def replayed(folder, times=1):
    store = Store(None, "s")
    for _ in range(times):
        (folder / "mlflow.json").unlink(missing_ok=True)
        store.replay(folder)
    return store


def models(store):
    return list(store.client.search_logged_models([store.experiment_id]))


def files(model):
    return Path(model.artifact_location.removeprefix("file://"))


def test_a_finished_trial_has_a_model_with_flavor_signature_and_example(trial):
    store = replayed(trial)

    (model,) = models(store)
    (run,) = store._search("tags.`ablation.kind` = 'trial'")
    found = Model.load(str(files(model)))
    assert (str(model.status), model.source_run_id, model.params) == ("READY", run.info.run_id, {"cell": "gru"})
    assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]
    assert found.flavors["python_function"]["loader_module"] == "ablation_model.tasks.sentiment.served"
    assert [str(column.type) for column in found.signature.inputs] == ["DataType.string"]
    assert found.signature.outputs.input_names() == ["bad", "good"]
    assert found.load_input_example(str(files(model))) is not None
    assert {metric.key: metric.value for metric in store.client.get_logged_model(model.model_id).metrics} == {
        "test/accuracy": 0.8
    }


def test_a_model_that_is_sent_twice_is_stored_once(trial):
    store = replayed(trial, times=3)

    (model,) = models(store)
    (run,) = store._search("tags.`ablation.kind` = 'trial'")
    assert len(run.outputs.model_outputs) == 1
    assert len(store.client.get_metric_history(run.info.run_id, "test/accuracy")) == 1
    assert str(model.status) == "READY"


@pytest.mark.parametrize("call", ["log_outputs", "log_model_artifacts", "finalize_logged_model"])
def test_the_next_replay_completes_a_model_after_the_server_died(trial, monkeypatch, call):
    store = Store(None, "s")
    with monkeypatch.context() as patch:
        patch.setattr(store.client, call, lambda *_, **__: (_ for _ in ()).throw(MlflowException("gone")))
        with pytest.raises(MlflowException):
            store.replay(trial)

    store.replay(trial)

    (model,) = models(store)
    (run,) = store._search("tags.`ablation.kind` = 'trial'")
    assert str(model.status) == "READY" and (files(model) / "MLmodel").is_file() and len(run.outputs.model_outputs) == 1


def test_the_earliest_of_duplicate_models_is_kept(trial, monkeypatch):
    store = Store(None, "s")
    create = store.client.create_logged_model
    monkeypatch.setattr(
        store.client, "create_logged_model", lambda *given, **more: (create(*given, **more), create(*given, **more))
    )

    store.replay(trial)

    (model,) = models(store)
    assert str(model.status) == "READY"


def test_a_server_without_logged_models_gets_everything_else(trial, monkeypatch):
    def old(*_, **__):
        raise MlflowException("no such page", error_code=ENDPOINT_NOT_FOUND)

    store = Store(None, "s")
    monkeypatch.setattr(store.client, "search_logged_models", old)

    store.replay(trial)

    (run,) = store._search("tags.`ablation.kind` = 'trial'")
    assert run.info.status == "FINISHED" and run.data.metrics["test/accuracy"] == 0.8


@pytest.mark.parametrize(
    "content", ["", "[]", '{"words": [], "classes": [], "padding": null}', '{"words": 3, "classes": 4}']
)
def test_a_trial_has_no_model_if_it_reads_no_texts_or_its_files_are_broken(trial, content):
    (trial / preprocessing.FILE).write_text(content, encoding="utf-8")

    store = replayed(trial)

    (run,) = store._search("tags.`ablation.kind` = 'trial'")
    assert models(store) == [] and run.info.status == "FINISHED"


def test_a_model_is_registered_once_if_the_settings_ask_for_it(trial):
    Artifacts(trial).write_settings(edited(Settings(), {"tracking.register": "Reviews 1"}))

    store = replayed(trial, times=2)

    (model,) = models(store)
    (version,) = store.client.search_model_versions("name = 'Reviews 1'")
    assert not (Path.cwd() / "mlflow.db").exists()  # MLflow's client would create it for its default address
    assert (int(version.version), version.source, version.run_id) == (1, model.artifact_location, model.source_run_id)
    assert json.loads(store.client.get_logged_model(model.model_id).tags["mlflow.modelVersions"]) == [
        {"name": "Reviews 1", "version": 1}
    ]


def test_the_models_of_a_moved_home_are_loaded_from_the_new_place(trial, home, tmp_path, monkeypatch):
    Artifacts(trial).write_settings(edited(Settings(), {"tracking.register": "reviews"}))
    replayed(trial)
    shutil.move(home, tmp_path / "there")
    monkeypatch.setenv("ABLATION_HOME", str(tmp_path / "there"))

    store = Store(None, "s")

    (model,) = models(store)
    (version,) = store.client.search_model_versions("name = 'reviews'")
    assert version.source == model.artifact_location and (files(model) / "MLmodel").is_file()
    assert str(files(model)).startswith(str(tmp_path / "there"))


def test_the_code_that_is_stored_with_a_model_does_not_import_our_package():
    inside = {"data", "models"} | {Path(name).stem for name in CODE}
    for name in CODE:
        for node in ast.walk(ast.parse((SRC / name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert all(one.name.split(".")[0] != "src" for one in node.names), name
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] != "src", name
                assert not node.level or (node.module or "").split(".")[-1] in inside, name


class RecordingModel:
    """A model that records its inputs."""

    def __init__(self):
        self.given = []

    def __call__(self, ids, *, training):
        self.given.append(ids.tolist())
        return np.zeros((len(ids), 1), np.float32)


def given(texts, **changes):
    model = RecordingModel()
    Served(model, KNOWN | changes).probabilities(texts)
    return model.given


def test_a_text_is_padded_to_the_edge_of_its_bucket():
    assert given(["good"]) == [[[1, 6, 0]]]
    assert given(["good film bad"]) == [[[1, 6, 5, 7, 0, 0]]]
    assert given(["good film bad the plot very long"]) == [[[1, 6, 5, 7, 4, 10, 8, 9]]]


def test_a_single_text_needs_no_padding_to_the_longest_of_its_batch():
    assert given(["good", "good film"], edges=[9], to_longest=True) == [[[1, 6]], [[1, 6, 5]]]
    assert given(["good", "good film"], edges=[1, 2, 3, 4], to_longest=True) == [[[1, 6]], [[1, 6, 5]]]


def test_truncation_and_padding_use_the_side_of_the_settings():
    assert given(["good film bad the"], max_length=3) == [[[1, 7, 4]]]
    assert given(["good film bad the"], max_length=3, truncation="remove") == [[[1, 7, 4]]]
    assert given(["good film bad the"], max_length=3, truncation="post") == [[[1, 6, 5]]]
    assert given(["good"], side="pre") == [[[0, 1, 6]]]


def test_lists_of_texts_are_accepted_and_invalid_texts_are_named():
    served = Served(RecordingModel(), KNOWN)

    assert len(served.predict(pd.DataFrame({"text": [["good", "bad"], "film"]}))) == 3
    for data, says in (
        (["good", 3], "input 2 of 2 is not a text (got '3')"),
        (["...", "good", ""], "input 1, 3 of 3 has no word"),
    ):
        with pytest.raises(MlflowException, match="input") as refused:
            served.predict(pd.DataFrame({"text": data}))
        assert says in str(refused.value)


@pytest.mark.training
@pytest.mark.parametrize(
    "changes",
    [
        {"padding_side": "pre", "masking": False},
        {"head": "softmax", "cell": "gru", "bidirectional": True},
        {"tokens": "character", "max_length": 8, "truncation": "post"},
        {
            "encoding": "onehot",
            "readout": "mean_state",
            "initial_state": "learned",
            "implementation": "packed_loop",
            "depth": 2,
        },
    ],
)
@pytest.mark.parametrize(
    "padding", [Padding((3, 6), False, "post"), Padding((9,), True, "post"), Padding((1, 2, 3, 4), True, "post")]
)
def test_the_served_model_and_the_predict_command_agree(tmp_path, changes, padding):
    from src.tasks.sentiment import predicting
    from src.tasks.sentiment.model import classifier

    settings = edited(Settings(), {"units": 3, "embedding_dim": 3, "vocab_size": 20, "batch_size": 2, **changes})
    how = Padding(padding.edges, padding.to_longest, settings.padding_side)
    words = list("theflmgodba ") if settings.tokens == "character" else WORDS
    model = classifier(settings, classes=2)
    model.set_weights([weight + 0.3 for weight in model.get_weights()])
    Artifacts(tmp_path).write_settings(settings)
    model_file.write(tmp_path, model)
    preprocessing.write(
        tmp_path, Preprocessing(list(dict.fromkeys(words)), ["bad", "good"], how, tokens=settings.tokens)
    )
    known = json.loads(sentiment.TASK.served(tmp_path).files[TEXTS_FILE])

    found = Served(model, known).probabilities(TEXTS)

    np.testing.assert_allclose(found, predicting.probabilities(preprocessing.load(tmp_path), TEXTS), atol=1e-6)


@pytest.fixture
def trained(home, blank):
    """A trained trial whose model has custom layers."""
    from src.tasks.sentiment.model import classifier

    folder = home / "outputs" / "s" / "cafe"
    folder.mkdir(parents=True)
    small = {"units": 3, "embedding_dim": 3, "vocab_size": 20}
    settings = edited(Settings(), {**small, "implementation": "fused_loop", "readout": "max_state"})
    Artifacts(folder).write_settings(settings)
    padding = Padding((4,), True, "post")
    model_file.write(folder, classifier(settings, classes=2))
    preprocessing.write(folder, Preprocessing(WORDS, ["bad", "good"], padding, tokens="word"))
    write(folder)
    return folder


LOAD = """
import json, sys, mlflow
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
assert "src" not in sys.modules
for data in (["good film", "bad"], "good film", {"text": ["good film", "bad"]}, model.input_example):
    print(json.dumps(model.predict(data).to_dict("records")))
"""


@pytest.mark.training
@pytest.mark.parametrize("address", ["runs:/{run}/model", "models:/{model}"])
def test_mlflow_loads_the_model_without_our_package_and_predicts_texts(trained, tmp_path, address):
    store = replayed(trained)
    (model,) = models(store)
    uri = address.format(run=model.source_run_id, model=model.model_id)

    done = subprocess.run(
        [sys.executable, "-c", LOAD, store.uri, uri], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [len(answer) for answer in answers] == [2, 1, 2, 1]
    assert all(
        set(row) == {"bad", "good"} and abs(sum(row.values()) - 1) < 1e-6 for answer in answers for row in answer
    )


@pytest.mark.slow
@pytest.mark.training
def test_mlflow_models_serve_predicts_a_raw_text(trained, tmp_path):
    store = replayed(trained)
    (model,) = models(store)
    words = [
        "models",
        "serve",
        "-m",
        f"runs:/{model.source_run_id}/model",
        "--env-manager",
        "local",
        "-h",
        "127.0.0.1",
        "-p",
        str(PORT),
    ]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # MLflow starts uvicorn by its name
    known = os.environ | {"MLFLOW_TRACKING_URI": store.uri, "PATH": path}
    server = subprocess.Popen([sys.executable, "-m", "mlflow", *words], cwd=tmp_path, env=known, start_new_session=True)
    try:
        body = json.dumps({"inputs": ["a good film", "bad"]}).encode()
        asked = urllib.request.Request(
            f"http://127.0.0.1:{PORT}/invocations", body, {"Content-Type": "application/json"}
        )
        for _ in range(240):
            try:
                with urllib.request.urlopen(asked, timeout=10) as answer:
                    found = json.loads(answer.read())["predictions"]
                break
            except (urllib.error.URLError, OSError):
                assert server.poll() is None
                time.sleep(0.5)
        assert len(found) == 2 and all(
            set(row) == {"bad", "good"} and abs(sum(row.values()) - 1) < 1e-6 for row in found
        )

        wordless = urllib.request.Request(
            asked.full_url, json.dumps({"inputs": ["…"]}).encode(), {"Content-Type": "application/json"}
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(wordless, timeout=10)
        assert refused.value.code == 400 and "input 1 of 1 has no word" in refused.value.read().decode()
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)


def test_a_trial_whose_task_is_not_installed_is_sent_without_its_model(trial, caplog):
    settings = json.loads((trial / SETTINGS).read_text(encoding="utf-8"))
    (trial / SETTINGS).write_text(json.dumps(settings | {"task": "gone"}), encoding="utf-8")

    store = replayed(trial)

    (run,) = store._search("tags.`ablation.kind` = 'trial'")
    assert models(store) == [] and run.info.status == "FINISHED"
    assert "MLflow gets this trial without its model" in caplog.text


def test_a_model_has_the_metrics_of_its_task(trial):
    path = trial / "journal.jsonl"
    path.unlink()
    metrics = as_records([Metric("perplexity", "lower"), LOSS])
    values = {
        "test/perplexity": 80.0,
        "test/loss": 4.0,
        "best/val_perplexity": 70.0,
        "test/other": 1.0,
        "model/parameters": 9.0,
    }
    tags = {"ablation.kind": "trial", "ablation.identity": "cafe"}
    with Journal(trial) as book:
        book.append(Record(START, 0, detail={"attempt": "one", "name": "x", "tags": tags, METRICS: metrics}))
        book.append(end(step=7, status=FINISHED, metrics=values, artifacts=[SETTINGS, MODEL, preprocessing.FILE]))

    store = replayed(trial)

    (model,) = models(store)
    found = {metric.key for metric in store.client.get_logged_model(model.model_id).metrics}
    assert found == {"test/perplexity", "test/loss", "best/val_perplexity", "model/parameters"}
