"""Which studies a sweep runs now. The operating system drops its lock with the process, so that a dead sweep is never taken for one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: there nobody learns it
    fcntl = None  # type: ignore[assignment]

FILE = "sweep.lock"  # in the study's folder; sweeps of one study share it


@contextmanager
def held(study: Path) -> Iterator[None]:
    """Says for the time of the block that a sweep of a study runs, which is in this folder."""
    with ExitStack() as stack:
        with suppress(
            OSError
        ):  # a full disk, a folder that may not be written, no locks: the sweep says so where it matters
            study.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context((study / FILE).open("ab"))
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_SH)
        yield


def is_held(study: Path) -> bool:
    """Returns whether a sweep of a study runs; nothing is written."""
    if fcntl is None:
        return False
    try:
        with (study / FILE).open("r+b") as file:  # over a network one must be able to write what one wants for oneself
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # dropped when the file is closed
    except BlockingIOError:
        return True
    except OSError:  # there is none yet, or it may not be written
        return False
    return False
