"""Collections of images that Keras downloads, if the user asks for it.

Addresses and hashes are those of `keras.datasets` in Keras 3.15. The files stay in Keras' folder, where a later trial
finds them. They are read by this package: Keras' own functions would hold all images in memory, and unpickle CIFAR-10.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from src.data.files import DataError
from src.terminal.errors import first_line

GOOGLE = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"


class Source(NamedTuple):
    """Where a collection is downloaded from.

    Attributes:
      folder: with its files, in Keras' folder.
      names: of the files.
      address: of the files' folder, or of the archive that holds them.
      digest: SHA-256 of the only file, or of the archive; None if Keras knows none.
      archive: name that Keras gives to the folder of an unpacked archive; None for single files.
    """

    folder: str
    names: Sequence[str]
    address: str
    digest: str | None = None
    archive: str | None = None


SOURCES: Mapping[str, Source] = {
    "mnist": Source(
        "datasets",
        ["mnist.npz"],
        GOOGLE,
        digest="731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
    ),
    "fashion_mnist": Source(
        "datasets/fashion-mnist",
        [f"{half}-{kind}-ubyte.gz" for half in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")],
        GOOGLE,
    ),
    "cifar10": Source(
        "datasets/cifar-10-batches-py-target/cifar-10-batches-py",
        [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"],
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        digest="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        archive="cifar-10-batches-py-target",
    ),
}


def folder(name: str) -> Path:
    """Returns the folder with the files of a collection; Keras downloads those that are missing.

    Raises:
      DataError: they cannot be downloaded; the text says what was tried, and what to do.
    """
    source = SOURCES[name]
    place = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / source.folder
    if all((place / file).is_file() for file in source.names):
        return place
    from keras.utils import get_file  # imports TensorFlow, which takes seconds

    try:
        if source.archive:
            known = {"extract": True, "file_hash": source.digest}
            return Path(get_file(source.archive, origin=source.address, **known)) / place.name
        for file in source.names:
            how = {"cache_subdir": source.folder, "file_hash": source.digest}
            got = get_file(file, origin=f"{source.address}{file}", **how)
        return Path(got).parent
    except Exception as error:  # Keras raises bare exceptions for networks, and others for disks and archives
        tried = f"{source.address}{'' if source.archive else source.names[0]}"
        what = f"data={name} data.download=true: {tried} cannot be downloaded ({first_line(error)})"
        raise DataError(
            f"{what}; fetch the files elsewhere, and add data.path=FOLDER in place of data.download"
        ) from None
