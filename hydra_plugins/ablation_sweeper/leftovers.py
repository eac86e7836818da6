"""What joblib leaves in shared memory where a sweep and all of its processes are killed at once, as with a container."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
from pathlib import Path

import psutil

from src import paths

PLACES = ("/dev/shm", tempfile.gettempdir())  # where joblib has its folders; semaphores are in the first


def begin() -> None:
    """Notes this process for those to come, and removes what noted ones of this machine have left that are no more."""
    folder = paths.outputs() / ".sweeps"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for note in folder.glob("*.json"):
            pid = _gone(note)
            if pid is not None:
                _remove(pid)
                note.unlink(missing_ok=True)
        here = {"host": socket.gethostname(), "pid": os.getpid()}
        (folder / f"{here['host']}-{here['pid']}.json").write_text(json.dumps(here), encoding="utf-8")
    except OSError:  # a full disk, or a folder that may not be written: the sweep says so where it matters
        return


def end() -> None:
    """Removes the note: joblib itself cleans up at the end of a process."""
    (paths.outputs() / ".sweeps" / f"{socket.gethostname()}-{os.getpid()}.json").unlink(missing_ok=True)


def _gone(note: Path) -> int | None:
    """Returns the id of a process of this machine that is no more; None while any process has it, were it another one by now."""
    try:
        values = json.loads(note.read_text(encoding="utf-8"))
        pid, is_here = int(values["pid"]), values["host"] == socket.gethostname()
    except (OSError, ValueError, LookupError, TypeError):  # torn, or of another version
        return None
    return pid if is_here and not psutil.pid_exists(pid) else None


def _remove(pid: int) -> None:
    """Removes what bears the id of a process in its name, and belongs to the user whose outputs these are."""
    for place in map(Path, PLACES):
        for path in [*place.glob(f"joblib_memmapping_folder_{pid}_*"), *place.glob(f"sem.loky-{pid}-*")]:
            try:
                if path.stat().st_uid != paths.outputs().stat().st_uid:
                    continue
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            except OSError:  # somebody else was faster, or may and we may not
                continue
