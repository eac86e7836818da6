"""What recording costs: a trial with journal, TensorBoard and MLflow against one without; the time between steps."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.goals import for_goal
from benchmarks.inside import Options
from benchmarks.result import Result, mean_of, ratio_of_pairs
from src.config.settings import edited
from src.spec.record import END, STEP
from src.spec.settings import Settings as AnySettings
from src.tasks.sentiment.settings import Settings
from src.trial.prepare import prepare


def measure(options: Options) -> Iterator[Result]:
    """Yields the share of a trial that is recording, and the time of a whole recorded trial against an unrecorded."""
    limit, pairs = (128, 2) if options.is_quick else (2_400, 4)
    settings = edited(Settings(), {"data.limit": limit, "epochs": 2, "rerun": True, "study": "recorded"})
    _recorded(settings), _plain(settings)  # the first runs also import, create the database and fill the cache
    shares, times = [], []
    for number in range(pairs):
        sides = [_recorded, _plain][:: 1 if number % 2 else -1]
        seconds = {side: side(settings) for side in sides}
        times.append((seconds[_recorded], seconds[_plain]))
        shares.append(_share(edited(settings, {"seed": 90 + number})))
    yield for_goal("tracking/share", mean_of(shares), n=pairs, shares=shares)
    estimate = ratio_of_pairs(*zip(*times, strict=True))
    what = "a whole recorded trial (journal, TensorBoard, MLflow, histograms) in multiples of an unrecorded one"
    yield Result("tracking/trial", what, estimate.value, interval=estimate.interval, n=pairs, details={"s": times})


def _plain(settings: AnySettings) -> float:
    """Returns the seconds of a trial whose records are dropped."""
    from src.trial import run as trial

    begin = time.perf_counter()
    for record in trial.records(prepare(edited(settings, {"tracking.histograms": False}))):
        assert record.kind != END or record.metrics
    return time.perf_counter() - begin


def _recorded(settings: AnySettings) -> float:
    """Returns the seconds of a trial with everything that is recorded by default."""
    from src.trial import run as trial

    begin = time.perf_counter()
    trial.run(settings)
    return time.perf_counter() - begin


def _share(settings: AnySettings) -> float:
    """Returns the time between steps, divided by the time of the steps.

    Between steps are the records, the progress, the journal, and the trackers when they are due.
    """
    from src.tracking.follow import Follower
    from src.tracking.journal import Journal
    from src.trial import run as trial

    prepared = prepare(settings)
    outside = inside = arrived = 0.0
    kind = ""
    with Journal(prepared.folder) as book:
        follower = Follower(prepared.folder, prepared.settings)
        for record in trial.records(prepared):
            before, arrived = arrived, time.perf_counter()
            if record.kind == kind == STEP:
                step_s = record.metrics["time/batch_ms"] / 1e3
                outside, inside = outside + arrived - before - step_s, inside + step_s
            kind = record.kind
            book.append(record)
            if kind != STEP or follower.is_due:
                book.sync()
                follower.update()
    return outside / inside
