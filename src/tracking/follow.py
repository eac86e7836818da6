"""Keeps MLflow and TensorBoard up to date with one journal, and never fails a trial."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from src.spec.settings import Settings
from src.terminal.errors import comes_again, first_line
from src.tracking import tensorboard_replay
from src.tracking.mlflow_replay import Deleted, Store

EVERY_S = 30.0
AGAIN_S = 600.0  # a store that fails may hold up every call for half a minute

_log = logging.getLogger(__name__)


class Follower:
    """Replays a trial's journal while the trial goes on. What a tracker does not take now, a later replay sends."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        """Takes the trial's folder and where to send; connects with the first `update`."""
        self._folder = folder
        self._settings = settings
        self._store: Store | None = None
        self._failed_at: float | None = None
        self._has_warned = False
        self._last = 0.0

    @property
    def is_due(self) -> bool:
        """Whether the last update is long enough ago."""
        return time.monotonic() - self._last > EVERY_S

    def update(self, *, is_last: bool = False) -> None:
        """Sends what is new. Errors of a tracker become one warning on the terminal; the trial's log has the rest.

        A store that failed is asked again after ten minutes, and once when the trial is over.
        """
        self._last = time.monotonic()
        try:
            tensorboard_replay.replay(self._folder)
        except Exception as error:
            self._say("TensorBoard", error, is_new=not self._has_warned)
            self._has_warned = True
        if self._settings.tracking.name == "offline":
            return
        if self._failed_at is not None and not is_last and time.monotonic() - self._failed_at < AGAIN_S:
            return
        try:
            self._store = self._store or Store(self._settings.tracking.uri, self._settings.study)
            self._store.replay(self._folder)
        except Exception as error:  # whatever a tracker throws, the journal has the trial
            self._say("MLflow", error, is_new=self._failed_at is None)
            self._failed_at = time.monotonic()

    def _say(self, tracker: str, error: Exception, *, is_new: bool) -> None:
        if isinstance(error, Deleted):
            text = "%s: %s. All records are kept in the journal."
        elif comes_again(error):
            text = "%s rejects this trial (%s). All records are kept in the journal; fix that, then run `python -m src.sync`."
        else:
            text = (
                "%s cannot be reached: %s. All records are kept in the journal; `python -m src.sync` sends them later."
            )
        _log.log(logging.WARNING if is_new else logging.DEBUG, text, tracker, first_line(error))
        _log.debug("in full:", exc_info=error)
