"""The log of a trial, `trial.log` in its folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class _LogFile(logging.FileHandler):
    """A log that is not worth a word where it cannot be written: the journal says when the disk is full."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  the standard library's name
        """Says nothing; the standard library would print a traceback for every line."""


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Sends everything that is logged to a file, and warnings to the terminal, too."""
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
            with suppress(OSError):  # what is still to be written has no room
                handler.close()
