"""Two workers against one: trials per hour, and the gap between two trials, from the journals of real studies."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

from benchmarks.goals import for_goal
from benchmarks.inside import Options
from benchmarks.processes import output_of
from benchmarks.result import SECONDS, Goal, Result, mean_of, ratio_of_pairs
from src.paths import study_folder
from src.tracking import journal

ONE_THREAD = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}  # as each worker of several has


class Span(NamedTuple):
    """When a trial began and ended, in seconds since 1970."""

    begin: float
    end: float


def measure(options: Options) -> Iterator[Result]:
    """Yields the trials per hour of two workers against one, and the gap between trials."""
    turns, trials, limit = (2, 2, 64) if options.is_quick else (3, 4, 2_400)
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for turn in range(turns):
        for count in (1, 2) if turn % 2 else (2, 1):
            seeds = range(trials * turn, trials * (turn + 1))
            spans = trained(count, study=f"workers{count}", seeds=seeds, limit=limit)
            seconds[count].append(max(span.end for span in spans) - min(span.begin for span in spans))
    estimate = ratio_of_pairs(seconds[1], seconds[2])
    details = {"seconds": {str(count): values for count, values in seconds.items()}, "trials": trials}
    yield for_goal("workers/two", estimate, n=turns, **details)
    spans = sorted(trained(1, study="between", seeds=range(6), limit=64))
    gaps = [after.begin - before.end for before, after in itertools.pairwise(spans)]
    gap, what = mean_of(gaps), "from the end of a trial to the start of the next one in a worker"
    yield Result(
        "workers/gap", what, gap.value, SECONDS, gap.interval, Goal("at most", 0.5), len(gaps), {"seconds": gaps}
    )


def trained(count: int, *, study: str, seeds: range, limit: int) -> list[Span]:
    """Trains a study with some workers and returns when the trials with these seeds ran."""
    words = [f"study={study}", f"data.limit={limit}", "epochs=2", "seed=" + ",".join(map(str, seeds))]
    launcher = ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={count}"]
    command = ["-m", "src.run", "-m", *words, *launcher, "tracking.histograms=false"]
    output_of(*command, **ONE_THREAD)
    attempts = [journal.last_attempt(folder) for folder in journal.folders(study_folder(study))]
    return [
        Span(attempt[0].time_ms / 1e3, attempt[-1].time_ms / 1e3)
        for attempt in attempts
        if int(attempt[0].record.detail["name"].rsplit("=")[-1]) in seeds
    ]
