"""Keeps MLflow and TensorBoard up to date with one journal, and never fails a trial."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from src.spec.settings import Settings
from src.terminal.errors import first_line, is_permanent
from src.tracking import tensorboard_replay
from src.tracking.mlflow_replay import Deleted, Store

EVERY_S = 30.0
RETRY_S = 600.0  # each call to a store that fails may take half a minute

_log = logging.getLogger(__name__)


class Follower:
    """Replays a trial's journal while the trial runs. A later replay sends what a tracker does not accept now."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        """Takes the trial's folder and its settings, which name the store; the first `update` connects to it."""
        self._folder = folder
        self._settings = settings
        self._store: Store | None = None
        self._failed_at: float | None = None
        self._has_warned = False
        self._last = 0.0

    @property
    def is_due(self) -> bool:
        """Whether it is time for the next update."""
        return time.monotonic() - self._last > EVERY_S

    def update(self, *, is_last: bool = False) -> None:
        """Sends the new records. A tracker's errors become one warning on the terminal; the trial's log has them all.

        After a store failed, the next attempts to send are ten minutes later and at the end of the trial.
        """
        self._last = time.monotonic()
        try:
            tensorboard_replay.replay(self._folder)
        except Exception as error:
            self._warn("TensorBoard", error, is_new=not self._has_warned)
            self._has_warned = True
        if self._settings.tracking.name == "offline":
            return
        if self._failed_at is not None and not is_last and time.monotonic() - self._failed_at < RETRY_S:
            return
        try:
            self._store = self._store or Store(self._settings.tracking.uri, self._settings.study)
            self._store.replay(self._folder)
        except Exception as error:  # no error of a tracker ends the trial: the journal has all records
            self._warn("MLflow", error, is_new=self._failed_at is None)
            self._failed_at = time.monotonic()

    def _warn(self, tracker: str, error: Exception, *, is_new: bool) -> None:
        if isinstance(error, Deleted):
            text = "%s: %s. The journal keeps all records."
        elif is_permanent(error):
            text = "%s rejects this trial (%s). The journal keeps all records; fix that, then run `python -m src.sync`."
        else:
            text = "%s cannot be reached: %s. The journal keeps all records; `python -m src.sync` sends them later."
        _log.log(logging.WARNING if is_new else logging.DEBUG, text, tracker, first_line(error))
        _log.debug("in full:", exc_info=error)
