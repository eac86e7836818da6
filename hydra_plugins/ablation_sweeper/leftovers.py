"""Removes joblib's files in shared memory after a sweep and all its processes were killed, as with a container."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
from pathlib import Path

import psutil

from src import paths

PLACES = ("/dev/shm", tempfile.gettempdir())  # joblib's folders; semaphores are in the first one


def begin() -> None:
    """Writes a note about this process, and removes the files of processes on this machine that have ended.

    A later sweep reads the note, if this process is killed.
    """
    folder = paths.outputs() / ".sweeps"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for note in folder.glob("*.json"):
            pid = _ended(note)
            if pid is not None:
                _remove(pid)
                note.unlink(missing_ok=True)
        here = {"host": socket.gethostname(), "pid": os.getpid()}
        (folder / f"{here['host']}-{here['pid']}.json").write_text(json.dumps(here), encoding="utf-8")
    except OSError:  # a full disk or a missing permission: the sweep reports it where it matters
        return


def end() -> None:
    """Removes the note: joblib cleans up itself when a process ends normally."""
    (paths.outputs() / ".sweeps" / f"{socket.gethostname()}-{os.getpid()}.json").unlink(missing_ok=True)


def _ended(note: Path) -> int | None:
    """Returns the noted process id if that process ran on this machine and no process has this id now; else None."""
    try:
        values = json.loads(note.read_text(encoding="utf-8"))
        pid, is_here = int(values["pid"]), values["host"] == socket.gethostname()
    except (OSError, ValueError, LookupError, TypeError):  # incomplete, or from another version
        return None
    return pid if is_here and not psutil.pid_exists(pid) else None


def _remove(pid: int) -> None:
    """Removes the files with a process id in their names that belong to the owner of the outputs."""
    for place in map(Path, PLACES):
        for path in [*place.glob(f"joblib_memmapping_folder_{pid}_*"), *place.glob(f"sem.loky-{pid}-*")]:
            try:
                if path.stat().st_uid != paths.outputs().stat().st_uid:
                    continue
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            except OSError:  # another process removed it, or we lack the permission
                continue
