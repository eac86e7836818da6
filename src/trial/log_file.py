"""The log of a trial, `trial.log` in its folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class _LogFile(logging.FileHandler):
    """A log file that ignores errors of writing: the journal reports a full disk."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  the standard library's name
        """Does nothing; the standard library would print a traceback for every line."""


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Writes all log messages to a file, and warnings also to the terminal."""
    root = logging.getLogger("src")
    file, terminal = _LogFile(path, encoding="utf-8"), logging.StreamHandler()
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    terminal.setLevel(logging.WARNING)
    root.setLevel(logging.DEBUG)
    for handler in (file, terminal):
        root.addHandler(handler)
    try:
        yield
    finally:
        for handler in (file, terminal):
            root.removeHandler(handler)
            with suppress(OSError):  # a full disk has no room for buffered lines
                handler.close()
