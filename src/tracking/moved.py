"""Corrects MLflow's absolute artifact addresses after a home was moved or copied."""

from __future__ import annotations

import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING

from src import paths

if TYPE_CHECKING:
    from sqlalchemy import Connection


def local_path(address: str | None) -> Path | None:
    """Returns the path of an artifact address on this machine; None if the address is remote or empty."""
    split = urllib.parse.urlsplit(address or "")
    if split.scheme == "file":
        return Path(urllib.parse.unquote(split.path))
    return Path(address) if address and not split.scheme else None


def path_in_home(folder: Path, home: Path) -> Path | None:
    """Returns the path of a run's folder of files, moved to another home; None if `folder` is not such a folder."""
    *_, kind, study, run, last = ("", "", "", *folder.parts)
    return home / kind / study / run / last if kind == paths.artifacts().name else None


def has_moved(uri: str, location: str | None) -> bool:
    """Returns whether the address of a study's files names another home and must be replaced by this one's.

    A database in this home was moved or copied with the files, unless the files exist only at the old place. Several
    homes may share any other database: if one of them is a copy, the database keeps the addresses of the original.

    Args:
      uri: of the store.
      location: address of a study's files, as MLflow has it.
    """
    old = local_path(location)
    if old is None or _old_home(old) in (None, paths.home()):
        return False
    is_here, is_there = (paths.artifacts() / old.name).is_dir(), old.exists()
    return is_here or not is_there if uri == paths.default_tracking_uri() else is_here and not is_there


def mend_if_moved(uri: str, address: str) -> str | None:
    """Corrects all addresses in a database if this run's files have moved; returns a note for the user, or None."""
    folder = local_path(address)
    return mend(uri) if folder is not None and has_moved(uri, str(folder.parent.parent)) else None


def mend(uri: str) -> str | None:
    """Replaces the addresses of moved studies and of their runs and models, in one transaction.

    Args:
      uri: of the store; nothing is done for a tracking server, which manages its own addresses.

    Returns:
      A note for the user with the old homes; None if all addresses were right.
    """
    if not paths.is_database(uri):
        return None
    import sqlalchemy as sa

    engine = sa.create_engine(uri)
    homes, count = set[str](), 0
    try:
        with engine.begin() as database:
            for number, location in database.execute(
                sa.text("SELECT experiment_id, artifact_location FROM experiments")
            ).all():
                old = local_path(location)
                if old is None or not has_moved(uri, location):
                    continue
                new = (paths.artifacts() / old.name).as_uri()
                runs = "SELECT run_uuid, artifact_uri FROM runs WHERE experiment_id = :number"
                for run_id, address in database.execute(sa.text(runs), {"number": number}).all():
                    if address and address.startswith(f"{location}/"):
                        values = {"new": new + address.removeprefix(location), "run": run_id}
                        database.execute(sa.text("UPDATE runs SET artifact_uri = :new WHERE run_uuid = :run"), values)
                        count += 1
                _mend_models(database, location, new)
                values = {"new": new, "number": number}
                database.execute(
                    sa.text("UPDATE experiments SET artifact_location = :new WHERE experiment_id = :number"), values
                )
                homes.add(str(_old_home(old)))
    finally:
        engine.dispose()
    if not homes:
        return None
    old_homes = ", ".join(sorted(homes))
    return f"note: ABLATION_HOME was {old_homes}; MLflow's artifact paths ({count:,} runs) now point to {paths.home()}"


def _mend_models(database: Connection, old: str, new: str) -> None:
    """Replaces the addresses of a study's models, including registered ones."""
    import sqlalchemy as sa

    for table, column in (
        ("logged_models", "artifact_location"),
        ("model_versions", "source"),
        ("model_versions", "storage_location"),
    ):
        for (address,) in database.execute(sa.text(f"SELECT {column} FROM {table}")).all():
            if address and address.startswith(f"{old}/"):
                change = sa.text(f"UPDATE {table} SET {column} = :new WHERE {column} = :old")
                database.execute(change, {"new": new + address.removeprefix(old), "old": address})


def _old_home(path: Path) -> Path | None:
    """Returns the home of a study's folder of files; None if `path` is not such a folder."""
    return path.parent.parent if path.parent.name == paths.artifacts().name else None
