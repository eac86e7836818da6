"""Outcomes of trials, read from their journals or from MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from src.spec import metric
from src.spec.metric import IMPLIED, VAL, Metric
from src.spec.record import END, EVALUATION, METRICS, START
from src.tracking import journal
from src.tracking.journal import FINISHED

Key = TypeVar("Key")


@dataclass(frozen=True)
class Outcome:
    """The latest attempt of one trial.

    Attributes:
      attempt: the attempt's id.
      status: FINISHED, FAILED or KILLED; None while it runs, or if its process died.
      error: the reason in one line, unless it finished.
      metrics: metrics of the whole trial; empty before its end.
      tags: tags of its start and its end.
      first_metric: name of the task's first metric, by which the best validation is chosen.
      best_validation: best validation value of that metric so far; None before the first.
      run_id: id of the MLflow run; None if a journal is the source.
    """

    attempt: str
    status: str | None
    error: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    first_metric: str = IMPLIED[0].name
    best_validation: float | None = None
    run_id: str | None = None


def attempt(folder: Path) -> str | None:
    """Returns the id of a trial's latest attempt, or None before the first."""
    outcome = of_journal(folder)
    return outcome.attempt if outcome else None


def of_journal(folder: Path) -> Outcome | None:
    """Returns the outcome in a trial's journal; None if the journal has no attempt.

    Raises:
      JournalError: the journal is broken.
    """
    lines = journal.last_attempt(folder, kinds=(START, EVALUATION, END))
    try:
        return _of_attempt(lines) if lines else None
    except KeyError as error:
        raise journal.JournalError(
            f"{folder / journal.FILE}: a record has no {error}; move the folder away to retrain the trial"
        ) from None


def best_validated(outcomes: Mapping[Key, Outcome], first: Metric) -> Key | None:
    """Returns the finished trial with the best validation value, the first on ties; None if no trial has one.

    Args:
      outcomes: trial → outcome.
      first: first metric of the study's task; trials with another first metric are not compared.
    """
    validations = {
        trial: outcome.best_validation
        for trial, outcome in outcomes.items()
        if outcome.status == FINISHED and outcome.first_metric == first.name
    }
    return first.best_of(validations)


def _of_attempt(lines: list[journal.Entry]) -> Outcome:
    start, last = lines[0].record, lines[-1].record
    first, *_ = metric.of_records(start.detail.get(METRICS))
    name = f"{VAL}{first.name}"
    validations = [
        entry.record.metrics[name]
        for entry in lines
        if entry.record.kind == EVALUATION and name in entry.record.metrics
    ]
    status = journal.status(lines)
    is_over = status is not None
    return Outcome(
        attempt=start.detail["attempt"],
        status=status,
        error=last.detail["error"] if is_over else None,
        metrics=last.metrics if is_over else {},
        tags={**start.detail["tags"], **(last.detail["tags"] if is_over else {})},
        first_metric=first.name,
        best_validation=first.best(validations) if first.sign else None,
    )
