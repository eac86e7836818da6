"""Keeps MLflow and TensorBoard up to date with one journal, and never fails a trial."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from src.settings import Settings
from src.tracking import tensorboard_replay
from src.tracking.mlflow_replay import Store

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
        self._last = 0.0

    @property
    def is_due(self) -> bool:
        """Whether the last update is long enough ago."""
        return time.monotonic() - self._last > EVERY_S

    def update(self, *, is_last: bool = False) -> None:
        """Sends what is new. Errors of a tracker become one warning on the terminal; the trial's log has the rest.

        A store that failed is asked again after ten minutes, and once when the trial is over.
        """
        is_worth_trying = self._failed_at is None or is_last or time.monotonic() - self._failed_at > AGAIN_S
        try:
            tensorboard_replay.replay(self._folder)
            if self._settings.tracking.name == "mlflow" and is_worth_trying:
                self._store = self._store or Store(self._settings.tracking.uri, self._settings.study)
                self._store.replay(self._folder)
        except Exception as error:  # whatever a tracker throws, the journal has the trial
            level = logging.WARNING if self._failed_at is None else logging.DEBUG
            first_line = (str(error).splitlines() or [type(error).__name__])[0]
            _log.log(level, "tracking: %s. The journal keeps everything; `python -m src.sync` sends it later.", first_line[:200])
            _log.debug("in full:", exc_info=True)
            self._failed_at = time.monotonic()
        self._last = time.monotonic()
