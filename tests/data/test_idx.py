from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from src.data import idx
from src.data.files import DataError

IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
# by hand: two zero bytes, type 8 (unsigned byte), 3 dimensions, sizes 2 x 3 x 4 as big-endian integers, then the bytes
CONTENT = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, *range(24)])


def written(tmp_path, content, name="train-images-idx3-ubyte"):
    (tmp_path / name).write_bytes(content)
    return tmp_path / name


@pytest.mark.parametrize("content", [CONTENT, gzip.compress(CONTENT, mtime=0)], ids=["plain", "gzip"])
def test_an_idx_file_is_read_plain_or_compressed(tmp_path, content):
    np.testing.assert_array_equal(idx.read(written(tmp_path, content), dimensions=3), IMAGES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty, and an idx file of bytes begins with 00 00 08; give the idx file, plain or gzip"),
        (
            b"\x89PNG....",
            "it begins with 89 50 4e 47, and an idx file of bytes begins with 00 00 08; "
            "give the idx file, plain or gzip",
        ),
        (
            bytes([0, 0, 13, 3]) + CONTENT[4:],
            "it begins with 00 00 0d 03, and an idx file of bytes begins with 00 00 08",
        ),
        (
            bytes([0, 0, 8, 1, 0, 0, 0, 1, 7]),
            "it holds labels (1 dimension), and images (3 dimensions) are needed; are two files exchanged?",
        ),
        (bytes([0, 0, 8, 4]) + bytes(16), "it holds an array of 4 dimensions, and images (3 dimensions) are needed"),
        (CONTENT[:10], "it ends within its header; fetch it again"),
        (CONTENT[:-1], "its header says 2 x 3 x 4 = 24 bytes, but it holds 23; fetch it again"),
        (CONTENT + b"x", "its header says 2 x 3 x 4 = 24 bytes, but it holds more than 24; fetch it again"),
        (
            bytes([0, 0, 8, 3]) + struct.pack(">3I", 0, 28, 28),
            "its header says 0 x 28 x 28, so it holds nothing; fetch it again",
        ),
        (
            bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**32 - 1, 2**32 - 1, 2**32 - 1) + b"x",
            "but it holds 1; fetch it again",
        ),
        (gzip.compress(CONTENT, mtime=0)[:-12], "the gzip file is damaged or cut short"),
        (
            gzip.compress(CONTENT, mtime=0)[:15] + b"zzzz" + gzip.compress(CONTENT)[19:],
            "the gzip file is damaged or cut short",
        ),
        (gzip.compress(CONTENT, mtime=0)[:3], "the gzip file is damaged or cut short"),
    ],
)
def test_the_error_about_a_broken_idx_file_gives_its_name_and_the_fix(tmp_path, content, message):
    path = written(tmp_path, content)

    with pytest.raises(DataError) as error:
        idx.read(path, dimensions=3)

    assert str(error.value).startswith(f"{path}: ") and message in str(error.value) and "\n" not in str(error.value)


def test_a_missing_idx_file_or_a_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        idx.read(tmp_path / "x", dimensions=1)
    with pytest.raises(DataError, match="this is a folder; give a file"):
        idx.read(tmp_path, dimensions=1)
