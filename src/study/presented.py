"""Builds a study's page in MLflow: its question, its toggles, a table of outcomes, and the best variant."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from src.spec.metric import TEST, Metric
from src.spec.section import as_typed
from src.study import table
from src.study.plan import Row, Study
from src.tracking import descriptions, links, provenance
from src.tracking.journal import FINISHED
from src.tracking.outcome import Outcome

FILE = "study_run.json"  # in the study's folder
PARTS = {"experiment": dict, "description": str, "tags": dict, "metrics": dict}


def page(
    study: Study,
    rows: Sequence[Row],
    latest: Mapping[str, Outcome],
    *,
    scores: Mapping[int, float],
    remarks: Sequence[str] = (),
) -> dict[str, Any]:
    """Returns what `Store.present` takes.

    Args:
      study: the study.
      rows: the rows of all rounds so far.
      latest: identity → outcome of the trial's latest attempt.
      scores: position of a variant, in the order of the rows → mean best validation value of the first metric, for the
        variants with all seeds finished.
      remarks: remarks on the outcomes, one line each.
    """
    trials = {row.trial.identity for row in rows if row.trial}
    finished = {name for name in trials if name in latest and latest[name].status == FINISHED}
    levels = {key: list(values) for key, values in study.levels.items()}
    first = study.metrics[0]
    headings, cells = _cells(rows, latest, study.compared) if finished else ([], [])
    best, numbers = _best(rows, latest, first, scores)
    now_ms = round(time.time() * 1_000)
    view = links.view(list(levels), first=first, compared=study.metric, study=study.settings.study, time_ms=now_ms)
    lines = [*([f"Best by validation: {best}"] if best else []), *remarks]
    tags = {
        "ablation.varied": ", ".join(levels) or "nothing",
        "ablation.levels": "; ".join(f"{key}: {_listed(values)}" for key, values in levels.items()) or "none",
        "ablation.best_variant": best or "none yet",
        "ablation.finished": f"{len(finished)} of {len(trials)}",
        **{key: value for key, value in provenance.tags().items() if key.startswith("mlflow.source.")},
    }
    metrics = {"study/trials": float(len(trials)), "study/finished": float(len(finished))}
    metrics |= {f"study/best_{name}": value for name, value in numbers.items()}
    plan = study.plan.model_dump()
    text = descriptions.of_study(plan, levels=levels, headings=headings, rows=cells, remarks="; ".join(lines))
    return {"experiment": view, "description": text, "tags": tags, "metrics": metrics}


def read(folder: Path) -> dict[str, Any] | None:
    """Returns the saved page of a study; None if there is none, or the file contains something else."""
    try:
        values = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    is_page = isinstance(values, dict) and all(isinstance(values.get(name), kind) for name, kind in PARTS.items())
    return values if is_page else None


def _cells(rows: Sequence[Row], latest: Mapping[str, Outcome], metric: Metric) -> tuple[list[str], list[list[str]]]:
    """Returns headings and rows of the terminal's table of outcomes."""
    shown = table.outcomes(rows, latest, metric=metric)
    columns = [[str(text) for text in column.cells] for column in shown.columns]
    return [str(column.header) for column in shown.columns], [list(row) for row in zip(*columns, strict=True)]


def _best(
    rows: Sequence[Row], latest: Mapping[str, Outcome], first: Metric, scores: Mapping[int, float]
) -> tuple[str | None, dict[str, float]]:
    """Returns the variant with the best validation value, and the means of its validation and test values.

    It is None, without means, until all seeds of a variant have finished. Test values never choose it: they would be
    biased.
    """
    place = first.best_of(scores)
    if place is None:
        return None, {}
    name = list(dict.fromkeys(row.label for row in rows))[place]
    of_rows = [latest.get(row.trial.identity) for row in rows if row.trial and row.label == name]
    tested = [
        outcome.metrics[key] for outcome in of_rows if outcome and (key := f"{TEST}{first.name}") in outcome.metrics
    ]
    means = {f"val_{first.name}": scores[place]} | ({f"test_{first.name}": statistics.fmean(tested)} if tested else {})
    return name, means


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(map(as_typed, values))
