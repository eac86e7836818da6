"""A tracked study as tidy frames: its plan, one row per variant and seed, and one row per step."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import adopted, merged, plans
from analysis import rows as trial_rows
from analysis.rows import FAILED, FINISHED, PER_EPOCH, STEADY_EPOCH, STEP_TIME
from analysis.store import Store, StoreError, nearest
from src import paths
from src.artifacts import SETTINGS, STEPS
from src.inference.sequential import Rule
from src.paths import shown
from src.spec.metric import LOSS, TEST, TRAIN, VAL, Metric, meaning, of_plan, steps_to
from src.spec.renamed import as_today
from src.spec.section import as_typed
from src.spec.settings import Settings
from src.study import halving
from src.study.designs import FACTORIAL
from src.study.timing import FILE, Pass, read
from src.tracking import attempts, names
from src.tracking.attempts import Run
from src.tracking.deleted import how_to_restore

KIND, IDENTITY = attempts.KIND, attempts.IDENTITY
# columns of a step: is_first: the first of its shape, so it traced; batch: examples; length: steps with padding;
# tokens: real steps
OF_STEPS = ("gradient_norm", "batch", "length", "tokens")


@dataclass(frozen=True, eq=False)
class Study:
    """A study as the store has it.

    Attributes:
      name: name of the study.
      store: the store that it was read from.
      experiment_id: id of its MLflow experiment.
      run_id: id of its study run.
      plan: the latest plan: question, claim, design, levels, reference, seeds, metric, margin, threshold, metrics,
        aliases, commands, and the task where it is recorded.
      rows: one row per variant and seed of the plan: `label`, `is_reference`, `seed`, `identity`, `status` (of the
        trial that serves the row: FINISHED, FAILED, KILLED, RUNNING; or `not run`, `dropped`), `dropped` (the reason,
        or None), `normalised` (list of texts), every varied toggle, `run_id`, `started` and `ended` (UTC), the columns
        of `rows.TAGS` (None where a tag is missing), and every metric of the trial. The first metric's `val/…` is the
        best of the trial; `time/epoch_s` is the mean of its epochs and `time/steady_epoch_s` their median; `steps_to/…`
        is the step of the validation that reached the plan's threshold, nan if none had by `last_step`, the step of
        the last validation. `step_before` is the step of the validation before the one that reached it (0 for the
        first): the target was reached after that step.
      notes: notes on trials that are not in the rows: duplicates, superseded trials, and trials of other plans.
      timing: the study's timing pass, or None.
      rule: how the looks at the study share its error; None if it is judged once.
      looks: numbers of seeds at which the study was looked at, increasing; for a study that is judged once, those of
        earlier plans of the same comparisons, and its own.
      of_plans: if the study has several plans, which of their trials are in the rows and how to see the others; else
        empty.
    """

    name: str
    store: Store
    experiment_id: str
    run_id: str
    plan: dict[str, Any]
    rows: pd.DataFrame
    notes: list[str]
    of_plans: str = ""
    timing: Pass | None = None
    rule: Rule | None = None
    looks: tuple[int, ...] = ()

    @property
    def toggles(self) -> list[str]:
        """The names of the toggles that the plan varies."""
        return list(self.plan["levels"])

    @property
    def factors(self) -> dict[str, list[Any]]:
        """The toggles of a factorial design with their values, the reference's first; empty for other designs.

        Of linked toggles it has the first: their effects cannot be separated. With intervals nearly every value occurs
        once, so that the design is not factorial.
        """
        if self.plan["design"] not in FACTORIAL or self.plan["intervals"]:
            return {}
        reference, later = self.plan["reference"], {key for group in self.plan["linked"] for key in group[1:]}
        return {
            key: sorted(values, key=lambda value: value != reference.get(key))
            for key, values in self.plan["levels"].items()
            if key not in later
        }

    @property
    def finished(self) -> pd.DataFrame:
        """The rows whose trial is finished."""
        return self.rows[self.rows["status"] == FINISHED]

    @property
    def seen(self) -> pd.DataFrame:
        """The rows up to the latest look of a sequential study; before the first look, and in a fixed study, all."""
        if self.rule is None or not self.looks:
            return self.rows
        return self.rows[self.rows["seed"].isin(self.plan["seeds"][: self.looks[-1]])]

    @property
    def counts(self) -> str:
        """The plan's trials counted by status, in words; a trial that serves several rows counts once."""
        trials = self.rows[self.rows["identity"].isna() | ~self.rows["identity"].duplicated()]
        return ", ".join(f"{count} {str(state).lower()}" for state, count in trials["status"].value_counts().items())

    @functools.cached_property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics of the task, as the plan records them; the first chose the epochs and is the study's default."""
        return of_plan(self.plan)

    @property
    def first(self) -> Metric:
        """The first metric, on the test split."""
        return self.meaning(f"{TEST}{self.metrics[0].name}")

    @property
    def validation(self) -> Metric:
        """The first metric, on the validation split."""
        return self.meaning(f"{VAL}{self.metrics[0].name}")

    @property
    def steps_to(self) -> Metric | None:
        """The number of steps until the plan's threshold was reached; None without a threshold or a direction."""
        if self.plan["threshold"] is None or not self.metrics[0].sign:
            return None
        return self.meaning(steps_to(self.metrics[0], self.plan["threshold"]))

    def meaning(self, name: str) -> Metric:
        """Returns the description of a recorded metric, under its full name."""
        return meaning(name, self.metrics)

    def history(self, metric: str) -> pd.DataFrame:
        """Returns one row per recorded value of a metric in finished trials of the plan: `run_id`, `step`, `value`."""
        points = self.store.history(self.experiment_id, metric)
        return points[points["run_id"].isin(set(self.finished["run_id"]))]

    @functools.cached_property
    def steps(self) -> pd.DataFrame:
        """One row per training step of the finished trials: `run_id` and `_step_columns`; read once.

        Trials without their per-step record are left out.
        """
        names, parts = _step_columns(self.metrics), []
        for run_id in self.finished["run_id"].unique():
            path = self.store.artifact(run_id, STEPS)
            if path is not None:
                parts.append(_steps(path, names).reindex(columns=names).assign(run_id=run_id))
        empty = pd.DataFrame({name: pd.Series(dtype=float) for name in names}).assign(run_id=pd.Series(dtype=object))
        return pd.concat(parts, ignore_index=True) if parts else empty


def _step_columns(metrics: Sequence[Metric]) -> list[str]:
    """Returns the columns of a per-step record that the analysis reads."""
    others = (metric.name for metric in metrics if metric.name != LOSS.name)
    recorded = [f"{TRAIN}{name}" for name in (LOSS.name, *others)]
    return ["step", "epoch", STEP_TIME, "is_first", *recorded, *OF_STEPS]


def study(name: str, store: Store, *, every: bool = False) -> Study:
    """Returns the current state of a study.

    Args:
      name: name of the study.
      store: the store to read it from.
      every: include the trials of all plans, not only those of the latest plan.

    Raises:
      StoreError: the store cannot be read, has no such study, or the study has no plan that can be read.
    """
    experiment_id = _experiment(name, store)
    runs, gone = store.runs(experiment_id), store.runs(experiment_id, deleted=True)
    study_run = _study_run(name, store, runs, gone)
    study_plans, lost = plans.of_study(name, study_run.run_id, store)
    lost += _notes(study_run.run_id, store)
    plan = study_plans[-1]
    trials = [run for run in runs if run.tags.get(KIND) == "trial" and IDENTITY in run.tags]
    served, notes = serving(trials)
    notes += lost
    others = len(served.keys() - _planned(plan))
    of_plans = "" if every or not others else _of_other_plans(name, others)
    if every:
        plan, of_plans, merged_notes = merged.plan(
            study_plans, {identity: _trial(store, run) for identity, run in served.items()}
        )
        notes += merged_notes
    notes += [of_plans] if of_plans else []
    wanted = _planned(plan)
    notes += _of_deleted(gone, wanted - served.keys(), store)
    environments = {
        run.tags.get("ablation.environment", "") for identity, run in served.items() if identity in wanted
    } - {""}
    if len(environments) > 1:
        differing = "; or ".join(sorted(environments))
        notes.append(f"trials ran in different environments, which may change their numbers: {differing}")
    validated = of_plan(plan)[0]
    needed = (f"{VAL}{validated.name}", PER_EPOCH, STEADY_EPOCH)
    histories = {metric: store.history(experiment_id, metric) for metric in needed}
    rows, old = trial_rows.with_times(trial_rows.of_plan(plan, served), histories)
    rows = trial_rows.with_validation(rows, histories[needed[0]], validated, threshold=plan["threshold"])
    timing, broken = _timing(study_run.run_id, store)
    rule, taken, of_looks = (None, (), []) if every else plans.looks(study_plans, _finished(served))
    notes = [*notes, *of_looks, *old, *broken]
    return Study(name, store, experiment_id, study_run.run_id, plan, rows, notes, of_plans, timing, rule, taken)


def _planned(plan: Mapping[str, Any]) -> set[str]:
    """Returns the identities of a plan's trials, those of the rungs of successive halving included."""
    return {row["identity"] for row in (*plan["rows"], *halving.trials_of(plan))}


def _finished(served: Mapping[str, Run]) -> set[str]:
    return {identity for identity, run in served.items() if run.status == FINISHED}


def _notes(run_id: str, store: Store) -> list[str]:
    """Returns the notes on an adopted study: what was understood of its source, and what was left out."""
    path = store.artifact(run_id, adopted.NOTES)
    return [] if path is None else [str(note) for note in json.loads(path.read_text(encoding="utf-8"))]


def _timing(run_id: str, store: Store) -> tuple[Pass | None, list[str]]:
    """Returns the timing pass among the files of a study's run, and a note on one that cannot be read."""
    path = store.artifact(run_id, FILE)
    try:
        return (None, []) if path is None else (read(path), [])
    except ValueError as error:
        return None, [f"{error}; `python -m src.timing` measures again"]


def _experiment(name: str, store: Store) -> str:
    """Returns the id of a study's experiment.

    Raises:
      StoreError: there is no such experiment, or it was deleted.
    """
    experiments = store.experiments()
    if name in experiments:
        return experiments[name]
    if number := store.deleted_experiment(name):
        command = how_to_restore(store.uri, experiment_id=number)
        raise StoreError(f"study {name!r} was deleted in MLflow; to restore it, run: {command}")
    if now := names.present(name):
        raise StoreError(f"no study {name!r} in {shown(store.uri)}; it was renamed to {now}")
    fix = nearest(name, list(experiments))
    if name in {plan.parent.name for plan in paths.outputs().glob("*/plan.json")}:  # trained offline, or sent elsewhere
        fix = f"run `python -m src.sync {name}` if its trials ran offline, or name its store with --uri"
    raise StoreError(f"no study {name!r} in {shown(store.uri)}; {fix}")


def _study_run(name: str, store: Store, runs: list[Run], deleted: list[Run]) -> Run:
    """Returns the study run, which has the plan.

    Raises:
      StoreError: there is no study run, or it was deleted.
    """
    kept, gone = ([run for run in part if run.tags.get(KIND) == "study"] for part in (runs, deleted))
    if kept:
        return kept[0]
    if gone:
        what = f"the study run of {name!r}, which has its plan, was deleted in MLflow"
        raise StoreError(f"{what}; to restore it, run: {how_to_restore(store.uri, run_id=gone[0].run_id)}")
    where = shown(store.uri)
    raise StoreError(f"{name!r} in {where} is an experiment without a study run; it was not made by this project")


def _of_other_plans(name: str, count: int) -> str:
    belong = (
        "1 trial of this study belongs to another plan and is"
        if count == 1
        else f"{count} trials of this study belong to other plans and are"
    )
    return f"{belong} not shown; `python -m analysis table {name} --all` shows every trial in one table"


def _trial(store: Store, run: Run) -> merged.Trial:
    """Returns a trial with its settings, read from its file, or from MLflow's params if the file is missing."""
    return merged.Trial(settings_of(store, run.run_id) or merged.typed(run.params), run.tags.get("ablation.data"))


def _of_deleted(gone: list[Run], missing: set[str], store: Store) -> list[str]:
    """Returns a note on deleted trials that the plan needs, with the command that restores the last one."""
    runs = {run.tags[IDENTITY]: run.run_id for run in gone if run.tags.get(IDENTITY) in missing}
    if not runs:
        return []
    command = how_to_restore(store.uri, run_id=next(iter(runs.values())))
    fix = f"to restore {'it' if len(runs) == 1 else 'one'}, run: {command}"
    return [f"{len(runs)} trials were deleted in MLflow and count as not run; {fix}"]


def listed(store: Store) -> pd.DataFrame:
    """Returns one row per study; a trial counts once.

    The columns are `study`, `trials`, `finished`, `failed`, `in other plans` and `latest` (UTC).
    """
    records = []
    for name, experiment_id in store.experiments().items():
        runs = store.runs(experiment_id)
        trials = [run for run in runs if run.tags.get(KIND) == "trial" and IDENTITY in run.tags]
        served = serving(trials)[0]
        states = [run.status for run in served.values()]
        latest = max((run.started for run in trials), default=None)
        records.append({
            "study": name, "trials": len(states), "finished": states.count(FINISHED), "failed": states.count(FAILED),
            "in other plans": _in_other_plans(store, runs, set(served)),
            "latest": "" if latest is None else f"{pd.Timestamp(latest, unit='ms'):%Y-%m-%d %H:%M}",
        })  # fmt: skip
    return pd.DataFrame(records, columns=["study", "trials", "finished", "failed", "in other plans", "latest"])


def _in_other_plans(store: Store, runs: list[Run], identities: set[str]) -> int:
    """Returns how many trials are not in their study's latest plan; 0 if no plan can be read."""
    mine = [run.run_id for run in runs if run.tags.get(KIND) == "study"]
    try:
        study_plans = plans.of_study("", mine[0], store)[0] if mine and identities else []
    except StoreError:
        return 0
    return len(identities - _planned(study_plans[-1])) if study_plans else 0


def settings_of(store: Store, run_id: str) -> dict[str, Any]:
    """Returns the resolved settings of a trial, flat and typed (`data.limit` → 500); empty if its file is missing."""
    path = store.artifact(run_id, SETTINGS)
    if path is None:
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        flat: dict[str, Any] = {}
        for key, value in values.items():
            if not isinstance(value, dict):
                flat[key] = value
            elif key not in Settings.NOT_TOGGLES:  # data, and in older versions the task
                flat |= {f"{key}.{name}": option for name, option in value.items()}
        return as_today(flat)
    except (OSError, ValueError, LookupError, AttributeError):
        return {}


def _steps(path: Path, names: Sequence[str]) -> pd.DataFrame:
    """Returns a per-step record; a broken one has no rows, so that the other trials can still be drawn."""
    try:
        record = pd.read_parquet(path)
        present = [name for name in names if name in record]
        is_whole = {"step", STEP_TIME} <= {*present} and all(
            map(pd.api.types.is_numeric_dtype, (record[name] for name in present))
        )
        return record if is_whole else pd.DataFrame()
    except Exception:  # pyarrow raises many kinds of errors for broken files
        return pd.DataFrame()


def serving(trials: list[Run]) -> tuple[dict[str, Run], list[str]]:
    """Returns identity → the attempt that counts (`attempts.counting`), and notes on the other attempts."""
    of_identities = attempts.of_identities(trials)
    counting = {identity: attempts.counting(runs) for identity, runs in of_identities.items()}
    served = {identity: run for identity, run in counting.items() if run is not None}
    superseded = sum(run.tags.get(attempts.SUPERSEDED) == "true" for run in trials)
    notes = [f"{superseded} finished trials were trained again (rerun=true) and no longer count"] if superseded else []
    for identity, runs in of_identities.items():
        finished = [run for run in runs if run.status == FINISHED]
        left = [run for run in finished if run.tags.get(attempts.SUPERSEDED) != "true"]
        if len(left) > 1:
            hashes = {run.tags.get("ablation.weights") for run in left}
            weights = ", with the same weights" if len(hashes) == 1 else ", with different weights"
            known = "" if hashes == {None} else weights  # some tasks record none
            notes.append(f"trial {identity} finished {len(left)} times{known}; only the latest counts")
        if left and attempts.depends_on_wrong_clocks(finished):
            doubt = f"the clocks of the attempts of trial {identity} contradict each other"
            notes.append(f"{doubt}, and nothing else tells which is the latest; run {served[identity].run_id} counts")
    return served, notes


def tidy(study: Study) -> dict[str, pd.DataFrame]:
    """Returns the frames of `export`: `trials`, one row per variant and seed with all its columns, and `steps`.

    Every setting has a column of its name. Varied settings have the plan's values, the others those of the trial.
    """
    runs = list(study.rows["run_id"].dropna().unique())
    settings = pd.DataFrame(
        [{"run_id": run_id, **settings_of(study.store, run_id)} for run_id in runs],
        columns=None if runs else ["run_id"],
    )
    others = [key for key in settings.columns if key == "run_id" or key not in study.rows.columns]
    trials = study.rows.assign(normalised=study.rows["normalised"].map("; ".join)).merge(
        settings[others], on="run_id", how="left"
    )
    for key in study.toggles:  # Parquet requires one type per column
        if len({type(value) for value in trials[key]}) > 1:
            trials[key] = trials[key].map(as_typed)
    return {"trials": trials, "steps": study.rows[["label", "seed", "run_id"]].dropna().merge(study.steps, on="run_id")}


def trials_of_tables(study: Study) -> pd.DataFrame:
    """Returns the data behind the tables, for readers who want to recompute them.

    There is one row per variant and seed: toggles, seed and metrics.
    """
    numbers = sorted(name for name in study.rows.columns if "/" in name and name not in study.toggles)
    columns = (
        "label",
        "is_reference",
        *study.toggles,
        "seed",
        "identity",
        "status",
        "position",
        "weights",
        "step_before",
        "last_step",
    )
    return study.rows[[*columns, *numbers]].round(dict.fromkeys(numbers, 6))


def lost_files(study: Study) -> list[str]:
    """Returns warnings on trials whose files are missing or damaged, so that `tidy` lacks some of their data."""
    runs = study.finished["run_id"].unique()
    lost = {
        f"per-step record that can be read ({STEPS}); their steps are left out": len(runs)
        - study.steps["run_id"].nunique(),
        f"settings that can be read ({SETTINGS}); columns that do not vary are empty": sum(
            not settings_of(study.store, run_id) for run_id in runs
        ),
    }
    return [f"{count} of {len(runs)} finished trials have no {what}" for what, count in lost.items() if count]
