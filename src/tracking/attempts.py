"""MLflow's runs as this project reads them, and which of the attempts of a trial counts.

Attempts of one journal have the journal's order, which the replay records as tags: clocks go back, and then the attempt that began last
has an earlier start. Attempts of several journals, of homes that share a store, have nothing in common but clocks.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from src.spec.record import START
from src.tracking import journal
from src.tracking.journal import FINISHED

if TYPE_CHECKING:
    import mlflow.entities

KIND, IDENTITY, ATTEMPT = "ablation.kind", "ablation.identity", "ablation.attempt"
JOURNAL = "ablation.journal"  # tag: the first attempt of the run's journal, by which the journal is told from others
NUMBER = "ablation.attempt_number"  # tag: how many attempts the journal has before this one
SUPERSEDED = "ablation.superseded"  # tag of a finished run that no longer counts, as another attempt finished after it
PLACING = (KIND, IDENTITY, ATTEMPT, JOURNAL, NUMBER, SUPERSEDED)  # tags that tell which attempt of which trial counts


@dataclass(frozen=True, slots=True)
class Run:
    """One MLflow run.

    Attributes:
      run_id: its id.
      name: what it is called.
      status: FINISHED, FAILED, KILLED, RUNNING or SCHEDULED.
      started: milliseconds since 1970, by the clock of the machine that trained.
      ended: the same, or None while it runs.
      tags: as stored.
      params: as stored, texts.
      metrics: the last value of each, as stored: infinity is the largest number.
    """

    run_id: str
    name: str
    status: str
    started: int
    ended: int | None
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of_client(cls, run: mlflow.entities.Run) -> Run:
        """Returns what MLflow's client returned."""
        info, data = run.info, run.data
        return cls(
            run_id=info.run_id,
            name=info.run_name or "",
            status=info.status,
            started=info.start_time or 0,
            ended=info.end_time,
            tags=dict(data.tags),
            params=dict(data.params),
            metrics=dict(data.metrics),
        )


def of_identities(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Returns identity → the attempts of the trial, of runs of any kind."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        if run.tags.get(KIND) == "trial" and IDENTITY in run.tags:
            found.setdefault(run.tags[IDENTITY], []).append(run)
    return found


def counting(attempts: Sequence[Run]) -> Run | None:
    """Returns the attempt of a trial that counts: the finished one, or else the latest; None if all are superseded."""
    left = [run for run in attempts if run.tags.get(SUPERSEDED) != "true"]
    finished = [run for run in left if run.status == FINISHED]
    return latest(finished or left) if left else None


def of_journal(folder: Path) -> dict[str, dict[str, str]]:
    """Returns attempt → the tags of a run that place it among the attempts of its journal, in the journal's order."""
    starts = [str(entry.record.detail["attempt"]) for entry in journal.entries(folder, kinds=(START,))]
    return {
        attempt: {ATTEMPT: attempt, JOURNAL: starts[0], NUMBER: str(number)} for number, attempt in enumerate(starts)
    }


def placed(runs: Sequence[Run], folder: Path) -> list[Run]:
    """Returns runs with the places of those that are in a journal: of what an older version sent the journal alone has them."""
    known = of_journal(folder)
    return [replace(run, tags={**run.tags, **known.get(run.tags.get(ATTEMPT, ""), {})}) for run in runs]


def latest(attempts: Sequence[Run]) -> Run:
    """Returns the attempt of a trial that began last.

    Of the attempts of one journal it is the journal's last, whatever clocks said. Of several journals it is the one whose last attempt has
    the latest start. What is equal even so is told by the run's id, so that every reader chooses the same.
    """
    return max((max(of_one, key=_place) for of_one in _of_journals(attempts)), key=_by_clock)


def is_told_by_wrong_clocks(attempts: Sequence[Run]) -> bool:
    """Returns whether clocks alone tell which attempt is the latest, and one of them is seen to be wrong.

    An attempt ends before it began, or began before one that its journal has before it.
    """
    journals = [sorted(of_one, key=_place) for of_one in _of_journals(attempts)]
    is_backward = any(run.ended is not None and run.ended < run.started for run in attempts)
    is_other = any(one.started > other.started for of_one in journals for one, other in itertools.pairwise(of_one))
    return len(journals) > 1 and (is_backward or is_other)


def _of_journals(attempts: Sequence[Run]) -> list[list[Run]]:
    """Returns the attempts, journal by journal; one whose journal is not known, as older versions recorded it, stands alone."""
    found: dict[str, list[Run]] = {}
    for run in attempts:
        found.setdefault(run.tags.get(JOURNAL) or run.run_id, []).append(run)
    return list(found.values())


def _place(run: Run) -> tuple[int, int, str]:
    """Returns the place of an attempt in its journal."""
    number = run.tags.get(NUMBER, "")
    return (int(number) if number.isdecimal() and len(number) < 10 else 0, *_by_clock(run))


def _by_clock(run: Run) -> tuple[int, str]:
    return (run.started, run.run_id)
