"""Where the time of a trial and of a study goes, from the journals of its trials.

The time between two records of a trial is what the trial did before the second one. A step's own time is in its record;
the rest of the time before it is recording, and the start of an epoch.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

from src.spec.record import END, EVALUATION, GRAPH, HISTOGRAMS, PICTURES, SAMPLES, START, STEP
from src.tracking import journal
from src.tracking.journal import Entry

PARTS = {
    "model": "data pipeline and model",
    "tracing": "steps that trace or compile",
    "steps": "other training steps",
    "recording": "recording, and the start of epochs",
    "validation": "validation, histograms, checkpoints",
    "test": "test, samples, files",
}
OF_KIND = {
    GRAPH: "model",
    EVALUATION: "validation",
    HISTOGRAMS: "validation",
    PICTURES: "test",
    SAMPLES: "test",
    END: "test",
}
OF_STUDY = {
    "start": "plan, start of the workers, imports",
    "trials": "trials",
    "gaps": "between two trials of a worker",
    "idle": "a worker is idle at the end",
    "end": "last tables and records of the driver",
}


def of_trial(attempt: Sequence[Entry]) -> dict[str, float]:
    """Returns part → seconds of a trial: keys of `PARTS`; their sum is the time from its first to its last record.

    Args:
      attempt: the records of a finished attempt, which began with a `start`.
    """
    seconds = dict.fromkeys(PARTS, 0.0)
    for before, entry in itertools.pairwise(attempt):
        gap, record = (entry.time_ms - before.time_ms) / 1e3, entry.record
        if record.kind == STEP:
            step = min(gap, record.metrics["time/batch_ms"] / 1e3)
            seconds["tracing" if record.detail["is_first"] else "steps"] += step
            seconds["recording"] += gap - step
        else:
            seconds[OF_KIND.get(record.kind, "recording")] += gap
    return seconds


def of_study(folder: Path, *, begin: float, end: float, workers: int) -> dict[str, float]:
    """Returns part → seconds of all workers together: keys of `OF_STUDY`; the sum is workers * (end - begin).

    Args:
      folder: of the study; each worker trained at least one of its trials.
      begin: when the command began, in seconds since 1970.
      end: when it ended.
      workers: number of workers.
    """
    spans = spans_of(attempts(folder))
    last = max(span[1] for of_worker in spans.values() for span in of_worker)
    seconds = dict.fromkeys(OF_STUDY, 0.0)
    for of_worker in spans.values():
        seconds["start"] += of_worker[0][0] - begin
        seconds["trials"] += sum(after - before for before, after in of_worker)
        seconds["gaps"] += sum(after[0] - before[1] for before, after in itertools.pairwise(of_worker))
        seconds["idle"] += last - of_worker[-1][1]
        seconds["end"] += end - last
    unused = workers - len(spans)
    seconds["idle"] += unused * (end - begin)
    return seconds


def attempts(folder: Path) -> list[list[Entry]]:
    """Returns the records of each trial of a study."""
    return [journal.last_attempt(trial) for trial in journal.folders(folder)]


def spans_of(trials: Sequence[Sequence[Entry]]) -> Mapping[str, list[tuple[float, float]]]:
    """Returns process → the first and the last second of each of its trials, in order."""
    spans: dict[str, list[tuple[float, float]]] = {}
    for attempt in trials:
        assert attempt[0].record.kind == START
        process = attempt[0].record.detail["process"]
        spans.setdefault(process, []).append((attempt[0].time_ms / 1e3, attempt[-1].time_ms / 1e3))
    return {process: sorted(of_worker) for process, of_worker in spans.items()}
