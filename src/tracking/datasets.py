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
SHOWN = 100  # classes


def inputs(data: Mapping[str, Any]) -> list[DatasetInput]:
    """Returns the datasets of a trial's `start`: the same ones of the same data, so that sent twice they are there once.

    Args:
      data: `name`, `digest`, `source`, `classes`, and `rows` (split → examples).
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    kind = "float" if data["source"] == "drawn" else "string"
    columns = [{"type": kind, "name": "input"}, {"type": "string", "name": "class"}]
    source = json.dumps({"uri": fitting(str(data["source"]), SOURCE)})
    found = []
    for split, rows in data["rows"].items():
        profile = {"num_rows": rows, "num_classes": len(data["classes"]), "classes": data["classes"][:SHOWN]}
        dataset = Dataset(
            name=fitting(data["name"], NAME),
            digest=f"{data['digest']}-{split}",
            source_type="local",
            source=source,
            schema=json.dumps({"mlflow_colspec": columns}),
            profile=json.dumps(profile),
        )
        found.append(DatasetInput(dataset, [InputTag("mlflow.data.context", CONTEXTS.get(split, split))]))
    return found
