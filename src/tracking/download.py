"""A run's files from a store that may be broken or hostile: nothing is written outside the folder that was given for them."""

from __future__ import annotations

import re
import urllib.parse
from pathlib import Path

from src import paths

RUN_ID = re.compile(r"[0-9a-f]{32}")
OF_THIS_MACHINE = (
    "",
    "file",
    "runs",
    "models",
)  # kinds of addresses that are, or lead to, a path on the machine that reads them


class Refused(Exception):
    """A store answers with what no store should; the text says what."""


def checked_id(run_id: str, *, uri: str) -> str:
    """Returns the id of a run, from which folders get their names.

    Raises:
      Refused: it is not of MLflow's form.
    """
    if not RUN_ID.fullmatch(run_id):
        raise Refused(
            f"{paths.shown(uri)} returned the run id {run_id[:80]!r}, but MLflow ids are 32 hexadecimal digits; do not trust this server"
        )
    return run_id


class Files:
    """The files of one run."""

    def __init__(self, uri: str, run_id: str, address: str) -> None:
        """Takes the address of the store, and what it says of a run: its id and the address of its files.

        Raises:
          Refused: the id is of another form, or a server says that the files are on this machine.
        """
        checked_id(run_id, uri=uri)
        kind = urllib.parse.urlsplit(address).scheme
        if not paths.is_database(uri) and kind in OF_THIS_MACHINE:
            fix = "start the server with --artifacts-destination instead of --default-artifact-root, or give its database as the store"
            raise Refused(
                f"{paths.shown(uri)} says that the files of run {run_id} are at {address[:80]!r} of this machine; {fix}"
            )
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        self._files = get_artifact_repository(
            address, tracking_uri=uri
        )  # asked by address: a server could give another the next time

    def names(self) -> set[str]:
        """Returns the names of the files and folders of the first level."""
        return {file.path for file in self._files.list_artifacts()}

    def download(self, name: str, folder: Path) -> Path:
        """Returns the path of a copy of one file, in this folder.

        Raises:
          Refused: it would be elsewhere.
        """
        found = Path(self._files.download_artifacts(name, str(folder)))
        if not found.resolve().is_relative_to(folder.resolve()):
            raise Refused(f"the file {name} would be at {found}, outside {folder}")
        return found
