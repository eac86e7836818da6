"""Folders of files that are written once, whole, and that say whether they still are what was written.

A power cut leaves files of the right size full of zeros, and a bad disk turns bits: sizes and headers do not tell. So the record of a
folder, `meta.json`, holds a digest of every file and one of itself.
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
_found_whole: dict[
    Path, list[list[int]]
] = {}  # folder → what the system says of its files, when this process last read all of them


class Broken(Exception):
    """A sealed folder is not what was written. The text says which file, and how."""


def publish(folder: Path, write: Callable[[Path], dict[str, Any]]) -> None:
    """Writes a folder beside its place and moves it there, once all of it has reached the disk; what was there before is deleted.

    Whoever calls holds a lock on the place: what processes that were killed have left beside it is deleted, too.

    Args:
      folder: its place.
      write: writes the files into the folder that it is given, and returns what they are about.
    """
    for left in folder.parent.glob(f"writing-{folder.name}-*"):
        shutil.rmtree(left, ignore_errors=True)
    parts = Path(tempfile.mkdtemp(prefix=f"writing-{folder.name}-", dir=folder.parent))
    try:
        about = write(parts)
        record = {**about, "digests": {path.name: digest_of(path) for path in sorted(parts.iterdir())}}
        (parts / RECORD).write_text(json.dumps({**record, "digest": digest(record)}), encoding="utf-8")
        for path in (*parts.iterdir(), parts):
            sync(path)
        if os.path.lexists(folder):  # whoever has the old files mapped keeps them
            old = Path(tempfile.mkdtemp(prefix=f"writing-{folder.name}-", dir=folder.parent))
            folder.rename(old / folder.name)
            parts.rename(folder)
            shutil.rmtree(old, ignore_errors=True)
        else:
            parts.rename(folder)
        sync(folder.parent)
    finally:
        shutil.rmtree(parts, ignore_errors=True)


def opened(folder: Path) -> dict[str, Any]:
    """Returns what a folder is about, with all of its files read and found to be what was written.

    A process reads them once, and again if the system says that one was changed.

    Raises:
      FileNotFoundError: there is no such folder.
      Broken: it is not what was written, or of another version.
    """
    if not os.path.lexists(folder):
        raise FileNotFoundError(folder)
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if not isinstance(record, dict) or not isinstance(record.get("digests"), dict):
            raise Broken(
                f"{RECORD} is of an earlier version"
                if isinstance(record, dict) and "sizes" in record
                else f"{RECORD} is damaged"
            )
        if record.pop("digest", None) != digest(record):
            raise Broken(f"{RECORD} is damaged")
        stats = [folder / name for name in (RECORD, *record["digests"])]
        now = [
            [stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns] for stat in (path.stat() for path in stats)
        ]
        if _found_whole.get(folder) != now:
            for name, written in record["digests"].items():
                if digest_of(folder / name) != written:
                    raise Broken(f"{name} is damaged")
            _found_whole[folder] = now
    except OSError as error:
        raise Broken(f"{Path(error.filename or RECORD).name} cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise Broken(f"{RECORD} is damaged") from None
    return record


def write_note(path: Path, text: str) -> None:
    """Writes a word of ASCII with a digest of it, whole, or not at all where the disk refuses it."""
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
    """Returns the word of a note; None where there is none that is whole."""
    try:
        text, written = path.read_text(encoding="ascii").split(" ")
    except (OSError, ValueError):
        return None
    return text if written == digest([path.name, text]) else None
