"""The spread of paired differences in earlier studies, from which a plan says what it can detect."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from src import paths
from src.spec.metric import TEST, of_plan
from src.spec.section import SettingsError
from src.study import plan_record
from src.study.journals import Journals
from src.study.plan import Study
from src.terminal.visible import counted, echoed
from src.tracking.journal import FINISHED
from src.tracking.outcome import Outcome

PLAN = "plan.json"  # in a study's folder
LEAST = 3  # seeds from which a standard deviation is taken


def of_earlier(study: Study) -> tuple[float, str] | None:
    """Returns the standard deviation of a paired difference in the study's metric, and in words where it is from.

    It is `plan.spread`, or the median over the comparisons of the study that this names, or of all studies of the task
    in the outputs with the same metric. None if there is none.

    Raises:
      SettingsError: the named study has no such differences.
    """
    given = study.plan.spread
    if (number := _number(given)) is not None:
        if number <= 0:
            raise SettingsError(f"plan.spread={number:g}: a standard deviation is larger than 0")
        return number, "plan.spread"
    if given is not None:
        found = list(_of_study(paths.study_folder(str(given)), study))
        if not found:
            raise SettingsError(
                f"plan.spread={echoed(str(given))}: no study of this name in {paths.outputs()} has {study.metric} of "
                f"two variants with {LEAST} seeds or more; name another, or write the standard deviation as a number"
            )
        return statistics.median(found), f"study {given}"
    parts = [list(_of_study(path.parent, study)) for path in sorted(paths.outputs().glob(f"*/{PLAN}"))]
    every = [sd for part in parts for sd in part]
    count = sum(map(bool, parts))
    of = "1 earlier study" if count == 1 else f"{count} earlier studies"
    return (statistics.median(every), f"median of {counted(len(every), 'comparison')} of {of}") if every else None


def _number(given: float | str | None) -> float | None:
    try:
        return None if given is None else float(given)
    except ValueError:
        return None


def _of_study(folder: Path, study: Study) -> Iterator[float]:
    """Yields the standard deviation of the differences of each variant of a study, if it is of the same task."""
    try:
        record = plan_record.from_text((folder / PLAN).read_text(encoding="utf-8"))[-1]
        outcomes = Journals(folder).outcomes(unreadable={}) if _is_of_task(record, study) else {}
        yield from _spreads(record, outcomes, study.metric)
    except (OSError, ValueError, LookupError, TypeError):
        return  # of another version, or broken


def _is_of_task(record: Mapping[str, Any], study: Study) -> bool:
    name = record.get("metric") or f"{TEST}{of_plan(record)[0].name}"
    return record.get("task") == study.settings.task and name == study.metric


def _spreads(record: Mapping[str, Any], outcomes: Mapping[str, Outcome], metric: str) -> Iterator[float]:
    values: dict[str, dict[int, float]] = {}
    reference = None
    for row in record["rows"]:
        outcome = outcomes.get(row["identity"])
        if outcome and outcome.status == FINISHED and math.isfinite(outcome.metrics.get(metric, math.nan)):
            values.setdefault(row["label"], {})[row["seed"]] = outcome.metrics[metric]
            reference = row["label"] if row["role"] == "reference" else reference
    theirs = values.pop(reference, {}) if reference else {}
    for mine in values.values():
        found = np.array([value - theirs[seed] for seed, value in mine.items() if seed in theirs])
        if len(found) >= LEAST and found.std() > 0:
            yield float(found.std(ddof=1))
