"""Prepares an MLflow store: creates its SQLite database atomically, and chooses the folder of a study's files."""

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

LONGEST = 500  # bytes of a SQLite database's path: SQLite allows 512, with the prefix and suffix of temporary files


def artifact_location(uri: str, study: str) -> str | None:
    """Returns the folder for a new study's files, as an address; None if a tracking server decides.

    Raises:
      SettingsError: the address is too long for the database.
    """
    if not paths.is_database(uri):
        return None
    folder = paths.artifacts() / study
    if uri.startswith("sqlite:"):
        return folder.as_uri()
    limit = ADDRESS - len(f"/{'0' * 32}/artifacts")  # each run adds these characters
    if len(folder.as_uri()) > limit:
        folder = paths.artifacts() / digest(study)
    if len(folder.as_uri()) > limit:
        excess = len(folder.as_uri()) - limit
        raise SettingsError(
            f"ABLATION_HOME: {paths.home()} is {excess} characters too long for this database; "
            "set another, or tracking=offline"
        )
    return folder.as_uri()


def _beside(path: Path) -> Path:
    """Returns the path at which a database is created before it is moved to `path`."""
    return path.with_name(f"new-{path.name}")


def refuse_unusable(uri: str) -> None:
    """Checks that SQLite can open and write the database; MLflow would retry for minutes, in every trial.

    Raises:
      SettingsError: it cannot; the text gives the file and the reason.
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
        probe = path if path.exists() else path.with_name(f"try-{path.name}")
        with contextlib.closing(sqlite3.connect(probe, timeout=0, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
        if probe != path:
            probe.unlink(missing_ok=True)
    except (sqlite3.Error, OSError) as error:
        if "locked" not in str(error):  # another process is writing it, so it is writable
            raise SettingsError(
                f"{path}: MLflow's database cannot be used ({first_line(error)}); fix that, {fix}"
            ) from None


def create_whole(uri: str) -> None:
    """Creates a missing SQLite database under another name, then renames it.

    Otherwise, a process that is killed during the migrations would leave a broken database.
    """
    path = sqlite_file(uri)
    if path is None or path.exists():
        return
    from mlflow.tracking import MlflowClient

    beside = _beside(path)
    for old in (beside, beside.with_name(f"{beside.name}-journal")):
        old.unlink(missing_ok=True)
    client = MlflowClient(paths.sqlite_address(beside.absolute()))
    client.search_experiments(max_results=1)  # the first query creates the tables
    os.replace(beside, path)


def creation_lock() -> FileLock:
    """Returns the lock to hold while creating a SQLite database: concurrent migrations would destroy it."""
    paths.outputs().mkdir(parents=True, exist_ok=True)
    return FileLock(paths.outputs() / ".mlflow.lock")
