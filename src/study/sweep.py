"""Runs a study: plan, what is done already, the rest, a table, and what to type next."""

from __future__ import annotations

import datetime
import gc
import json
import math
import os
import shlex
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock
from rich.console import Console

from src import paths
from src.config.settings import label
from src.files import replaced
from src.spec.section import SettingsError
from src.study import TrialsFailed, estimate, launching, plan, presented, running, table
from src.study.designs import Rounds
from src.study.job import STOP, Sweep
from src.study.journals import Journals
from src.study.plan import Row, Study
from src.study.tracker import Tracker
from src.study.watch import Budget, StudyProgress
from src.terminal.progress import say
from src.terminal.visible import counted, visible
from src.tracking import journal
from src.tracking.journal import FAILED, FINISHED, KILLED
from src.tracking.outcome import Outcome
from src.training import startup
from src.trial.signals import terminable

PLAN, SUMMARY = "plan.json", "summary.json"
MAX_INDENTED = 1_000_000  # characters of a file that people may read; of 20,000 rows the indents alone take seconds


def run(study: Study, *, launch: launching.Launch, sweep: Sweep, console: Console | None = None) -> None:
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

    def __init__(self, study: Study, launch: launching.Launch, sweep: Sweep, console: Console) -> None:
        self._study, self._launch, self._sweep, self._console = study, launch, sweep, console
        self._settings = study.settings
        self._folder = paths.study_folder(study.settings.study)
        self._planned = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        self._journals = Journals(self._folder)
        self._tracker = Tracker(study.settings, self._journals, self._say)
        self._known: dict[str, Outcome] | None = None
        self._local: dict[str, Outcome] = {}
        self._rows: list[Row] = []
        self._begin = time.monotonic()
        self._trained: set[str] = set()
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
            self._tracker.look()
            self._say(self._plan_text(rows, self._outcomes()))
            self._say_what_mlflow_lacks()
            return
        startup.refuse_broken_file()
        with terminable():
            status = KILLED
            try:
                self._tracker.connect()
                with running.held(self._folder):
                    is_whole = self._all_rounds(rounds, rows)
                known = self._outcomes()
                unfinished = self._unfinished(known)
                status = FINISHED if is_whole and not unfinished else FAILED
            except KeyboardInterrupt:
                self._say("\nStopped. All records are kept; run the same command again to continue.")
                raise
            finally:
                self._close(status)
                if status == KILLED:
                    self._say_what_mlflow_lacks()
        self._show(known, unfinished)
        if status != FINISHED or self._tracker.is_refused:
            raise TrialsFailed

    def _all_rounds(self, rounds: Rounds, rows: list[Row]) -> bool:
        """Trains round after round, of which most designs have one; returns whether the design came to its end."""
        while True:
            self._rows += rows
            known = self._outcomes()
            self._say(self._plan_text(rows, known))
            self._write_plan()
            todo = self._to_do(rows, known)
            if todo:  # `_show` presents the study anyway
                self._present(known)
            is_stopped = self._train(todo)
            try:
                sign = self._study.metrics[0].sign
                variants = rounds.send({place: sign * score for place, score in self._scores(rows).items()})
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
            raise SettingsError(
                f"{self._folder / STOP}: no trial of this study begins while this file exists; remove it"
            )
        self._trained |= {_identity(row) for row in rows}
        budget = self._study.plan.budget_minutes
        stop = self._sweep.stop_file(self._folder)
        left = None if budget is None else Budget(budget * 60 - (time.monotonic() - self._begin), stop)
        if self._sweep.workers > 1:
            self._say(
                f"starting {min(self._sweep.workers, len(rows))} workers; each imports TensorFlow first (about 10 s)"
            )
        metrics, workers = self._study.metrics, self._sweep.workers
        with StudyProgress(rows, metrics=metrics, workers=workers, budget=left, console=self._console):
            gc.freeze()  # nor does what is known of 20,000 trials become garbage while some are trained
            gc.enable()
            self._refused |= launching.train(rows, launch=self._launch, say=self._say)
            gc.disable()
        if why := self._sweep.why_stopped(self._folder):
            self._say(f"stopped early: {why}; run the same command again to continue")
        self._known = None
        self._tracker.replay()
        return why is not None

    def _to_do(self, rows: Sequence[Row], known: Mapping[str, Outcome]) -> list[Row]:
        """Returns one row for each identity that is to be trained now, in the order of the plan's positions, with what had ended so far."""
        wanted: dict[str, Row] = {}
        ended = {name: outcome.attempt for name, outcome in self._local.items() if outcome.status in (FINISHED, FAILED)}
        for row in sorted(rows, key=lambda row: row.position):
            if row.trial is None or row.trial.identity in self._trained:
                continue
            status = _status(known, row)
            if (
                self._settings.rerun
                or status not in (FINISHED, FAILED)
                or (status == FAILED and self._settings.retry_failed)
            ):
                before = ended.get(row.trial.identity)
                wanted.setdefault(row.trial.identity, replace(row, ended=before) if before else row)
        return list(wanted.values())

    def _scores(self, rows: Sequence[Row]) -> dict[int, float]:
        """Returns the mean best validation value of the variants of a round; of those only of which every seed finished."""
        known = self._outcomes()
        variants: dict[str, list[float | None]] = {}
        for row in rows:
            variants.setdefault(row.label, []).append(self._best_validation(known, row))
        means = {place: _mean(values) for place, values in enumerate(variants.values())}
        return {place: mean for place, mean in means.items() if mean is not None}

    def _best_validation(self, known: Mapping[str, Outcome], row: Row) -> float | None:
        """Returns the best value of the study's first metric; None if the trial has not finished, or its task has another one."""
        outcome, first = known.get(_identity(row)) if row.trial else None, self._study.metrics[0]
        if outcome is None or outcome.status != FINISHED or outcome.first_metric != first.name:
            return None
        if outcome.best_validation is None and outcome.run_id is not None:
            run_id = outcome.run_id
            if run_id not in self._histories:
                ask = self._tracker.ask
                self._histories[run_id] = ask(lambda store: store.best_validation(run_id, first), otherwise=None)
            return self._histories[run_id]
        return outcome.best_validation

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
            here = {name: outcome.attempt for name, outcome in self._local.items()}
            metrics = self._study.metrics
            stored = self._tracker.ask(lambda store: store.outcomes(metrics, known=here), otherwise=None)
            self._known = self._local if stored is None else self._joined(stored)
        return self._known

    def _joined(self, stored: Mapping[str, Outcome]) -> dict[str, Outcome]:
        local = self._local
        same = {name for name, theirs in stored.items() if name in local and local[name].attempt == theirs.attempt}
        self._say_what_was_cut(
            {name for name in same if stored[name].status == FINISHED and local[name].status != FINISHED}
        )
        return {**stored, **{name: local[name] for name in same | self._tracker.unsent.keys() if name in local}}

    def _say_what_was_cut(self, names: set[str]) -> None:
        """Says once why a trial that MLflow has finished is trained again: its files here may be as broken as its journal."""
        new = sorted(names - self._cut)
        self._cut |= names
        if new:
            what = f"{counted(len(new), 'trial')}: FINISHED in MLflow, but the journals here are incomplete (power loss or full disk?)"
            self._say(
                f"warning: {what}; those that belong to this study are retrained: {', '.join(new[: table.MAX_LINES])}"
            )

    def _close(self, status: str) -> None:
        if (
            status == KILLED
        ):  # workers that were told to stop write their ends, and launchers kill those that do not listen
            journal.wait_for_writers([self._folder / name for name in self._trained], seconds=launching.GRACE_S)
        self._sweep.stop_file(self._folder).unlink(missing_ok=True)
        if self._trained or self._tracker.unsent:
            self._journals.close_dead()
            self._tracker.replay()
        self._journals.save()
        self._tracker.close(status)

    def _plan_text(self, rows: Sequence[Row], known: Mapping[str, Outcome]) -> str:
        todo = self._to_do(rows, known)
        others = sorted(
            (folder for folder in paths.outputs().glob("*/") if folder != self._folder), key=lambda folder: folder.name
        )
        seconds = estimate.seconds(todo, [self._folder, *others])
        return table.plan_text(self._study, rows, known, todo=todo, seconds=seconds, workers=self._sweep.workers)

    def _write_plan(self) -> None:
        """Adds this plan to the study's file, which the study run holds a copy of; the same plan again adds its time alone."""
        typed = [
            paths.shown(word.removeprefix("++")) for word in sys.argv[1:]
        ]  # which our reading puts before names of a user's own
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
        tags = {
            "ablation.command": command,
            "ablation.rows": str(len(self._rows)),
            "ablation.design": self._study.plan.design,
        }
        tags["ablation.fixed"] = label(self._study.fixed_settings) or "defaults"
        self._tracker.ask(lambda store: store.attach(path, tags=tags), otherwise=None)

    def _present(self, known: Mapping[str, Outcome], remarks: Sequence[str] = ()) -> None:
        """Says on the study's page in MLflow what it asks and has found; a file keeps it for `src.sync`."""
        page = presented.page(self._study, self._rows, known, scores=self._scores(self._rows), remarks=remarks)
        _write(self._folder / presented.FILE, page)
        self._tracker.ask(lambda store: store.present(page), otherwise=None)

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
        why |= {
            _identity(row): "not started: the study stopped before this trial"
            for row in unfinished
            if _identity(row) not in why
        }
        summary = {
            "trials": len(self._one_each()),
            "finished": len(self._one_each()) - len(unfinished),
            "unfinished": {row.name: why[_identity(row)] for row in unfinished},
            "dropped": {row.label: row.dropped for row in self._rows if row.dropped},
            "changed_nothing": unchanged,
        }
        _write(self._folder / SUMMARY, summary)
        tags = {"ablation.changed_nothing": ", ".join(unchanged) or "none", "ablation.unfinished": str(len(unfinished))}
        self._tracker.ask(lambda store: store.attach(self._folder / SUMMARY, tags=tags), otherwise=None)
        self._present(
            known, [*table.unchanged_text(unchanged).splitlines(), *table.failures(unfinished, why).splitlines()[:1]]
        )
        first = self._study.metrics[0]
        self._console.print(table.outcomes(self._rows, known, first=first, width=self._console.width))
        remarks = (
            table.unchanged_text(unchanged),
            table.diagnoses(self._one_each(), known),
            table.failures(unfinished, why),
        )
        for text in filter(None, remarks):
            self._say(text)
        best = {_identity(row): self._best_validation(known, row) for row in self._one_each()}
        self._say_what_mlflow_lacks()
        steps = table.next_steps(self._one_each(), first.best_of(best), link=self._tracker.link)
        self._console.print(visible(steps), markup=False, highlight=False, soft_wrap=True)

    def _say_what_mlflow_lacks(self) -> None:
        if text := self._tracker.lacks:
            self._say(text)

    def _say(self, text: str) -> None:
        say(self._console, text)


@contextmanager
def _without_searches() -> Iterator[None]:
    """Has Python search for no garbage: what is read of thousands of trials is none, and to search it takes a third of the time.

    Nor does it search the modules of MLflow and others when the process ends, which takes half a second.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.freeze()
            gc.enable()


def _errors(rows: Sequence[Row], known: Mapping[str, Outcome]) -> dict[str, str]:
    """Returns identity → the error of the latest attempt, where there was one."""
    outcomes = {_identity(row): known[_identity(row)] for row in rows if _identity(row) in known}
    return {name: outcome.error or "the process ended without an error message" for name, outcome in outcomes.items()}


def _identity(row: Row) -> str:
    assert row.trial is not None
    return row.trial.identity


def _status(known: Mapping[str, Outcome], row: Row) -> str | None:
    outcome = known.get(_identity(row))
    return outcome.status if outcome else None


def _mean(values: Sequence[float | None]) -> float | None:
    """Returns the mean; None if a value is missing or the mean is not a number."""
    known = [value for value in values if value is not None]
    mean = statistics.fmean(known) if len(known) == len(values) else math.nan
    return None if math.isnan(mean) else mean


def _write(path: Path, values: Any) -> None:
    text = json.dumps(values)
    if len(text) < MAX_INDENTED:
        text = json.dumps(values, indent=1)
    with replaced(path) as beside:
        beside.write_text(text, encoding="utf-8")
