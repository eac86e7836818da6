"""What became of a trial, whoever tells it: its journal, or MLflow."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from src.tracking import journal
from src.training.records import END, EVALUATION, START


@dataclass(frozen=True)
class Outcome:
    """The latest attempt of one trial.

    Attributes:
      attempt: its id.
      status: FINISHED, FAILED or KILLED; None while it runs, or if its process died.
      error: one line that says why, unless it finished.
      metrics: of the whole trial, empty before its end.
      tags: of its start and end.
      best_validation: highest validation accuracy so far, or None before the first.
      run_id: of MLflow, or None where the journal speaks.
    """

    attempt: str
    status: str | None
    error: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    best_validation: float | None = None
    run_id: str | None = None


def attempt(folder: Path) -> str | None:
    """Returns the id of a trial's latest attempt, or None before the first."""
    found = of_journal(folder)
    return found.attempt if found else None


def of_journal(folder: Path) -> Outcome | None:
    """Returns what the journal in a trial's folder says; None if it has no attempt.

    Raises:
      JournalError: the journal is broken.
    """
    lines = journal.last_attempt(folder, kinds=(START, EVALUATION, END))
    try:
        return _of_attempt(lines) if lines else None
    except KeyError as error:
        raise journal.JournalError(f"{folder / journal.FILE}: a record has no {error}; move the folder away to retrain the trial") from None


def _of_attempt(lines: list[journal.Entry]) -> Outcome:
    start, last = lines[0].record, lines[-1].record
    accuracies = [entry.record.metrics["val/accuracy"] for entry in lines if entry.record.kind == EVALUATION]
    status = journal.status(lines)
    is_over = status is not None
    return Outcome(
        attempt=start.detail["attempt"],
        status=status,
        error=last.detail["error"] if is_over else None,
        metrics=last.metrics if is_over else {},
        tags={**start.detail["tags"], **(last.detail["tags"] if is_over else {})},
        best_validation=max(accuracies, default=None),
    )
