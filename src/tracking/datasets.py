"""A trial's data as MLflow datasets: one per split, with its rows, its context and the hash of all the data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from src.tracking.stored import fitting

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

CONTEXTS = {"train": "training", "validation": "validation", "test": "test"}
NAME, SOURCE = 400, 2_000  # bytes
MAX_LISTED = 100  # values of a list in the profile
NOT_PROFILE = ("name", "digest", "source", "rows", "columns")  # parts of the data that MLflow stores elsewhere


def inputs(data: Mapping[str, Any]) -> list[DatasetInput]:
    """Returns the datasets of a trial's `start`; equal data give equal datasets, which MLflow stores once.

    Args:
      data: `name`, `digest`, `source`, `rows` (split → examples), optional `columns` (name → MLflow's type), and any
        other descriptions.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    columns = [{"type": kind, "name": name} for name, kind in data.get("columns", {}).items()]
    source = json.dumps({"uri": fitting(str(data["source"]), SOURCE)})
    datasets = []
    for split, rows in data["rows"].items():
        dataset = Dataset(
            name=fitting(data["name"], NAME),
            digest=f"{data['digest']}-{split}",
            source_type="local",
            source=source,
            schema=json.dumps({"mlflow_colspec": columns}) if columns else None,
            profile=json.dumps({"num_rows": rows, **_profile(data)}),
        )
        datasets.append(DatasetInput(dataset, [InputTag("mlflow.data.context", CONTEXTS.get(split, split))]))
    return datasets


def _profile(data: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the other descriptions of the data; for a list, its length and its first values."""
    profile: dict[str, Any] = {}
    for name, value in data.items():
        if name in NOT_PROFILE:
            continue
        if isinstance(value, list):
            profile |= {f"num_{name}": len(value), name: value[:MAX_LISTED]}
        else:
            profile[name] = value
    return profile
