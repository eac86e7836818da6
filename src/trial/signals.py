"""Stops a trial cleanly when its process gets SIGTERM."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Stopped(KeyboardInterrupt):
    """The process got SIGTERM."""


@contextmanager
def terminable() -> Iterator[None]:
    """Turns SIGTERM into `Stopped` while the block runs, so that the trial records its end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise Stopped

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
