"""Reads the journals of a study. Only changed journals are read again, because a study may have 20,000 of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from src.files import replaced
from src.terminal.errors import first_line
from src.tracking import journal, outcome, replay_state
from src.tracking.outcome import Outcome

FILE = ".journals.json"  # cache in the study's folder; it may be deleted at any time
SENT = "mlflow.json"  # in a trial's folder; every replay that sends something writes it

Stamp = list[int]  # size, times of change and inode number of a file


class Journals:
    """The journals in the folder of a study."""

    def __init__(self, study: Path) -> None:
        """Takes the study's folder, which may not exist yet."""
        self._study = study
        self._cached: dict[str, dict[str, Any]] = {}
        self._has_changed = False  # since the cache was saved
        try:
            saved = json.loads((study / FILE).read_text(encoding="utf-8"))
            if saved["fields"] == _fields():  # otherwise a version with other outcomes wrote it
                self._cached = saved["trials"]
        except (OSError, ValueError, LookupError, TypeError):
            pass  # missing or broken: the journals contain everything
        self._outcomes: dict[str, tuple[Stamp, Outcome | None]] = {}

    def outcomes(self, *, unreadable: dict[str, str] | None = None) -> dict[str, Outcome]:
        """Returns identity → outcome of the trial's latest attempt, from its journal.

        Args:
          unreadable: receives identity → error for each broken journal; without it the first broken journal raises.

        Raises:
          JournalError: a journal is broken.
        """
        outcomes = {}
        for name, stamp in self._stamps().items():
            try:
                outcomes[name] = self._outcome(name, stamp)
            except (OSError, ValueError, LookupError, TypeError) as error:
                if unreadable is None:
                    raise
                unreadable[name] = first_line(error)
        return {name: outcome for name, outcome in outcomes.items() if outcome is not None}

    def close_dead(self) -> None:
        """Marks attempts without an end as KILLED if their process has ended; see `journal.close_if_dead`."""
        for name, latest in self.outcomes().items():
            if latest.status is None:
                journal.close_if_dead(self._study / name)

    def replay(self, store: str, send: Callable[[Path], object]) -> dict[str, Exception]:
        """Sends to a store the journals that it does not have completely; returns identity → error for those that fail.

        Args:
          store: unique name of the store; a new store at the same address has another name.
          send: sends the records of a trial's journal that the store does not have.
        """
        errors: dict[str, Exception] = {}
        for name, stamp in self._stamps().items():
            folder, entry = self._study / name, self._entry(name)
            if entry.get("sent") == [store, stamp, _stamp(folder / SENT)]:
                continue
            try:
                send(folder)
            except Exception as error:  # an error of one trial must not stop the others
                errors[name] = error
                continue
            states = replay_state.load(folder / SENT).values()
            if not any(state.get("deleted") for state in states):  # a deleted run may be restored at any time
                entry["sent"] = [store, stamp, _stamp(folder / SENT)]
                self._has_changed = True
        return errors

    def save(self) -> None:
        """Saves for the next command what was read and sent."""
        if not self._has_changed:
            return
        trials = {name: self._cached[name] for name in self._stamps() if name in self._cached}
        try:
            with replaced(self._study / FILE) as beside:
                beside.write_text(json.dumps({"fields": _fields(), "trials": trials}), encoding="utf-8")
        except OSError:  # full disk or read-only folder: the next command reads the journals again
            pass
        self._has_changed = False

    def _stamps(self) -> dict[str, Stamp]:
        """Returns identity → stamp of the trial's journal, sorted by identity."""
        if not self._study.is_dir():
            return {}
        with os.scandir(self._study) as entries:
            stamps = (
                (entry.name, _stamp(os.path.join(entry.path, journal.FILE))) for entry in entries if entry.is_dir()
            )
            return dict(sorted((name, stamp) for name, stamp in stamps if stamp is not None))

    def _outcome(self, name: str, stamp: Stamp) -> Outcome | None:
        if name in self._outcomes and self._outcomes[name][0] == stamp:
            return self._outcomes[name][1]
        entry = self._entry(name)
        if entry.get("read") == stamp:
            latest = Outcome(**entry["outcome"]) if entry["outcome"] else None
        else:
            folder = self._study / name
            journal.last(folder)  # raises if the last line is not a record
            latest = outcome.of_journal(folder)
            entry.update(read=stamp, outcome=asdict(latest) if latest else None)
            self._has_changed = True
        self._outcomes[name] = stamp, latest
        return latest

    def _entry(self, name: str) -> dict[str, Any]:
        return self._cached.setdefault(name, {})


def _fields() -> list[str]:
    return [field.name for field in fields(Outcome)]


def _stamp(path: Path | str) -> Stamp | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
