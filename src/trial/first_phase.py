"""The first phase of a trial: a training whose model several trials share (`Task.first`).

It is trained as a trial is, with a journal and a checkpoint, in a folder that its identity names. A process that needs
its model while another process trains it waits: the operating system releases the lock of a process that ends, however
it ends. The trial gets a copy of the model, so that nothing that happens to the folder later changes the trial.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from src import paths, registry
from src.artifacts import MODEL
from src.files import digest, replaced
from src.spec.record import DIVERGED, END, EVALUATION, FIRST_PHASE, GRADIENT_NORM, START, STEP, Diverged, Record
from src.spec.task import Data, First
from src.terminal.errors import first_line
from src.terminal.progress import waiting
from src.tracking import journal
from src.tracking.journal import FAILED, FINISHED, Entry, Journal, JournalError
from src.training import model_file
from src.trial.checkpoint import code
from src.trial.identity import identity
from src.trial.prepare import Prepared

IDENTITY = "identity"  # key of the detail of the first record of this kind in a trial's journal
TAG = "ablation.first_phase"

_log = logging.getLogger(__name__)


class FirstPhaseFailed(RuntimeError):
    """The first phase of a trial failed. The text says why."""


class Shared(NamedTuple):
    """A finished first phase.

    Attributes:
      name: name of the phase.
      prepared: what was trained.
      is_reused: whether an earlier trial, or another process, has trained it.
    """

    name: str
    prepared: Prepared
    is_reused: bool


def prepared(first: First, data: Data) -> Prepared:
    """Returns a first phase of a trial with these data, for training.

    Its identity is a hash of its settings, the data, and the code of the framework and, if another package has it, of
    the task.
    """
    unseen = {"histograms": False, "pictures": False, "projector": False, "profile": None}  # no tracker shows it
    data = data if first.data is None else first.data
    changed = {"study": paths.shared(first.name), "rerun": False}
    changed["tracking"] = first.settings.tracking.model_copy(update=unseen)
    settings = first.settings.model_copy(update=changed)
    of_settings = identity(settings, first.task, data_digest=data.digest)
    digits = digest([first.name, of_settings, code(), registry.version(settings.task)])
    return Prepared(settings, first.task, data, digits, [])


def shared(
    first: First,
    data: Data,
    *,
    copy_to: Path,
    is_resumed: bool,
    train: Callable[[Prepared, Journal], str],
) -> Shared:
    """Returns the finished first phase, which is trained now if no process has, and copies its model.

    Args:
      first: what is trained.
      data: the trial's data.
      copy_to: file that gets a copy of the model.
      is_resumed: whether the trial has used the model before.
      train: trains, writes the journal, and returns the status.

    Raises:
      Diverged: the training diverged, now or in an earlier trial; it would again.
      FirstPhaseFailed: it failed otherwise.
      OSError: the disk is full.
    """
    phase = prepared(first, data)
    name, folder = f"{first.title} ({phase.identity})", phase.folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _held(folder.with_name(f"{folder.name}.lock"), name):
        damage = _damage(folder)
        is_reused = damage is None
        if damage or (damage == "" and is_resumed):
            _log.warning("%s: is trained again, because %s", name, damage or "its folder was deleted")
        if not is_reused:
            _train(first, phase, train)
        with replaced(copy_to) as path:
            shutil.copyfile(folder / MODEL, path)
    if is_reused:
        _log.info("%s: is reused", name)
    return Shared(first.name, phase, is_reused)


def records(phase: Shared, *, every: int) -> Iterator[Record]:
    """Yields what a trial records of its first phase: the first record says which, the others are its curves.

    Args:
      phase: the first phase.
      every: number of optimizer steps between two points of its curves.
    """
    kinds, folder = (START, STEP, EVALUATION, END), phase.prepared.folder
    entries = [entry.record for entry in journal.last_attempt(folder, kinds=kinds)]
    last = entries[-1]
    results = {**last.metrics, "steps": float(last.step), "epochs": float(phase.prepared.settings.epochs)}
    detail = {IDENTITY: phase.prepared.identity, "name": phase.name, "is_reused": phase.is_reused}
    yield Record(FIRST_PHASE, 0, detail={**detail, "results": _named(phase.name, results)})
    for record in entries:
        if record.kind == EVALUATION or (record.kind == STEP and record.step % every == 0):
            norm = {GRADIENT_NORM: record.detail["gradient_norm"]} if "gradient_norm" in record.detail else {}
            yield Record(FIRST_PHASE, record.step, _named(phase.name, record.metrics | norm))


def summary(record: Record) -> tuple[dict[str, float], dict[str, str]]:
    """Returns the metrics and the tag of a trial's end, from the first record of `records`."""
    detail = record.detail
    how = "reused" if detail["is_reused"] else "trained in this trial"
    return detail["results"], {TAG: f"{detail['name']} {detail[IDENTITY]}, {how}"}


def _named(name: str, metrics: dict[str, float]) -> dict[str, float]:
    return {f"{name}/{key}": value for key, value in metrics.items()}


@contextmanager
def _held(path: Path, name: str) -> Iterator[None]:
    """Holds the lock of a first phase while the block runs; waits for another process that holds it."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _log.info("%s: another process trains it", name)
        with waiting(f"waiting for another process that trains {name}"):
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _damage(folder: Path) -> str | None:
    """Returns None for a finished phase with its model, what is wrong with a damaged one, "" for an unfinished one."""
    try:
        if journal.status(_last(folder)) != FINISHED:
            return ""
        model_file.objects(folder)
    except JournalError as error:
        shutil.rmtree(folder, ignore_errors=True)
        return f"its record is damaged ({first_line(error)})"
    except OSError as error:
        return f"its model is missing ({error.strerror})"
    except ValueError as error:
        return f"its model is damaged ({first_line(error)})"
    return None


def _train(first: First, phase: Prepared, train: Callable[[Prepared, Journal], str]) -> None:
    """Trains a first phase that has not finished; one that diverged is not trained again."""
    ended = _last(phase.folder)
    if not _has_diverged(ended):
        with Journal(phase.folder) as book:
            train(phase, book)
        ended = _last(phase.folder)
    if (status := journal.status(ended)) == FINISHED:
        return
    end = ended[-1].record
    error = f"{first.title}: {end.detail['error']}"
    if _has_diverged(ended):
        diverged = Diverged(end.step, "the loss")
        cause = end.detail["tags"].get("ablation.diagnosis")
        diverged.args, diverged.cause = (error,), cause and _renamed(cause, first.keys)
        raise diverged
    if status != FAILED:  # a full disk
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    raise FirstPhaseFailed(error)


def _renamed(text: str, keys: Mapping[str, str]) -> str:
    """Returns a message about the first phase with the settings of the trial; `epochs` without = is a word."""
    return re.sub(r"\w+_\w+|\w+(?==)", lambda word: keys.get(word[0], word[0]), text)


def _last(folder: Path) -> list[Entry]:
    return journal.last_attempt(folder, kinds=(START, END))


def _has_diverged(attempt: list[Entry]) -> bool:
    tags: dict[str, Any] = attempt[-1].record.detail.get("tags", {}) if attempt else {}
    return journal.status(attempt) == FAILED and tags.get("ablation.health") == DIVERGED
