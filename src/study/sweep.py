"""Runs a study: prints the plan, trains the unfinished trials, and prints a table and the next commands."""

from __future__ import annotations

import datetime
import gc
import json
import math
import os
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock
from rich.console import Console

from src import own_code, paths, registry
from src.config.settings import label
from src.files import replaced
from src.registry import AnyTask
from src.spec.section import SettingsError
from src.study import (
    TrialsFailed,
    estimate,
    halving,
    launching,
    looks,
    plan_record,
    presented,
    running,
    spread,
    stopping,
    table,
)
from src.study.designs import Rounds, Variant
from src.study.job import STOP, Sweep
from src.study.journals import Journals
from src.study.plan import Row, Study
from src.study.tracker import Tracker
from src.study.watch import Budget, StudyProgress
from src.terminal.progress import say
from src.terminal.visible import counted, visible
from src.tracking import journal, names
from src.tracking.journal import FAILED, FINISHED, KILLED
from src.tracking.outcome import Outcome
from src.trial.signals import terminable

PLAN, SUMMARY = "plan.json", "summary.json"
MAX_INDENTED = 1_000_000  # characters; longer files are not indented, because indenting 20,000 rows takes seconds


def run(study: Study, *, launch: launching.Launch, sweep: Sweep, console: Console | None = None) -> None:
    """Trains the trials of a study that are not finished, and shows the outcome of every variant.

    Args:
      study: the study.
      launch: trains rows with a launcher.
      sweep: what the jobs know about this sweep.
      console: where to print.

    Raises:
      SettingsError: no row can run, MLflow's database cannot be used, or a file `stop` exists.
      TrialsFailed: a trial failed or was not trained; the table says which, and why.
      KeyboardInterrupt: the user stopped the command; all records are kept.
    """
    with _without_garbage_collection():
        _Command(study, launch, sweep, console or table.console()).run()


class _Command:
    """One run of the command: its study, the outcomes so far, and the console."""

    def __init__(self, study: Study, launch: launching.Launch, sweep: Sweep, console: Console) -> None:
        self._study, self._launch, self._sweep, self._console = study, launch, sweep, console
        self._settings = study.settings
        self._folder = paths.study_folder(study.settings.study)
        self._planned = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        self._journals = Journals(self._folder)
        self._tracker = Tracker(study.settings, self._journals, self._say)
        self._latest: dict[str, Outcome] | None = None
        self._local: dict[str, Outcome] = {}
        self._rows: list[Row] = []
        self._begin = time.monotonic()
        self._trained: set[str] = set()
        self._start_errors: dict[str, str] = {}
        self._incomplete: set[str] = set()
        self._histories: dict[str, float | None] = {}
        self._looks: list[looks.Look] = []
        self._ladder: halving.Ladder | None = None
        self._rungs: list[halving.Rung] = []
        self._selecting: list[Row] = []  # rows of the rungs before the last
        self._spread: tuple[float, str] | None = None

    def _refuse_nothing(self, rows: Sequence[Row]) -> None:
        """Raises `SettingsError` if no trial can run, or none but those of the reference."""
        reasons = [row.dropped for row in rows if row.dropped]
        if not any(row.trial for row in rows):
            raise SettingsError(reasons[0] if reasons else "the plan has no trials")
        if reasons and all(row.is_reference for row in rows if row.trial):
            raise SettingsError(f"nothing is left to compare with the reference: {reasons[0]}")

    def run(self) -> None:
        """See the module's `run`."""
        rounds = self._study.rounds()
        variants = next(rounds)
        if self._is_race:
            looks.check_size(self._study, variants)
            rows = looks.rows(self._study, variants, 0, [], None)
        elif self._study.plan.design == halving.NAME:
            self._ladder = halving.ladder(self._study, variants)
            rows = self._ladder.rows(0, variants, after=0)
        else:
            rows = self._study.rows(variants)
        self._refuse_nothing(rows)
        if now := names.present(self._settings.study):
            self._say(f"note: a study of this name was renamed to {now}; study={now} continues it")
        self._spread = spread.of_earlier(self._study) if self._settings.plan_only or self._is_race else None
        if self._settings.plan_only:
            self._tracker.look()
            self._say("\n".join([self._plan_text(rows, self._outcomes()), *self._detectable(variants, rows)]))
            self._say_what_mlflow_lacks()
            return
        for task in self._study.tasks:
            task.check_setup()
        with terminable():
            status = KILLED
            try:
                self._tracker.connect()
                with running.held(self._folder):
                    is_whole = self._all(rounds, variants, rows)
                latest = self._outcomes()
                unfinished = self._unfinished(latest)
                status = FINISHED if is_whole and not unfinished else FAILED
            except KeyboardInterrupt:
                self._say("\nStopped. All records are kept; run the same command again to continue.")
                raise
            finally:
                self._close(status)
                if status == KILLED:
                    self._say_what_mlflow_lacks()
        self._show(latest, unfinished)
        if status == FINISHED and self._study.plan.timing:
            self._time()
        if status != FINISHED or self._tracker.is_refused:
            raise TrialsFailed

    def _all(self, rounds: Rounds, variants: Sequence[Variant], rows: list[Row]) -> bool:
        """Trains the study from its first rows on; returns whether nothing of the design is left to train."""
        if self._ladder is not None:
            return self._all_rungs(self._ladder, rows)
        return self._all_looks(variants, rows) if self._is_race else self._all_rounds(rounds, rows)

    def _all_rounds(self, rounds: Rounds, rows: list[Row]) -> bool:
        """Trains the rounds of the design (most have one); returns whether all rounds were trained."""
        while True:
            self._rows += rows
            is_stopped = self._round(rows)
            try:
                sign = self._study.metrics[0].sign
                variants = rounds.send({place: sign * score for place, score in self._scores(rows).items()})
            except StopIteration:
                return True
            if is_stopped:
                return False
            rows = self._study.rows(variants, after=len(self._rows))

    def _round(self, rows: Sequence[Row], *more: str) -> bool:
        """Shows and records the plan of some rows, then trains them; returns whether the study stopped early."""
        latest = self._outcomes()
        self._say("\n".join([self._plan_text(rows, latest), *more]))
        self._write_plan()
        todo = self._to_do(rows, latest)
        if todo:  # otherwise `_show` presents the study soon
            self._present(latest)
        return self._train(todo)

    @property
    def _is_race(self) -> bool:
        """Whether the study is looked at several times, and trains more seeds of what is not decided."""
        return self._study.plan.max_seeds is not None

    def _all_looks(self, variants: Sequence[Variant], rows: list[Row]) -> bool:
        """Trains the seeds up to each look, of the variants that go on; returns whether no comparison needs more."""
        self._refuse_other_horizon()
        while True:
            number = len(self._looks)
            self._rows += rows
            is_stopped = self._round(rows, *([] if number else self._detectable(variants, rows)))
            if self._waits_for(rows, "the look at these seeds"):  # a look at some of the seeds would be another look
                return False
            look = looks.take(self._study, self._rows, self._outcomes(), number)
            self._looks.append(look)
            self._write_plan()
            self._say(looks.text(look, self._study))
            if not look.continues:
                return True
            if is_stopped:
                return False
            rows = looks.rows(self._study, variants, number + 1, self._rows, look)

    def _waits_for(self, rows: Sequence[Row], what: str) -> bool:
        """Returns whether trials of some rows have neither finished nor failed, and says so."""
        latest = self._outcomes()
        waiting = [row for row in rows if row.trial and _status(latest, row) not in (FINISHED, FAILED)]
        if waiting:
            self._say(f"{what} waits for {counted(len(waiting), 'trial')}")
        return bool(waiting)

    def _all_rungs(self, ladder: halving.Ladder, rows: list[Row]) -> bool:
        """Trains the rungs, each with the candidates that the one before kept; returns whether all were trained."""
        self._rows = ladder.last_rows([self._study.reference], after=0)  # it reaches the last rung in any case
        for place in range(len(ladder.budgets) - 1):
            self._selecting += rows
            self._rungs.append(halving.opened(ladder, place, rows))
            more = [f"  {self._rungs[-1].name}"] if place else halving.plan_text(ladder)
            is_stopped = self._round(rows, *more)
            if self._waits_for(rows, f"the choice at {self._rungs[-1].name}"):
                return False
            self._rungs[-1] = halving.taken(ladder, self._rungs[-1], rows, self._scores(rows), self._outcomes())
            self._write_plan()
            self._say(halving.text(self._rungs[-1], self._study))
            going_on = self._rungs[-1].going_on
            if len(going_on) < 2:
                self._say("no candidate goes on, so that the last rung has nothing to judge and is not trained")
            if is_stopped or len(going_on) < 2:
                return False
            if place + 2 < len(ladder.budgets):
                rows = ladder.rows(place + 1, going_on, after=len(self._selecting))
        self._rows = ladder.last_rows(going_on, after=len(self._selecting))
        return not self._round(self._rows, "  the last rung, which is judged")

    def _detectable(self, variants: Sequence[Variant], rows: Sequence[Row]) -> list[str]:
        if self._ladder is None:
            return looks.plan_text(self._study, variants, rows, self._spread)
        judged = self._ladder.judged
        of_first_seed = self._study.rows(judged, seeds=self._study.seeds[:1])
        return [
            *halving.plan_text(self._ladder), *looks.plan_text(self._study, judged, of_first_seed, self._spread),
        ]  # fmt: skip

    def _refuse_other_horizon(self) -> None:
        """Raises `SettingsError` if the study was looked at with another number of seeds declared."""
        path = self._folder / PLAN
        record = plan_record.of_plan(self._study, [], command="", time="")
        for old in self._earlier_plans(path):
            if old.get(stopping.LOOKED) and plan_record.is_other_horizon(old, record):
                taken = ", ".join(str(look["n"]) for look in old[stopping.LOOKED])
                raise SettingsError(
                    f"plan.max_seeds={self._study.plan.max_seeds}: study {self._settings.study} was looked at with "
                    f"plan.max_seeds={old['max_seeds']} (looks at {taken} seeds), and its error was shared out over "
                    "that number; keep it and its looks, or name a new study (study=NAME)"
                )

    def _second_look(self, latest: Mapping[str, Outcome]) -> str:
        """Returns what it costs that a fixed study was judged before with fewer seeds; empty if it was not."""
        if self._study.rule is not None or len(self._study.seeds) < 2:
            return ""
        *earlier, record = self._earlier_plans(self._folder / PLAN) or [{"seeds": []}]
        finished = {name for name, outcome in latest.items() if outcome.status == FINISHED}
        if stopping.looked_at(earlier, record) is not None:
            return "note: this study was looked at with plan.max_seeds; the report judges it by all looks"
        taken = stopping.earlier_looks(earlier, record, finished)
        return f"note: {stopping.second_look((*taken, len(self._study.seeds)))}" if taken else ""

    def _train(self, rows: list[Row]) -> bool:
        """Trains rows; returns whether the study stopped early: by its budget, by `fail_fast` or by the user."""
        if not rows:
            return False
        if (self._folder / STOP).exists():  # the user created it, and only the user removes it
            raise SettingsError(
                f"{self._folder / STOP}: no trial of this study starts while this file exists; remove it"
            )
        self._trained |= {_identity(row) for row in rows}
        budget = self._study.plan.budget_minutes
        stop = self._sweep.stop_file(self._folder)
        remaining = None if budget is None else Budget(budget * 60 - (time.monotonic() - self._begin), stop)
        if self._sweep.workers > 1:
            imports = " and ".join(dict.fromkeys(task.imports for task in _tasks(rows) if task.imports))
            first = f"; each imports {imports} first (about 10 s)" if imports else ""
            self._say(f"starting {min(self._sweep.workers, len(rows))} workers{first}")
        with StudyProgress(
            rows,
            metrics=self._study.metrics,
            compared=self._study.compared,
            workers=self._sweep.workers,
            budget=remaining,
            console=self._console,
        ):
            gc.freeze()  # the data about 20,000 trials do not become garbage during training
            gc.enable()
            self._start_errors |= launching.train(rows, launch=self._launch, say=self._say)
            gc.disable()
        if why := self._sweep.why_stopped(self._folder):
            self._say(f"stopped early: {why}; run the same command again to continue")
        self._latest = None
        self._tracker.replay()
        return why is not None

    def _to_do(self, rows: Sequence[Row], latest: Mapping[str, Outcome]) -> list[Row]:
        """Returns one row per identity to train, in the order of their positions, with the attempt that had ended."""
        wanted: dict[str, Row] = {}
        ended = {name: outcome.attempt for name, outcome in self._local.items() if outcome.status in (FINISHED, FAILED)}
        for row in sorted(rows, key=lambda row: row.position):
            if row.trial is None or row.trial.identity in self._trained:
                continue
            status = _status(latest, row)
            if (
                self._settings.rerun
                or status not in (FINISHED, FAILED)
                or (status == FAILED and self._settings.retry_failed)
            ):
                before = ended.get(row.trial.identity)
                wanted.setdefault(row.trial.identity, replace(row, ended=before) if before else row)
        return list(wanted.values())

    def _scores(self, rows: Sequence[Row]) -> dict[int, float]:
        """Returns the mean best validation value of each variant of a round that has all seeds finished."""
        latest = self._outcomes()
        variants: dict[str, list[float | None]] = {}
        for row in rows:
            variants.setdefault(row.label, []).append(self._best_validation(latest, row))
        means = {place: _mean(values) for place, values in enumerate(variants.values())}
        return {place: mean for place, mean in means.items() if mean is not None}

    def _best_validation(self, latest: Mapping[str, Outcome], row: Row) -> float | None:
        """Returns the best validation value of the study's first metric; None if the trial does not have it."""
        outcome, first = latest.get(_identity(row)) if row.trial else None, self._study.metrics[0]
        if outcome is None or outcome.status != FINISHED or outcome.first_metric != first.name:
            return None
        if outcome.best_validation is None and outcome.run_id is not None:
            run_id = outcome.run_id
            if run_id not in self._histories:
                ask = self._tracker.ask
                self._histories[run_id] = ask(lambda store: store.best_validation(run_id, first), otherwise=None)
            return self._histories[run_id]
        return outcome.best_validation

    def _unfinished(self, latest: Mapping[str, Outcome]) -> list[Row]:
        """Returns one row per trial without a finished attempt, or whose attempt in this command did not finish."""
        local = self._local
        retrained = {name for name in self._trained if name in local and local[name].status != FINISHED}
        return [row for row in self._trials() if _status(latest, row) != FINISHED or _identity(row) in retrained]

    def _trials(self) -> list[Row]:
        """Returns one row per identity of the study."""
        rows = [*self._rows, *self._selecting]
        return list({_identity(row): row for row in reversed(rows) if row.trial}.values())[::-1]

    def _outcomes(self) -> dict[str, Outcome]:
        """Returns identity → outcome. MLflow decides which trials are done; the local journals give details.

        Without MLflow the journals decide. The result is cached until trials are trained, because reading 20,000 trials
        takes a second.
        """
        if self._latest is None:
            self._local = self._journals.outcomes()
            attempts = {name: outcome.attempt for name, outcome in self._local.items()}
            metrics = self._study.metrics
            stored = self._tracker.ask(lambda store: store.outcomes(metrics, known=attempts), otherwise=None)
            self._latest = self._local if stored is None else self._joined(stored)
        return self._latest

    def _joined(self, stored: Mapping[str, Outcome]) -> dict[str, Outcome]:
        local = self._local
        same = {name for name, theirs in stored.items() if name in local and local[name].attempt == theirs.attempt}
        self._warn_of_incomplete(
            {name for name in same if stored[name].status == FINISHED and local[name].status != FINISHED}
        )
        return {**stored, **{name: local[name] for name in same | self._tracker.unsent.keys() if name in local}}

    def _warn_of_incomplete(self, names: set[str]) -> None:
        """Says once why trials that are finished in MLflow are retrained: their local files may be broken, too."""
        new = sorted(names - self._incomplete)
        self._incomplete |= names
        if new:
            cause = "FINISHED in MLflow, but the journals here are incomplete (power loss or full disk?)"
            retrained = f"those that belong to this study are retrained: {', '.join(new[: table.MAX_LINES])}"
            self._say(f"warning: {counted(len(new), 'trial')}: {cause}; {retrained}")

    def _close(self, status: str) -> None:
        if status == KILLED:  # workers record the end of their trials; launchers kill those that do not stop
            journal.wait_for_writers([self._folder / name for name in self._trained], seconds=launching.GRACE_S)
        self._sweep.stop_file(self._folder).unlink(missing_ok=True)
        if self._trained or self._tracker.unsent:
            self._journals.close_dead()
            self._tracker.replay()
        self._journals.save()
        self._tracker.close(status)

    def _plan_text(self, rows: Sequence[Row], latest: Mapping[str, Outcome]) -> str:
        todo = self._to_do(rows, latest)
        others = sorted(
            (folder for folder in paths.outputs().glob("*/") if folder != self._folder), key=lambda folder: folder.name
        )
        seconds = estimate.seconds(todo, [self._folder, *others])
        is_first = min(row.position for row in rows) == 1
        return table.plan_text(
            self._study, rows, latest, todo=todo, seconds=seconds, workers=self._sweep.workers, is_first=is_first
        )

    def _write_plan(self) -> None:
        """Adds this plan to the study's file and run; for a repeated plan it adds only the command and its time."""
        # `src.run` itself adds "++" to some of the words.
        typed = [paths.shown(word.removeprefix("++")) for word in sys.argv[1:]]
        command = shlex.join(["python", "-m", "src.run", *typed])
        record = plan_record.of_plan(self._study, self._rows, command=command, time=self._planned)
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        if self._is_race:
            record[stopping.LOOKED] = [look.as_record(time=now) for look in self._looks]
        if self._ladder is not None:
            record[halving.SELECTION] = [rung.as_record() for rung in self._rungs]
        path = self._folder / PLAN
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            earlier = self._earlier_plans(path)
            same = [old for old in earlier if plan_record.is_continued_by(old, record)]
            for old in same:
                earlier.remove(old)
                is_later_round = old["commands"][-1] == record["commands"][-1]
                record["commands"] = old["commands"] if is_later_round else [*old["commands"], *record["commands"]]
                record["rows"] = max(record["rows"], old["rows"], key=len)
                if self._is_race:
                    record[stopping.LOOKED] = looks.joined(old.get(stopping.LOOKED, []), record[stopping.LOOKED])
                if self._ladder is not None:
                    record[halving.SELECTION] = halving.joined(old, record)
            _write(path, [*earlier, record])
        tags = {
            "ablation.command": command,
            "ablation.rows": str(len(self._rows) + len(self._selecting)),
            "ablation.design": self._study.plan.design,
        }
        tags["ablation.fixed"] = label(self._study.fixed_settings) or "defaults"
        self._tracker.ask(lambda store: store.attach(path, tags=tags), otherwise=None)

    def _present(self, latest: Mapping[str, Outcome], remarks: Sequence[str] = ()) -> None:
        """Updates the study's page in MLflow, and saves it in a file for `src.sync`."""
        rows = [*self._rows, *self._selecting]
        page = presented.page(self._study, rows, latest, scores=self._scores(self._rows), remarks=remarks)
        _write(self._folder / presented.FILE, page)
        self._tracker.ask(lambda store: store.present(page), otherwise=None)

    def _earlier_plans(self, path: Path) -> list[Any]:
        """Returns the study's earlier plans; renames a file that is not a plan, and starts a new one."""
        if not path.is_file():
            return []
        try:
            return plan_record.from_text(path.read_text(encoding="utf-8"))
        except ValueError:
            pass
        broken = path.with_suffix(".broken.json")
        os.replace(path, broken)
        self._say(f"warning: {path} is not a valid plan; it was renamed to {broken.name}, and a new one is written")
        return []

    def _show(self, latest: Mapping[str, Outcome], unfinished: Sequence[Row]) -> None:
        unchanged = table.equal_weights(self._study, self._rows, latest)
        nothing = [name for name, is_equal in unchanged.items() if is_equal]
        why = self._start_errors | _errors(unfinished, self._journals.outcomes() if self._trained else latest)
        why |= {
            _identity(row): "not started: the study stopped before this trial"
            for row in unfinished
            if _identity(row) not in why
        }
        summary = {
            "trials": len(self._trials()),
            "finished": len(self._trials()) - len(unfinished),
            "unfinished": {row.name: why[_identity(row)] for row in unfinished},
            "dropped": {row.label: row.dropped for row in self._rows if row.dropped},
            "changed_nothing": nothing,
        }
        _write(self._folder / SUMMARY, summary)
        tags = {"ablation.changed_nothing": ", ".join(nothing) or "none", "ablation.unfinished": str(len(unfinished))}
        self._tracker.ask(lambda store: store.attach(self._folder / SUMMARY, tags=tags), otherwise=None)
        self._present(
            latest, [*table.unchanged_text(unchanged).splitlines(), *table.failures(unfinished, why).splitlines()[:1]]
        )
        shown = table.outcomes(self._rows, latest, metric=self._study.compared, width=self._console.width)
        self._console.print(shown)
        remarks = (
            looks.saved_text(self._study, self._looks, self._rows),
            halving.left_text(self._rungs, self._study),
            self._second_look(latest),
            table.of_test_only(self._rows, latest, self._study.metrics),
            table.unchanged_text(unchanged),
            table.diagnoses(self._trials(), latest),
            table.failures(unfinished, why),
        )
        for text in filter(None, remarks):
            self._say(text)
        best = {_identity(row): self._best_validation(latest, row) for row in self._trials()}
        self._say_what_mlflow_lacks()
        steps = table.next_steps(self._trials(), self._study.metrics[0].best_of(best), link=self._tracker.link)
        self._console.print(visible(steps), markup=False, highlight=False, soft_wrap=True)

    def _time(self) -> None:
        """Times the variants in a process of its own, which has the threads of a trial that runs alone."""
        self._say("plan.timing=true: timing the variants in turn")
        trials = [row.trial.settings for row in self._trials() if row.trial]
        names = dict.fromkeys(settings.task for settings in trials)
        tasks = [word for name in names if registry.is_place(name) for word in ("--task", name)]
        places = dict.fromkeys(place for settings in trials for place in own_code.of(settings).values())
        code = [word for place in places for word in ("--code", place)]
        command = [sys.executable, "-m", "src.timing", *tasks, *code, self._settings.study]
        if subprocess.run(command, check=False).returncode:
            self._say(f"the variants were not timed; `python -m src.timing {self._settings.study}` does it later")

    def _say_what_mlflow_lacks(self) -> None:
        if text := self._tracker.lacks:
            self._say(text)

    def _say(self, text: str) -> None:
        say(self._console, text)


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Turns garbage collection off: it would search the data of thousands of trials, in a third of the command's time.

    At exit it would also search the modules of MLflow and other packages, which takes half a second.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.freeze()
            gc.enable()


def _errors(rows: Sequence[Row], latest: Mapping[str, Outcome]) -> dict[str, str]:
    """Returns identity → the error of the latest attempt, for the trials that have one."""
    outcomes = {_identity(row): latest[_identity(row)] for row in rows if _identity(row) in latest}
    return {name: outcome.error or "the process ended without an error message" for name, outcome in outcomes.items()}


def _tasks(rows: Sequence[Row]) -> list[AnyTask]:
    return [row.trial.task for row in rows if row.trial]


def _identity(row: Row) -> str:
    assert row.trial is not None
    return row.trial.identity


def _status(latest: Mapping[str, Outcome], row: Row) -> str | None:
    outcome = latest.get(_identity(row))
    return outcome.status if outcome else None


def _mean(values: Sequence[float | None]) -> float | None:
    """Returns the mean; None if a value is missing or the mean is not a number."""
    present = [value for value in values if value is not None]
    mean = statistics.fmean(present) if len(present) == len(values) else math.nan
    return None if math.isnan(mean) else mean


def _write(path: Path, values: Any) -> None:
    text = json.dumps(values)
    if len(text) < MAX_INDENTED:
        text = json.dumps(values, indent=1)
    with replaced(path) as beside:
        beside.write_text(text, encoding="utf-8")
