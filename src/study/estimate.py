"""Estimates how long a study will take from recorded times of similar trials."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

from src.artifacts import SETTINGS
from src.config.settings import of_file
from src.spec.settings import Settings
from src.study.plan import Row
from src.tracking import journal
from src.trial.prepare import Prepared

MAX_READ = 200
EVALUATION_SHARE = 0.25  # validation and test, against training
START_S = 5.0  # tracing, artifacts, trackers


def seconds(rows: Sequence[Row], studies: Sequence[Path]) -> float | None:
    """Returns the expected seconds to train the rows one after the other; None if there are no recorded times.

    The time per batch of a trial is taken from the recorded trial of its task that differs in the fewest toggles,
    scaled by the work per batch as the task computes it. Validation, test and start-up are added. It is a rough figure.

    Args:
      rows: one row per trial.
      studies: folders of studies, the most similar first.
    """
    recorded = _recorded(studies) if rows else []
    if not recorded:
        return None
    sample = rows[:: max(1, len(rows) // MAX_READ)]
    return sum(_expected(row.trial, recorded) for row in sample if row.trial) * len(rows) / len(sample)


def _expected(trial: Prepared, recorded: list[tuple[Settings, float]]) -> float:
    settings = trial.settings
    nearest, batch_ms = min(recorded, key=lambda candidate: _distance(candidate[0], settings))
    steps = settings.epochs * math.ceil(trial.data.rows["train"] / (settings.batch_size * settings.accumulate))
    steps = min(steps, settings.max_steps or steps)
    return START_S + steps * batch_ms / 1_000 * _scale(trial, nearest) * (1 + EVALUATION_SHARE)


def _scale(trial: Prepared, nearest: Settings) -> float:
    """Returns the work of a trial's batch divided by that of a recorded trial's; 1 if their tasks differ."""
    settings = trial.settings
    if not _is_same_task(nearest, settings):
        return 1.0
    of_nearest = trial.task.work(nearest, trial.data)
    return trial.task.work(settings, trial.data) / of_nearest if of_nearest > 0 else 1.0


def _recorded(studies: Sequence[Path]) -> list[tuple[Settings, float]]:
    """Returns settings and milliseconds per batch of recorded trials."""
    recorded: list[tuple[Settings, float]] = []
    for folder in (trial for study in studies for trial in journal.folders(study)):
        if len(recorded) == MAX_READ:
            break
        try:
            last = journal.last(folder)
            batch_ms = last.metrics.get("time/batch_ms_median", 0.0) if last else 0.0
            if not 0 < batch_ms < math.inf:  # not ended yet, or an impossible time
                continue
            settings = of_file(json.loads((folder / SETTINGS).read_text(encoding="utf-8")))
        except (OSError, ValueError):  # written by another version, or removed
            continue
        recorded.append((settings, batch_ms))
    return recorded


def _distance(recorded: Settings, planned: Settings) -> tuple[bool, int]:
    """Returns whether the tasks differ, and how many toggles differ."""
    toggles = [key for key in type(planned).toggles() if key != "seed"]
    differing = sum(getattr(recorded, key, None) != getattr(planned, key) for key in toggles)
    return not _is_same_task(recorded, planned), differing


def _is_same_task(recorded: Settings, planned: Settings) -> bool:
    return recorded.task == planned.task
