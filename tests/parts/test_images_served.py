"""The image classifier that MLflow serves without our package."""

from __future__ import annotations

import ast
import base64
import importlib
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from PIL import Image

from src import registry
from src.artifacts import MODEL, SETTINGS, Artifacts
from src.config.settings import edited
from src.data import image_files
from src.parts.images import commands, reading, served, serving
from src.parts.images.served import Served
from src.parts.images.serving import CODE, SRC
from src.spec.record import START, Record
from src.tracking.journal import FINISHED, Journal, end
from src.tracking.mlflow_replay import Store
from src.training import model_file

RNG = np.random.default_rng(0)


def known(channels=3, classes=("cat", "dog")):
    each = [0.5 / 255] * channels
    return reading.Reading(list(classes), [6, 5, channels], each, [0.1] * channels)


def text(mode, size=(5, 6), form="PNG", **how):
    """A file of random pixels in base64."""
    pixels = RNG.integers(0, 256, (size[1], size[0], 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(content, form, **how)
    return base64.b64encode(content.getvalue()).decode()


class Recording:
    """A model that records its inputs."""

    def __call__(self, images):
        self.given = images
        return np.zeros((len(images), 1), np.float32)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("mode", "size", "how"),
    [
        ("RGB", (5, 6), {}),
        ("L", (40, 30), {}),
        ("P", (40, 30), {}),
        ("1", (5, 6), {}),
        ("RGB", (40, 30), {"form": "JPEG"}),
        ("CMYK", (5, 6), {"form": "JPEG"}),
    ],
)
def test_an_image_is_read_as_in_training(tmp_path, channels, mode, size, how):
    about, model, content = known(channels), Recording(), text(mode, size, **how)
    (tmp_path / "x.png").write_bytes(base64.b64decode(content))

    Served(model, vars(about)).predict(pd.DataFrame({"image": [content]}))

    expected, _ = image_files.read(tmp_path / "x.png", mode=about.mode, size=(6, 5))
    np.testing.assert_array_equal(model.given[0], about.scale(expected))


def test_lists_are_accepted_and_what_is_no_image_is_named():
    classifier = Served(Recording(), vars(known()))

    assert classifier.predict(pd.DataFrame({"image": [[text("RGB"), text("L")], text("RGB")]})).shape == (3, 2)
    for bad, says in (
        ("cat.png", "input 2 of 2 is not a PNG or JPEG file in base64 (got 'cat.png')"),
        (3, "input 2 of 2 is not a PNG or JPEG file in base64 (got '3')"),
        (text("RGB")[:60], "input 2 of 2 is not a PNG or JPEG file"),
        (text("RGBA"), "input 2 of 2 has transparency, or more than 8 bits per channel (RGBA)"),
        (text("L", save_all=True, append_images=[Image.new("L", (5, 6))]), "input 2 of 2 is animated; save one of its"),
        (text("I;16"), "input 2 of 2 has transparency, or more than 8 bits per channel (I;16)"),
    ):
        with pytest.raises(MlflowException) as refused:
            classifier.predict(pd.DataFrame({"image": [text("RGB"), bad]}))
        assert says in str(refused.value)


def test_the_stored_code_imports_no_other_module_of_the_project():
    stored = {Path(name).stem for name in CODE}
    for name in CODE:
        for node in ast.walk(ast.parse((SRC / name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                module = (node.module or "").split(".")
                assert module[0] != "src" and (not node.level or module[-1] in stored), name
            assert not isinstance(node, ast.Import) or all(one.name.split(".")[0] != "src" for one in node.names), name


@pytest.mark.parametrize("content", ["", "{}", '{"classes": 3}'])
def test_a_trial_that_does_not_say_how_it_reads_images_is_not_served(tmp_path, content):
    assert serving.served(tmp_path) is None
    (tmp_path / reading.FILE).write_text(content, encoding="utf-8")
    assert serving.served(tmp_path) is None


SMALL = {  # task → settings
    "images": {"network": "cnn", "width": 3, "depth": 1},
    "pretraining": {"encoder": "cnn", "width": 3, "depth": 1, "code_size": 4, "batch_norm": True},
}


def trained(folder, *, task="images", head="softmax", classes=("cat", "dog", "eel")):
    classifier = importlib.import_module(f"src.tasks.{task}.networks").classifier
    folder.mkdir(parents=True, exist_ok=True)
    settings = edited(registry.task(task).settings(), {**SMALL[task], "head": head})
    Artifacts(folder).write_settings(settings)
    model_file.write(folder, classifier(settings, shape=(6, 5, 3), outputs=1 if head == "sigmoid" else len(classes)))
    reading.write(folder, known(classes=classes))
    return folder


@pytest.mark.parametrize("task", SMALL)
@pytest.mark.parametrize(("head", "classes"), [("softmax", ("cat", "dog", "eel")), ("sigmoid", ("cat", "dog"))])
def test_the_served_model_and_the_predict_command_agree(tmp_path, task, head, classes):
    folder = trained(tmp_path, task=task, head=head, classes=classes)
    images = RNG.integers(0, 256, (70, 6, 5, 3), np.uint8)

    found = Served(model_file.load(folder), vars(reading.load(folder))).probabilities(images)

    np.testing.assert_allclose(found, commands.probabilities(folder, reading.load(folder), images), atol=1e-6)


LOAD = """
import json, sys, mlflow
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
assert "src" not in sys.modules
for data in ([sys.argv[3], sys.argv[3]], {"image": [sys.argv[3]]}, model.input_example):
    print(json.dumps(model.predict(data).to_dict("records")))
"""


@pytest.mark.parametrize("task", SMALL)
def test_the_loader_of_mlflow_reads_the_files_of_a_stored_model(tmp_path, task):
    folder, content = trained(tmp_path / "trial", task=task), text("RGB")
    of_task = registry.task(task).served(folder)
    for name, file in of_task.files.items():
        shutil.copy(file, tmp_path / name)

    classifier = served._load_pyfunc(str(tmp_path))

    image = classifier._read(content, "x")
    expected = commands.probabilities(folder, reading.load(folder), image[None])
    found = classifier.predict(pd.DataFrame({"image": [content]}))
    assert list(found) == ["cat", "dog", "eel"]
    np.testing.assert_allclose(found.to_numpy(), expected, atol=1e-6)


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.parametrize("task", SMALL)
def test_mlflow_loads_the_model_without_our_package_and_classifies_files(home, blank, tmp_path, task):
    folder = trained(home / "outputs" / "s" / "cafe", task=task)
    tags = {"ablation.kind": "trial", "ablation.identity": "cafe"}
    with Journal(folder) as book:
        book.append(Record(START, 0, detail={"attempt": "one", "name": "x", "tags": tags, "params": {}}))
        book.append(end(step=7, status=FINISHED, artifacts=[SETTINGS, MODEL, reading.FILE]))
    store, content = Store(None, "s"), text("RGB")
    store.replay(folder)
    (model,) = store.client.search_logged_models([store.experiment_id])

    done = subprocess.run(
        [sys.executable, "-c", LOAD, store.uri, f"runs:/{model.source_run_id}/model", content],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    twice, once, example = (json.loads(line) for line in done.stdout.splitlines())
    image = Served(None, vars(known()))._read(content, "x")
    expected = commands.probabilities(folder, reading.load(folder), image[None])[0]
    assert [len(answer) for answer in (twice, once, example)] == [2, 1, 1] and set(example[0]) == {"cat", "dog", "eel"}
    assert list(once[0].values()) == pytest.approx(expected.tolist(), abs=1e-6) and twice[1] == twice[0]
