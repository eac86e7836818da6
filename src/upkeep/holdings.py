"""What there is of a study: its folder with the journals of its trials, and its experiments in MLflow."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from src import paths
from src.spec.section import SettingsError
from src.study import running
from src.study.journals import Journals
from src.terminal.errors import nearest
from src.terminal.visible import counted, echoed
from src.tracking import attempts, experiments, journal, names
from src.tracking.experiments import Experiment
from src.tracking.journal import FINISHED
from src.tracking.outcome import Outcome

PLAN = "plan.json"
UNITS = ("bytes", "kB", "MB", "GB", "TB")


class Size(NamedTuple):
    """Number of files, and their bytes."""

    files: int = 0
    bytes: int = 0

    def __str__(self) -> str:
        """Returns both for people: `52 files, 1.2 MB`."""
        amount, unit = float(self.bytes), 0
        while amount >= 1_000 and unit < len(UNITS) - 1:
            amount, unit = amount / 1_000, unit + 1
        shown = f"{amount:.0f}" if unit == 0 else f"{amount:.1f}"
        return f"{counted(self.files, 'file')}, {shown} {UNITS[unit]}"


@dataclass(frozen=True)
class Holdings:
    """What there is of a trained study.

    Attributes:
      study: its name.
      folder: its folder in `outputs/`, which may not exist.
      outcomes: identity → outcome in the trial's journal; without broken journals.
      broken: identity → why its journal cannot be read.
      experiments: its experiments in MLflow's stores; deleted ones, too.
    """

    study: str
    folder: Path
    outcomes: dict[str, Outcome]
    broken: dict[str, str]
    experiments: list[Experiment]

    @property
    def active(self) -> list[Experiment]:
        """Its experiments that are not in MLflow's trash."""
        return [experiment for experiment in self.experiments if not experiment.is_deleted]

    @property
    def trials(self) -> str:
        """The trials in its folder, counted: `4 trials (3 finished)`."""
        finished = sum(outcome.status == FINISHED for outcome in self.outcomes.values())
        total = counted(len(self.outcomes) + len(self.broken), "trial")
        broken = f", {len(self.broken)} with a broken journal" if self.broken else ""
        return f"{total} ({finished} finished{broken})"

    def unsent(self) -> list[str]:
        """Returns the identities of trials in its folder that no store has, not even in its trash."""
        known = {run.tags.get(attempts.IDENTITY) for each in self.experiments for run in each.runs()}
        known |= {run.tags.get(attempts.IDENTITY) for each in self.experiments for run in each.runs(deleted=True)}
        return sorted(self.outcomes.keys() - known)


def of(study: str, uri: str | None) -> Holdings:
    """Returns what there is of a study.

    Raises:
      SettingsError: there is nothing, or a store cannot be reached.
    """
    folder, broken = paths.study_folder(study), dict[str, str]()
    outcomes = Journals(folder).outcomes(unreadable=broken)
    found = experiments.of_study(study, uri)
    if not folder.exists() and not found:
        raise SettingsError(_unknown(study))
    return Holdings(study, folder, outcomes, broken, found)


def _unknown(study: str) -> str:
    if now := names.present(study):
        return f"no study {study!r}; it was renamed to {now}"
    folders = paths.outputs().iterdir() if paths.outputs().is_dir() else ()
    existing = sorted(path.name for path in folders if path.is_dir() and not path.name.startswith("."))
    near = nearest(study, existing)
    hint = f"did you mean {near}?" if near else f"studies: {', '.join(existing) or 'none yet'}"
    return f"no study {echoed(study)!r} in {paths.outputs()} or MLflow; {hint}"


def is_adopted(study: str) -> bool:
    """Returns whether there is a study of this name that other programs recorded."""
    return (paths.adopted() / study / PLAN).is_file()


def refuse_two_of_one_name(study: str) -> None:
    """Raises `SettingsError` if a trained and an adopted study have this name."""
    if is_adopted(study) and paths.study_folder(study).exists():
        where = paths.adopted() / study
        raise SettingsError(f"there are two studies {study!r}, a trained one and an adopted one; rename {where} first")


def refuse_existing(study: str, found: Sequence[Experiment]) -> None:
    """Raises `SettingsError` if a study of this name exists: in a folder, or among the experiments that were found."""
    for folder in (paths.study_folder(study), paths.adopted() / study):
        if folder.exists():
            raise SettingsError(f"study {study!r} exists ({folder}); choose another name")
    for experiment in found:
        if experiment.is_deleted:
            fix = f"choose another name, or remove it for good with `mlflow gc --experiment-ids {experiment.number}`"
            raise SettingsError(f"study {study!r} is in the trash of {experiment.place}; {fix}")
        raise SettingsError(f"study {study!r} exists in {experiment.place}; choose another name")


@contextmanager
def at_rest(*folders: Path) -> Iterator[None]:
    """Keeps sweeps of the studies in these folders from starting while the block runs.

    Raises:
      SettingsError: a sweep runs, or a trial is being trained.
    """
    with ExitStack() as stack:
        for folder in folders:
            is_alone = stack.enter_context(running.alone(folder))
            busy = [trial.name for trial in journal.folders(folder) if journal.has_writer(trial)]
            if not is_alone or busy:
                what = f"trial {busy[0]} of study {folder.name} is being trained" if busy else None
                what = what or f"a sweep of study {folder.name} runs"
                raise SettingsError(f"{what}; wait until it has ended, or stop it; nothing was changed")
        yield


def size(folder: Path) -> Size:
    """Returns the size of all files in a folder and its sub-folders; nothing if there is no such folder."""
    files = [os.path.join(where, name) for where, _, listed in os.walk(folder) for name in listed]
    return Size(len(files), sum(os.lstat(file).st_size for file in files))
