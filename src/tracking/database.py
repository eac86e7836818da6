"""The database of an MLflow store, read by SQL: a few queries for a whole study, where MLflow's client takes a minute for 20,000 runs.

What MLflow's tables and columns are called stands here alone. Nothing is written.
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
WAIT_SECONDS = 10  # for a writer of a SQLite file to be done


def can_read(uri: str) -> bool:
    """Returns whether an address is that of a database that any process can read by itself; SQLite's may be in memory."""
    return paths.is_database(uri) and (not uri.startswith("sqlite") or sqlite_file(uri) is not None)


def sqlite_file(uri: str) -> Path | None:
    """Returns the file of a SQLite database; None for another database, and where options say what is opened."""
    path = Path(urllib.parse.unquote(uri.removeprefix("sqlite:///")))
    return path if uri.startswith("sqlite:///") and "?" not in uri and path.name not in ("", ":memory:") else None


class Database:
    """A database of MLflow's. Every question is one transaction, and raises what SQLAlchemy raises."""

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
            self._engine = sa.create_engine("sqlite://", creator=self._opened, **options)

    def is_mlflows(self) -> bool:
        """Returns whether the database has MLflow's tables."""
        with self._asked() as ask:
            return bool(self._sa.inspect(ask).has_table("latest_metrics"))

    def experiments(self, *, stage: str = "active") -> dict[str, str]:
        """Returns name → id of every experiment, by name; stage is `active` or `deleted`."""
        table = self._table("experiments", "name", "experiment_id", "lifecycle_stage")
        query = (
            self._sa.select(table.c.name, table.c.experiment_id)
            .where(table.c.lifecycle_stage == stage)
            .order_by(table.c.name)
        )
        with self._asked() as ask:
            return {name: str(number) for name, number in ask.execute(query)}

    def runs(
        self,
        experiment_id: str,
        *,
        deleted: bool = False,
        parts: Collection[str] = (TAGS, PARAMS, METRICS),
        only: Collection[str] | None = None,
    ) -> list[Run]:
        """Returns the runs of an experiment, by the clocks of their starts; those alone that were deleted, if asked for them.

        Args:
          experiment_id: of the experiment.
          deleted: whether to return what somebody deleted.
          parts: of `TAGS`, `PARAMS` and `METRICS`; the others are left empty.
          only: the keys of the tags that are read; all if left out.
        """
        runs, tags, params = (
            self._runs,
            self._table(TAGS, "run_uuid", "key", "value"),
            self._table(PARAMS, "run_uuid", "key", "value"),
        )
        metrics = self._table("latest_metrics", "run_uuid", "key", "value", "is_nan")
        which = self._which(experiment_id, deleted=deleted)
        columns = (runs.c.run_uuid, runs.c.name, runs.c.status, runs.c.start_time, runs.c.end_time)
        with self._asked() as ask:
            found = {
                run_id: Run(run_id, name or "", status, started or 0, ended)
                for run_id, name, status, started, ended in ask.execute(
                    self._sa.select(*columns).where(which).order_by(runs.c.start_time, runs.c.run_uuid)
                )
            }
            for part, table in ((TAGS, tags), (PARAMS, params), (METRICS, metrics)):
                if part in parts:
                    query = self._sa.select(*table.c).join(runs, runs.c.run_uuid == table.c.run_uuid).where(which)
                    if part == TAGS and only is not None:
                        query = query.where(table.c.key.in_(only))
                    _add(found, part, ask.execute(query))
        return list(found.values())

    def points(self, experiment_id: str, metric: str) -> list[tuple[str, int, float]]:
        """Returns every recorded value of a metric as run id, step and value, by run, step and time."""
        runs, metrics = self._runs, self._table(METRICS, "run_uuid", "key", "value", "is_nan", "step", "timestamp")
        columns = (metrics.c.run_uuid, metrics.c.step, metrics.c.value, metrics.c.is_nan)
        query = self._sa.select(*columns).join(runs, runs.c.run_uuid == metrics.c.run_uuid)
        query = query.where(self._which(experiment_id), metrics.c.key == metric)
        query = query.order_by(metrics.c.run_uuid, metrics.c.step, metrics.c.timestamp)
        with self._asked() as ask:
            return [(run_id, step, math.nan if is_nan else value) for run_id, step, value, is_nan in ask.execute(query)]

    def address(self, run_id: str) -> str:
        """Returns where a run's files are, as MLflow has it."""
        runs = self._runs
        with self._asked() as ask:
            return str(ask.execute(self._sa.select(runs.c.artifact_uri).where(runs.c.run_uuid == run_id)).scalar_one())

    def _table(self, name: str, *columns: str) -> sa.TableClause:
        return self._sa.table(name, *map(self._sa.column, columns))

    def _which(self, experiment_id: str, *, deleted: bool = False) -> sa.ColumnElement[bool]:
        """Returns the condition for the runs of an experiment."""
        columns = self._runs.c
        return self._sa.and_(
            columns.experiment_id == int(experiment_id), columns.lifecycle_stage == ("deleted" if deleted else "active")
        )

    def _opened(self) -> sqlite3.Connection:
        assert self._file is not None
        return sqlite3.connect(f"{self._file.absolute().as_uri()}?mode=ro", uri=True, timeout=WAIT_SECONDS)

    @contextmanager
    def _asked(self) -> Iterator[sa.Connection]:
        """Opens a transaction: all queries of it see one moment, whatever a study writes meanwhile."""
        with self._engine.connect() as connection:
            if self._file is not None:
                connection.exec_driver_sql("BEGIN")  # which Python's driver leaves out before a query
            yield connection


def _add(found: dict[str, Run], part: str, rows: Iterable[Any]) -> None:
    """Adds tags, params or metrics to the runs that have them. Texts that repeat, as most do, are kept once."""
    of_runs: defaultdict[str, dict[str, Any]] = defaultdict(
        dict
    )  # of a run that is not among those found: it began just now
    of_runs.update({run_id: getattr(run, part) for run_id, run in found.items()})
    known: dict[str, str] = {}
    if part == METRICS:
        for run_id, key, value, is_nan in rows:
            of_runs[run_id][known.setdefault(key, key)] = math.nan if is_nan else value
    else:
        for run_id, key, value in rows:
            of_runs[run_id][known.setdefault(key, key)] = known.setdefault(value, value)
