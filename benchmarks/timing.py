"""The timing pass: the reference against itself, and a model that is slower by a known amount."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from analysis import times
from benchmarks.inside import Options
from benchmarks.result import Goal, Result
from benchmarks.training import prepared
from src.spec.record import STEP, Record
from src.study import stopwatch
from src.study.stopwatch import Variant
from src.study.timing import Pass
from src.trial.prepare import Prepared

SLOWER = (0.02, 0.1, 0.5)  # of a step's time
EVEN, TOLERANCE = 1.0, 0.02


def measure(options: Options) -> Iterator[Result]:
    """Yields the ratio of a model to itself, and of slower ones to what they should be, for three kinds of models."""
    small: dict[str, Any] = {"data.limit": 200} if options.is_quick else {}
    trials = {
        "an MLP": prepared("images", **small),
        "a CNN": prepared("images", network="cnn", width=8, **small),
        "the default classifier": prepared(**small),
    }
    for name, trial in trials.items():
        yield from _of_trial(name, trial, rounds=3 if options.is_quick else None)


def _of_trial(name: str, trial: Prepared, *, rounds: int | None) -> Iterator[Result]:
    """Times a trial, a copy of it, and copies that are slower, in turn."""
    ms = _step_ms(trial)
    lanes = [Variant("reference", "reference", _slowed(trial, 0.0))]
    lanes += [Variant(f"{share:.0%} slower", str(share), _slowed(trial, share * ms)) for share in SLOWER]
    lanes.append(Variant("again", "reference", _slowed(trial, 0.0)))
    timed, _ = stopwatch.measure(lanes, rounds=rounds, steps=6, show=lambda text: None)
    count = len(timed[0].turns)
    found = Pass("benchmark", "", count, 6, {}, 0.0, 0.0, timed[:-1], timed[-1], {})
    blocks = times.of_pass(found)
    turns = {one.label: [round(turn, 4) for turn in one.turns] for one in timed}
    for place, one in enumerate(timed[1:], 1):
        is_copy = one is timed[-1]
        ratio = times.columns(blocks.log_ratio(place, 0))
        extra_ms = 0.0 if is_copy else SLOWER[place - 1] * ms
        true = statistics.geometric_mean(1 + extra_ms / turn for turn in timed[0].turns)
        value, low, high = (ratio[f"time_{end}"] / true for end in ("ratio", "low", "high"))
        what = "itself" if is_copy else f"itself with {SLOWER[place - 1]:.0%} of a step added, over the true ratio"
        yield Result(
            name=f"timing/{name.replace(' ', '_')}_{'itself' if is_copy else SLOWER[place - 1]}",
            what=f"timing pass: {name} against {what}",
            value=value,
            interval=(low, high),
            goal=Goal("at most", EVEN + TOLERANCE) if value >= 1 else Goal("at least", EVEN - TOLERANCE),
            n=count,
            details={"contains_1": low <= 1 <= high, "ms": turns},
        )


def _step_ms(trial: Prepared) -> float:
    """Returns the median milliseconds of a steady step."""
    steps = (record for record in trial.task.timed(trial.settings, trial.data, every=11) if record.kind == STEP)
    steady = (step for step in steps if not step.detail["is_first"])
    return statistics.median(step.metrics["time/batch_ms"] for step in itertools.islice(steady, 30))


def _slowed(trial: Prepared, extra_ms: float) -> Callable[[int], Iterator[Record]]:
    """Returns a training whose every step works some milliseconds longer; the work is part of the step's time."""

    def records(every: int) -> Iterator[Record]:
        for record in trial.task.timed(trial.settings, trial.data, every=every):
            if record.kind == STEP and extra_ms:
                begin = time.perf_counter()
                while (worked := 1e3 * (time.perf_counter() - begin)) < extra_ms:
                    pass
                record.metrics["time/batch_ms"] += worked
            yield record

    return records
