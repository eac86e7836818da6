"""Folders that are written once, completely, and verified when they are read.

A power cut can leave files of the right size full of zeros, and a faulty disk can flip bits. Sizes and headers do not
show this. So the record of a folder, `meta.json`, holds a digest of every file and one of itself.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from src.files import digest, digest_of, sync

RECORD = "meta.json"
_verified: dict[Path, list[list[int]]] = {}  # folder → the files' state when this process last verified all of them


class Broken(Exception):
    """A sealed folder differs from what was written. The text names the file and the damage."""


def publish(folder: Path, write: Callable[[Path], dict[str, Any]]) -> None:
    """Writes a temporary folder, syncs it to the disk, and renames it to `folder`, which it replaces.

    The caller holds a lock on `folder`: this also deletes temporary folders that killed processes left.

    Args:
      folder: the path of the finished folder.
      write: writes the files into the folder that it gets, and returns their description for the record.
    """
    for leftover in folder.parent.glob(f"writing-{folder.name}-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    parts = Path(tempfile.mkdtemp(prefix=f"writing-{folder.name}-", dir=folder.parent))
    try:
        description = write(parts)
        record = {**description, "digests": {path.name: digest_of(path) for path in sorted(parts.iterdir())}}
        (parts / RECORD).write_text(json.dumps({**record, "digest": digest(record)}), encoding="utf-8")
        for path in (*parts.iterdir(), parts):
            sync(path)
        if os.path.lexists(folder):  # processes that have mapped the old files keep them
            old = Path(tempfile.mkdtemp(prefix=f"writing-{folder.name}-", dir=folder.parent))
            folder.rename(old / folder.name)
            parts.rename(folder)
            shutil.rmtree(old, ignore_errors=True)
        else:
            parts.rename(folder)
        sync(folder.parent)
    finally:
        shutil.rmtree(parts, ignore_errors=True)


def verified(folder: Path) -> dict[str, Any]:
    """Returns the record of a folder, after it has verified the digest of each file.

    A process verifies a folder once, and again after a file's inode, size or times have changed.

    Raises:
      FileNotFoundError: there is no such folder.
      Broken: it differs from what was written, or is of another version.
    """
    if not os.path.lexists(folder):
        raise FileNotFoundError(folder)
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if not isinstance(record, dict) or not isinstance(record.get("digests"), dict):
            is_earlier = isinstance(record, dict) and "sizes" in record
            raise Broken(f"{RECORD} is {'of an earlier version' if is_earlier else 'damaged'}")
        if record.pop("digest", None) != digest(record):
            raise Broken(f"{RECORD} is damaged")
        stats = [(folder / name).stat() for name in (RECORD, *record["digests"])]
        state = [[stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns] for stat in stats]
        if _verified.get(folder) != state:
            for name, written in record["digests"].items():
                if digest_of(folder / name) != written:
                    raise Broken(f"{name} is damaged")
            _verified[folder] = state
    except OSError as error:
        raise Broken(f"{Path(error.filename or RECORD).name} cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise Broken(f"{RECORD} is damaged") from None
    return record


def write_note(path: Path, text: str) -> None:
    """Writes an ASCII word and its digest atomically; writes nothing if the disk refuses."""
    try:
        handle, name = tempfile.mkstemp(prefix="writing-", dir=path.parent)
    except OSError:
        return
    try:
        with open(handle, "w", encoding="ascii") as file:
            file.write(f"{text} {digest([path.name, text])}")
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)


def read_note(path: Path) -> str | None:
    """Returns the word of a note; None if the note is missing or damaged."""
    try:
        text, written = path.read_text(encoding="ascii").split(" ")
    except (OSError, ValueError):
        return None
    return text if written == digest([path.name, text]) else None
