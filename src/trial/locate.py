"""Finds a trial's files by its folder, its identity or the first digits of it, or its MLflow run id."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

from src import paths
from src.artifacts import MODEL, SETTINGS
from src.own_code import FOLDER
from src.spec.record import END, FINISHED
from src.spec.section import SettingsError
from src.terminal.errors import first_line
from src.tracking import download, journal, moved
from src.trial import pruned

UNFINISHED = "holds no finished trial; run its study again to finish it"


class Unfinished(SettingsError):
    """The folder belongs to a trial that did not finish."""


def is_finished(folder: str | Path) -> bool:
    """Returns whether a folder belongs to a finished trial; False for a name that is too long for a path.

    Copies of files from MLflow have no journal, and only the owner of some journals can read them. Then the trial is
    finished if it has a model.
    """
    folder = Path(folder)
    if not os.path.isfile(folder / SETTINGS):
        return False
    try:
        return _has_finished(folder)
    except OSError:
        return os.path.isfile(folder / MODEL)


def _has_finished(folder: Path) -> bool:
    """Returns whether an attempt of a trial has finished, perhaps an earlier one than the last.

    Raises:
      OSError: the journal is missing, cannot be read or has an invalid line.
    """
    last = journal.last(folder)
    ends = [last] if last else []
    if not ends or ends[0].detail.get("status") != FINISHED:
        ends = [entry.record for entry in journal.entries(folder, kinds=(END,))]
    return any(record.detail.get("status") == FINISHED for record in ends)


def _trials_of(study: str) -> list[str]:
    """Returns the identities of a study's finished trials; empty if there is no such study."""
    if not re.fullmatch(r"\w[\w.-]{0,99}", study):
        return []
    folders = (path.parent for path in paths.study_folder(study).glob(f"*/{SETTINGS}"))
    return sorted(folder.name for folder in folders if is_finished(folder))


def _with_files(run: str, folders: Sequence[Path], files: Sequence[str]) -> Path:
    """Returns the first folder that has all files.

    Raises:
      SettingsError: none has; the text names a file that the first folder does not have.
    """
    missing = [[name for name in files if not os.path.isfile(folder / name)] for folder in folders]
    if all(missing):
        raise SettingsError(_lacks(run, folders[0], min(missing[0])))
    return folders[missing.index([])]


def _lacks(run: str, folder: Path, name: str) -> str:
    if removed := pruned.why(folder):
        return f"{run}: has no {name}: {removed}"
    if is_finished(folder):
        what = f"this finished trial of task={task_of(folder)} has no {name}"
        return f"{run}: {what}; name a trial of a task that writes it, or restore the file"
    return f"{run}: holds no whole trained model (it has no {name}); was the trial finished?"


def task_of(folder: Path) -> str:
    """Returns the name of the task in a trial's settings, of the current or an older layout; imports no task.

    Raises:
      SettingsError: the file has no name of a task.
    """
    try:
        task = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))["task"]
        return str(task if isinstance(task, str) else task["name"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise SettingsError(f"{folder / SETTINGS}: not the settings of a trial ({first_line(error)})") from None


def folder_of(
    run: str, *, uri: str | None, download_to: Path, files: Sequence[str] = (MODEL,), optional: Sequence[str] = ()
) -> Path:
    """Returns the folder with a trial's files, found by path, by identity (or its first digits), or by MLflow run id.

    Args:
      run: path, identity or run id of the trial.
      uri: address of the MLflow store with the run; None for the default store.
      download_to: folder for copies of the files if a server stores them.
      files: names of the required files, besides the settings.
      optional: names of further files, which some trials lack.

    Raises:
      SettingsError: no finished trial matches, or several do.
    """
    if is_finished(run):
        return _with_files(run, [Path(run)], files)
    if not re.fullmatch(r"[0-9a-f]{4,32}", run):
        if os.path.isfile(Path(run) / SETTINGS):
            raise Unfinished(
                f"{run}: {UNFINISHED}" if os.path.isfile(Path(run) / MODEL) else _lacks(run, Path(run), MODEL)
            )
        got = run if len(run) <= 100 else f"{run[:99]}…"
        if trials := _trials_of(run):
            more = f", … ({len(trials)} in all)" if len(trials) > 3 else ""
            raise SettingsError(
                f"RUN: {got!r} is a study; name one of its finished trials: {', '.join(trials[:3])}{more}"
            )
        allowed = "a trial's folder, its identity (16 digits or the first 4 and more), or an MLflow run id"
        raise SettingsError(f"RUN: got {got!r}; allowed: {allowed}")
    settings = paths.outputs().glob(f"*/{run}*/{SETTINGS}")
    matches = [path.parent for path in settings if is_finished(path.parent)]
    if len({path.name for path in matches}) > 1:
        names = ", ".join(sorted(path.name for path in matches))
        raise SettingsError(f"RUN: {run!r} matches several trials: {names}; type more digits")
    if matches:
        return _with_files(run, matches, files)
    not_found = SettingsError(f"RUN: no finished trial {run!r} in {paths.outputs()} or MLflow")
    if uri is None and not (paths.home() / "mlflow.db").is_file():  # connecting would create one
        raise not_found
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # for an unreachable server
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    address = paths.tracking_uri(uri)
    from mlflow.tracking import MlflowClient

    try:
        client = MlflowClient(address)
        moved.mend_if_moved(address, client.get_run(run).info.artifact_uri)
        found = client.get_run(run)
        stored = download.Files(address, run, found.info.artifact_uri)
        held = stored.names()
        if missing := {SETTINGS, *files} - held:
            if removed := found.data.tags.get(pruned.TAG):
                raise download.Refused(f"run {run} has no {min(missing)}: {removed}")
            lacking = min(missing) if MODEL in held else MODEL
            raise download.Refused(
                f"run {run} holds no whole trained model (it has no {lacking}); was the trial finished?"
            )
        for name in (SETTINGS, *files, *(name for name in optional if name in held), *held & {FOLDER}):
            stored.download(name, download_to)
        return download_to
    except download.Refused as error:
        raise SettingsError(str(error)) from None
    except Exception as error:  # every cloud's client raises its own errors
        raise SettingsError(f"{not_found} ({first_line(error).replace(address, paths.shown(address))})") from None
