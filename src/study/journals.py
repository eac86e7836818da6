"""What the journals of a study say. Those alone are read that have changed: a study may have 20,000 of them."""

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

FILE = ".journals.json"  # in the study's folder: what was read so far, and may be deleted at any time
SENT = "mlflow.json"  # in a trial's folder, written by each replay that sends something

Stamp = list[int]  # of a file: its size, when it was changed, and its number; journals only grow


class Journals:
    """The journals in the folder of a study."""

    def __init__(self, study: Path) -> None:
        """Takes the study's folder, which need not be there yet."""
        self._study = study
        self._known: dict[str, dict[str, Any]] = {}
        self._is_new = False  # whether more is known than was saved
        try:
            saved = json.loads((study / FILE).read_text(encoding="utf-8"))
            if saved["fields"] == _fields():  # of a version that knows the same of an outcome
                self._known = saved["trials"]
        except (
            OSError,
            ValueError,
            LookupError,
            TypeError,
        ):  # there is none, or it is broken: the journals have it all
            pass
        self._outcomes: dict[str, tuple[Stamp, Outcome | None]] = {}

    def outcomes(self, *, unreadable: dict[str, str] | None = None) -> dict[str, Outcome]:
        """Returns identity → what the trial's journal says of its latest attempt.

        Args:
          unreadable: takes identity → why of the journals that are broken; without it the first of them raises.

        Raises:
          JournalError: a journal is broken.
        """
        found = {}
        for name, stamp in self._stamps().items():
            try:
                found[name] = self._outcome(name, stamp)
            except (OSError, ValueError, LookupError, TypeError) as error:
                if unreadable is None:
                    raise
                unreadable[name] = first_line(error)
        return {name: one for name, one in found.items() if one is not None}

    def close_dead(self) -> None:
        """Ends as KILLED what has no end and whose process is gone, as `journal.close_if_dead`."""
        for name, found in self.outcomes().items():
            if found.status is None:
                journal.close_if_dead(self._study / name)

    def replay(self, store: str, send: Callable[[Path], object]) -> dict[str, Exception]:
        """Sends the journals to a store, but for those of which it has had all; returns identity → why one could not be sent.

        Args:
          store: what tells the store from others, and from another one at the same address.
          send: sends what a trial's journal has and the store has not.
        """
        refused = {}
        for name, stamp in self._stamps().items():
            folder, known = self._study / name, self._entry(name)
            if known.get("sent") == [store, stamp, _stamp(folder / SENT)]:
                continue
            try:
                send(folder)
            except Exception as error:  # one trial's record must not keep the others from the store
                refused[name] = error
                continue
            if not any(
                state.get("deleted") for state in replay_state.load(folder / SENT).values()
            ):  # may be restored at any time
                known["sent"] = [store, stamp, _stamp(folder / SENT)]
                self._is_new = True
        return refused

    def save(self) -> None:
        """Remembers for the next command what was read and sent."""
        if not self._is_new:
            return
        trials = {name: self._known[name] for name in self._stamps() if name in self._known}
        try:
            with replaced(self._study / FILE) as beside:
                beside.write_text(json.dumps({"fields": _fields(), "trials": trials}), encoding="utf-8")
        except OSError:  # a full disk, or a folder that may not be written: they are read again next time
            pass
        self._is_new = False

    def _stamps(self) -> dict[str, Stamp]:
        """Returns identity → the stamp of its journal, by name."""
        if not self._study.is_dir():
            return {}
        with os.scandir(self._study) as entries:
            found = (
                (entry.name, _stamp(os.path.join(entry.path, journal.FILE))) for entry in entries if entry.is_dir()
            )
            return dict(sorted((name, stamp) for name, stamp in found if stamp is not None))

    def _outcome(self, name: str, stamp: Stamp) -> Outcome | None:
        if name in self._outcomes and self._outcomes[name][0] == stamp:
            return self._outcomes[name][1]
        known = self._entry(name)
        if known.get("read") == stamp:
            found = Outcome(**known["outcome"]) if known["outcome"] else None
        else:
            folder = self._study / name
            journal.last(folder)  # raises where it is no record
            found = outcome.of_journal(folder)
            known.update(read=stamp, outcome=asdict(found) if found else None)
            self._is_new = True
        self._outcomes[name] = stamp, found
        return found

    def _entry(self, name: str) -> dict[str, Any]:
        return self._known.setdefault(name, {})


def _fields() -> list[str]:
    return [field.name for field in fields(Outcome)]


def _stamp(path: Path | str) -> Stamp | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
