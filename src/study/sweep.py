"""Runs a study: plan, what is done already, the rest, a table, and what to type next."""

from __future__ import annotations

import datetime
import json
import logging
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from src import paths
from src.settings import Settings, SettingsError
from src.study import TrialsFailed, plan, table
from src.study.plan import Row
from src.tracking import journal
from src.tracking.mlflow_replay import Store

_log = logging.getLogger(__name__)


def run(found: Sequence[Row], *, launch: Callable[[dict[str, list[str]], str], None], console: Console | None = None) -> None:
    """Trains what the plan's rows ask for and is not done yet, and shows the outcome of all rows.

    Args:
      found: the plan's rows.
      launch: trains the trials (identity → overrides) of a study.
      console: where to print.

    Raises:
      SettingsError: no row can run.
      TrialsFailed: a trial failed; the table says which, and why.
      KeyboardInterrupt: stopped; what was recorded until then is kept.
    """
    console = console or table.console()
    runnable = [row for row in found if row.trial]
    if not runnable:
        raise SettingsError(found[0].dropped or "nothing to train")
    settings = _settings(runnable[0])
    console.print(table.plan_text(found), markup=False, highlight=False, soft_wrap=True)
    if settings.plan_only:
        return
    store = _connect(settings, console)
    done = _done(settings, store)
    todo = _to_train(runnable, done if not settings.rerun else {})
    if len(todo) < len({row.trial.identity for row in runnable if row.trial}):
        console.print(
            f"{len(runnable) - len(todo)} of them are done already; rerun=true trains them again.", highlight=False, soft_wrap=True
        )
    _write_plan(found, store, settings.study)
    status = "KILLED"
    try:
        before = [_attempt_id(row) for row in todo]
        if todo:
            launch({row.trial.identity: row.overrides for row in todo if row.trial}, settings.study)
        if settings.rerun and store:
            _supersede(todo, done, store)
        failed = [row for row, old in zip(todo, before, strict=True) if _attempt_id(row) == old or _status(row) != journal.FINISHED]
        status = "FAILED" if failed else "FINISHED"
    except KeyboardInterrupt:
        console.print("\nStopped. What was recorded is kept; type the same command again to go on.", highlight=False, soft_wrap=True)
        raise
    finally:
        _close(store, status)
    console.print(table.outcomes(found, store.run_of(done) if store else {}))
    console.print(table.next_steps(found), markup=False, highlight=False, soft_wrap=True)
    if failed:
        console.print(table.failures(failed), markup=False, highlight=False, soft_wrap=True)
        raise TrialsFailed


def _attempt_id(row: Row) -> str | None:
    attempt = journal.last_attempt(row.trial.folder) if row.trial else []
    return str(attempt[0].record.detail["attempt"]) if attempt else None


def _status(row: Row) -> str | None:
    return journal.status(journal.last_attempt(row.trial.folder)) if row.trial else None


def _settings(row: Row) -> Settings:
    assert row.trial is not None
    return row.trial.settings


def _connect(settings: Settings, console: Console) -> Store | None:
    """Makes the database, the experiment and the study run before any trial, and sends what earlier processes left behind."""
    folder = paths.study_folder(settings.study)
    trials = [path.parent for path in folder.glob(f"*/{journal.FILE}")]
    for trial in trials:
        journal.close_if_dead(trial)
    if settings.tracking.name == "offline":
        return None
    try:
        store = Store(settings.tracking.uri, settings.study)
        for trial in trials:
            store.replay(trial)
    except Exception as error:  # a server that is away must not stop a study: the journals have it all
        _log.debug("in full:", exc_info=True)
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        console.print(
            f"warning: MLflow cannot be used now ({first_line[:200]}).\nThe journals keep everything; `python -m src.sync` sends it later.",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        return None
    return store


def _done(settings: Settings, store: Store | None) -> dict[str, str]:
    """Returns identity → run id of what is FINISHED and counts; without a store, what the journals here say."""
    if store is not None:
        return store.finished()
    folders = [path.parent for path in paths.study_folder(settings.study).glob(f"*/{journal.FILE}")]
    return {folder.name: "" for folder in folders if journal.status(journal.last_attempt(folder)) == journal.FINISHED}


def _to_train(runnable: Sequence[Row], done: dict[str, str]) -> list[Row]:
    """Returns one row for each identity that is not done."""
    by_identity = {row.trial.identity: row for row in reversed(runnable) if row.trial}
    return [row for row in runnable if row.trial and row.trial.identity not in done and by_identity[row.trial.identity] is row]


def _supersede(todo: Sequence[Row], done: dict[str, str], store: Store) -> None:
    """The old trial counts until the new one is FINISHED."""
    for row in todo:
        if row.trial and row.trial.identity in done and store.finished().get(row.trial.identity) != done[row.trial.identity]:
            store.supersede(done[row.trial.identity])


def _write_plan(found: Sequence[Row], store: Store | None, study: str) -> None:
    """Adds this plan to the study's file, which the study run holds a copy of."""
    path = paths.study_folder(study) / "plan.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    command = shlex.join(["python", "-m", "src.run", *sys.argv[1:]])
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps([*earlier, plan.as_record(found, command=command, time=now)], indent=1), encoding="utf-8")
    os.replace(beside, path)
    if store is not None:
        store.write_plan(Path(path), tags={"ablation.command": command, "ablation.rows": str(len(found))})


def _close(store: Store | None, status: str) -> None:
    if store is None:
        return
    try:
        store.close_study(status)
    except Exception:  # the trials' own records are what counts
        _log.warning("the study run could not be closed; `python -m src.sync` does it later", exc_info=True)
