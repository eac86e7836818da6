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
from typing import TypeVar

from filelock import FileLock
from rich.console import Console

from src import paths
from src.errors import first_line
from src.settings import Settings, SettingsError
from src.study import TrialsFailed, plan, table
from src.study.plan import Row
from src.tracking import journal
from src.tracking.mlflow_replay import Store
from src.trial import terminable

_log = logging.getLogger(__name__)
Answer = TypeVar("Answer")
Launch = Callable[[dict[str, list[str]], str], None]


def run(found: Sequence[Row], *, launch: Launch, console: Console | None = None) -> None:
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
    _say(console, table.plan_text(found))
    if settings.plan_only:
        return
    with terminable():
        failed = _run(found, runnable, settings, launch, console)
    if failed:
        _say(console, table.failures(failed))
        raise TrialsFailed


def _run(found: Sequence[Row], runnable: Sequence[Row], settings: Settings, launch: Launch, console: Console) -> list[Row]:
    """Trains and shows; returns the rows that failed."""
    store = _connect(settings, console)
    done = _done(settings, store)
    identities = {row.trial.identity for row in runnable if row.trial}
    todo = _to_train(runnable, {} if settings.rerun else done)
    if len(todo) < len(identities):
        _say(console, f"{len(identities) - len(todo)} of {len(identities)} trials are done already; rerun=true trains them again.")
    _write_plan(found, store, settings.study)
    before, status = [_attempt_id(row) for row in todo], journal.KILLED
    try:
        if todo:
            launch({row.trial.identity: row.overrides for row in todo if row.trial}, settings.study)
        failed = [row for row, old in zip(todo, before, strict=True) if _attempt_id(row) == old or _status(row) != journal.FINISHED]
        status = journal.FAILED if failed else journal.FINISHED
    except KeyboardInterrupt:
        _say(console, "\nStopped. What was recorded is kept; type the same command again to go on.")
        raise
    finally:
        _asked(lambda known: known.close_study(status), store, otherwise=None)
    console.print(table.outcomes(found, lambda identity: _elsewhere(identity, done, store)))
    _say(console, table.next_steps(found))
    return failed


def _elsewhere(identity: str, done: dict[str, str], store: Store | None) -> dict[str, str | float]:
    return _asked(lambda known: known.outcome(done[identity]), store, otherwise={}) if identity in done else {}


def _asked(ask: Callable[[Store], Answer], store: Store | None, *, otherwise: Answer) -> Answer:
    """Returns what the store answers, or something else where there is none or it cannot: the journals are what counts."""
    if store is None:
        return otherwise
    try:
        return ask(store)
    except Exception:  # MLflow's stores raise what their drivers raise
        _log.warning("MLflow cannot be asked now; the journals are used instead", exc_info=True)
        return otherwise


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


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
    trials = _trials(settings.study)
    for trial in trials:
        journal.close_if_dead(trial)
    if settings.tracking.name == "offline":
        return None
    try:
        store = Store(settings.tracking.uri, settings.study)
        store.open_study()
    except Exception as error:  # a server that is away must not stop a study: the journals have it all
        _say(console, f"warning: MLflow cannot be used now ({first_line(error)}).")
        _say(console, "The journals keep everything; `python -m src.sync` sends it later.")
        return None
    for trial in trials:
        try:
            store.replay(trial)
        except Exception as error:  # one trial's record must not keep the others from MLflow
            _say(console, f"warning: {trial} cannot be sent to MLflow ({first_line(error)})")
    return store


def _done(settings: Settings, store: Store | None) -> dict[str, str]:
    """Returns identity → run id of what is FINISHED and counts; without a store, what the journals here say."""
    local = {trial.name: "" for trial in _trials(settings.study) if journal.status(journal.last_attempt(trial)) == journal.FINISHED}
    return _asked(Store.finished, store, otherwise=local)


def _trials(study: str) -> list[Path]:
    return sorted(path.parent for path in paths.study_folder(study).glob(f"*/{journal.FILE}"))


def _to_train(runnable: Sequence[Row], done: dict[str, str]) -> list[Row]:
    """Returns one row for each identity that is not done."""
    by_identity = {row.trial.identity: row for row in reversed(runnable) if row.trial}
    return [row for row in runnable if row.trial and row.trial.identity not in done and by_identity[row.trial.identity] is row]


def _write_plan(found: Sequence[Row], store: Store | None, study: str) -> None:
    """Adds this plan to the study's file, which the study run holds a copy of."""
    path = paths.study_folder(study) / "plan.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    command = shlex.join(["python", "-m", "src.run", *sys.argv[1:]])
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with FileLock(path.with_suffix(".lock")):
        earlier = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
        beside = path.with_suffix(".new")
        beside.write_text(json.dumps([*earlier, plan.as_record(found, command=command, time=now)], indent=1), encoding="utf-8")
        os.replace(beside, path)
    _asked(
        lambda known: known.write_plan(path, tags={"ablation.command": command, "ablation.rows": str(len(found))}), store, otherwise=None
    )
