"""How long a study will take, from what trials like its own took before."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from src.artifacts import SETTINGS
from src.settings import TOGGLES, Settings, checked
from src.study.plan import Row
from src.tracking import journal
from src.tracking.journal import FINISHED

MAX_READ = 200


def seconds(rows: Sequence[Row], studies: Sequence[Path]) -> float | None:
    """Returns what training the rows one after the other will take, in seconds; None if nothing like them was recorded.

    Each trial is expected to take as long as the recorded one that differs in the fewest toggles, in proportion to its epochs,
    reviews, length, depth and directions: a rough figure, and said to be one.

    Args:
      rows: one a trial.
      studies: folders of studies, the most alike first.
    """
    recorded = _recorded(studies)
    if not recorded or not rows:
        return None
    some = rows[:: max(1, len(rows) // MAX_READ)]
    return sum(_expected(row.trial.settings, recorded) for row in some if row.trial) * len(rows) / len(some)


def _expected(settings: Settings, recorded: list[tuple[Settings, float]]) -> float:
    nearest, took = min(recorded, key=lambda known: _differences(known[0], settings))
    return took * _work(settings) / _work(nearest)


def _recorded(studies: Sequence[Path]) -> list[tuple[Settings, float]]:
    found: list[tuple[Settings, float]] = []
    for folder in (trial for study in studies for trial in journal.folders(study)):
        if len(found) == MAX_READ:
            break
        last = journal.last(folder)
        if last is None or last.detail.get("status") != FINISHED or "seconds" not in last.detail:
            continue
        try:
            found.append((checked(json.loads((folder / SETTINGS).read_text(encoding="utf-8"))), last.detail["seconds"]))
        except (OSError, ValueError):  # of another version, or gone: one estimate less
            continue
    return found


def _differences(known: Settings, ours: Settings) -> int:
    return sum(getattr(known, key) != getattr(ours, key) for key in TOGGLES if key != "seed")


def _work(settings: Settings) -> float:
    """A figure that grows as the time of a trial does."""
    reviews: Any = settings.data.limit or 17_500
    directions = 2 if settings.bidirectional else 1
    return float(settings.epochs * reviews * min(settings.max_length or 400, 400) * settings.depth * directions)
