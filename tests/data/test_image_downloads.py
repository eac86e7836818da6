"""Downloads by Keras: only if the user asks, only once, and with an error that says what was tried."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from test_image_data import refusal, write_idx

from src.data import image_collections, image_downloads, images
from src.data.image_options import Cifar10, FashionMnist, Mnist


@pytest.fixture
def keras_home(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return tmp_path / "keras"


def write_npz(path, **changes):
    rng = np.random.default_rng(0)
    held = {}
    for half, count in (("train", 100), ("test", 20)):
        held |= {
            f"x_{half}": rng.integers(0, 256, (count, 6, 5), np.uint8),
            f"y_{half}": np.arange(count, dtype="u1") % 10,
        }
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **held | changes)
    return held | changes


@pytest.mark.parametrize(
    ("options", "ways"),
    [
        (Mnist(), ["add data.path=FOLDER with the four idx files", "or use data=digits"]),
        (FashionMnist(), ["run `apt-get install dataset-fashion-mnist`", "add data.path=FOLDER"]),
        (Cifar10(), ["add data.path=FOLDER with data_batch_1 to data_batch_5 and test_batch"]),
    ],
)
def test_without_files_the_error_names_the_ways_and_nothing_is_downloaded(home, monkeypatch, options, ways):
    monkeypatch.setattr(image_collections, "DEBIAN", str(home / "nowhere"))
    monkeypatch.setattr(image_downloads, "folder", None)

    text = refusal(options)

    assert all(way in text for way in [*ways, "add data.download=true to let Keras download them"])


@pytest.mark.parametrize("options", [Mnist(download=True), FashionMnist(download=True), Cifar10(download=True)])
def test_without_a_network_the_error_says_what_was_tried_and_the_fix(home, keras_home, monkeypatch, options):
    import keras

    tried = []

    def get_file(name, *, origin, **_):
        tried.append(origin)
        raise Exception(f"URL fetch failure on {origin}: None -- no network")

    monkeypatch.setattr(keras.utils, "get_file", get_file)

    text = refusal(options)

    assert (
        text.startswith(f"data={options.name} data.download=true: {tried[0]} cannot be downloaded (")
        and len(tried) == 1
    )
    assert "no network" in text and text.endswith("add data.path=FOLDER in place of data.download")


def test_files_that_keras_has_are_not_downloaded_again(home, keras_home, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras.utils", None)  # an import would fail
    held = write_npz(keras_home / "datasets" / "mnist.npz")
    (keras_home / "datasets" / "fashion-mnist").mkdir()
    write_idx(keras_home / "datasets" / "fashion-mnist", end=".gz")

    digits = images.load(Mnist(download=True))

    np.testing.assert_array_equal(digits.split("test").images[..., 0], held["x_test"])
    assert digits.rows == {"train": 90, "validation": 10, "test": 20}
    assert images.load(FashionMnist(download=True)).classes[9] == "ankle boot"
    assert digits == images.load(Mnist(path=str(keras_home / "datasets"))).__class__(
        **{**vars(images.load(Mnist(path=str(keras_home / "datasets")))), "origin": "mnist"}
    )  # the same data have one digest, whichever key has found them


def test_what_keras_downloads_is_read(home, keras_home, monkeypatch):
    import keras

    def get_file(name, *, origin, cache_subdir, file_hash):
        path = keras_home / cache_subdir / name
        if not path.exists():
            write_idx(path.parent if path.parent.mkdir(parents=True, exist_ok=True) is None else path, end=".gz")
        return str(path)

    monkeypatch.setattr(keras.utils, "get_file", get_file)

    assert images.load(FashionMnist(download=True)).rows["train"] == 90


def test_a_path_and_a_download_are_refused_together(home, tmp_path):
    for kind in (Mnist, FashionMnist, Cifar10):
        assert "data.path and data.download=true are both set; remove one" in refusal(
            kind(path=str(tmp_path), download=True)
        )


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"y_train": np.arange(100) % 11}, "a label is not from 0 to 9"),
        ({"y_test": np.arange(19)}, "x_test and y_test are not images and their labels"),
        ({"x_train": np.zeros((100, 30), np.uint8)}, "x_train and y_train are not images and their labels"),
        ({"x_train": np.array([None] * 100)}, "Object arrays cannot be loaded"),
    ],
)
def test_a_broken_archive_of_digits_is_refused(home, tmp_path, changes, text):
    write_npz(tmp_path / "mnist.npz", **changes)

    assert f"mnist.npz: not Keras' archive of MNIST ({text}" in refusal(Mnist(path=str(tmp_path)))


def test_an_archive_that_is_cut_short_is_refused(home, tmp_path):
    write_npz(tmp_path / "mnist.npz")
    (tmp_path / "mnist.npz").write_bytes((tmp_path / "mnist.npz").read_bytes()[:-50])

    assert "not Keras' archive of MNIST" in refusal(Mnist(path=str(tmp_path)))
