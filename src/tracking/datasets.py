"""What a trial read, as MLflow's datasets: one for each split, with its rows, its context and the hash of the whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from src.tracking.stored import fitting

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

CONTEXTS = {"train": "training", "validation": "validation", "test": "test"}
NAME, SOURCE = 400, 2_000  # bytes
SHOWN = 100  # of a list
OWN = ("name", "digest", "source", "rows", "columns")  # parts that are no profile


def inputs(data: Mapping[str, Any]) -> list[DatasetInput]:
    """Returns the datasets of a trial's `start`: the same ones of the same data, so that sent twice they are there once.

    Args:
      data: `name`, `digest`, `source`, `rows` (split → examples), perhaps `columns` (name → MLflow's type), and what else describes them.
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
    """Returns what else describes the data; of a list its length and its first values."""
    profile: dict[str, Any] = {}
    for name, value in data.items():
        if name not in OWN:
            profile |= {f"num_{name}": len(value), name: value[:SHOWN]} if isinstance(value, list) else {name: value}
    return profile
