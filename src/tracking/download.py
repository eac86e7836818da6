"""Downloads a run's files from a store that may be broken or hostile; writes nothing outside the given folder."""

from __future__ import annotations

import re
import urllib.parse
from pathlib import Path

from src import paths

RUN_ID = re.compile(r"[0-9a-f]{32}")
# Schemes of addresses that are, or lead to, a path on the machine that reads them.
LOCAL_SCHEMES = ("", "file", "runs", "models")


class Refused(Exception):
    """A store gave an answer that is not safe to use; the text says which."""


def checked_id(run_id: str, *, uri: str) -> str:
    """Returns the id of a run, which is safe as the name of a folder.

    Raises:
      Refused: it does not have MLflow's format.
    """
    if not RUN_ID.fullmatch(run_id):
        raise Refused(
            f"{paths.shown(uri)} returned the run id {run_id[:80]!r}, but MLflow ids are 32 hexadecimal digits; "
            "do not trust this server"
        )
    return run_id


class Files:
    """The files of one run."""

    def __init__(self, uri: str, run_id: str, address: str) -> None:
        """Takes the address of the store, and a run's id and the address of its files, as the store returned them.

        Raises:
          Refused: the id does not have MLflow's format, or a server gives an address on this machine.
        """
        checked_id(run_id, uri=uri)
        scheme = urllib.parse.urlsplit(address).scheme
        if not paths.is_database(uri) and scheme in LOCAL_SCHEMES:
            fix = (
                "start the server with --artifacts-destination instead of --default-artifact-root, "
                "or give its database as the store"
            )
            raise Refused(
                f"{paths.shown(uri)} says that the files of run {run_id} are at {address[:80]!r} on this machine; {fix}"
            )
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        # By the checked address, not by the run: a server could return another address the next time.
        self._files = get_artifact_repository(address, tracking_uri=uri)

    def names(self) -> set[str]:
        """Returns the names of the files and folders at the top level."""
        return {file.path for file in self._files.list_artifacts()}

    def download(self, name: str, folder: Path) -> Path:
        """Downloads one file into a folder and returns its path.

        Raises:
          Refused: the path would be outside the folder.
        """
        path = Path(self._files.download_artifacts(name, str(folder)))
        if not path.resolve().is_relative_to(folder.resolve()):
            raise Refused(f"the file {name} would be at {path}, outside {folder}")
        return path
