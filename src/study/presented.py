"""What MLflow's page of a study says: its question, what it varies, its outcomes as a table, and which variant is best."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from src.settings import as_typed
from src.study import table
from src.study.plan import Row, Study
from src.tracking import descriptions, links, provenance
from src.tracking.journal import FINISHED
from src.tracking.outcome import Outcome

FILE = "study_run.json"  # in the study's folder
PARTS = {"experiment": dict, "description": str, "tags": dict, "metrics": dict}


def page(
    study: Study, rows: Sequence[Row], known: Mapping[str, Outcome], *, scores: Mapping[int, float], remarks: Sequence[str] = ()
) -> dict[str, Any]:
    """Returns what `Store.present` takes.

    Args:
      study: the question.
      rows: of all rounds so far.
      known: identity → outcome.
      scores: position of a variant, in the order of the rows → mean best validation accuracy, of those whose every seed finished.
      remarks: on the outcomes, a line each.
    """
    trials = {row.trial.identity for row in rows if row.trial}
    finished = {name for name in trials if name in known and known[name].status == FINISHED}
    varied = {key: list(values) for key, values in study.levels.items()}
    headings, cells = _cells(rows, known) if finished else ([], [])
    best = _best(rows, known, scores)
    view = links.view(list(varied), metric=study.plan.metric, study=study.settings.study, time_ms=round(time.time() * 1_000))
    lines = [*([f"Best by validation: {best['label']}"] if best else []), *remarks]
    tags = {
        "ablation.varied": ", ".join(varied) or "nothing",
        "ablation.levels": "; ".join(f"{key}: {_listed(values)}" for key, values in varied.items()) or "none",
        "ablation.best_variant": best["label"] if best else "none yet",
        "ablation.finished": f"{len(finished)} of {len(trials)}",
        **{key: value for key, value in provenance.tags().items() if key.startswith("mlflow.source.")},
    }
    metrics = {"study/trials": float(len(trials)), "study/finished": float(len(finished))}
    metrics |= {f"study/best_{name}": best[name] for name in ("val_accuracy", "test_accuracy") if name in best}
    asked = study.plan.model_dump()
    text = descriptions.of_study(asked, levels=varied, headings=headings, rows=cells, remarks="; ".join(lines))
    return {"experiment": view, "description": text, "tags": tags, "metrics": metrics}


def read(folder: Path) -> dict[str, Any] | None:
    """Returns what was written for a study's page; None where nothing was, or something else."""
    try:
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    is_page = isinstance(found, dict) and all(isinstance(found.get(name), kind) for name, kind in PARTS.items())
    return found if is_page else None


def _cells(rows: Sequence[Row], known: Mapping[str, Outcome]) -> tuple[list[str], list[list[str]]]:
    """Returns headings and rows of the table that the terminal shows."""
    shown = table.outcomes(rows, known)
    columns = [[str(cell) for cell in column.cells] for column in shown.columns]
    return [str(column.header) for column in shown.columns], [list(row) for row in zip(*columns, strict=True)]


def _best(rows: Sequence[Row], known: Mapping[str, Outcome], scores: Mapping[int, float]) -> dict[str, Any]:
    """Returns the variant of highest validation accuracy: `label`, `val_accuracy` and `test_accuracy`; nothing before one is whole.

    It is never chosen by its test accuracy, which could not be believed then.
    """
    if not scores:
        return {}
    place = max(scores, key=lambda position: (scores[position], -position))
    name = list(dict.fromkeys(row.label for row in rows))[place]
    found = [known[row.trial.identity] for row in rows if row.trial and row.label == name and row.trial.identity in known]
    tested = [one.metrics["test/accuracy"] for one in found if "test/accuracy" in one.metrics]
    return {"label": name, "val_accuracy": scores[place], **({"test_accuracy": statistics.fmean(tested)} if tested else {})}


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(map(as_typed, values))
