"""Ranks the variants of all studies of one task on the same data, whose epochs were chosen by the same metric.

The order is that of validation, which is not what is reported: the test value of the variant that is best on the test
is partly luck (docs/statistics.md). Nothing is tested here: variants of different studies need not share their seeds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from analysis import load, merged, plans
from analysis.rows import FINISHED, TRAINING, title
from analysis.store import Store, StoreError, nearest
from analysis.table import Table, of_columns
from analysis.texts import NOTHING, Entry, number, number_of
from src import registry
from src.config.settings import described, label
from src.inference.student import interval
from src.spec.metric import TEST, VAL, Metric, best_name, meaning, of_plan
from src.spec.section import Value, as_typed
from src.tracking import attempts
from src.tracking.attempts import Run

By = Literal["validation", "test"]
NOT_OF_VARIANT = ("task", "seed")


@dataclass(frozen=True, eq=False)
class Trial:
    """One trial of the store.

    Attributes:
      study: name of its study.
      task: name of its task.
      data: hash of its data.
      run: its attempt that counts.
      settings: its settings that determine the result, without the seed.
      seed: its seed.
      metrics: the metrics of its study; the first chose the epoch.
      best: best validation value of the first metric, or nan.
    """

    study: str
    task: str
    data: str
    run: Run
    settings: Mapping[str, Any]
    seed: int
    metrics: tuple[Metric, ...]
    best: float

    @property
    def identity(self) -> str:
        """Its identity."""
        return self.run.tags[attempts.IDENTITY]


@dataclass(frozen=True, eq=False)
class Board:
    """The ranked variants of one task on the same data.

    Attributes:
      task: name of the task.
      data: hash of the data.
      about: name and options of the data, as on the command line.
      metric: the metric that is reported.
      ranked_by: the metric that gives the order.
      frame: one row per variant, the best first: `rank`, `variant`, `n` (finished seeds), `failed` (seeds that failed
        or were stopped), `seeds`, `ranked_by`, `mean`, `low` and `high` (of the metric; 95 % over seeds, Student),
        `time/train_s` (mean), `studies`.
      shared: settings that all variants have and that are not the task's defaults.
      once: number of trials that several studies have, which count once.
      same_seeds: whether all variants have the same seeds.
      unfinished: number of variants without a finished seed, which have no rank.
    """

    task: str
    data: str
    about: str
    metric: Metric
    ranked_by: Metric
    frame: pd.DataFrame
    shared: dict[str, Any]
    once: int
    same_seeds: bool
    unfinished: int

    @property
    def heading(self) -> str:
        """What is ranked: task, data, and how many variants of which studies."""
        studies = {name for names in self.frame["studies"] for name in names.split(", ")}
        counts = (
            f"{number_of(len(self.frame), 'variant')} of {len(studies)} {'study' if len(studies) == 1 else 'studies'}"
        )
        shared = f"; all with {label(self.shared)}" if self.shared else ""
        return f"task={self.task} {self.about} (data {self.data}): {counts}{shared}"

    def table(self, top: int) -> Table:
        """Returns the first variants as a table for readers, with what it does not say."""
        rows = self.frame.head(top).to_dict("records")
        digits = self.metric.digits
        columns = {
            "rank": [Entry(str(row["rank"]), float(row["rank"])) for row in rows],
            "variant": [Entry(row["variant"]) for row in rows],
            "n": [number(float(row["n"]), 0) for row in rows],
            **({"failed": [number(float(row["failed"]), 0) for row in rows]} if self.frame["failed"].any() else {}),
            "seeds": [Entry(row["seeds"]) for row in rows],
            title(self.ranked_by): [number(row["ranked_by"], self.ranked_by.digits) for row in rows],
            f"{title(self.metric)} [95 %]": [_with_interval(row, digits) for row in rows],
            "s of training": [number(row[TRAINING], 1) for row in rows],
            "study": [Entry(row["studies"]) for row in rows],
        }
        if self.ranked_by.name == self.metric.name:
            del columns[title(self.ranked_by)]
        return of_columns(columns, self.heading, notes=tuple(self._notes(top)))

    def _notes(self, top: int) -> Iterator[str]:
        if len(self.frame) > top:
            yield f"{number_of(len(self.frame) - top, 'variant')} more; --top {len(self.frame)} shows all."
        if self.unfinished:
            yield f"{number_of(self.unfinished, 'variant')} without a finished seed: no rank."
        if self.once:
            yield f"{number_of(self.once, 'trial')} of several studies count once."
        if self.ranked_by.name.startswith(TEST):
            yield (
                f"Ranked by {title(self.ranked_by)}: the first of {number_of(len(self.frame), 'variant')} is partly "
                "first by luck, so its value is too good (winner's curse). Do not report it as the result of a choice."
            )
        else:
            yield (
                f"Ranked by {title(self.ranked_by)}, which the choice of a variant may use; {title(self.metric)} did "
                "not decide the order."
            )
        seeds = "All have the same seeds" if self.same_seeds else "They do not all have the same seeds"
        yield (
            f"This is no test: an interval is of one mean, over its own seeds. {seeds}; one study with both variants "
            "compares them in pairs."
        )


def of_store(
    store: Store, *, task: str | None = None, metric: str | None = None, by: By = "validation"
) -> tuple[list[Board], list[str]]:
    """Returns a board for each task, data and first metric of a store, and notes on what is left out.

    Boards of one task with more variants come first. Best validation values of different metrics have no order, so
    studies whose first metrics differ are ranked apart.

    Args:
      store: the store.
      task: name of the task; None for all.
      metric: the metric to report, such as `test/loss` or `loss`; None for each task's first metric on the test.
      by: what gives the order.

    Raises:
      StoreError: nothing can be ranked, there is no such task or metric, or the only metric has no one direction.
    """
    trials, notes = _trials(store)
    tasks = sorted({trial.task for trial in trials})
    if task is not None and task not in tasks:
        raise StoreError(f"--task: no finished trial of task={task}; {nearest(task, tasks)}")
    groups: dict[tuple[str, str, str], list[Trial]] = {}
    for trial in trials:
        if task in (None, trial.task):
            groups.setdefault((trial.task, trial.data, trial.metrics[0].name), []).append(trial)
    measured = {
        key: [trial for trial in group if _full_name(trial, metric) in trial.run.metrics]
        for key, group in groups.items()
    }
    boards, why_not = [], []
    for key, having in measured.items():
        try:
            boards += [_board(groups[key], _metric(having, metric), by)] if having else []
        except StoreError as error:
            why_not.append(f"task={key[0]} on data {key[1]} has no board: {error}")
    if not boards:
        if why_not:
            raise StoreError(why_not[0])
        if metric is None or not groups:
            raise StoreError("no study has a finished trial with a test value; train one: python -m src.run")
        known = sorted({name for group in groups.values() for trial in group for name in trial.run.metrics})
        raise StoreError(f"--metric: no trial has {metric!r}; {nearest(metric, known)}")
    return sorted(boards, key=lambda board: (board.task, -len(board.frame))), [*notes, *why_not]


def csv_frame(boards: Sequence[Board]) -> pd.DataFrame:
    """Returns the boards as one frame, for programs."""
    names = {"task": "task", "data": "data"}
    parts = [
        board.frame.assign(**{name: getattr(board, name) for name in names}, metric=board.metric.name)
        .assign(order=board.ranked_by.name)
        .rename(columns={"ranked_by": "order_mean"})
        for board in boards
    ]
    return pd.concat(parts, ignore_index=True)


def _trials(store: Store) -> tuple[list[Trial], list[str]]:
    """Returns the trials of all studies that can be read, with one attempt each, and notes on those that cannot."""
    trials, notes = [], []
    for name, experiment in store.experiments().items():
        runs = store.runs(experiment)
        study_run = next((run for run in runs if run.tags.get(attempts.KIND) == "study"), None)
        if study_run is None:  # not made by this project
            continue
        try:
            *_, plan = plans.of_study(name, study_run.run_id, store)[0]
        except StoreError as error:
            notes.append(f"study {name} is left out: {error}")
            continue
        served = load.serving([run for run in runs if attempts.IDENTITY in run.tags])[0]
        best = _best(store, experiment, served, of_plan(plan))
        for run in served.values():
            settings = merged.of_identity(merged.typed(run.params))
            of_task = run.tags.get("ablation.task") or str(settings.get("task") or plan.get("task") or "unknown")
            seed = int(run.params.get("seed", 0))
            data = run.tags.get("ablation.data", "unknown")
            own = {key: value for key, value in settings.items() if key not in NOT_OF_VARIANT}
            trials.append(Trial(name, of_task, data, run, own, seed, of_plan(plan), best.get(run.run_id, math.nan)))
    return trials, notes


def _best(store: Store, experiment: str, served: Mapping[str, Run], metrics: Sequence[Metric]) -> dict[str, float]:
    """Returns run id → best validation value of the first metric; older trials have only its history."""
    first, finished = metrics[0], [run for run in served.values() if run.status == FINISHED]
    name = best_name(first)
    values = {run.run_id: run.metrics[name] for run in finished if name in run.metrics}
    if not first.sign or len(values) == len(finished):
        return values
    history = store.history(experiment, f"{VAL}{first.name}").groupby("run_id")["value"]
    older = history.max() if first.sign > 0 else history.min()
    return {**{str(run_id): float(value) for run_id, value in older.items()}, **values}


def _metric(group: Sequence[Trial], name: str | None) -> Metric:
    """Returns the metric to report.

    Raises:
      StoreError: studies define it differently, or it has no direction.
    """
    found: dict[Metric, str] = {}
    for trial in group:
        found.setdefault(meaning(_full_name(trial, name), trial.metrics), trial.study)
    (one, study), *others = found.items()
    for other, of_study in others:
        if (other.name, other.direction) != (one.name, one.direction):
            what = f"{study} has {one.name} ({one.direction}), {of_study} has {other.name} ({other.direction})"
            raise StoreError(f"its studies disagree on what is better: {what}; name another metric with --metric")
    if not one.sign:
        raise StoreError(f"--metric: {one.name} has no direction, so no variant is the best; name another")
    return one


def _full_name(trial: Trial, name: str | None) -> str:
    """Returns the full name of the metric that the user named; by default that of the first metric on the test."""
    if name is None:
        return f"{TEST}{trial.metrics[0].name}"
    return name if "/" in name else f"{TEST}{name}"


def _board(group: Sequence[Trial], metric: Metric, by: By) -> Board:
    once = _once(group)
    first = group[0].metrics[0]
    validation = meaning(best_name(first), group[0].metrics)
    has_validation = any(not math.isnan(trial.best) for trial in once.values())
    is_by_validation = by == "validation" and first.sign and has_validation
    ranked_by = validation if is_by_validation else metric
    variants, base = _variants(list(once.values()))
    studies: dict[str, set[str]] = {}
    for trial in group:
        studies.setdefault(trial.identity, set()).add(trial.study)
    rows = []
    for values, trials in variants:
        done = [trial for trial in trials if trial.run.status == FINISHED]
        measured = np.array([trial.run.metrics.get(metric.name, math.nan) for trial in done])
        estimate = interval(measured) if done and np.isfinite(measured).all() else interval(np.array([]))
        order = np.array([trial.best for trial in done]) if is_by_validation else measured
        rows.append({
            "variant": label({key: value for key, value in values.items() if as_typed(value) != as_typed(base[key])})
            or "defaults",
            "n": len(done), "failed": len(trials) - len(done), "seeds": _seeds([trial.seed for trial in done]),
            "ranked_by": float(order.mean()) if done else math.nan,
            "mean": estimate.mean, "low": estimate.low, "high": estimate.high,
            TRAINING: float(np.mean([trial.run.metrics.get(TRAINING, math.nan) for trial in done] or [math.nan])),
            "studies": ", ".join(sorted(set[str]().union(*(studies[trial.identity] for trial in trials)))),
        })  # fmt: skip
    frame = pd.DataFrame(rows).sort_values("ranked_by", ascending=ranked_by.sign < 0, kind="stable", ignore_index=True)
    unfinished = int((frame["n"] == 0).sum())
    frame = frame[frame["n"] > 0].reset_index(drop=True)
    frame.insert(0, "rank", range(1, len(frame) + 1))
    varied = {key for values, _ in variants for key in values}
    shared = {key: value for key, value in _common(once.values()).items() if key not in varied}
    known = _defaults(group[0].task)
    shared = {key: value for key, value in shared.items() if key in known and as_typed(value) != as_typed(known[key])}
    counted_twice = sum(len(names) > 1 for names in studies.values())
    same_seeds = len(set(frame["seeds"])) == 1
    return Board(
        group[0].task,
        group[0].data,
        _about(group),
        metric,
        ranked_by,
        frame,
        shared,
        counted_twice,
        same_seeds,
        unfinished,
    )


def _once(group: Sequence[Trial]) -> dict[str, Trial]:
    """Returns identity → trial; of one that several studies have, a finished one, the earliest on ties."""
    order = sorted(group, key=lambda trial: (trial.run.status != FINISHED, trial.run.started, trial.study))
    return {trial.identity: trial for trial in reversed(order)}


def _variants(trials: Sequence[Trial]) -> tuple[list[tuple[dict[str, Any], list[Trial]]], dict[str, Any]]:
    """Returns each variant by the settings in which the variants differ, and the values that its name leaves out.

    The name leaves out the task's defaults; where they are not known, the most frequent values. Trials that are older
    than a setting have its default.
    """
    keys = list(dict.fromkeys(key for trial in trials for key in _own(trial)))
    defaults = _defaults(trials[0].task)
    full = [{key: _own(trial).get(key, defaults.get(key)) for key in keys} for trial in trials]
    varied = [key for key in keys if len({as_typed(values[key]) for values in full}) > 1]
    groups: dict[tuple[str, ...], tuple[dict[str, Any], list[Trial]]] = {}
    for trial, values in zip(trials, full, strict=True):
        named = {key: values[key] for key in varied}
        groups.setdefault(tuple(map(as_typed, named.values())), (named, []))[1].append(trial)
    usual = {key: max((values[key] for values in full), key=[values[key] for values in full].count) for key in varied}
    return list(groups.values()), {key: defaults.get(key, usual[key]) for key in varied}


def _defaults(task: str) -> dict[str, Any]:
    """Returns setting → default of a task; of one that was added later, what earlier trials had. Empty if unknown."""
    known = registry.usable().get(task)
    if known is None:
        return {}
    fields = {key: field.default for key, field in known.settings.model_fields.items()}
    return {**{key: value for key, value in fields.items() if isinstance(value, Value)}, **known.settings.added()}


def _own(trial: Trial) -> dict[str, Any]:
    """Returns the settings of a trial without those of its data, which are the same for all."""
    return {key: value for key, value in trial.settings.items() if key != "data" and not key.startswith("data.")}


def _common(trials: Any) -> dict[str, Any]:
    first, *others = [_own(trial) for trial in trials]
    return {key: value for key, value in first.items() if all(other.get(key, value) == value for other in others)}


def _about(group: Sequence[Trial]) -> str:
    """Returns the name and the options of the data, of the first trial: they were read under several names perhaps."""
    data = {key: value for key, value in group[0].settings.items() if key == "data" or key.startswith("data.")}
    return described(data) if data else "data of its own"


def _seeds(seeds: Sequence[int]) -> str:
    """Returns seeds for people: `0 to 7`, or `0, 3, 5`."""
    listed = sorted(seeds)
    if len(listed) > 2 and listed == list(range(listed[0], listed[-1] + 1)):
        return f"{listed[0]} to {listed[-1]}"
    return ", ".join(map(str, listed))


def _with_interval(row: Mapping[Any, Any], digits: int) -> Entry:
    if math.isnan(row["mean"]):
        return Entry(NOTHING)
    text = f"{row['mean']:.{digits}f}"
    ends = "" if math.isnan(row["low"]) else f" [{row['low']:.{digits}f}, {row['high']:.{digits}f}]"
    return Entry(text + ends, float(row["mean"]))
