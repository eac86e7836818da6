"""MLflow runs as this project reads them, and which attempt of a trial counts.

The replay records the order of the attempts in a journal as tags. Start times alone do not suffice: when a clock is set
back, the last attempt may have the earliest start. Attempts from several journals (several homes that share a store)
can only be ordered by their clocks.
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
JOURNAL = "ablation.journal"  # tag: the first attempt in the run's journal; it identifies the journal
NUMBER = "ablation.attempt_number"  # tag: the number of earlier attempts in the journal
SUPERSEDED = "ablation.superseded"  # tag of a finished run that no longer counts because a later attempt finished
PLACE_TAGS = (KIND, IDENTITY, ATTEMPT, JOURNAL, NUMBER, SUPERSEDED)  # tags that decide which attempt of a trial counts


@dataclass(frozen=True, slots=True)
class Run:
    """One MLflow run.

    Attributes:
      run_id: the run's id.
      name: the run's name.
      status: FINISHED, FAILED, KILLED, RUNNING or SCHEDULED.
      started: milliseconds since 1970, by the clock of the machine that trained.
      ended: milliseconds since 1970, by the same clock; None while the run is active.
      tags: tags as stored.
      params: params as stored, which are texts.
      metrics: last value of each metric as stored; the store replaces infinity by the largest float.
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
    def from_client(cls, run: mlflow.entities.Run) -> Run:
        """Converts a run that MLflow's client returned."""
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
    """Returns identity → the attempts of that trial; runs that are not trials are left out."""
    attempts: dict[str, list[Run]] = {}
    for run in runs:
        if run.tags.get(KIND) == "trial" and IDENTITY in run.tags:
            attempts.setdefault(run.tags[IDENTITY], []).append(run)
    return attempts


def counting(attempts: Sequence[Run]) -> Run | None:
    """Returns the attempt that counts: the latest finished one, or else the latest; None if all are superseded."""
    candidates = [run for run in attempts if run.tags.get(SUPERSEDED) != "true"]
    finished = [run for run in candidates if run.status == FINISHED]
    return latest(finished or candidates) if candidates else None


def places_in_journal(folder: Path) -> dict[str, dict[str, str]]:
    """Returns attempt → the tags that hold its place in the journal, in the journal's order."""
    starts = [str(entry.record.detail["attempt"]) for entry in journal.entries(folder, kinds=(START,))]
    return {
        attempt: {ATTEMPT: attempt, JOURNAL: starts[0], NUMBER: str(number)} for number, attempt in enumerate(starts)
    }


def with_places(runs: Sequence[Run], folder: Path) -> list[Run]:
    """Returns the runs with the tags of their places in a journal; older versions did not send these tags."""
    places = places_in_journal(folder)
    return [replace(run, tags={**run.tags, **places.get(run.tags.get(ATTEMPT, ""), {})}) for run in runs]


def latest(attempts: Sequence[Run]) -> Run:
    """Returns the attempt of a trial that began last.

    Within a journal, the order of the journal decides and clocks do not count. Among several journals, the last attempt
    with the latest start is chosen. The run's id breaks ties, so that every reader chooses the same run.
    """
    return max((max(runs, key=_place) for runs in _by_journal(attempts)), key=_by_clock)


def depends_on_wrong_clocks(attempts: Sequence[Run]) -> bool:
    """Returns whether only clocks decide which attempt is the latest, and at least one clock is wrong.

    A clock is wrong if an attempt ends before its start, or starts before an earlier attempt in its journal.
    """
    journals = [sorted(runs, key=_place) for runs in _by_journal(attempts)]
    ends_early = any(run.ended is not None and run.ended < run.started for run in attempts)
    starts_early = any(
        earlier.started > later.started for runs in journals for earlier, later in itertools.pairwise(runs)
    )
    return len(journals) > 1 and (ends_early or starts_early)


def _by_journal(attempts: Sequence[Run]) -> list[list[Run]]:
    """Returns the attempts grouped by journal; an attempt without that tag, from an older version, is its own group."""
    journals: dict[str, list[Run]] = {}
    for run in attempts:
        journals.setdefault(run.tags.get(JOURNAL) or run.run_id, []).append(run)
    return list(journals.values())


def _place(run: Run) -> tuple[int, int, str]:
    """Returns the sort key of an attempt within its journal."""
    number = run.tags.get(NUMBER, "")
    return (int(number) if number.isdecimal() and len(number) < 10 else 0, *_by_clock(run))


def _by_clock(run: Run) -> tuple[int, str]:
    return (run.started, run.run_id)
