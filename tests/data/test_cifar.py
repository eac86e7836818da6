"""CIFAR-10's three forms, made small, and files that are damaged or would run code."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct

import numpy as np
import pytest
from keras.src.datasets.cifar import load_batch
from PIL import Image

from src.data import cifar, images
from src.data.files import DataError
from src.data.image_options import Cifar10

COUNT = 20  # images of a batch


def image_of(batch, row):
    """Pixels that tell the batch, the row, the line, the column and the channel."""
    line, column, channel = np.ogrid[:32, :32, :3]
    return ((batch * 41 + row * 7 + line * 5 + column * 3 + channel * 101) % 256).astype(np.uint8)


def pixels_of(batch, count=COUNT):
    return np.stack([image_of(batch, row) for row in range(count)])


def labels_of(batch, count=COUNT):
    return [(row + batch) % 10 for row in range(count)]


def planes(pixels):
    return pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)


def pickled(pixels, labels, *, function=b"numpy.core.multiarray\n_reconstruct", kind=b"u1"):
    """What Python 2 wrote: protocol 2, texts as byte strings, the array by three names."""

    def text(value):
        return b"U" + bytes([len(value)]) + value

    def number(value):
        return b"J" + struct.pack("<i", value)

    rows = planes(pixels)
    array = b"c" + function + b"\nq\x07cnumpy\nndarray\nq\x08K\x00\x85U\x01b\x87Rq\t(K\x01"
    array += number(len(rows)) + number(cifar.PIXELS) + b"\x86cnumpy\ndtype\nq\n" + text(kind)
    array += b"K\x00K\x01\x87Rq\x0b(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
    array += struct.pack("<i", rows.size) + rows.tobytes() + b"tb"
    listed = b"]q\x05(" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}q\x01(" + text(b"labels") + b"q\x04" + listed + text(b"data") + b"q\x06" + array + b"u."


def write(folder, form, *, count=COUNT):
    folder.mkdir()
    for batch, name in enumerate(cifar.BATCHES):
        pixels, labels = pixels_of(batch, count), labels_of(batch, count)
        if form == "pickled":
            (folder / name).write_bytes(pickled(pixels, labels))
        elif form == "binary":
            rows = np.hstack([np.array(labels, np.uint8)[:, None], planes(pixels)])
            (folder / f"{name}.bin").write_bytes(rows.tobytes())
        else:
            Image.fromarray(pixels.reshape(count, 1024, 3)).save(folder / f"{name}.png")
    if form == "PNG":
        train = [label for batch in range(5) for label in labels_of(batch, count)]
        for name, labels in zip(cifar.LABELS, (train, labels_of(5, count)), strict=True):
            (folder / name).write_text(json.dumps(labels), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def forms(tmp_path_factory):
    """One folder for each form; tests that spoil a file copy it."""
    root = tmp_path_factory.mktemp("forms")
    return {form: write(root / form, form) for form in cifar.FORMS}


def refusal(folder):
    with pytest.raises(DataError) as error:
        images.load(Cifar10(path=str(folder)))
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("form", cifar.FORMS)
def test_every_form_gives_the_official_splits_upright_and_in_order(home, forms, form):
    found = images.load(Cifar10(path=str(forms[form])))

    assert found.rows == {"train": 90, "validation": 10, "test": 20} and found.shape == (32, 32, 3)
    assert found.classes[3] == "cat" and found.split("test").labels.tolist() == labels_of(5)
    np.testing.assert_array_equal(found.split("test").images, pixels_of(5))
    train = found.split("train")
    for row, label, pixels in zip(train.rows, train.labels, train.images, strict=True):
        np.testing.assert_array_equal(pixels, image_of(*divmod(int(row), COUNT)))
        assert label == labels_of(row // COUNT)[row % COUNT]


def test_the_batches_of_these_tests_are_what_keras_reads(forms):
    data, labels = load_batch(str(forms["pickled"] / "data_batch_2"))

    np.testing.assert_array_equal(data.transpose(0, 2, 3, 1), pixels_of(1))
    assert labels == labels_of(1)


@pytest.mark.parametrize("inner", ["cifar-10-batches-py", "cifar-10-batches-bin"])
def test_the_folder_of_an_unpacked_archive_may_be_given_itself(home, forms, tmp_path, inner):
    shutil.copytree(forms["pickled" if inner.endswith("py") else "binary"], tmp_path / inner)

    assert images.load(Cifar10(path=str(tmp_path))).rows["test"] == COUNT


class Evil:
    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_nothing_that_a_batch_names_is_executed(home, forms, tmp_path, protocol):
    folder = shutil.copytree(forms["pickled"], tmp_path / "x")
    (folder / "data_batch_1").write_bytes(pickle.dumps([Evil()], protocol=protocol))

    text = refusal(folder)

    assert not os.path.exists("executed") and "data_batch_1: not a pickled batch of CIFAR-10" in text
    assert protocol != 2 or "it names posix.mkdir, which could run code; nothing was loaded" in text
    assert pickle.loads((folder / "data_batch_1").read_bytes()) and os.path.isdir("executed")  # it would have run


def test_numpy_itself_is_not_called(forms, monkeypatch):
    def called(*_):
        raise AssertionError

    monkeypatch.setattr(np._core.multiarray, "_reconstruct", called)

    pixels, _ = cifar.read_pickled(forms["pickled"] / "test_batch")
    np.testing.assert_array_equal(pixels, pixels_of(5))


def bytes_of(name, spoil):
    def change(folder):
        path = folder / name
        path.write_bytes(spoil(path.read_bytes()))

    return change


def other_png(mode, size):
    def change(folder):
        Image.new(mode, size).save(folder / "data_batch_2.png")

    return change


ONE = pixels_of(0, 1)
BROKEN = {
    "pickle cut short": (
        "pickled",
        bytes_of("data_batch_3", lambda data: data[:-500]),
        "data_batch_3: not a pickled batch",
    ),
    "no pickle": (
        "pickled",
        bytes_of("test_batch", lambda data: b"<html>"),
        "test_batch: not a pickled batch of CIFAR-10",
    ),
    "empty pickle": (
        "pickled",
        bytes_of("test_batch", lambda data: b""),
        "test_batch: not a pickled batch of CIFAR-10",
    ),
    "huge memo": (
        "pickled",
        bytes_of("test_batch", lambda data: b"\x80\x02}r\xff\xff\xff\x7f."),
        "numbers its parts wrongly",
    ),
    "another dict": (
        "pickled",
        bytes_of("test_batch", lambda data: pickle.dumps({"x": 1}, 2)),
        "has no data and labels",
    ),
    "another operation": (
        "pickled",
        bytes_of("test_batch", lambda data: pickle.dumps({"x": 1.5}, 2)),
        "it has the operation BINFLOAT",
    ),
    "another function": (
        "pickled",
        bytes_of("test_batch", lambda data: pickled(ONE, [1], function=b"numpy\nfromfile")),
        "it names numpy.fromfile, which could run code; nothing was loaded",
    ),
    "another type": (
        "pickled",
        bytes_of("test_batch", lambda data: pickled(ONE, [1], kind=b"O8")),
        "its data are not an array of 3,072 bytes an image",
    ),
    "labels missing": (
        "pickled",
        bytes_of("test_batch", lambda data: pickled(pixels_of(5), [1, 2])),
        "test_batch: it has 2 labels for 20 images",
    ),
    "fewer images": (
        "pickled",
        bytes_of("data_batch_2", lambda data: pickled(ONE, [1])),
        "data_batch_2: it has 1 images, and data_batch_1 20",
    ),
    "binary cut short": (
        "binary",
        bytes_of("data_batch_4.bin", lambda data: data[:-1]),
        "data_batch_4.bin: a batch has 3,073 bytes an image, and it has 61,459; fetch it again",
    ),
    "label out of range": (
        "binary",
        bytes_of("data_batch_3.bin", lambda data: bytes([10]) + data[1:]),
        "data_batch_3.bin: image 1 has the label 10, allowed: 0 to 9 (1 in all)",
    ),
    "batch missing": (
        "binary",
        lambda folder: (folder / "data_batch_5.bin").unlink(),
        "data_batch_5.bin: no such file, but others of its kind are there",
    ),
    "PNG of another width": ("PNG", other_png("RGB", (1000, 20)), "it is 1,000 pixels wide, and 1,024 are needed"),
    "PNG of another height": (
        "PNG",
        other_png("RGB", (1024, 19)),
        "data_batch_2.png: it has 19 images, and data_batch_1.png 20",
    ),
    "grey PNG": ("PNG", other_png("L", (1024, 20)), "data_batch_2.png: the image is grey, and CIFAR-10's are rgb"),
    "PNG cut short": (
        "PNG",
        bytes_of("test_batch.png", lambda data: data[:-900]),
        "test_batch.png: the image is damaged",
    ),
    "labels cut short": ("PNG", bytes_of("test_lables.json", lambda data: data[:-1]), "not a JSON list of labels"),
    "labels of text": (
        "PNG",
        bytes_of("test_lables.json", lambda data: b'["cat"]'),
        "its labels are not a list of integers",
    ),
    "too few labels": ("PNG", bytes_of("train_lables.json", lambda data: b"[1, 2]"), "it has 2 labels for 100 images"),
    "negative label": (
        "PNG",
        bytes_of("test_lables.json", lambda data: json.dumps([-1, *labels_of(5)[1:]]).encode()),
        "test_lables.json: image 1 has the label -1, allowed: 0 to 9",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_the_error_about_damaged_files_names_the_file_and_the_fix(home, forms, tmp_path, case):
    form, spoil, text = BROKEN[case]
    folder = shutil.copytree(forms[form], tmp_path / "x")
    spoil(folder)

    found = refusal(folder)

    assert text in found and found.endswith(("fetch it again", "replace or remove it"))


def test_a_folder_without_batches_is_refused_with_what_it_should_hold(home, tmp_path):
    assert "there is no data_batch_1 (pickled), data_batch_1.bin (binary) or data_batch_1.png" in refusal(tmp_path)
    assert "no such folder" in refusal(tmp_path / "x")
