"""Sends records of a journal to an MLflow run. Sending the same records twice stores them once."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from src.artifacts import MODEL, PATCH
from src.files import digest
from src.spec.metric import TEST, VAL, Metric, best_name
from src.spec.record import END, GRADIENT_NORM, START, STEP, Record
from src.spec.section import as_typed
from src.tracking import datasets, descriptions, journal, logged_model
from src.tracking.journal import Entry
from src.tracking.stored import VALUE, fitting

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

MAX_METRICS = 1_000  # MLflow's limit of metrics in one call
MODEL_METRICS = ("model/parameters", "time/batch_ms_median")  # of a logged model, after the task's own metrics

_log = logging.getLogger(__name__)


def records(client: MlflowClient, run_id: str, group: Sequence[Entry]) -> None:
    """Sends metrics, params and tags."""
    from mlflow.entities import Metric as Value
    from mlflow.entities import Param, RunTag

    metrics = [
        Value(name, value, entry.time_ms, entry.record.step)
        for entry in group
        for name, value in (_metrics(entry.record).items() if journal.is_sent(entry) else ())
    ]
    settings = [item for entry in group for item in entry.record.detail.get("params", {}).items()]
    params = [Param(key, fitting(as_typed(value), VALUE)) for key, value in settings]
    tags = [RunTag(key, fitting(str(value), VALUE)) for key, value in _tags(group).items()]
    for begin in range(0, max(1, len(metrics)), MAX_METRICS):
        is_first = begin == 0
        client.log_batch(
            run_id, metrics[begin : begin + MAX_METRICS], params if is_first else [], tags if is_first else []
        )


def data_and_patch(client: MlflowClient, run_id: str, start: Record, folder: Path) -> None:
    """Sends the datasets of a trial and the patch of its code, if its start names them; older starts do not."""
    if "data" in start.detail:
        client.log_inputs(run_id, datasets.inputs(start.detail["data"]))
    patch, expected = folder / PATCH, start.detail["tags"].get("ablation.git_diff")
    if expected and patch.is_file() and digest(patch.read_bytes().decode(errors="surrogateescape")) == expected:
        client.log_artifact(run_id, str(patch))


def files(client: MlflowClient, run_id: str, folder: Path, names: Sequence[str]) -> None:
    """Sends the files of a trial; warns of a deleted file that MLflow has no copy of."""
    for name in names:
        if (folder / name).exists():
            client.log_artifact(run_id, str(folder / name))
    missing = [name for name in names if not (folder / name).exists()]
    sent = {file.path for file in client.list_artifacts(run_id)} if missing else set()
    if lost := [name for name in missing if name not in sent]:
        _log.warning(
            "%s: MLflow gets this trial without %s, which no longer exists in this folder", folder, ", ".join(lost)
        )


def best_validation(client: MlflowClient, run_id: str, attempt: Sequence[Entry], first: Metric) -> None:
    """Sends the best validation value of the first metric for a finished trial whose (older) journal lacks it."""
    end, name = attempt[-1], f"{VAL}{first.name}"
    if best_name(first) in end.record.metrics or not first.sign:
        return
    best = first.best(entry.record.metrics[name] for entry in attempt if name in entry.record.metrics)
    if best is not None:
        client.log_metric(run_id, best_name(first), best, timestamp=end.time_ms, step=end.record.step)


def model(client: MlflowClient, run_id: str, end: Entry, folder: Path, *, metrics: Sequence[Metric]) -> None:
    """Logs the model of a finished trial if its task can be served; registers it if the settings ask for that."""
    servable = logged_model.of_trial(folder) if MODEL in end.record.detail["artifacts"] else None
    if servable is None:
        return
    run = client.get_run(run_id)
    owner = logged_model.Owner(run.info.experiment_id, run_id, end.record.step, end.time_ms)
    names = [*(f"{TEST}{metric.name}" for metric in metrics), best_name(metrics[0]), *MODEL_METRICS]
    values = {name: end.record.metrics[name] for name in names if name in end.record.metrics}
    model_id = logged_model.log(client, owner, servable.served, metrics=values, params=run.data.params)
    if model_id is not None and servable.register is not None:
        logged_model.register(client, owner, model_id, servable.register)


def _metrics(record: Record) -> dict[str, float]:
    """Returns the metrics of a record; for a step, including the gradient norm."""
    if record.kind == STEP and "gradient_norm" in record.detail:
        return record.metrics | {GRADIENT_NORM: record.detail["gradient_norm"]}
    return record.metrics


def _tags(group: Sequence[Entry]) -> dict[str, str]:
    first, last = group[0].record, group[-1].record
    tags = dict(last.detail["tags"]) if last.kind == END else {}
    if first.kind == START and "description" in first.detail:
        tags[descriptions.NOTE] = first.detail["description"]
    return tags
