"""Reads the database of an MLflow store by SQL.

A study takes a few queries, while MLflow's client takes a minute for 20,000 runs. Only this module knows the names of
MLflow's tables and columns. It writes nothing.
"""

from __future__ import annotations

import math
import sqlite3
import urllib.parse
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src import paths
from src.tracking.attempts import Run

if TYPE_CHECKING:
    import sqlalchemy as sa

TAGS, PARAMS, METRICS = "tags", "params", "metrics"
WAIT_SECONDS = 10  # maximum time to wait for another process that writes the SQLite file


def can_read(uri: str) -> bool:
    """Returns whether a URI names a database that any process can open; a SQLite database may be in memory instead."""
    return paths.is_database(uri) and (not uri.startswith("sqlite") or sqlite_file(uri) is not None)


def sqlite_file(uri: str) -> Path | None:
    """Returns the file of a SQLite database; None for other databases, one in memory, or an address with options."""
    path = Path(urllib.parse.unquote(uri.removeprefix("sqlite:///")))
    return path if uri.startswith("sqlite:///") and "?" not in uri and path.name not in ("", ":memory:") else None


class Database:
    """An MLflow database. Every method that reads it uses one transaction and passes on SQLAlchemy's exceptions."""

    def __init__(self, uri: str) -> None:
        """Takes the address of a database; a SQLite file is opened read-only."""
        import sqlalchemy as sa  # takes a while

        self.uri = uri
        self._sa = sa
        columns = (
            "run_uuid",
            "name",
            "status",
            "start_time",
            "end_time",
            "experiment_id",
            "lifecycle_stage",
            "artifact_uri",
        )
        self._runs = self._table("runs", *columns)
        self._file = sqlite_file(uri)
        options: dict[str, Any] = {"poolclass": sa.NullPool}
        if self._file is None:
            self._engine = sa.create_engine(uri, isolation_level="REPEATABLE READ", **options)
        else:
            self._engine = sa.create_engine("sqlite://", creator=self._open_file, **options)

    def is_mlflows(self) -> bool:
        """Returns whether the database has MLflow's tables."""
        with self._transaction() as connection:
            return bool(self._sa.inspect(connection).has_table("latest_metrics"))

    def experiments(self, *, stage: str = "active") -> dict[str, str]:
        """Returns name → id of every experiment, sorted by name; `stage` is `active` or `deleted`."""
        table = self._table("experiments", "name", "experiment_id", "lifecycle_stage")
        query = (
            self._sa.select(table.c.name, table.c.experiment_id)
            .where(table.c.lifecycle_stage == stage)
            .order_by(table.c.name)
        )
        with self._transaction() as connection:
            return {name: str(number) for name, number in connection.execute(query)}

    def runs(
        self,
        experiment_id: str,
        *,
        deleted: bool = False,
        parts: Collection[str] = (TAGS, PARAMS, METRICS),
        only: Collection[str] | None = None,
    ) -> list[Run]:
        """Returns the runs of an experiment, sorted by start time.

        Args:
          experiment_id: id of the experiment.
          deleted: whether to return only deleted runs, instead of only active ones.
          parts: the parts to read, of `TAGS`, `PARAMS` and `METRICS`; the others stay empty.
          only: keys of the tags to read; all by default.
        """
        runs = self._runs
        tags = self._table(TAGS, "run_uuid", "key", "value")
        params = self._table(PARAMS, "run_uuid", "key", "value")
        metrics = self._table("latest_metrics", "run_uuid", "key", "value", "is_nan")
        condition = self._condition(experiment_id, deleted=deleted)
        columns = (runs.c.run_uuid, runs.c.name, runs.c.status, runs.c.start_time, runs.c.end_time)
        with self._transaction() as connection:
            runs_by_id = {
                run_id: Run(run_id, name or "", status, start or 0, end)
                for run_id, name, status, start, end in connection.execute(
                    self._sa.select(*columns).where(condition).order_by(runs.c.start_time, runs.c.run_uuid)
                )
            }
            for part, table in ((TAGS, tags), (PARAMS, params), (METRICS, metrics)):
                if part in parts:
                    query = self._sa.select(*table.c).join(runs, runs.c.run_uuid == table.c.run_uuid).where(condition)
                    if part == TAGS and only is not None:
                        query = query.where(table.c.key.in_(only))
                    _add(runs_by_id, part, connection.execute(query))
        return list(runs_by_id.values())

    def points(self, experiment_id: str, metric: str) -> list[tuple[str, int, float]]:
        """Returns every recorded value of a metric as (run id, step, value), sorted by run, step and time."""
        runs, metrics = self._runs, self._table(METRICS, "run_uuid", "key", "value", "is_nan", "step", "timestamp")
        columns = (metrics.c.run_uuid, metrics.c.step, metrics.c.value, metrics.c.is_nan)
        query = self._sa.select(*columns).join(runs, runs.c.run_uuid == metrics.c.run_uuid)
        query = query.where(self._condition(experiment_id), metrics.c.key == metric)
        query = query.order_by(metrics.c.run_uuid, metrics.c.step, metrics.c.timestamp)
        with self._transaction() as connection:
            return [
                (run_id, step, math.nan if is_nan else value)
                for run_id, step, value, is_nan in connection.execute(query)
            ]

    def address(self, run_id: str) -> str:
        """Returns the address of a run's files, as MLflow stored it."""
        runs = self._runs
        with self._transaction() as connection:
            query = self._sa.select(runs.c.artifact_uri).where(runs.c.run_uuid == run_id)
            return str(connection.execute(query).scalar_one())

    def _table(self, name: str, *columns: str) -> sa.TableClause:
        return self._sa.table(name, *map(self._sa.column, columns))

    def _condition(self, experiment_id: str, *, deleted: bool = False) -> sa.ColumnElement[bool]:
        """Returns the condition for the runs of an experiment."""
        columns = self._runs.c
        return self._sa.and_(
            columns.experiment_id == int(experiment_id), columns.lifecycle_stage == ("deleted" if deleted else "active")
        )

    def _open_file(self) -> sqlite3.Connection:
        assert self._file is not None
        return sqlite3.connect(f"{self._file.absolute().as_uri()}?mode=ro", uri=True, timeout=WAIT_SECONDS)

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        """Opens a transaction: all its queries see the same state, even if a study writes meanwhile."""
        with self._engine.connect() as connection:
            if self._file is not None:
                connection.exec_driver_sql("BEGIN")  # Python's driver does not begin a transaction before a query
            yield connection


def _add(runs: dict[str, Run], part: str, rows: Iterable[Any]) -> None:
    """Adds tags, params or metrics to their runs. Equal texts share one object, which saves memory."""
    # A defaultdict, because `rows` may have runs that are not in `runs`: they began just now.
    values_of: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    values_of.update({run_id: getattr(run, part) for run_id, run in runs.items()})
    texts: dict[str, str] = {}
    if part == METRICS:
        for run_id, key, value, is_nan in rows:
            values_of[run_id][texts.setdefault(key, key)] = math.nan if is_nan else value
    else:
        for run_id, key, value in rows:
            values_of[run_id][texts.setdefault(key, key)] = texts.setdefault(value, value)
