"""How long workers are idle at the end of a round of a study, simulated with the recorded times of its trials.

A worker that is free takes the next trial of the list, as joblib's workers do. Nothing else is simulated: not the start
of the workers, nor that trials side by side slow each other down.

    idle = 1 - sum of the times / (workers * time until the last trial ends)
"""

from __future__ import annotations

import csv
import heapq
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.inside import Options
from benchmarks.result import SHARE, Result
from src.paths import REPOSITORY

STUDY = "cells_depth_directions"  # 72 trials of different length
WORKERS = (1, 2, 4, 8, 16, 32, 64)
DRAWS = 200


class Trial(NamedTuple):
    """A trial of a finished study: its variant, its seed, its place in the plan, and its training time in seconds."""

    variant: str
    seed: int
    position: int
    seconds: float


def measure(options: Options) -> Iterator[Result]:
    """Yields the idle share with 8 workers for each order of the trials, with the shares for 1 to 64 as a curve."""
    trials = recorded(REPOSITORY / "experiments" / "results" / STUDY / "trials.csv")
    draws = 5 if options.is_quick else DRAWS
    drawn = [drawn_in_seeds(trials, np.random.default_rng(seed)) for seed in range(draws)]
    orders = {
        "planned": ("in the plan's order", [[trial.seconds for trial in trials]]),
        "drawn": ("in an order drawn within each seed", drawn),
        "longest_first": ("longest first", [longest_first(trials)]),
    }
    for name, (label, lists) in orders.items():
        curve = {str(count): statistics.fmean(idle(times, count) for times in lists) for count in WORKERS}
        ends = {str(count): statistics.fmean(makespan(times, count) for times in lists) for count in WORKERS}
        details = {"curve": curve, "axis": "workers", "label": label, "study": STUDY, "seconds": ends}
        what = f"idle share of 8 workers until a study of {len(trials)} trials ends, {label}"
        yield Result(f"scheduling/{name}", what, curve["8"], SHARE, n=len(lists), details=details)


def recorded(path: Path) -> list[Trial]:
    """Returns the different trials of a study's table of trials, in the order of their plan."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["status"] == "FINISHED"]
    trials = [
        Trial(row["label"], int(row["seed"]), int(row["position"]), float(row["time/train_s"]))
        for row in {row["identity"]: row for row in rows}.values()
    ]
    return sorted(trials, key=lambda trial: trial.position)


def longest_first(trials: Sequence[Trial]) -> list[float]:
    """Returns the times of trials, those of the variants with the longest mean first.

    The means are those of the trials themselves: an estimate before the study can only be worse.
    """
    means = {
        name: statistics.fmean(trial.seconds for trial in trials if trial.variant == name)
        for name in {trial.variant for trial in trials}
    }
    return [trial.seconds for trial in sorted(trials, key=lambda trial: -means[trial.variant])]


def drawn_in_seeds(trials: Sequence[Trial], rng: np.random.Generator) -> list[float]:
    """Returns the times of trials seed by seed, with the variants of each seed in a drawn order."""
    of_seeds = [[trial.seconds for trial in trials if trial.seed == seed] for seed in sorted({t.seed for t in trials})]
    return [float(seconds) for group in of_seeds for seconds in rng.permutation(group)]


def makespan(seconds: Sequence[float], workers: int) -> float:
    """Returns the time until the last trial ends, if each free worker takes the next trial of the list.

    Source: list scheduling of Graham, "Bounds on Multiprocessing Timing Anomalies", SIAM Journal on Applied Mathematics
    17(2), 1969.
    """
    free = [0.0] * workers
    for each in seconds:
        heapq.heappush(free, heapq.heappop(free) + each)
    return max(free)


def idle(seconds: Sequence[float], workers: int) -> float:
    """Returns the share of the workers' time without a trial, from the start to the end of the last trial."""
    return 1 - sum(seconds) / (workers * makespan(seconds, workers))
