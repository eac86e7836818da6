"""Read-only access to MLflow's store: through its client, or directly from a SQLite file, which is faster."""

from __future__ import annotations

import atexit
import math
import os
import shutil
import sys
import tempfile
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from src import environment, paths
from src.paths import shown
from src.spec.section import SettingsError
from src.terminal.errors import first_line
from src.tracking import download
from src.tracking.attempts import Run
from src.tracking.database import Database
from src.tracking.moved import local_path, path_in_home

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

LARGEST = np.finfo(np.float64).max  # MLflow's value for infinity
PER_PAGE = 1_000
SCHEMES = ("sqlite", "http", "https", "postgresql", "mysql", "mssql", "databricks")


class StoreError(Exception):
    """Raised if the store cannot be read; the message names the problem and the fix."""


class Store(Protocol):
    """A tracking store, read-only. Deleted experiments and runs are left out unless they are requested."""

    uri: str

    def experiments(self) -> dict[str, str]:
        """Returns name → id of every experiment except MLflow's `Default`, sorted by name."""

    def deleted_experiment(self, name: str) -> str | None:
        """Returns the id of a deleted experiment; None if there is no deleted experiment of that name."""

    def runs(self, experiment_id: str, *, deleted: bool = False) -> list[Run]:
        """Returns the runs of an experiment, the earliest first; with `deleted`, only its deleted runs."""

    def history(self, experiment_id: str, metric: str) -> pd.DataFrame:
        """Returns every recorded value of a metric, sorted by run and step: `run_id`, `step` (int), `value` (float)."""

    def artifact(self, run_id: str, name: str) -> Path | None:
        """Returns the path of a run's file, a local copy if the store is remote; None if there is no such file."""

    def address(self, run_id: str) -> str:
        """Returns the location of a run's files, as recorded in the store."""


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
        raise StoreError(
            f"--uri: {shown(uri)!r} is no MLflow store; "
            "allowed are sqlite:///PATH, http://HOST:PORT and a database's URI"
        )
    return SqliteStore(uri) if uri.startswith("sqlite:///") else ClientStore(uri)


class SqliteStore:
    """MLflow's SQLite file, opened read-only; a whole study takes a few queries."""

    def __init__(self, uri: str) -> None:
        """Takes `sqlite:///PATH`."""
        self.uri = uri
        self.path = Path(urllib.parse.unquote(uri.removeprefix("sqlite:///").split("?")[0])).absolute()
        if not self.path.is_file():
            raise StoreError(
                f"no MLflow database at {self.path}; train something first (python -m src.run), "
                "or name another with --uri or ABLATION_HOME"
            )
        self._database = Database(paths.sqlite_address(self.path))
        with self._explained():
            is_mlflows = self._database.is_mlflows()
        if not is_mlflows:
            raise StoreError(f"{self.path} is not a database of MLflow's; name another with --uri or ABLATION_HOME")

    def experiments(self) -> dict[str, str]:
        """See `Store`."""
        with self._explained():
            return {name: number for name, number in self._database.experiments().items() if name != "Default"}

    def deleted_experiment(self, name: str) -> str | None:
        """See `Store`."""
        with self._explained():
            return self._database.experiments(stage="deleted").get(name)

    def runs(self, experiment_id: str, *, deleted: bool = False) -> list[Run]:
        """See `Store`."""
        with self._explained():
            return [_with_infinity(run) for run in self._database.runs(experiment_id, deleted=deleted)]

    def history(self, experiment_id: str, metric: str) -> pd.DataFrame:
        """See `Store`."""
        with self._explained():
            points = self._database.points(experiment_id, metric)
        return _history(points)

    def artifact(self, run_id: str, name: str) -> Path | None:
        """See `Store`."""
        folder = local_path(self.address(run_id))
        if folder is None:
            return ClientStore(self.uri).artifact(run_id, name)
        beside = path_in_home(folder, self.path.parent)  # the database may have been moved or copied with its files
        candidates = (parent / name for parent in (beside, folder) if parent is not None and (parent / name).is_file())
        return next(candidates, None)

    def address(self, run_id: str) -> str:
        """See `Store`."""
        with self._explained():
            return self._database.address(run_id)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turns SQLAlchemy's errors into a `StoreError` of one line."""
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except SQLAlchemyError as error:
            raise StoreError(
                f"{self.path} cannot be read: {first_line(getattr(error, 'orig', None) or error)}"
            ) from None


class ClientStore:
    """Any store that MLflow's client can reach."""

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
            experiments = _pages(self.client.search_experiments)
        return {
            experiment.name: str(experiment.experiment_id)
            for experiment in sorted(experiments, key=lambda experiment: str(experiment.name))
            if experiment.name != "Default"
        }

    def deleted_experiment(self, name: str) -> str | None:
        """See `Store`."""
        with _explained(self.uri):
            experiment = self.client.get_experiment_by_name(name)
        return (
            str(experiment.experiment_id)
            if experiment is not None and experiment.lifecycle_stage == "deleted"
            else None
        )

    def runs(self, experiment_id: str, *, deleted: bool = False) -> list[Run]:
        """See `Store`."""
        from mlflow.entities import ViewType

        view = ViewType.DELETED_ONLY if deleted else ViewType.ACTIVE_ONLY
        with _explained(self.uri):
            runs = _pages(
                self.client.search_runs, [experiment_id], run_view_type=view, order_by=["attributes.start_time ASC"]
            )
        for run in runs:
            _checked_id(run.info.run_id, self.uri)
        return [_with_infinity(Run.from_client(run)) for run in runs]

    def history(self, experiment_id: str, metric: str) -> pd.DataFrame:
        """See `Store`."""
        with _explained(self.uri):
            points = [
                (run.run_id, point.step, point.value)
                for run in self.runs(experiment_id)
                if metric in run.metrics
                for point in self.client.get_metric_history(run.run_id, metric)
            ]
        return _history(points)

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
        except Exception:  # cloud clients raise many kinds of errors; a file that cannot be read counts as missing
            return None

    def address(self, run_id: str) -> str:
        """See `Store`."""
        with _explained(self.uri):
            return str(self.client.get_run(run_id).info.artifact_uri)


@contextmanager
def _explained(uri: str) -> Iterator[None]:
    """Turns MLflow's errors into a `StoreError` of one line."""
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
    items: list[Any] = []
    token = None
    while True:
        page = search(*arguments, max_results=PER_PAGE, page_token=token, **options)
        items += page
        token = page.token
        if not token:
            return items


def _with_infinity(run: Run) -> Run:
    """Returns a run in which MLflow's stand-ins for infinity are infinite again."""
    infinite = {name: math.copysign(math.inf, value) for name, value in run.metrics.items() if abs(value) >= LARGEST}
    return replace(run, metrics=run.metrics | infinite) if infinite else run


def _history(points: list[tuple[str, int, float]]) -> pd.DataFrame:
    """Returns run ids, steps and values in order; if a resumed attempt recorded a step twice, the last value counts."""
    history = pd.DataFrame(points, columns=["run_id", "step", "value"])
    value = history["value"].astype(float)
    history = history.assign(
        value=value.mask(value.abs() >= LARGEST, np.sign(value) * np.inf), step=history["step"].astype(int)
    )
    return history.drop_duplicates(["run_id", "step"], keep="last").sort_values(["run_id", "step"], ignore_index=True)


def nearest(name: str, names: Sequence[str]) -> str:
    """Returns a hint for an unknown name: the most similar name, if there is one, and all names."""
    import difflib

    alike = difflib.get_close_matches(name, names, n=1)
    listed = ", ".join(names) or "none yet"
    return f"did you mean {alike[0]!r}? There are {listed}" if alike else f"there are {listed}"
