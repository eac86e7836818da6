"""Files that are replaced whole or not at all, and that have reached the disk; hashes of files and of plain values."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def beside(path: Path) -> Path:
    """Returns where a file is written before it takes its place."""
    return path.with_name(f"new-{path.name}")


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Gives a path beside the file; what is there after the block replaces the file. An error leaves the old file."""
    new = beside(path)
    try:
        yield new
        os.replace(new, path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Has a file or a folder reach the disk; not every file system can be asked that for a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        if not path.is_dir():
            raise
    finally:
        os.close(handle)


def digest_of(path: Path) -> str:
    """Returns 32 hexadecimal digits of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def digest(value: Any) -> str:
    """Returns 16 hexadecimal digits of a plain value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
