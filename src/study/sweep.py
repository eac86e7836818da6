"""Runs a study: plan, what is done already, the rest, a table, and what to type next."""

from __future__ import annotations

import datetime
import gc
import json
import os
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock
from rich.console import Console

from src import environment, paths
from src.errors import comes_again, first_line
from src.progress import say, waiting
from src.settings import SettingsError, label
from src.study import TrialsFailed, estimate, plan, presented, table, training
from src.study.designs import Rounds
from src.study.job import STOP, Sweep
from src.study.journals import Journals
from src.study.plan import Row, Study
from src.study.progress import StudyProgress
from src.tracking import journal
from src.tracking.deleted import how_to_restore
from src.tracking.journal import FAILED, FINISHED, KILLED
from src.tracking.mlflow_replay import Deleted, Store
from src.tracking.outcome import Outcome
from src.training import startup
from src.trial import terminable
from src.visible import counted, visible

Answer = TypeVar("Answer")
PLAN, SUMMARY = "plan.json", "summary.json"
MAX_INDENTED = 1_000_000  # characters of a file that people may read; of 20,000 rows the indents alone take seconds


def run(study: Study, *, launch: training.Launch, sweep: Sweep, console: Console | None = None) -> None:
    """Trains what a study asks for and is not done yet, and shows the outcome of every variant.

    Args:
      study: the question.
      launch: has a launcher train rows.
      sweep: what its jobs know of this sweep.
      console: where to print.

    Raises:
      SettingsError: no row can run, MLflow's database cannot be where it should, or a file `stop` is there.
      TrialsFailed: a trial failed or was not trained; the table says which, and why.
      KeyboardInterrupt: stopped; what was recorded until then is kept.
    """
    with _without_searches():
        _Command(study, launch, sweep, console or table.console()).run()


class _Command:
    """One command: what it knows of its study, and where it says so."""

    def __init__(self, study: Study, launch: training.Launch, sweep: Sweep, console: Console) -> None:
        self._study, self._launch, self._sweep, self._console = study, launch, sweep, console
        self._settings = study.settings
        self._folder = paths.study_folder(study.settings.study)
        self._planned = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        self._journals = Journals(self._folder)
        self._known: dict[str, Outcome] | None = None
        self._store: Store | None = None
        self._local: dict[str, Outcome] = {}
        self._rows: list[Row] = []
        self._begin = time.monotonic()
        self._trained: set[str] = set()
        self._unsent: dict[str, str] = {}
        self._is_refused = False
        self._refused: dict[str, str] = {}
        self._cut: set[str] = set()
        self._histories: dict[str, float | None] = {}

    def run(self) -> None:
        """Does what the module's `run` says."""
        rounds = self._study.rounds()
        rows = self._study.rows(next(rounds))
        if not any(row.trial for row in rows):
            raise SettingsError(rows[0].dropped or "the plan has no trials")
        if self._settings.plan_only:
            self._say(self._plan_text(rows, self._known_without_a_trace()))
            return
        startup.refuse_broken_file()
        with terminable():
            status = KILLED
            try:
                self._connect()
                is_whole = self._all_rounds(rounds, rows)
                known = self._outcomes()
                unfinished = self._unfinished(known)
                status = FINISHED if is_whole and not unfinished else FAILED
            except KeyboardInterrupt:
                self._say("\nStopped. All records are kept; run the same command again to continue.")
                raise
            finally:
                self._close(status)
        self._show(known, unfinished)
        if status != FINISHED or self._is_refused:
            raise TrialsFailed

    def _all_rounds(self, rounds: Rounds, rows: list[Row]) -> bool:
        """Trains round after round, of which most designs have one; returns whether the design came to its end."""
        while True:
            self._rows += rows
            known = self._outcomes()
            self._say(self._plan_text(rows, known))
            self._write_plan()
            self._present(known)
            is_stopped = self._train(self._to_do(rows, known))
            try:
                variants = rounds.send(self._scores(rows))
            except StopIteration:
                return True
            if is_stopped:
                return False
            rows = self._study.rows(variants, after=len(self._rows))

    def _train(self, rows: list[Row]) -> bool:
        """Trains rows; returns whether the study was stopped early, by its budget, by `fail_fast` or by hand."""
        if not rows:
            return False
        if (self._folder / STOP).exists():  # its user made it, and only its user removes it
            raise SettingsError(f"{self._folder / STOP}: no trial of this study begins while this file exists; remove it")
        self._trained |= {_identity(row) for row in rows}
        budget = self._study.plan.budget_minutes
        left_s = None if budget is None else budget * 60 - (time.monotonic() - self._begin)
        stop = self._sweep.stop_file(self._folder)
        if self._sweep.workers > 1:
            self._say(f"starting {min(self._sweep.workers, len(rows))} workers; each imports TensorFlow first (about 10 s)")
        progress = StudyProgress(rows, workers=self._sweep.workers, budget_s=left_s, stop=stop, console=self._console)
        with progress:
            gc.freeze()  # nor does what is known of 20,000 trials become garbage while some are trained
            gc.enable()
            self._refused |= training.train(rows, launch=self._launch, say=self._say)
            gc.disable()
        if why := self._sweep.why_stopped(self._folder):
            self._say(f"stopped early: {why}; run the same command again to continue")
        stop.unlink(missing_ok=True)
        self._known = None
        self._replay()
        return why is not None

    def _to_do(self, rows: Sequence[Row], known: Mapping[str, Outcome]) -> list[Row]:
        """Returns one row for each identity that is to be trained now, in the order of the plan's positions, with what had ended so far."""
        wanted: dict[str, Row] = {}
        ended = {name: found.attempt for name, found in self._local.items() if found.status in (FINISHED, FAILED)}
        for row in sorted(rows, key=lambda row: row.position):
            if row.trial is None or row.trial.identity in self._trained:
                continue
            status = _status(known, row)
            if self._settings.rerun or status not in (FINISHED, FAILED) or (status == FAILED and self._settings.retry_failed):
                before = ended.get(row.trial.identity)
                wanted.setdefault(row.trial.identity, replace(row, ended=before) if before else row)
        return list(wanted.values())

    def _scores(self, rows: Sequence[Row]) -> dict[int, float]:
        """Returns the mean best validation accuracy of the variants of a round; of those only of which every seed finished."""
        known = self._outcomes()
        variants: dict[str, list[float | None]] = {}
        for row in rows:
            variants.setdefault(row.label, []).append(self._best_validation(known, row))
        scores = {}
        for position, values in enumerate(variants.values()):
            if None not in values:
                scores[position] = statistics.fmean(value for value in values if value is not None)
        return scores

    def _best_validation(self, known: Mapping[str, Outcome], row: Row) -> float | None:
        found = known.get(_identity(row)) if row.trial else None
        if found is None or found.status != FINISHED:
            return None
        if found.best_validation is None and found.run_id is not None:
            run_id = found.run_id
            if run_id not in self._histories:
                self._histories[run_id] = self._asked(lambda store: store.best_validation(run_id), otherwise=None)
            return self._histories[run_id]
        return found.best_validation

    def _unfinished(self, known: Mapping[str, Outcome]) -> list[Row]:
        """Returns one row for each trial without a finished attempt, or whose attempt of just now did not finish."""
        local = self._local
        just_now = {name for name in self._trained if name in local and local[name].status != FINISHED}
        return [row for row in self._one_each() if _status(known, row) != FINISHED or _identity(row) in just_now]

    def _one_each(self) -> list[Row]:
        """Returns one row for each identity of the study."""
        return list({_identity(row): row for row in reversed(self._rows) if row.trial}.values())[::-1]

    def _outcomes(self) -> dict[str, Outcome]:
        """Returns identity → outcome. MLflow decides what is done; the journals here know more of it, and all where there is none.

        Both are asked again once something was trained: of 20,000 trials they speak for a second.
        """
        if self._known is None:
            self._local = self._journals.outcomes()
            stored = self._asked(Store.outcomes, otherwise=None)
            self._known = self._local if stored is None else self._joined(stored)
        return self._known

    def _joined(self, stored: Mapping[str, Outcome]) -> dict[str, Outcome]:
        local = self._local
        same = {name for name, theirs in stored.items() if name in local and local[name].attempt == theirs.attempt}
        self._say_what_was_cut({name for name in same if stored[name].status == FINISHED and local[name].status != FINISHED})
        return {**stored, **{name: local[name] for name in same | self._unsent.keys() if name in local}}

    def _say_what_was_cut(self, names: set[str]) -> None:
        """Says once why a trial that MLflow has finished is trained again: its files here may be as broken as its journal."""
        new = sorted(names - self._cut)
        self._cut |= names
        if new:
            what = f"{counted(len(new), 'trial')}: FINISHED in MLflow, but the journals here are incomplete (power loss or full disk?)"
            self._say(f"warning: {what}; those that belong to this study are retrained: {', '.join(new[: table.MAX_LINES])}")

    def _known_without_a_trace(self) -> dict[str, Outcome]:
        """Returns identity → outcome and creates nothing; a store that is there is asked, for what was deleted in it is not done."""
        uri = self._settings.tracking.uri
        is_there = uri is not None or (paths.home() / "mlflow.db").is_file()
        if self._settings.tracking.name != "offline" and is_there:
            try:
                self._store = Store(uri, self._settings.study, is_new=False)
                self._say_what_is_odd(self._store)
            except Deleted as error:
                self._say(f"{error} (or run this command without plan_only)")
            except LookupError:
                pass  # a new study
            except Exception as error:
                self._say(f"MLflow could not be read ({first_line(error)}); the journals are used instead")
        return self._outcomes()

    def _connect(self) -> None:
        """Makes the database, the experiment and the study run before any trial, and sends what earlier processes left behind."""
        self._journals.close_dead()
        if self._settings.tracking.name == "offline":
            return
        try:
            with waiting("opening the MLflow store"):
                self._store = Store(self._settings.tracking.uri, self._settings.study, restores=True)
                self._store.open_study()
            self._say_what_is_odd(self._store)
        except SettingsError:
            raise
        except Exception as error:  # a server that is away must not stop a study: the journals have it all
            if comes_again(error):
                where = paths.shown(self._settings.tracking.uri or paths.default_tracking_uri())
                why = f"{where} cannot be used ({first_line(error)})"
                raise SettingsError(f"tracking.uri: {why}; fix that, set another address, or set tracking=offline") from None
            self._say(f"warning: MLflow cannot be reached ({first_line(error)})")
            self._say("All records are kept in the journals; `python -m src.sync` sends them later.")
            self._store = None
        self._replay()

    def _say_what_is_odd(self, store: Store) -> None:
        """Says what was deleted in MLflow, what has moved, and which address is not used."""
        unused = environment.unused_address()
        if unused and self._settings.tracking.uri is None:
            self._say(f"note: MLFLOW_TRACKING_URI={paths.shown(unused)} is ignored (tracking.uri sets another store)")
            self._say(f"Records go to {paths.shown(store.uri)}")
        if store.moved:
            self._say(store.moved)
        if store.is_restored:
            self._say(f"warning: study {self._settings.study} had been deleted in MLflow; it was restored with its trials.")
            self._say("To start from scratch, choose another name (study=NAME) or set rerun=true.")
        deleted = store.deleted_trials()
        if deleted:
            how = how_to_restore(store.uri, run_id=next(iter(deleted)))
            self._say(f"warning: {counted(len(deleted), 'trial')} of this study: deleted in MLflow; those in this plan are retrained.")
            self._say(f"To restore {next(iter(deleted.values()))!r} instead, stop this command and run: {how}")

    def _replay(self) -> None:
        store = self._store
        refused = {} if store is None else self._journals.replay(f"{store.uri} {store.study_run_id}", store.replay)
        self._unsent, self._is_refused = {name: first_line(error) for name, error in refused.items()}, False
        if self._unsent:
            self._is_refused = any(map(comes_again, refused.values()))
            what = f"MLflow {'rejects' if self._is_refused else 'cannot receive'} {counted(len(self._unsent), 'trial')}"
            fix = "fix that, then run `python -m src.sync`" if self._is_refused else "`python -m src.sync` sends them later"
            self._say(f"warning: {what} ({next(iter(self._unsent.values()))}); {fix}")

    def _close(self, status: str) -> None:
        if status == KILLED:  # workers that were told to stop write their ends, and launchers kill those that do not listen
            journal.wait_for_writers([self._folder / name for name in self._trained], seconds=training.GRACE_S)
        if self._trained or self._unsent:
            self._journals.close_dead()
            self._replay()
        self._journals.save()
        self._asked(lambda store: store.close_study(status), otherwise=None)

    def _asked(self, ask: Callable[[Store], Answer], *, otherwise: Answer) -> Answer:
        """Returns what the store answers, or something else where there is none or it cannot: the journals are what counts."""
        if self._store is None:
            return otherwise
        try:
            return ask(self._store)
        except Exception as error:  # MLflow's stores raise what their drivers raise
            self._say(f"warning: MLflow cannot be read ({first_line(error)}); the journals are used instead")
            return otherwise

    def _plan_text(self, rows: Sequence[Row], known: Mapping[str, Outcome]) -> str:
        todo = self._to_do(rows, known)
        others = sorted((folder for folder in paths.outputs().glob("*/") if folder != self._folder), key=lambda folder: folder.name)
        seconds = estimate.seconds(todo, [self._folder, *others])
        return table.plan_text(self._study, rows, known, todo=todo, seconds=seconds, workers=self._sweep.workers)

    def _write_plan(self) -> None:
        """Adds this plan to the study's file, which the study run holds a copy of; the same plan again adds its time alone."""
        typed = [paths.shown(word.removeprefix("++")) for word in sys.argv[1:]]  # which our reading puts before names of a user's own
        command = shlex.join(["python", "-m", "src.run", *typed])
        record = plan.as_record(self._study, self._rows, command=command, time=self._planned)
        path = self._folder / PLAN
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            earlier = self._earlier_plans(path)
            same = [old for old in earlier if plan.is_continued_by(old, record)]
            for old in same:
                earlier.remove(old)
                is_later_round = old["commands"][-1] == record["commands"][-1]
                record["commands"] = old["commands"] if is_later_round else [*old["commands"], *record["commands"]]
                record["rows"] = max(record["rows"], old["rows"], key=len)
            _write(path, [*earlier, record])
        tags = {"ablation.command": command, "ablation.rows": str(len(self._rows)), "ablation.design": self._study.plan.design}
        tags["ablation.fixed"] = label(self._study.fixed_settings) or "defaults"
        self._asked(lambda store: store.attach(path, tags=tags), otherwise=None)

    def _present(self, known: Mapping[str, Outcome], remarks: Sequence[str] = ()) -> None:
        """Says on the study's page in MLflow what it asks and has found; a file keeps it for `src.sync`."""
        page = presented.page(self._study, self._rows, known, scores=self._scores(self._rows), remarks=remarks)
        _write(self._folder / presented.FILE, page)
        self._asked(lambda store: store.present(page), otherwise=None)

    def _earlier_plans(self, path: Path) -> list[Any]:
        """Returns the study's plans so far; a file that is none is kept beside, and the plans begin anew."""
        if not path.is_file():
            return []
        try:
            return plan.from_text(path.read_text(encoding="utf-8"))
        except ValueError:
            pass
        broken = path.with_suffix(".broken.json")
        os.replace(path, broken)
        self._say(f"warning: {path} is not a valid plan; it was renamed to {broken.name}, and a new one is written")
        return []

    def _show(self, known: Mapping[str, Outcome], unfinished: Sequence[Row]) -> None:
        unchanged = table.changed_nothing(self._study, self._rows, known)
        why = self._refused | _errors(unfinished, self._journals.outcomes() if self._trained else known)
        why |= {_identity(row): "not started: the study stopped before this trial" for row in unfinished if _identity(row) not in why}
        summary = {
            "trials": len(self._one_each()),
            "finished": len(self._one_each()) - len(unfinished),
            "unfinished": {row.name: why[_identity(row)] for row in unfinished},
            "dropped": {row.label: row.dropped for row in self._rows if row.dropped},
            "changed_nothing": unchanged,
        }
        _write(self._folder / SUMMARY, summary)
        tags = {"ablation.changed_nothing": ", ".join(unchanged) or "none", "ablation.unfinished": str(len(unfinished))}
        self._asked(lambda store: store.attach(self._folder / SUMMARY, tags=tags), otherwise=None)
        self._present(known, [*table.unchanged_text(unchanged).splitlines(), *table.failures(unfinished, why).splitlines()[:1]])
        self._console.print(table.outcomes(self._rows, known, width=self._console.width))
        remarks = (table.unchanged_text(unchanged), table.diagnoses(self._one_each(), known), table.failures(unfinished, why))
        for text in filter(None, remarks):
            self._say(text)
        steps = table.next_steps(self._one_each(), known, link=self._store.link if self._store else None)
        self._console.print(visible(steps), markup=False, highlight=False, soft_wrap=True)

    def _say(self, text: str) -> None:
        say(self._console, text)


@contextmanager
def _without_searches() -> Iterator[None]:
    """Has Python search for no garbage: what is read of thousands of trials is none, and to search it takes a third of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _errors(rows: Sequence[Row], known: Mapping[str, Outcome]) -> dict[str, str]:
    """Returns identity → the error of the latest attempt, where there was one."""
    found = {_identity(row): known[_identity(row)] for row in rows if _identity(row) in known}
    return {name: one.error or "the process ended without an error message" for name, one in found.items()}


def _identity(row: Row) -> str:
    assert row.trial is not None
    return row.trial.identity


def _status(known: Mapping[str, Outcome], row: Row) -> str | None:
    found = known.get(_identity(row))
    return found.status if found else None


def _write(path: Path, values: Any) -> None:
    beside = path.with_suffix(".new")
    text = json.dumps(values)
    if len(text) < MAX_INDENTED:
        text = json.dumps(values, indent=1)
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)
