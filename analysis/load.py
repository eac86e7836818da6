"""MLflow to tidy frames."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

TAGS = ("health", "workers", "threads", "processor", "git_commit", "git_dirty")


class NoSuchStudy(LookupError):
    """The store has no study of this name; the text lists those it has."""


def trials(study: str, *, uri: str) -> pd.DataFrame:
    """Returns the FINISHED trials of a study that count, in the order in which they began.

    Args:
      study: name of the study.
      uri: MLflow tracking URI.

    Returns:
      One row a trial: `run_id`, `variant`, `identity`, `health`, `workers`, every param by its key (typed as in JSON) and
      every metric by its name.

    Raises:
      NoSuchStudy: the store has no such study.
    """
    runs = _runs(study, uri, "tags.`ablation.kind` = 'trial' AND attributes.status = 'FINISHED'")
    rows = [
        {
            "run_id": run.info.run_id,
            **{name: run.data.tags.get(f"ablation.{name}") for name in ("variant", "identity", "health", "workers")},
            **{key: _typed(value) for key, value in run.data.params.items()},
            **run.data.metrics,
        }
        for run in runs
        if run.data.tags.get("ablation.superseded") != "true"
    ]
    return pd.DataFrame(rows)


def plan(study: str, *, uri: str) -> dict[str, Any]:
    """Returns the latest plan of a study: its question, design, levels, metric, margin and rows.

    Raises:
      NoSuchStudy: the store has no such study, or the study has no plan.
    """
    (run, *_) = _runs(study, uri, "tags.`ablation.kind` = 'study'") or [None]
    if run is None:
        raise NoSuchStudy(f"study {study!r} in {uri} has no plan; was it made by this project?")
    with tempfile.TemporaryDirectory() as folder:
        path = artifact(run.info.run_id, "plan.json", uri=uri, into=Path(folder))
        return dict(json.loads(path.read_text(encoding="utf-8"))[-1])


def rows(study: str, *, uri: str) -> pd.DataFrame:
    """Returns the rows of a study's latest plan, each with the trial that serves it.

    Args:
      study: name of the study.
      uri: MLflow tracking URI.

    Returns:
      One row a variant and seed: `label`, `is_reference`, `seed`, `identity`, `dropped`, `status` (of the finished attempt that
      counts, or of the latest; `not run` where there is none), `run_id`, the tags of `TAGS`, the value of every varied toggle, and
      every metric.
      `attrs` holds the plan, and the varied toggles as `toggles`.

    Raises:
      NoSuchStudy: the store has no such study.
    """
    asked = plan(study, uri=uri)
    trials: dict[str, dict[str, Any]] = {}
    for run in _runs(study, uri, "tags.`ablation.kind` = 'trial'"):  # the earliest first
        name, status = run.data.tags["ablation.identity"], run.info.status
        counts = run.data.tags.get("ablation.superseded") != "true"
        if counts and (status == "FINISHED" or trials.get(name, {}).get("status") != "FINISHED"):
            tags = {tag: run.data.tags.get(f"ablation.{tag}") for tag in TAGS}
            trials[name] = {"status": status, "run_id": run.info.run_id, **tags, **run.data.metrics}
    found = [
        {
            **{key: row[key] for key in ("label", "seed", "identity", "dropped")},
            "is_reference": row["role"] == "reference",
            **row["values"],
            **trials.get(row["identity"], {"status": "dropped" if row["dropped"] else "not run"}),
        }
        for row in asked["rows"]
    ]
    frame = pd.DataFrame(found)
    for toggle in asked["levels"]:  # pandas would make 90.0 of the 90 beside a null
        frame[toggle] = pd.Series([row["values"][toggle] for row in asked["rows"]], dtype=object)
    frame.attrs.update(plan=asked, toggles=list(asked["levels"]))
    return frame


def steps(frame: pd.DataFrame, metric: str, *, uri: str) -> pd.DataFrame:
    """Returns one row a trial and recorded step: `run_id`, `step` and the metric's `value`.

    Args:
      frame: what `trials` returned.
      metric: name of a metric.
      uri: MLflow tracking URI.
    """
    client = _client(uri)
    points = [(run_id, point.step, point.value) for run_id in frame["run_id"] for point in client.get_metric_history(run_id, metric)]
    return pd.DataFrame(points, columns=["run_id", "step", "value"])


def artifact(run_id: str, name: str, *, uri: str, into: Path) -> Path:
    """Returns the path of a copy of one of a trial's files."""
    return Path(_client(uri).download_artifacts(run_id, name, str(into)))


def _runs(study: str, uri: str, text: str) -> list[Any]:
    client = _client(uri)
    experiment = client.get_experiment_by_name(study)
    if experiment is None:
        known = sorted(found.name for found in client.search_experiments() if found.name != "Default")
        raise NoSuchStudy(f"no study {study!r} in {uri}; there are {', '.join(known) or 'none yet'}")
    found, token = [], None
    while True:
        page = client.search_runs(
            [experiment.experiment_id], text, max_results=1_000, order_by=["attributes.start_time ASC"], page_token=token
        )
        found += page
        token = page.token
        if not token:
            return found


def _client(uri: str) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(uri)


def _typed(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value
