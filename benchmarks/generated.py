"""A tracked study without training, for tests and benchmarks of the analysis; a function gives its numbers.

MLflow's client would take an hour for ten thousand trials, so this module writes MLflow's tables directly.
"""

from __future__ import annotations

import json
import sqlite3
import statistics
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd

from src.artifacts import EXAMPLES, PROBABILITIES, STEPS
from src.config.settings import checked, edited
from src.files import digest
from src.spec.metric import IMPLIED, TEST, TRAIN, VAL, Metric, as_records
from src.spec.section import as_typed
from src.study import plan_record
from src.study.plan import Row, Study
from src.trial.run import RECORD

Outcome = Callable[[dict[str, Any], int], "dict[str, Any] | None"]
BEGIN_MS = 1_790_000_000_000
TAGS = {
    "health": "ok", "workers": "1", "threads": "2", "processor": "a processor, 2 cores", "versions": "python 3.11",
    "kernel": "while_loop", "git_commit": "0" * 40, "git_dirty": "false", "data": "d" * 16, "best_epoch": "1 of 3",
    "record": RECORD,
}  # fmt: skip


def database(folder: Path) -> Path:
    """Creates an empty MLflow database in a folder and returns its path."""
    from mlflow.tracking import MlflowClient

    path = folder / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments(max_results=1)
    return path


def study(  # noqa: PLR0913
    path: Path,
    name: str,
    levels: Mapping[str, Sequence[Any]],
    outcome: Outcome,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    steps: int = 0,
    examples: int = 0,
    metrics: Sequence[Metric] = IMPLIED,
    record: Mapping[str, Any] | None = None,
    **plan_options: Any,
) -> None:
    """Writes a study with its plan and its trials.

    Args:
      path: path of the database.
      name: name of the study.
      levels: toggle → values, the reference first.
      outcome: (toggles, seed) → metrics, with optional `status`, `tags` and `validation` (the first metric after each
        epoch) that differ from the defaults; None for a trial that was not run.
      seeds: seeds of every variant.
      steps: rows of each trial's per-step record; 0 for no record.
      examples: rows of each trial's test results per example; 0 for none.
      metrics: metrics of the task, the main one first.
      record: additional or replaced parts of the plan's record, unchecked.
      **plan_options: other settings of the plan (`design`, `metric`, `margin`, `question`, …).
    """
    settings = edited(checked({"study": name}), {f"plan.{key}": value for key, value in plan_options.items()})
    groups = [[dict(zip(keys, one, strict=True)) for one in zip(*(levels[key] for key in keys), strict=True)]
              for keys in settings.plan.linked]  # fmt: skip
    reference = {key: values[0] for key, values in levels.items()}
    plan = Study(settings, [], reference, dict(levels), list(seeds), lambda _: settings, groups)
    rows = _rows(plan, outcome, metrics[0])
    home = path.parent / "mlartifacts" / name
    with sqlite3.connect(path) as connection:
        (largest,) = connection.execute("SELECT max(experiment_id) FROM experiments").fetchone()
        experiment = int(largest) + 1
        columns = "experiment_id, name, artifact_location, lifecycle_stage"
        connection.execute(
            f"INSERT INTO experiments ({columns}) VALUES (?, ?, ?, 'active')", (experiment, name, home.as_uri())
        )
        run = _insert(
            connection, experiment, home, status="FINISHED", tags={"ablation.kind": "study", "ablation.study": name}
        )
        command = f"python -m src.run -m study={name} …"
        planned = plan_record.of_plan(plan, rows, command=command, time="2026-11-22T00:00:00+00:00")
        if metrics != IMPLIED:
            target = {"metric": f"{TEST}{metrics[0].name}", "threshold": metrics[0].target}
            planned |= {"metrics": as_records(metrics), **target}
        planned |= record or {}
        (home / run / "artifacts").mkdir(parents=True)
        (home / run / "artifacts" / "plan.json").write_text(json.dumps([planned]), encoding="utf-8")
        for number, row in enumerate({row.trial.identity: row for row in rows if row.trial}.values()):
            result = outcome(row.values, row.seed)
            if result is not None:
                _trial(
                    connection, experiment, home, row, result, metrics, number=number, steps=steps, examples=examples
                )


def _rows(plan: Study, outcome: Outcome, metric: Metric) -> list[Row]:
    """Returns the plan's rows; a path scores the variants of a round by their best validation values."""
    rounds, rows = plan.rounds(), []
    variants = next(rounds)
    while True:
        rows += [_row(plan, variant, seed) for seed in plan.seeds for variant in variants]
        scores = {place: _score(plan, outcome, variant, metric) for place, variant in enumerate(variants)}
        known = {place: score for place, score in scores.items() if score is not None}
        try:
            variants = rounds.send(known)
        except StopIteration:
            return rows


def _row(plan: Study, variant: dict[str, Any], seed: int) -> Row:
    trial = SimpleNamespace(
        identity=digest({"values": variant, "seed": seed, "study": plan.settings.study}), changes=[]
    )
    return Row(plan.name(variant), variant, seed, 1, variant == plan.reference, [], cast(Any, trial), None)


def _score(plan: Study, outcome: Outcome, variant: dict[str, Any], metric: Metric) -> float | None:
    """Returns the mean best validation value of a variant, signed so that higher is better; None without all seeds."""
    results = [outcome(variant, seed) for seed in plan.seeds]
    finished = [result for result in results if result and "status" not in result and metric.sign]
    best = [metric.best(result.get("validation", [])) for result in finished]
    values = [value for value in best if value is not None]
    return metric.sign * statistics.fmean(values) if len(values) == len(results) else None


def _trial(
    connection: sqlite3.Connection,
    experiment: int,
    home: Path,
    row: Row,
    result: dict[str, Any],
    metrics: Sequence[Metric],
    **sizes: int,
) -> None:
    """Writes one trial: its run with the last values, its validation curve, and its files."""
    assert row.trial is not None
    result, first = dict(result), metrics[0]
    validation = result.pop("validation", [0.7, 0.8, 0.8])
    standard = {
        "identity": row.trial.identity,
        "kind": "trial",
        "attempt": uuid.uuid4().hex,
        "weights": f"{row.label} {row.seed}",
        **TAGS,
    }
    tags = {
        f"ablation.{key}": value for key, value in {**standard, **result.pop("tags", {})}.items() if value is not None
    }
    status = result.pop("status", "FINISHED")
    recorded = {
        "time/batch_ms_median": 50.0, "time/epoch_s": 2.0, "time/steady_epoch_s": 2.0, "time/trace_s": 3.0,
        "data/traces": 2.0, "data/padding_fraction": 0.1, "data/batches_per_epoch": 40.0, "model/parameters": 1_000.0,
        "memory/peak_mb": 900.0, f"{VAL}{first.name}": validation[-1], **result,
    }  # fmt: skip
    begin, params = BEGIN_MS + 60_000 * sizes["number"], {"seed": row.seed, **row.values}  # noqa: PD011
    run = _insert(connection, experiment, home, status=status, tags=tags, params=params, begin=begin)
    last = [(key, *_stored(value), begin, 0, run) for key, value in recorded.items()]
    connection.executemany(
        "INSERT INTO latest_metrics (key, value, is_nan, timestamp, step, run_uuid) VALUES (?, ?, ?, ?, ?, ?)", last
    )
    points = [
        (f"{VAL}{first.name}", *_stored(value), begin + 40 * step, 40 * step, run)
        for step, value in enumerate(validation, 1)
    ]
    folder = home / run / "artifacts"
    if sizes["steps"]:
        frame = _steps(sizes["steps"], metrics, seed=row.seed)
        folder.mkdir(parents=True)
        frame.to_parquet(folder / STEPS, index=False)
        for name in (*(f"{TRAIN}{metric.name}" for metric in metrics), "time/batch_ms"):
            points += [
                (name, float(value), False, begin + 40 * step, int(step), run)
                for step, value in zip(frame["step"], frame[name], strict=True)
            ]
    connection.executemany(
        "INSERT INTO metrics (key, value, is_nan, timestamp, step, run_uuid) VALUES (?, ?, ?, ?, ?, ?)", points
    )
    value = recorded.get(f"{TEST}{first.name}")
    if sizes["examples"] and value is not None:
        folder.mkdir(parents=True, exist_ok=True)
        if metrics == IMPLIED:
            _probabilities(sizes["examples"], accuracy=value, seed=row.seed).to_parquet(folder / PROBABILITIES)
        else:
            _measured(sizes["examples"], first, value, seed=row.seed).to_parquet(folder / EXAMPLES)


def _insert(
    connection: sqlite3.Connection,
    experiment: int,
    home: Path,
    *,
    status: str,
    tags: Mapping[str, str],
    params: Mapping[str, Any] | None = None,
    begin: int = BEGIN_MS,
) -> str:
    run = uuid.uuid4().hex
    row = {
        "run_uuid": run, "name": run, "source_type": "LOCAL", "user_id": "nobody", "lifecycle_stage": "active",
        "status": status, "start_time": begin, "end_time": begin + 50_000,
        "artifact_uri": (home / run / "artifacts").as_uri(), "experiment_id": experiment,
    }  # fmt: skip
    marks = ", ".join("?" * len(row))
    connection.execute(f"INSERT INTO runs ({', '.join(row)}) VALUES ({marks})", list(row.values()))
    connection.executemany(
        "INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)", [(*pair, run) for pair in tags.items()]
    )
    texts = [(key, as_typed(value), run) for key, value in (params or {}).items()]
    connection.executemany("INSERT INTO params (key, value, run_uuid) VALUES (?, ?, ?)", texts)
    return run


def _stored(value: float) -> tuple[float, bool]:
    """Returns a value and whether it is nan, as MLflow stores them: 0 for nan, the largest float for infinity."""
    largest = float(np.finfo(np.float64).max)
    return (0.0, True) if np.isnan(value) else (float(np.clip(value, -largest, largest)), False)


def _steps(count: int, metrics: Sequence[Metric], *, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    step = np.arange(1, count + 1)
    curves = {f"{TRAIN}{metric.name}": (metric.sign > 0) - (0.6 * metric.sign) / np.sqrt(step) for metric in metrics}
    return pd.DataFrame({
        "step": step, **curves, "time/batch_ms": rng.lognormal(4, 0.2, count), "epoch": 1 + (step - 1) // 40,
        "wait_ms": 0.5, "batch": 64, "length": 200, "tokens": rng.integers(9_000, 12_800, count),
        "is_first": step == 1, "gradient_norm": 0.1, "is_sent": True,
    })  # fmt: skip


def _probabilities(count: int, *, accuracy: float, seed: int) -> pd.DataFrame:
    """Returns probabilities of test examples with a given accuracy; trials of equal seed share their right examples."""
    labels = np.arange(count) % 2
    is_right = np.random.default_rng(seed).permutation(count) < round(accuracy * count)
    positive = np.where(is_right == (labels == 1), 0.9, 0.1)
    columns = {"row": np.arange(count), "label": labels, "probability_0": 1 - positive, "probability_1": positive}
    return pd.DataFrame(columns)


def _measured(count: int, metric: Metric, value: float, *, seed: int) -> pd.DataFrame:
    """Returns weighted results of test examples with a given value of the metric; equal seeds give equal weights."""
    rng = np.random.default_rng(seed)
    mean = float({"mean": np.positive, "exp": np.log, "sqrt": np.square}[metric.finish](value))
    weights = rng.integers(5, 20, count).astype(float)
    deviations = rng.normal(0, 0.1, count)
    values = weights * (mean + deviations - np.average(deviations, weights=weights))
    return pd.DataFrame({"row": np.arange(count), metric.source: values, f"{metric.source}_weight": weights})
