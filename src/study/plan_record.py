"""The record of a plan, as in `plan.json` and in MLflow, and which records are of one plan."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from src.spec import metric
from src.spec.metric import TEST
from src.spec.renamed import plan_today
from src.spec.settings import Plan
from src.study import halving
from src.study.plan import Row, Study


def of_plan(planned: Study, rows: Sequence[Row], *, command: str, time: str) -> dict[str, Any]:
    """Returns a plan as plain values, for the study's run in MLflow."""
    return {
        **planned.plan.model_dump(),
        "task": planned.settings.task,
        "metric": planned.metric,
        "threshold": planned.threshold,
        "metrics": metric.as_records(planned.metrics),
        "levels": {key: list(values) for key, values in planned.levels.items()},
        "reference": planned.reference,
        "fixed": planned.fixed_settings,
        "seeds": planned.seeds,
        "aliases": planned.aliases(),
        "commands": [{"command": command, "time": time}],
        "rows": [
            {
                "label": row.label,
                "role": "reference" if row.is_reference else "variant",
                "values": row.values,
                "seed": row.seed,
                "position": row.position,
                "identity": row.trial.identity if row.trial else None,
                "normalised": [str(change) for change in row.trial.changes] if row.trial else [],
                "dropped": row.dropped,
            }
            for row in rows
        ],
    }


def from_text(text: str) -> list[dict[str, Any]]:
    """Returns the records of plans in a study's file, the earliest first.

    Raises:
      ValueError: the file contains something else.
    """
    records = json.loads(text)
    if isinstance(records, list) and all(isinstance(record, dict) and _is_record(record) for record in records):
        return records
    raise ValueError("not a valid plan")


def is_continued_by(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Returns whether two records belong to the same plan, which was repeated or continued."""
    old = plan_today(old)
    count = min(len(old["rows"]), len(new["rows"]))
    # These follow from the other keys, and earlier versions recorded them in less detail, or they change no trial.
    derived = ("rows", "commands", "aliases", "fixed", "metrics", "task", "timing", "looked", "selection", "spread")
    rest = [{key: value for key, value in _completed(record).items() if key not in derived} for record in (old, new)]
    rows = [[_planned(row) for row in record["rows"][:count]] for record in (old, new)]
    return rest[0] == rest[1] and rows[0] == rows[1] and halving.is_continued_by(old, new)


def is_other_horizon(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Returns whether two records of sequential studies compare the same variants, with other looks or seeds."""
    same = ("design", "levels", "reference", "metric")
    olds, news = (_completed(plan_today(record)) for record in (old, new))
    if old.get("max_seeds") is None or any(olds.get(key) != news.get(key) for key in same):
        return False
    return any(olds[key] != news[key] for key in ("max_seeds", "looks", "stopping", "seeds"))


def _completed(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a record with the keys that an earlier version did not record, at the values that it used."""
    completed = {**Plan().model_dump(), **record}
    first, *_ = metric.of_plan(record)
    completed["metric"] = completed["metric"] or f"{TEST}{first.name}"
    completed["threshold"] = first.target if completed["threshold"] is None else completed["threshold"]
    return completed


def _planned(row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a row without its position and its messages, which other versions word differently."""
    ignored = ("position", "normalised", "dropped")
    return {key: value for key, value in row.items() if key not in ignored} | {
        "is_dropped": row.get("dropped") is not None
    }


def _is_record(values: Mapping[str, Any]) -> bool:
    return all(isinstance(values.get(key), list) and values[key] for key in ("rows", "commands"))
