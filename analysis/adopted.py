"""Studies made of runs that somebody else recorded: a store of files, which the analysis reads as it reads MLflow.

    ABLATION_HOME/adopted/NAME/    plan.json  runs.parquet  notes.json

`adoption` makes them. They are a copy: the source is neither changed nor read again.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import plans
from analysis.store import Store, StoreError, connect
from src import paths
from src.tracking import attempts
from src.tracking.attempts import Run

RUNS, NOTES = "runs.parquet", "notes.json"
STUDY_RUN = "study"  # id of the study run
TEXTS = ("tags", "params", "metrics")  # columns of JSON


def folder() -> Path:
    """Returns the folder with one sub-folder per adopted study."""
    return paths.adopted()


def is_adopted(name: str) -> bool:
    """Returns whether there is an adopted study of this name."""
    return (folder() / name / plans.FILE).is_file()


def store_of(name: str, uri: str | None) -> Store:
    """Returns the store that has a study: that of the adopted studies, or MLflow's.

    Raises:
      StoreError: MLflow's store cannot be read, or a trained study has the same name.
    """
    if uri is not None or not is_adopted(name):
        return connect(uri)
    if paths.study_folder(name).exists():
        where = folder() / name
        fix = f"--uri names the store of the trained one; to keep it alone, remove {where}, or rename that folder"
        raise StoreError(f"there are two studies {name!r}, a trained one and an adopted one; {fix}")
    return AdoptedStore()


class AdoptedStore:
    """The adopted studies; see `Store`. An experiment's id is its name, and a run's id begins with it."""

    def __init__(self) -> None:
        """Reads nothing yet."""
        self.uri = folder().as_uri()

    def experiments(self) -> dict[str, str]:
        """See `Store`."""
        names = sorted(path.parent.name for path in folder().glob(f"*/{plans.FILE}"))
        return {name: name for name in names}

    def deleted_experiment(self, name: str) -> str | None:
        """See `Store`: nothing is deleted."""
        return None

    def runs(self, experiment_id: str, *, deleted: bool = False) -> list[Run]:
        """See `Store`."""
        if deleted:
            return []
        path = folder() / experiment_id / RUNS
        try:
            records = pd.read_parquet(path).to_dict("records")
        except (OSError, ValueError) as error:
            raise StoreError(f"{path} cannot be read ({error}); adopt the study again") from None
        study = Run(f"{experiment_id}/{STUDY_RUN}", experiment_id, "FINISHED", 0, 0, {attempts.KIND: "study"})
        return [study, *(_run(record) for record in records)]

    def history(self, experiment_id: str, metric: str) -> pd.DataFrame:
        """See `Store`: every run has one value of a metric, its last."""
        rows = [(run.run_id, 0, run.metrics[metric]) for run in self.runs(experiment_id) if metric in run.metrics]
        frame = pd.DataFrame(rows, columns=["run_id", "step", "value"])
        return frame.astype({"step": int, "value": float}).sort_values(["run_id", "step"], ignore_index=True)

    def artifact(self, run_id: str, name: str) -> Path | None:
        """See `Store`: only the study run has files."""
        experiment, _, run = run_id.partition("/")
        path = folder() / experiment / name
        return path if run == STUDY_RUN and path.is_file() else None

    def address(self, run_id: str) -> str:
        """See `Store`."""
        return str(folder() / run_id.partition("/")[0])


def _run(record: Mapping[Any, Any]) -> Run:
    texts = {key: json.loads(record[key]) for key in TEXTS}
    ended = None if pd.isna(record["ended"]) else int(record["ended"])
    return Run(**{**record, "started": int(record["started"]), "ended": ended, **texts})


def write(name: str, plan: Mapping[str, Any], runs: Sequence[Run], notes: Sequence[str]) -> Path:
    """Writes an adopted study, in place of an earlier one of this name, which stays until the new one is whole.

    Returns:
      Its folder.
    """
    target = folder() / name
    target.parent.mkdir(parents=True, exist_ok=True)
    records = [{**asdict(run), **{key: json.dumps(getattr(run, key)) for key in TEXTS}} for run in runs]
    with tempfile.TemporaryDirectory(prefix=".", dir=target.parent) as made:
        pd.DataFrame(records).to_parquet(Path(made) / RUNS, index=False)
        for file, content in ((NOTES, list(notes)), (plans.FILE, [dict(plan)])):
            (Path(made) / file).write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
        target.mkdir(exist_ok=True)
        for file in (RUNS, NOTES, plans.FILE):
            (Path(made) / file).replace(target / file)
    return target
