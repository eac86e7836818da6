"""Where an MLflow store keeps what it stores: a database that is made whole or not at all, and the folder of a study's files."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from filelock import FileLock

from src import paths
from src.files import digest
from src.spec.section import SettingsError
from src.terminal.errors import first_line
from src.tracking.database import sqlite_file
from src.tracking.stored import ADDRESS

LONGEST = 500  # bytes of the path of a SQLite database: SQLite takes 512, with `-journal`; the database is made beside its place


def artifact_location(uri: str, study: str) -> str | None:
    """Returns where a new study's files go; None where a tracking server decides.

    Raises:
      SettingsError: the address is longer than the database has room for.
    """
    if not paths.is_database(uri):
        return None
    folder = paths.artifacts() / study
    if uri.startswith("sqlite:"):
        return folder.as_uri()
    room = ADDRESS - len(f"/{'0' * 32}/artifacts")  # which each run adds
    if len(folder.as_uri()) > room:
        folder = paths.artifacts() / digest(study)
    if len(folder.as_uri()) > room:
        over = len(folder.as_uri()) - room
        raise SettingsError(
            f"ABLATION_HOME: {paths.home()} is {over} characters too long for this database; set another, or tracking=offline"
        )
    return folder.as_uri()


def _beside(path: Path) -> Path:
    """Returns where a database is made, before it is moved to its place."""
    return path.with_name(f"new-{path.name}")


def refuse_unusable(uri: str) -> None:
    """Refuses a file that SQLite cannot open or write; MLflow would try for minutes, in every trial.

    Raises:
      SettingsError: which file, and why.
    """
    path = sqlite_file(uri)
    if path is None:
        return
    fix = "set another tracking.uri or ABLATION_HOME, or tracking=offline"
    if path.is_dir():
        raise SettingsError(
            f"{path}: a folder, but MLflow's database must be a file; move it away, or set another tracking.uri"
        )
    if (size := len(os.fsencode(path))) > LONGEST:
        raise SettingsError(
            f"MLflow's database: its path has {size} bytes, but SQLite allows up to {LONGEST}; {fix} ({path})"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tried = path if path.exists() else path.with_name(f"try-{path.name}")
        with contextlib.closing(sqlite3.connect(tried, timeout=0, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
        if tried != path:
            tried.unlink(missing_ok=True)
    except (sqlite3.Error, OSError) as error:
        if "locked" not in str(error):  # somebody is writing it, and so can we
            raise SettingsError(
                f"{path}: MLflow's database cannot be used ({first_line(error)}); fix that, {fix}"
            ) from None


def create_whole(uri: str) -> None:
    """Makes a missing SQLite database beside its place and moves it there: a process killed in its migrations would leave a ruin."""
    path = sqlite_file(uri)
    if path is None or path.exists():
        return
    from mlflow.tracking import MlflowClient

    beside = _beside(path)
    for old in (beside, beside.with_name(f"{beside.name}-journal")):
        old.unlink(missing_ok=True)
    MlflowClient(paths.sqlite_address(beside.absolute())).search_experiments(
        max_results=1
    )  # the first question creates the tables
    os.replace(beside, path)


def creation_lock() -> FileLock:
    """Two processes that create one SQLite database at once destroy it: the migrations race."""
    paths.outputs().mkdir(parents=True, exist_ok=True)
    return FileLock(paths.outputs() / ".mlflow.lock")
