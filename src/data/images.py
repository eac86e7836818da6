"""Images on disk: read once from their collection, then memory-mapped by every trial and worker.

The folder's name is a hash of everything that its content depends on: the bytes and names of the files, the options,
and the versions of the rules. Letters: N images, H x W pixels, C channels (1 for grey, 3 for colour), K classes.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from src.data.cache import content_hash, stored
from src.data.files import DataError
from src.data.image_collections import READERS, Collection
from src.data.image_options import Images
from src.data.splits import SPLITS, TRAIN, first_of_each_class
from src.files import digest

READING = 2  # part of the cache key: increment it when the same files give other images or splits
CHUNK = 2**20  # bytes of the images that are copied or counted at once


class Split(NamedTuple):
    """A split, memory-mapped.

    Attributes:
      images: uint8[N, H, W, C].
      labels: int32[N], classes counted from 0.
      rows: int64[N], position of each image in the files.
    """

    images: np.ndarray
    labels: np.ndarray
    rows: np.ndarray


@dataclass(frozen=True)
class Stored:
    """A collection on disk.

    Attributes:
      digest: hash of the content, the tag `ablation.data`.
      classes: name of each class.
      folder: folder with its files.
      origin: name and path of the collection, as in the settings.
      shape: (H, W, C).
      counts: split → number of images of each class.
      mean: mean of each channel in the training split, from 0 to 255.
      deviation: standard deviation of the same.
      shared: split → number of its images with the pixels of an image of an earlier split.
    """

    digest: str
    classes: list[str]
    folder: Path
    origin: str
    shape: tuple[int, int, int]
    counts: dict[str, list[int]]
    mean: list[float]
    deviation: list[float]
    shared: dict[str, int]

    @property
    def rows(self) -> dict[str, int]:
        """Split → number of its images."""
        return {name: sum(counts) for name, counts in self.counts.items()}

    def split(self, name: str) -> Split:
        """Returns one split, memory-mapped: images are read when they are used."""
        return Split(*(np.load(self.folder / f"{name}.{part}.npy", mmap_mode="r") for part in Split._fields))

    def names(self) -> list[str]:
        """Returns the names of the files by row; empty if a file holds many images."""
        return list(json.loads((self.folder / "names.json").read_text(encoding="utf-8")))


def load(options: Images) -> Stored:
    """Returns a collection, from the cache if possible.

    Raises:
      DataError: the files are missing, damaged or too large for the memory, or a split lacks a class.
    """
    path = getattr(options, "path", None)
    origin = f"{options.name} {path}" if path else options.name
    reader = READERS[options.name]
    files = reader.files(options)
    content = content_hash(files)
    key = _key(options, files, content)
    folder, about = stored(
        key,
        origin=origin,
        files=files,
        find=lambda: reader.files(options),
        content=content,
        write=lambda parts: _write(options, reader.read(options, files), parts),
        check=_described,
    )
    known = _described(about)
    return Stored(key, folder=folder, origin=origin, shape=(*known.pop("shape"),), **known)


def _key(options: Images, files: Sequence[Path], content: str) -> str:
    """Returns 16 hexadecimal digits of everything that the content depends on."""
    used = {"options": options.model_dump(exclude={"path", "download"}), "version": READING, "content": content}
    if options.name == "folder":
        used["names"] = [f"{path.parent.name}/{path.name}" for path in files]
        packages = ("pillow", "scikit-learn", "scipy")  # they decode images and draw the splits
        used["packages"] = [importlib.metadata.version(name) for name in packages]
    return hashlib.blake2b(digest(used).encode(), digest_size=8).hexdigest()


def _described(about: dict[str, Any]) -> dict[str, Any]:
    """Returns the description of a collection in its record."""
    return {name: about[name] for name in ("classes", "shape", "counts", "mean", "deviation", "shared")}


def _write(options: Images, collection: Collection, folder: Path) -> dict[str, Any]:
    """Writes a collection into a folder; returns its record. Splits are not copied in memory."""
    origin, classes = getattr(options, "path", None) or options.name, list(collection.classes)
    counts: dict[str, list[int]] = {}
    shared, seen = {}, set[bytes]()
    for name in SPLITS:
        part = collection.parts[name]
        labels = part.labels[part.rows]
        of_class = np.bincount(labels, minlength=len(classes))
        if not of_class.all():
            what = f"no {'training' if name == TRAIN else name} image of class {classes[int(of_class.argmin())]!r}"
            raise DataError(f"{origin}: {what}; each split needs each class; check the labels")
        kept = first_of_each_class(labels, options.limit or len(labels))
        rows, labels = part.rows[kept], labels[kept].astype(np.int32)
        stored = _stored(folder / f"{name}.images.npy", part.images, rows)
        np.save(folder / f"{name}.labels.npy", labels)
        np.save(folder / f"{name}.rows.npy", rows.astype(np.int64))
        hashes = [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in stored]
        shared[name] = sum(value in seen for value in hashes)
        seen.update(hashes)
        counts[name] = np.bincount(labels, minlength=len(classes)).tolist()
        if name == TRAIN:
            mean, deviation = moments(stored)
            shape = stored.shape[1:]
    (folder / "names.json").write_text(json.dumps(list(collection.names)), encoding="utf-8")
    return {
        "classes": classes,
        "shape": shape,
        "counts": counts,
        "mean": mean,
        "deviation": deviation,
        "shared": shared,
    }


def _stored(path: Path, images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Writes these rows of the images to a file; returns them memory-mapped."""
    stored = np.lib.format.open_memmap(path, "w+", np.uint8, (len(rows), *images.shape[1:]))
    for part in _chunks(stored):
        stored[part] = images[rows[part]]
    stored.flush()
    return stored


def _chunks(images: np.ndarray) -> Iterator[slice]:
    """Yields slices of at most `CHUNK` bytes, at least one image each."""
    count = max(1, CHUNK * len(images) // images.nbytes)
    yield from (slice(begin, begin + count) for begin in range(0, len(images), count))


def moments(images: np.ndarray) -> tuple[list[float], list[float]]:
    """Returns mean and standard deviation of each channel of uint8[N, H, W, C], exact, from 256 counts."""
    values, means, deviations = np.arange(256, dtype=np.float64), [], []
    for channel in range(images.shape[-1]):
        counts = np.zeros(256, np.int64)
        for part in _chunks(images):
            counts += np.bincount(images[part][..., channel].ravel(), minlength=256)
        mean = float((counts * values).sum() / counts.sum())
        means.append(mean)
        deviations.append(float(np.sqrt((counts * (values - mean) ** 2).sum() / counts.sum())))
    return means, deviations
