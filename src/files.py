"""Atomic replacement of files, flushing to disk, and hashes of files and of plain values."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def beside(path: Path) -> Path:
    """Returns the temporary path at which the new content of a file is written."""
    return path.with_name(f"new-{path.name}")


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yields a temporary path; after the block, its file replaces the old one. An error leaves the old file."""
    new = beside(path)
    try:
        yield new
        os.replace(new, path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Flushes a file or a folder to disk; some file systems do not support this for folders."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        if not path.is_dir():
            raise
    finally:
        os.close(handle)


def digest_of(path: Path) -> str:
    """Returns the hash of a file's bytes, 32 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def digest(value: Any) -> str:
    """Returns the hash of a plain value's canonical JSON, 16 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
