"""Data that are read once, and then mapped into memory by every trial and worker.

Each folder of the cache is named by a hash of everything that its content depends on.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock

from src import paths
from src.data import sealed
from src.data.files import DataError
from src.files import digest, digest_of
from src.terminal.progress import waiting
from src.terminal.visible import one_line

SETTLED_NS = 2_000_000_000  # after that, a further change gives a file another time, even on FAT
_log = logging.getLogger(__name__)
_refused: dict[tuple[Path, str], str] = {}  # (folder, origin) → error: a plan loads the data once per trial


class _Changed(Exception):
    """The files changed while they were read."""


def stored(
    key: str,
    *,
    origin: str,
    files: list[Path],
    find: Callable[[], list[Path]],
    content: str,
    write: Callable[[Path], dict[str, Any]],
    check: Callable[[dict[str, Any]], object],
) -> tuple[Path, dict[str, Any]]:
    """Returns a folder of the cache and its record. One worker reads missing or damaged data; the others wait for it.

    Args:
      key: name of the folder.
      origin: the data in words, for messages.
      files: the files of the data.
      find: finds them again, to notice a change during the reading.
      content: their `content_hash`, from which the key was made.
      write: reads the data, writes them into the folder that it gets, and returns their record.
      check: raises KeyError or TypeError for a record of another version.

    Raises:
      DataError: the data cannot be used, their files change while they are read, or the disk loses what is written.
    """
    folder = paths.cache() / key
    if (about := _record(folder, check)) is None:
        paths.cache().mkdir(parents=True, exist_ok=True)
        with FileLock(paths.cache() / f"{key}.lock"), waiting(f"reading data {one_line(origin)}"):
            about = _record(folder, check, origin=origin)
            if about is None:
                _publish(folder, origin=origin, files=files, find=find, content=content, write=write)
                about = _record(folder, check)
    if about is None:
        raise DataError(f"{folder}: written data cannot be read back; set ABLATION_HOME to a folder on another disk")
    return folder, about


def _record(
    folder: Path, check: Callable[[dict[str, Any]], object], *, origin: str | None = None
) -> dict[str, Any] | None:
    """Returns the record of a folder; None if the folder is missing or damaged. An origin logs the damage."""
    try:
        about = sealed.verified(folder)
        check(about)
        return about
    except FileNotFoundError:
        return None
    except (KeyError, TypeError):
        cause = f"{sealed.RECORD} is of another version"
    except sealed.Broken as error:
        cause = str(error)
    if origin is not None:
        _log.warning("data %s: the stored copy %s is rebuilt because %s", origin, folder, cause)
    return None


def _publish(
    folder: Path,
    *,
    origin: str,
    files: list[Path],
    find: Callable[[], list[Path]],
    content: str,
    write: Callable[[Path], dict[str, Any]],
) -> None:
    def unchanged(parts: Path) -> dict[str, Any]:
        about = write(parts)
        if find() != files or content_hash(files) != content:
            one = f"{files[0]}: the file changed while it was read"
            several = f"{files[0].parent}: the files changed while they were read"
            raise _Changed(f"{one if len(files) == 1 else several}; run the command again")
        return about

    if (folder, origin) in _refused:
        raise DataError(_refused[folder, origin])
    try:
        sealed.publish(folder, unchanged)
    except _Changed as error:
        raise DataError(str(error)) from None
    except DataError as error:
        _refused[folder, origin] = str(error)
        raise
    except MemoryError:
        raise DataError(f"{origin}: not enough memory; reduce the data, or use a larger machine") from None


def content_hash(files: list[Path]) -> str:
    """Returns a hash of the files' bytes, cached by the inode, size and times of each file.

    Modification times would miss a replacement of the same size and time (`cp -p`); the inode shows it. The
    hash of a file that has just changed is not cached: the file might change again within one tick of the clock.
    """
    try:
        stats = [path.stat() for path in files]
        states = [[stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns] for stat in stats]
        key = digest([[str(path), *state] for path, state in zip(files, states, strict=True)])
        note = paths.cache() / f"{key}.content"
        if cached := sealed.read_note(note):
            return cached
        total = hashlib.blake2b(digest_size=16)
        for path in files:
            total.update(bytes.fromhex(digest_of(path)))
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror})") from None
    if time.time_ns() - max(stat.st_ctime_ns for stat in stats) > SETTLED_NS:
        paths.cache().mkdir(parents=True, exist_ok=True)
        sealed.write_note(note, total.hexdigest())
    return total.hexdigest()
