"""MLflow stores where each run's files are by absolute address: what a home that was moved or copied has to have mended."""

from __future__ import annotations

import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING

from src import paths

if TYPE_CHECKING:
    from sqlalchemy import Connection


def local_path(address: str | None) -> Path | None:
    """Returns the path that an artifact address means on this machine; None if it means none."""
    split = urllib.parse.urlsplit(address or "")
    if split.scheme == "file":
        return Path(urllib.parse.unquote(split.path))
    return Path(address) if address and not split.scheme else None


def came_along(folder: Path, home: Path) -> Path | None:
    """Returns where the folder of a run's files would be in a home; None if it is of another kind."""
    *_, kind, study, run, last = ("", "", "", *folder.parts)
    return home / kind / study / run / last if kind == paths.artifacts().name else None


def has_moved(uri: str, location: str | None) -> bool:
    """Returns whether a study's files are said to be in another home, and the address is wrong, or the other home's.

    A database that lies in this home came along with the files, unless these are still at the old place and nowhere else. Another
    database may be that of several homes: of one that was copied the first goes on with its own files.

    Args:
      uri: of the store.
      location: the address of a study's files.
    """
    old = local_path(location)
    if old is None or _old_home(old) in (None, paths.home()):
        return False
    is_here, is_there = (paths.artifacts() / old.name).is_dir(), old.exists()
    return is_here or not is_there if uri == paths.default_tracking_uri() else is_here and not is_there


def mend_if_moved(uri: str, address: str) -> str | None:
    """Mends all addresses of a database where that of one run has moved; returns what to say, or None."""
    folder = local_path(address)
    return mend(uri) if folder is not None and has_moved(uri, str(folder.parent.parent)) else None


def mend(uri: str) -> str | None:
    """Replaces the addresses of the studies that have moved with the home, and of their runs, in one transaction.

    Args:
      uri: of the store; a tracking server minds its own addresses.

    Returns:
      What to say, with the old homes; None where nothing was to be mended.
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
    was = ", ".join(sorted(homes))
    return f"note: ABLATION_HOME was {was}; MLflow's artifact paths ({count:,} runs) now point to {paths.home()}"


def _mend_models(database: Connection, old: str, new: str) -> None:
    """Replaces the addresses of the models of a study, and of those of them that are registered."""
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
    """Returns the home of a study's folder of files; None if the folder is of another kind."""
    return path.parent.parent if path.parent.name == paths.artifacts().name else None
