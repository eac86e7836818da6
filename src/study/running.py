"""Which studies a sweep runs now. The operating system releases the lock of a process that ends, however it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: running sweeps are not detected there
    fcntl = None  # type: ignore[assignment]

FILE = "sweep.lock"  # in the study's folder; sweeps of one study share it


@contextmanager
def held(study: Path) -> Iterator[None]:
    """Marks the study in this folder as running while the block runs."""
    with ExitStack() as stack:
        with suppress(OSError):  # full disk, read-only folder or no locks: the sweep reports it where it matters
            study.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context((study / FILE).open("ab"))
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_SH)
        yield


@contextmanager
def alone(study: Path) -> Iterator[bool]:
    """Keeps sweeps of a study from starting while the block runs; yields whether none runs already."""
    with ExitStack() as stack:
        is_free = True
        with suppress(FileNotFoundError):  # no sweep has run here
            file = stack.enter_context((study / FILE).open("r+b"))
            if fcntl is not None:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    is_free = False
        yield is_free


def is_held(study: Path) -> bool:
    """Returns whether a sweep of a study runs; writes nothing."""
    if fcntl is None:
        return False
    try:
        with (study / FILE).open("r+b") as file:  # NFS gives an exclusive lock only on a file open for writing
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # released when the file is closed
    except BlockingIOError:
        return True
    except OSError:  # the file does not exist yet, or is read-only
        return False
    return False
