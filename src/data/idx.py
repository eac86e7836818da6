"""Idx files, the format of MNIST: a header with type and sizes, then unsigned bytes; plain or gzip.

Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits", 1998, section "File formats".
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from src.data.files import DataError, existing

UNSIGNED_BYTES = 8  # type of the elements in MNIST's files
GZIP = b"\x1f\x8b"
CHUNK = 2**20
AGAIN = "fetch it again"


def read(path: Path, *, dimensions: int) -> np.ndarray:
    """Returns the array of an idx file, uint8 with 3 dimensions for images and 1 for labels.

    Raises:
      DataError: the file is missing, damaged or truncated, or has other contents.
    """
    try:
        with existing(path).open("rb") as file:
            is_compressed = file.read(2) == GZIP
            file.seek(0)
            return _array(path, gzip.GzipFile(fileobj=file) if is_compressed else file, dimensions=dimensions)  # type: ignore[arg-type]
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: the gzip file is damaged or cut short ({error}); {AGAIN}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def _array(path: Path, file: BinaryIO, *, dimensions: int) -> np.ndarray:
    sizes = _sizes(path, file, dimensions=dimensions)
    expected = math.prod(sizes)
    content = bytearray()
    while len(content) <= expected and (part := file.read(CHUNK)):
        content += part
    if len(content) != expected:
        got = f"more than {expected:,}" if len(content) > expected else f"{len(content):,}"
        shape = " x ".join(f"{size:,}" for size in sizes)
        raise DataError(f"{path}: its header says {shape} = {expected:,} bytes, but it holds {got}; {AGAIN}")
    return np.frombuffer(content, np.uint8).reshape(sizes)


def _sizes(path: Path, file: BinaryIO, *, dimensions: int) -> tuple[int, ...]:
    """Returns the sizes in the header."""
    start = file.read(4)
    if len(start) < 4 or start[:3] != bytes([0, 0, UNSIGNED_BYTES]):
        begins = f"begins with {start.hex(' ')}" if start else "is empty"
        raise DataError(
            f"{path}: it {begins}, and an idx file of bytes begins with 00 00 08; give the idx file, plain or gzip"
        )
    if start[3] != dimensions:
        kinds = {1: "labels (1 dimension)", 3: "images (3 dimensions)"}
        got = kinds.get(start[3], f"an array of {start[3]} dimensions")
        raise DataError(f"{path}: it holds {got}, and {kinds[dimensions]} are needed; are two files exchanged?")
    rest = file.read(4 * dimensions)
    if len(rest) < 4 * dimensions:
        raise DataError(f"{path}: it ends within its header; {AGAIN}")
    sizes = struct.unpack(f">{dimensions}I", rest)
    if not all(sizes):
        raise DataError(f"{path}: its header says {' x '.join(map(str, sizes))}, so it holds nothing; {AGAIN}")
    return sizes
