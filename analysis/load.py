"""A tracked study as tidy frames: its plan, one row a variant and seed, and one row a step."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import merged
from analysis.store import Store, StoreError, nearest
from src.artifacts import SETTINGS, STEPS
from src.paths import shown
from src.spec.metric import IMPLIED, steps_to
from src.spec.section import as_typed
from src.spec.settings import Plan
from src.tracking import attempts
from src.tracking.attempts import Run
from src.tracking.deleted import how_to_restore
from src.tracking.moved import local_path

FINISHED, FAILED, RUNNING = "FINISHED", "FAILED", "RUNNING"
DROPPED, NOT_RUN = "dropped", "not run"
PER_BATCH, PER_EPOCH, STEADY_EPOCH = "time/batch_ms_median", "time/epoch_s", "time/steady_epoch_s"
SAME = [
    "health",
    "diagnosis",
    "error",
    "best_epoch",
    "resumed",
    "weights",
    "position",
    "record",
    "batches",
    "kernel",
    "workers",
    "threads",
    "processor",
    "environment",
    "versions",
    "git_commit",
    "git_dirty",
    "git_diff",
]
TAGS = {**{name: name for name in SAME}, "data_hash": "data"}  # column → tag, without its prefix; `data` is a toggle, too
# is_first: of its shape, it traced; batch: examples; length: padded steps; tokens: real steps
STEP_COLUMNS = ("epoch", "time/batch_ms", "is_first", "train/loss", "train/accuracy", "gradient_norm", "batch", "length", "tokens")


@dataclass(frozen=True, eq=False)
class Study:
    """What the store knows of a study.

    Attributes:
      name: of the study.
      store: where it was read.
      experiment_id: of its MLflow experiment.
      run_id: of its study run.
      plan: question, claim, design, levels, reference, seeds, metric, margin, threshold, aliases, commands; the latest that was made.
      rows: one a variant and seed of the plan: `label`, `is_reference`, `seed`, `identity`, `status` (of the trial that serves it:
        FINISHED, FAILED, KILLED, RUNNING; `not run`, `dropped`), `dropped` (why, or None), `normalised` (list of texts), every varied
        toggle, `run_id`, `started` and `ended` (UTC), the columns of `TAGS` (None where a tag is missing), and every metric of the trial.
        `val/accuracy` is the highest of the trial; `time/epoch_s` is the mean of its epochs and `time/steady_epoch_s` their median;
        `steps_to/…` is what the plan's threshold asks for, nan where it was not reached until `last_step`, the step of the last
        validation. `step_before` is the validation before the one that reached it (0 for the first): the target was reached after it.
      notes: what a reader must know of trials that are not in the rows: duplicates, superseded ones, those of other plans.
      of_plans: where the study has several plans, which of their trials are in the rows, and how to see the others; else empty.
    """

    name: str
    store: Store
    experiment_id: str
    run_id: str
    plan: dict[str, Any]
    rows: pd.DataFrame
    notes: list[str]
    of_plans: str = ""

    @property
    def toggles(self) -> list[str]:
        """What the plan varies."""
        return list(self.plan["levels"])

    @property
    def finished(self) -> pd.DataFrame:
        """The rows whose trial is finished."""
        return self.rows[self.rows["status"] == FINISHED]

    @property
    def counts(self) -> str:
        """What became of the plan's trials, in words; a trial that serves several rows counts once."""
        trials = self.rows[self.rows["identity"].isna() | ~self.rows["identity"].duplicated()]
        return ", ".join(f"{count} {str(state).lower()}" for state, count in trials["status"].value_counts().items())

    @property
    def steps_to(self) -> str:
        """The name of the metric that waits for the plan's threshold."""
        return steps_to(IMPLIED[0], self.plan["threshold"])

    def history(self, metric: str) -> pd.DataFrame:
        """Returns one row a recorded value of a metric in trials of the plan: `run_id`, `step`, `value`."""
        found = self.store.history(self.experiment_id, metric)
        return found[found["run_id"].isin(set(self.finished["run_id"]))]

    @functools.cached_property
    def steps(self) -> pd.DataFrame:
        """One row a training step of the finished trials: `run_id`, `step` and `STEP_COLUMNS`; read once.

        Trials that have lost their per-step record are left out.
        """
        parts = []
        for run_id in self.finished["run_id"].unique():
            path = self.store.artifact(run_id, STEPS)
            if path is not None:
                parts.append(_steps(path).reindex(columns=["step", *STEP_COLUMNS]).assign(run_id=run_id))
        none = pd.DataFrame({name: pd.Series(dtype=float) for name in ("step", *STEP_COLUMNS)}).assign(run_id=pd.Series(dtype=object))
        return pd.concat(parts, ignore_index=True) if parts else none


def study(name: str, store: Store, *, every: bool = False) -> Study:
    """Returns a study as it is now.

    Args:
      name: of the study.
      store: that has it.
      every: take every trial of the study, of whatever plan, and not those of the latest plan alone.

    Raises:
      StoreError: the store cannot be read, has no such study, or the study has no plan that can be read.
    """
    experiments = store.experiments()
    if name not in experiments:
        if number := store.deleted_experiment(name):
            how = how_to_restore(store.uri, experiment_id=number)
            raise StoreError(f"study {name!r} was deleted in MLflow; this brings it back: {how}")
        raise StoreError(f"no study {name!r} in {shown(store.uri)}; {nearest(name, list(experiments))}")
    runs = store.runs(experiments[name])
    mine = [run for run in runs if run.tags.get("ablation.kind") == "study"]
    gone = store.runs(experiments[name], deleted=True)
    if not mine and (deleted := next((run for run in gone if run.tags.get("ablation.kind") == "study"), None)):
        how = how_to_restore(store.uri, run_id=deleted.run_id)
        raise StoreError(f"the study run of {name!r}, which has its plan, was deleted in MLflow; this brings it back: {how}")
    if not mine:
        raise StoreError(f"{name!r} in {shown(store.uri)} is an experiment without a study run; it was not made by this project")
    plans, lost = _plans(name, mine[0].run_id, store)
    plan = plans[-1]
    trials = [run for run in runs if run.tags.get("ablation.kind") == "trial" and "ablation.identity" in run.tags]
    served, notes = _serving(trials)
    notes += lost
    others = len(served.keys() - {row["identity"] for row in plan["rows"]})
    of_plans = "" if every or not others else _of_other_plans(name, others)
    if every:
        plan, of_plans, said = merged.plan(plans, {identity: _trial(store, run) for identity, run in served.items()})
        notes += said
    notes += [of_plans] if of_plans else []
    wanted = {row["identity"] for row in plan["rows"]}
    notes += _of_deleted(gone, wanted - served.keys(), store)
    environments = {run.tags.get("ablation.environment", "") for identity, run in served.items() if identity in wanted} - {""}
    if len(environments) > 1:
        notes.append(f"trials ran in different environments, which may change their numbers: {'; or '.join(sorted(environments))}")
    histories = {metric: store.history(experiments[name], metric) for metric in ("val/accuracy", PER_EPOCH, STEADY_EPOCH)}
    rows, old = _with_times(_rows(plan, served), histories)
    rows = _with_validation(rows, histories["val/accuracy"], threshold=plan["threshold"])
    return Study(name, store, experiments[name], mine[0].run_id, plan, rows, [*notes, *old], of_plans)


def _of_other_plans(name: str, count: int) -> str:
    belong = (
        "1 trial of this study belongs to another plan and is"
        if count == 1
        else f"{count} trials of this study belong to other plans and are"
    )
    return f"{belong} not shown; `python -m analysis table {name} --all` shows every trial in one table"


def _trial(store: Store, run: Run) -> merged.Trial:
    """Returns a trial with its settings, as its file has them, or else as far as MLflow's params do."""
    return merged.Trial(_settings(store, run.run_id) or merged.typed(run.params), run.tags.get("ablation.data"))


def _of_deleted(gone: list[Run], missing: set[str], store: Store) -> list[str]:
    """Returns what to say of trials that the plan misses because they were deleted, and of the last of each how to restore it."""
    runs = {run.tags["ablation.identity"]: run.run_id for run in gone if run.tags.get("ablation.identity") in missing}
    if not runs:
        return []
    how = how_to_restore(store.uri, run_id=next(iter(runs.values())))
    return [f"{len(runs)} trials were deleted in MLflow and count as not run; this brings {'it' if len(runs) == 1 else 'one'} back: {how}"]


def tidy(study: Study) -> dict[str, pd.DataFrame]:
    """Returns what `export` writes: `trials`, one row a variant and seed with every setting, metric and tag, and `steps`.

    Settings that do not vary stand in columns of their own name, those that vary as the plan has them.
    """
    runs = list(study.rows["run_id"].dropna().unique())
    settings = pd.DataFrame([{"run_id": run_id, **_settings(study.store, run_id)} for run_id in runs], columns=None if runs else ["run_id"])
    others = [key for key in settings.columns if key == "run_id" or key not in study.rows.columns]
    trials = study.rows.assign(normalised=study.rows["normalised"].map("; ".join)).merge(settings[others], on="run_id", how="left")
    for key in study.toggles:  # one column, one type: Parquet wants it
        if len({type(value) for value in trials[key]}) > 1:
            trials[key] = trials[key].map(as_typed)
    return {"trials": trials, "steps": study.rows[["label", "seed", "run_id"]].dropna().merge(study.steps, on="run_id")}


def trials(study: Study) -> pd.DataFrame:
    """Returns what tables are made of, for a reader who wants to make them again: one row a variant and seed, toggles, seed and numbers."""
    numbers = sorted(name for name in study.rows.columns if "/" in name and name not in study.toggles)
    known = ("label", "is_reference", *study.toggles, "seed", "identity", "status", "position", "weights", "step_before", "last_step")
    return study.rows[[*known, *numbers]].round(dict.fromkeys(numbers, 6))


def lost(study: Study) -> list[str]:
    """Returns what to say of trials whose files are gone or damaged, and that `tidy` therefore has less of."""
    runs = study.finished["run_id"].unique()
    lost = {
        f"per-step record that can be read ({STEPS}); their steps are left out": len(runs) - study.steps["run_id"].nunique(),
        f"settings that can be read ({SETTINGS}); columns that do not vary are empty": sum(
            not _settings(study.store, run_id) for run_id in runs
        ),
    }
    return [f"{count} of {len(runs)} finished trials have no {what}" for what, count in lost.items() if count]


def code(rows: pd.DataFrame) -> pd.Series:
    """Returns by which code each row's trial was trained: its commit, and what was not committed then.

    Args:
      rows: as `Study.rows`.
    """
    return pd.Series(
        [_code(row) for row in rows.reindex(columns=["git_commit", "git_dirty", "git_diff"]).to_dict("records")], rows.index, object
    )


def _code(row: Mapping[Any, Any]) -> str:
    commit, is_dirty, diff = (None if pd.isna(row[name]) else str(row[name]) for name in ("git_commit", "git_dirty", "git_diff"))
    name = "an unknown commit" if commit in (None, "", "unknown") else f"commit {commit[:10]}"
    if diff in (None, "", "none", "unknown"):
        return name + (" with uncommitted changes" if is_dirty == "true" else "")
    return f"{name} with uncommitted changes (diff {diff[:10]})"


def listed(store: Store) -> pd.DataFrame:
    """Returns one row an experiment: `study`, `trials`, `finished`, `failed`, `in other plans`, `latest` (UTC); a trial counts once."""
    found = []
    for name, experiment_id in store.experiments().items():
        runs = store.runs(experiment_id)
        trials = [run for run in runs if run.tags.get("ablation.kind") == "trial" and "ablation.identity" in run.tags]
        served = _serving(trials)[0]
        states = [run.status for run in served.values()]
        latest = max((run.started for run in trials), default=None)
        found.append({
            "study": name, "trials": len(states), "finished": states.count(FINISHED), "failed": states.count(FAILED),
            "in other plans": _in_other_plans(store, runs, set(served)),
            "latest": "" if latest is None else f"{pd.Timestamp(latest, unit='ms'):%Y-%m-%d %H:%M}",
        })  # fmt: skip
    return pd.DataFrame(found, columns=["study", "trials", "finished", "failed", "in other plans", "latest"])


def _in_other_plans(store: Store, runs: list[Run], identities: set[str]) -> int:
    """Returns how many trials are in no row of their study's latest plan; 0 where there is no plan that can be read."""
    mine = [run.run_id for run in runs if run.tags.get("ablation.kind") == "study"]
    try:
        plans, _ = _plans("", mine[0], store) if mine and identities else ([], [])
    except StoreError:
        return 0
    return len(identities - {row["identity"] for row in plans[-1]["rows"]}) if plans else 0


def _settings(store: Store, run_id: str) -> dict[str, Any]:
    """Returns the resolved settings of a trial, flat and typed (`data.limit` → 500); none where it has lost its file."""
    path = store.artifact(run_id, SETTINGS)
    if path is None:
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        found: dict[str, Any] = {}
        for key, value in values.items():
            if not isinstance(value, dict):
                found[key] = value
            elif key in ("task", "data"):
                found |= {f"{key}.{name}": one for name, one in value.items()}
        return found
    except (OSError, ValueError, LookupError, AttributeError):
        return {}


def _steps(path: Path) -> pd.DataFrame:
    """Returns a per-step record; one that is broken has no rows, so that a picture of the others can be drawn."""
    try:
        found = pd.read_parquet(path)
        is_whole = {"step", "time/batch_ms"} <= set(found.columns) and all(
            pd.api.types.is_numeric_dtype(found[name]) for name in ("step", *STEP_COLUMNS) if name in found
        )
        return found if is_whole else pd.DataFrame()
    except Exception:  # pyarrow has errors of every kind for broken bytes
        return pd.DataFrame()


def _plans(name: str, run_id: str, store: Store) -> tuple[list[dict[str, Any]], list[str]]:
    """Returns the plans of a study that can be read, the latest last, and what to say of the others.

    Raises:
      StoreError: the latest cannot be read.
    """
    path = store.artifact(run_id, "plan.json")
    if path is None:
        where = local_path(store.address(run_id))
        if where is not None and not where.exists():
            fix = "if its home was moved, `python -m src.sync` mends the addresses; if they were deleted, type the study's command again"
            raise StoreError(f"the files of study {name!r} are not at {where}, where MLflow has them; {fix}")
        raise StoreError(f"study {name!r} has no plan yet; type its command again")
    try:
        *earlier, latest = json.loads(path.read_text(encoding="utf-8"))
        last = _plan(latest)
    except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
        raise StoreError(f"the plan of study {name!r} ({path}) cannot be read: {error!r}; type the study's command again") from None
    found = []
    for record in earlier:
        with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError):
            found.append(_plan(record))
    lost = len(earlier) - len(found)
    return [*found, last], [f"{lost} earlier plans of this study cannot be read ({path})"] if lost else []


def _plan(record: Any) -> dict[str, Any]:
    """Returns a plan, whole: what an older version did not write has its default."""
    rows = [
        {
            **{"role": row["role"], "identity": None if row["identity"] is None else str(row["identity"])},
            **{"label": str(row["label"]), "values": dict(row["values"]), "seed": int(row["seed"])},
            **{"normalised": list(row.get("normalised", [])), "dropped": row.get("dropped")},
        }
        for row in record["rows"]
    ]
    if not rows or len({(row["label"], row["seed"]) for row in rows}) < len(rows):
        raise ValueError("it has no rows" if not rows else "two of its rows have one label and one seed")
    asked = Plan.model_validate({key: value for key, value in record.items() if key in Plan.model_fields}).model_dump()
    lists = {key: list(record.get(key, [])) for key in ("aliases", "commands")}
    return {**asked, **lists, "levels": dict(record["levels"]), "rows": rows}


def _serving(trials: list[Run]) -> tuple[dict[str, Run], list[str]]:
    """Returns identity → the attempt that counts, as `attempts.counting` tells it, and what to say of the others."""
    of_identities = attempts.of_identities(trials)
    counting = {identity: attempts.counting(runs) for identity, runs in of_identities.items()}
    served = {identity: run for identity, run in counting.items() if run is not None}
    superseded = sum(run.tags.get(attempts.SUPERSEDED) == "true" for run in trials)
    notes = [f"{superseded} finished trials were trained again (rerun=true) and no longer count"] if superseded else []
    for identity, runs in of_identities.items():
        finished = [run for run in runs if run.status == FINISHED]
        left = [run for run in finished if run.tags.get(attempts.SUPERSEDED) != "true"]
        if len(left) > 1:
            same = len({run.tags.get("ablation.weights") for run in left}) == 1
            weights = "the same weights" if same else "different weights"
            notes.append(f"trial {identity} finished {len(left)} times, with {weights}; only the latest counts")
        if left and attempts.is_told_by_wrong_clocks(finished):
            doubt = f"the clocks of the attempts of trial {identity} contradict each other, and nothing else tells which is the latest"
            notes.append(f"{doubt}; run {served[identity].run_id} counts")
    return served, notes


def _rows(plan: dict[str, Any], served: dict[str, Run]) -> pd.DataFrame:
    """Returns one row a variant and seed, as `Study.rows` but for what histories say."""
    metrics, texts = [], []
    for row in plan["rows"]:
        run = served.get(row["identity"])
        text = {key: row[key] for key in ("label", "identity", "dropped", "normalised")}
        text |= {"status": DROPPED if row["dropped"] else NOT_RUN, "run_id": None, **dict.fromkeys(TAGS)}
        if run is not None:
            text |= {column: run.tags.get(f"ablation.{tag}") for column, tag in TAGS.items()}
            text |= {"status": run.status, "run_id": run.run_id}
        texts.append(text)
        moments = {} if run is None else {"started": run.started, "ended": run.ended}
        metrics.append({"seed": row["seed"], "is_reference": row["role"] == "reference", **moments, **(run.metrics if run else {})})
    rows = pd.DataFrame(metrics)
    for name in texts[0] if texts else ():  # objects: pandas would make nan of None
        rows[name] = pd.Series([text[name] for text in texts], dtype=object)
    for toggle in plan["levels"]:  # and 90.0 of the 90 beside a None
        rows[toggle] = pd.Series([row["values"].get(toggle) for row in plan["rows"]], dtype=object)
    for moment in ("started", "ended"):
        rows[moment] = pd.to_datetime(rows.reindex(columns=[moment])[moment].astype(float), unit="ms", utc=True)
    return rows


def _with_times(rows: pd.DataFrame, histories: Mapping[str, pd.DataFrame]) -> tuple[pd.DataFrame, list[str]]:
    """Returns the rows with the times of an epoch over all epochs (a run shows its last one's), and what to say of older trials.

    Older versions left the steps that traced out of `time/epoch_s` and `time/train_s`; what they have recorded goes by its name of today.
    """
    if histories[PER_EPOCH].empty:
        return rows, []
    whole = histories[PER_EPOCH].groupby("run_id")["value"]
    steady = rows["run_id"].map(histories[STEADY_EPOCH].groupby("run_id")["value"].median()).astype(float)
    rows = rows.assign(**{PER_EPOCH: rows["run_id"].map(whole.mean()).astype(float), STEADY_EPOCH: steady})
    is_old = rows["record"].isna() & rows[PER_EPOCH].notna()
    if not is_old.any():
        return rows, []
    rows[STEADY_EPOCH] = steady.where(~is_old, rows["run_id"].map(whole.median()).astype(float))
    for name in {PER_EPOCH, "time/train_s"} & set(rows.columns):
        rows[name] = rows[name].mask(is_old)
    what = f"left out the steps that traced; it is shown as {STEADY_EPOCH}, and the whole time of an epoch is unknown"
    return rows, [f"{is_old.sum()} trials are of an older version, whose {PER_EPOCH} {what}; rerun=true trains them again"]


def _with_validation(rows: pd.DataFrame, validation: pd.DataFrame, *, threshold: float) -> pd.DataFrame:
    """Returns the rows with what the history of the validation accuracy says: the best, the last step, and when it reached the target."""
    of_run = validation.groupby("run_id")
    before = of_run["step"].shift(fill_value=0)
    reached = validation.assign(step_before=before)[validation["value"] >= threshold].drop_duplicates("run_id").set_index("run_id")
    columns = {
        "val/accuracy": of_run["value"].max(),
        "last_step": of_run["step"].max(),
        "step_before": reached["step_before"],
        steps_to(IMPLIED[0], threshold): reached["step"],
    }
    return rows.assign(**{name: rows["run_id"].map(values).astype(float) for name, values in columns.items()})
