"""The checkpoint of a trial: everything that its next step depends on, at the end of its last complete epoch.

The file contains what the journal does not: the variables of the model, including the states of its random generators,
the variables of the optimizer, and the weights of the best epoch. No other state crosses an epoch: the order of the
data and noise are drawn per epoch, and gradients are accumulated within one. The earlier records come from the journal.

A resumed trial has the same result as an uninterrupted one, bit for bit. So a trial resumes only from a complete
checkpoint of the same trial, code, packages, processor and environment.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from src import files
from src.files import digest
from src.spec.record import END, EVALUATION, START, STEP, Record
from src.terminal.errors import first_line
from src.tracking import journal, provenance
from src.tracking.journal import FAILED, FINISHED, Entry, JournalError

FILE, FORM = "checkpoint.npz", "1"
# What must equal the values at the time of the checkpoint, and the message if it does not.
ORIGIN = {
    "form": "another version of the framework wrote it",
    "identity": "it belongs to another trial",
    "code": "the code in src/ has changed since",
    "versions": "it was written with other versions of packages",
    "processor": "it was written on another processor",
    "devices": "it was written with other devices",
    "environment": "it was written in another environment",
}

_log = logging.getLogger(__name__)


class Unusable(Exception):
    """A trial cannot resume from a checkpoint. The text says why."""


class Earlier(NamedTuple):
    """What earlier processes did of a trial.

    Attributes:
      entries: lines of the journal, from after the `start` to the evaluation at the end of the last complete epoch.
      epochs: the epochs after which a process resumed the trial; the last one is that epoch.
      variables: variables of the model and the optimizer, as `Checkpoint.write` got them.
      best: weights of the best epoch; empty if that is the last epoch.
      peak_mb: peak of memory, in MB.
    """

    entries: list[Entry]
    epochs: list[int]
    variables: list[np.ndarray]
    best: list[np.ndarray]
    peak_mb: float

    @property
    def records(self) -> list[Record]:
        """The records of the entries."""
        return [entry.record for entry in self.entries]


NOTHING = Earlier([], [], [], [], 0.0)


class Checkpoint:
    """The checkpoint of one trial, in its folder. The caller must hold the trial's journal."""

    def __init__(
        self, folder: Path, identity: str, devices: Callable[[], Sequence[str]], *, of_task: str | None = None
    ) -> None:
        """Takes the state that a checkpoint must match.

        Args:
          folder: the trial's folder.
          identity: the trial's identity.
          devices: `Task.devices`, which may import large packages.
          of_task: the code of the task if another package has it.
        """
        self._folder, self._identity, self._devices, self._of_task = folder, identity, devices, of_task
        self._path = folder / FILE
        self._has_warned = False

    def write(
        self,
        attempt: str,
        epoch: int,
        *,
        variables: Iterable[Any],
        best: Iterable[np.ndarray],
        peak_mb: float,
    ) -> None:
        """Replaces the checkpoint atomically. If the disk is full, it warns once and training continues.

        Args:
          attempt: id of the attempt whose journal has the records.
          epoch: number of the epoch that has ended, from 1; its evaluation is already in the journal on disk.
          variables: variables of the model and the optimizer, always in the same order.
          best: weights of the best epoch; empty if that is this epoch.
          peak_mb: peak of memory until now, in MB.
        """
        about = {**self._origin(), "attempt": attempt, "epoch": epoch, "peak_mb": peak_mb}
        try:
            with files.replaced(self._path) as path, path.open("wb") as file:
                _write(file, about, variables, best)
                file.flush()
                os.fsync(file.fileno())
            files.sync(self._folder)
        except OSError as error:
            text = "%s: the checkpoint after epoch %d cannot be written (%s); training continues without it"
            level = logging.DEBUG if self._has_warned else logging.WARNING
            _log.log(level, text, self._folder, epoch, error.strerror or first_line(error))
            self._has_warned = True

    def earlier(self) -> Earlier:
        """Returns what the trial resumes from; `NOTHING` without a checkpoint or after a finished or failed attempt.

        Raises:
          Unusable: the trial cannot resume from its checkpoint.
        """
        if not self._path.is_file():
            return NOTHING
        try:
            if journal.status(journal.last_attempt(self._folder, kinds=(START, END))) in (FINISHED, FAILED):
                return NOTHING
            about, held = _read(self._path)
            now = self._origin()
            for name, message in ORIGIN.items():
                if about[name] != now[name]:
                    raise Unusable(message)
            start, *entries = _entries(self._folder, about["attempt"], about["epoch"])
        except JournalError as error:
            raise Unusable(first_line(error)) from None
        epochs = [*start.record.detail["resumed"], about["epoch"]]
        return Earlier(entries, epochs, _group(held, "variable"), _group(held, "best"), about["peak_mb"])

    def remove(self) -> None:
        """Removes the checkpoint of a trial that has ended or starts from the beginning."""
        for path in (self._path, files.beside(self._path)):
            path.unlink(missing_ok=True)

    def _origin(self) -> dict[str, str]:
        tags = provenance.tags()
        recorded = {name: tags[f"ablation.{name}"] for name in ("versions", "processor", "environment")}
        return {
            "form": FORM,
            "identity": self._identity,
            "code": f"{code()} {self._of_task}" if self._of_task else code(),
            "devices": str(list(self._devices())),
            **recorded,
        }


def _write(file: Any, about: dict[str, Any], variables: Iterable[Any], best: Iterable[np.ndarray]) -> None:
    """Writes a file for `numpy.load`, one array at a time: all arrays together may exceed the free memory."""
    with zipfile.ZipFile(file, "w") as archive:
        parts = [("about", [np.array(json.dumps(about))]), ("variable", variables), ("best", best)]
        for name, values in parts:
            for place, value in enumerate(values):
                with archive.open(f"{name}_{place}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asarray(value), allow_pickle=False)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Returns the description of a checkpoint and its arrays; reading checks the checksum of each array."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            held = {name: archive[name] for name in archive.files}
        about = json.loads(str(held["about_0"]))
        if {*ORIGIN, "attempt", "epoch", "peak_mb"} <= about.keys():
            return about, held
    except Exception as error:  # zipfile and NumPy raise many kinds of errors for broken bytes
        raise Unusable(f"it is damaged ({first_line(error)})") from None
    raise Unusable("it is damaged")


def _group(held: dict[str, np.ndarray], name: str) -> list[np.ndarray]:
    """Returns the arrays whose names start with `name`, in order."""
    return [held[f"{name}_{place}"] for place in range(sum(key.startswith(f"{name}_") for key in held))]


def _entries(folder: Path, attempt: str, epoch: int) -> Iterator[Entry]:
    """Yields the lines of an attempt until the end of an epoch.

    Raises:
      Unusable: lines are missing.
    """
    is_mine, steps = False, 0
    for entry in journal.entries(folder):
        record = entry.record
        if record.kind == START:
            is_mine = record.detail["attempt"] == attempt
        if not is_mine:
            continue
        yield entry
        steps += record.kind == STEP
        if record.kind == EVALUATION and record.detail["epoch"] == epoch and steps == record.step:
            return
    raise Unusable(f"{journal.FILE} has lost records before it")


@functools.cache
def code() -> str:
    """Returns a hash of the project's own code, committed or not."""
    source = Path(__file__).resolve().parents[1]
    return digest({str(path.relative_to(source)): files.digest_of(path) for path in source.rglob("*.py")})
