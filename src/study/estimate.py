"""How long a study will take, from what trials like its own took before."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

from src.artifacts import SETTINGS
from src.rules import longest_allowed
from src.settings import TOGGLES, Settings, checked
from src.study.plan import Row
from src.tracking import journal
from src.trial import Prepared

MAX_READ = 200
EVALUATION_SHARE = 0.25  # validation and test, against training
START_S = 5.0  # tracing, artifacts, trackers


def seconds(rows: Sequence[Row], studies: Sequence[Path]) -> float | None:
    """Returns what training the rows one after the other will take, in seconds; None if nothing was recorded yet.

    A trial's steps are expected to take the time per batch of the recorded trial that differs in the fewest toggles, in
    proportion to length, depth and directions; validation, test and start-up come on top. A rough figure, and said to be one.

    Args:
      rows: one a trial.
      studies: folders of studies, the most alike first.
    """
    recorded = _recorded(studies) if rows else []
    if not recorded:
        return None
    some = rows[:: max(1, len(rows) // MAX_READ)]
    return sum(_expected(row.trial, recorded) for row in some if row.trial) * len(rows) / len(some)


def _expected(trial: Prepared, recorded: list[tuple[Settings, float]]) -> float:
    settings = trial.settings
    nearest, batch_ms = min(recorded, key=lambda known: _differences(known[0], settings))
    steps = settings.epochs * math.ceil(trial.data.examples / (settings.batch_size * settings.accumulate))
    steps = min(steps, settings.max_steps or steps)
    scale = _width(settings, trial.data.longest) / _width(nearest, trial.data.longest)
    return START_S + steps * batch_ms / 1_000 * scale * (1 + EVALUATION_SHARE)


def _recorded(studies: Sequence[Path]) -> list[tuple[Settings, float]]:
    """Returns settings and milliseconds per batch of recorded trials."""
    found: list[tuple[Settings, float]] = []
    for folder in (trial for study in studies for trial in journal.folders(study)):
        if len(found) == MAX_READ:
            break
        try:
            last = journal.last(folder)
            batch_ms = last.metrics.get("time/batch_ms_median", 0.0) if last else 0.0
            if not 0 < batch_ms < math.inf:  # not over yet, or no time that could be
                continue
            settings = checked(json.loads((folder / SETTINGS).read_text(encoding="utf-8")))
        except (OSError, ValueError):  # of another version, or gone: one estimate less
            continue
        found.append((settings, batch_ms))
    return found


def _differences(known: Settings, ours: Settings) -> int:
    return sum(getattr(known, key) != getattr(ours, key) for key in TOGGLES if key != "seed")


def _width(settings: Settings, longest: int) -> float:
    """Returns a figure that grows as the time of a batch does."""
    steps = longest_allowed(settings) or longest
    if settings.task.name == "sentiment":
        steps = min(steps, longest)
    return float(steps * settings.depth * (2 if settings.bidirectional else 1))
