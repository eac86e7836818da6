"""What MLflow has stored, read and never written: through its client, or for SQLite straight from the file, which is faster."""

from __future__ import annotations

import atexit
import os
import shutil
import sqlite3
import sys
import tempfile
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from src import environment, paths
from src.paths import shown
from src.settings import SettingsError
from src.tracking import download
from src.tracking.moved import came_along, local_path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

LARGEST = np.finfo(np.float64).max  # what MLflow writes for infinity
PER_PAGE = 1_000
WAIT_SECONDS = 10  # for a writer to be done
SCHEMES = ("sqlite", "http", "https", "postgresql", "mysql", "mssql", "databricks")


class StoreError(Exception):
    """The store cannot be read; the text says what was got, and what to do."""


@dataclass(frozen=True)
class Run:
    """One MLflow run.

    Attributes:
      run_id: its id.
      status: FINISHED, FAILED, KILLED, RUNNING or SCHEDULED.
      started: milliseconds since 1970.
      ended: the same, or None while it runs.
      tags: as stored.
      params: as stored, texts.
      metrics: the last value of each.
    """

    run_id: str
    status: str
    started: int
    ended: int | None
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)


class Store(Protocol):
    """A tracking store that is read. Deleted experiments and runs are left out where nobody asks for them."""

    uri: str

    def experiments(self) -> dict[str, str]:
        """Returns name → id of every experiment but MLflow's `Default`, by name."""

    def deleted_experiment(self, name: str) -> str | None:
        """Returns the id of an experiment that was deleted; None if there is none of that name."""

    def runs(self, experiment_id: str, *, deleted: bool = False) -> list[Run]:
        """Returns the runs of an experiment, the earliest first; those alone that were deleted, if asked for them."""

    def history(self, experiment_id: str, metric: str) -> pd.DataFrame:
        """Returns every recorded value of a metric: `run_id`, `step` (int), `value` (float), by run and step."""

    def artifact(self, run_id: str, name: str) -> Path | None:
        """Returns the path of one of a run's files, a copy where the store is far away; None if it has no such file."""

    def address(self, run_id: str) -> str:
        """Returns where the store says that a run's files are."""


def connect(uri: str | None) -> Store:
    """Returns the store at a URI, the default one for None.

    Raises:
      StoreError: there is no such store, or it cannot be read.
    """
    if uri is None and (unused := environment.unused_address()):
        print(f"note: MLFLOW_TRACKING_URI={shown(unused)} is not used; --uri names another store", file=sys.stderr)
    try:
        uri = paths.tracking_uri(uri)
    except SettingsError as error:
        raise StoreError(str(error)) from None
    scheme = uri.split(":", 1)[0].split("+")[0]
    if scheme not in SCHEMES or "://" not in uri:
        raise StoreError(f"--uri: {shown(uri)!r} is no MLflow store; allowed are sqlite:///PATH, http://HOST:PORT and a database's URI")
    return SqliteStore(uri) if uri.startswith("sqlite:///") else ClientStore(uri)


class SqliteStore:
    """A SQLite file of MLflow's, opened read-only: a few queries for a whole study."""

    def __init__(self, uri: str) -> None:
        """Takes `sqlite:///PATH`."""
        self.uri = uri
        self.path = Path(urllib.parse.unquote(uri.removeprefix("sqlite:///").split("?")[0])).absolute()
        if not self.path.is_file():
            raise StoreError(
                f"no MLflow database at {self.path}; train something first (python -m src.run), or name another with --uri or ABLATION_HOME"
            )
        with self._open() as database:
            if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'latest_metrics'").fetchone():
                raise StoreError(f"{self.path} is not a database of MLflow's; name another with --uri or ABLATION_HOME")

    def experiments(self) -> dict[str, str]:
        """See `Store`."""
        query = "SELECT name, experiment_id FROM experiments WHERE lifecycle_stage = 'active' AND name <> 'Default' ORDER BY name"
        with self._open() as database:
            return {name: str(number) for name, number in database.execute(query)}

    def deleted_experiment(self, name: str) -> str | None:
        """See `Store`."""
        query = "SELECT experiment_id FROM experiments WHERE lifecycle_stage = 'deleted' AND name = ?"
        with self._open() as database:
            found = database.execute(query, (name,)).fetchone()
        return str(found[0]) if found else None

    def runs(self, experiment_id: str, *, deleted: bool = False) -> list[Run]:
        """See `Store`."""
        having = f"FROM runs WHERE experiment_id = ? AND lifecycle_stage = '{'deleted' if deleted else 'active'}'"
        with self._open() as database:
            listed = database.execute(
                f"SELECT run_uuid, status, start_time, end_time {having} ORDER BY start_time, run_uuid", (experiment_id,)
            )
            found = {row[0]: Run(*row) for row in listed}
            of_runs = f"WHERE run_uuid IN (SELECT run_uuid {having})"
            for run_id, key, value in database.execute(f"SELECT run_uuid, key, value FROM tags {of_runs}", (experiment_id,)):
                found[run_id].tags[key] = value
            for run_id, key, value in database.execute(f"SELECT run_uuid, key, value FROM params {of_runs}", (experiment_id,)):
                found[run_id].params[key] = value
            query = f"SELECT run_uuid, key, value, is_nan FROM latest_metrics {of_runs}"
            for run_id, key, value, is_nan in database.execute(query, (experiment_id,)):
                found[run_id].metrics[key] = _value(value, is_nan)
        return list(found.values())

    def history(self, experiment_id: str, metric: str) -> pd.DataFrame:
        """See `Store`."""
        query = (
            "SELECT run_uuid AS run_id, step, CASE WHEN is_nan THEN NULL ELSE value END AS value FROM metrics JOIN runs USING (run_uuid) "
            "WHERE experiment_id = ? AND lifecycle_stage = 'active' AND key = ? ORDER BY run_uuid, step, timestamp"
        )
        with self._open() as database:
            found = pd.read_sql_query(query, database, params=(experiment_id, metric))
        return _history(found)

    def artifact(self, run_id: str, name: str) -> Path | None:
        """See `Store`."""
        folder = local_path(self.address(run_id))
        if folder is None:
            return ClientStore(self.uri).artifact(run_id, name)
        beside = came_along(folder, self.path.parent)  # the database may have been moved or copied with its files
        found = (one / name for one in (beside, folder) if one is not None and (one / name).is_file())
        return next(found, None)

    def address(self, run_id: str) -> str:
        """See `Store`."""
        with self._open() as database:
            return str(database.execute("SELECT artifact_uri FROM runs WHERE run_uuid = ?", (run_id,)).fetchone()[0])

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            database = sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True, timeout=WAIT_SECONDS)
            try:
                database.execute("BEGIN")  # one moment for all queries, whatever a study writes meanwhile
                yield database
            finally:
                database.close()
        except (sqlite3.Error, pd.errors.DatabaseError) as error:
            raise StoreError(f"{self.path} cannot be read: {error}") from None


class ClientStore:
    """Any store that MLflow's client reaches."""

    def __init__(self, uri: str) -> None:
        """Takes a tracking URI."""
        self.uri = uri
        self.copies = Path(tempfile.mkdtemp(prefix="ablation-"))
        atexit.register(shutil.rmtree, self.copies, ignore_errors=True)
        with _explained(uri):
            from mlflow.tracking import MlflowClient

            self.client = MlflowClient(uri)

    def experiments(self) -> dict[str, str]:
        """See `Store`."""
        with _explained(self.uri):
            found = _pages(self.client.search_experiments)
        return {one.name: str(one.experiment_id) for one in sorted(found, key=lambda one: str(one.name)) if one.name != "Default"}

    def deleted_experiment(self, name: str) -> str | None:
        """See `Store`."""
        with _explained(self.uri):
            found = self.client.get_experiment_by_name(name)
        return str(found.experiment_id) if found is not None and found.lifecycle_stage == "deleted" else None

    def runs(self, experiment_id: str, *, deleted: bool = False) -> list[Run]:
        """See `Store`."""
        from mlflow.entities import ViewType

        view = ViewType.DELETED_ONLY if deleted else ViewType.ACTIVE_ONLY
        with _explained(self.uri):
            found = _pages(self.client.search_runs, [experiment_id], run_view_type=view, order_by=["attributes.start_time ASC"])
        return [
            Run(
                _checked_id(run.info.run_id, self.uri),
                run.info.status,
                run.info.start_time,
                run.info.end_time,
                run.data.tags,
                run.data.params,
                _values(run.data.metrics),
            )
            for run in found
        ]

    def history(self, experiment_id: str, metric: str) -> pd.DataFrame:
        """See `Store`."""
        with _explained(self.uri):
            points = [
                (run.run_id, point.step, point.value)
                for run in self.runs(experiment_id)
                if metric in run.metrics
                for point in self.client.get_metric_history(run.run_id, metric)
            ]
        return _history(pd.DataFrame(points, columns=["run_id", "step", "value"]))

    def artifact(self, run_id: str, name: str) -> Path | None:
        """See `Store`."""
        folder = self.copies / _checked_id(run_id, self.uri)
        try:
            files = download.Files(self.uri, run_id, self.client.get_run(run_id).info.artifact_uri)
            if name not in files.names():
                return None
            folder.mkdir(exist_ok=True)
            return files.download(name, folder)
        except download.Refused as error:
            raise StoreError(str(error)) from None
        except Exception:  # whatever a cloud's client raises: a file that cannot be had is a lost one
            return None

    def address(self, run_id: str) -> str:
        """See `Store`."""
        with _explained(self.uri):
            return str(self.client.get_run(run_id).info.artifact_uri)


@contextmanager
def _explained(uri: str) -> Iterator[None]:
    """Turns what MLflow raises into one line."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise StoreError(f"{shown(uri)} cannot be read: {first[:300].replace(uri, shown(uri))}") from None


def _checked_id(run_id: str, uri: str) -> str:
    try:
        return download.checked_id(run_id, uri=uri)
    except download.Refused as error:
        raise StoreError(str(error)) from None


def _pages(search: Any, *arguments: Any, **options: Any) -> list[Any]:
    found: list[Any] = []
    token = None
    while True:
        page = search(*arguments, max_results=PER_PAGE, page_token=token, **options)
        found += page
        token = page.token
        if not token:
            return found


def _value(value: float, is_nan: bool) -> float:
    if is_nan:
        return float("nan")
    return float(np.sign(value) * np.inf) if abs(value) >= LARGEST else value


def _values(metrics: dict[str, float]) -> dict[str, float]:
    return {name: _value(value, bool(np.isnan(value))) for name, value in metrics.items()}


def _history(found: pd.DataFrame) -> pd.DataFrame:
    """Returns the points in order; of a step that a resumed attempt recorded twice the last counts."""
    value = found["value"].astype(float)
    found = found.assign(value=value.mask(value.abs() >= LARGEST, np.sign(value) * np.inf), step=found["step"].astype(int))
    return found.drop_duplicates(["run_id", "step"], keep="last").sort_values(["run_id", "step"], ignore_index=True)


def nearest(name: str, known: Sequence[str]) -> str:
    """Returns what to say of a name that is not among those known, the most alike first."""
    import difflib

    alike = difflib.get_close_matches(name, known, n=1)
    listed = ", ".join(known) or "none yet"
    return f"did you mean {alike[0]!r}? There are {listed}" if alike else f"there are {listed}"
