"""The goals of the project's speed: what `make benchmark` shows first."""

from __future__ import annotations

from typing import Any

from benchmarks.result import MEGABYTES, SECONDS, SHARE, TIMES, Estimate, Goal, Result

# name of the result → what is measured, its unit, the goal
GOALS: dict[str, tuple[str, str, Goal]] = {
    "shell_loop/trials_per_hour": (
        "trials per hour against a shell loop of plain Keras scripts, the same work, 2 workers, fused_loop",
        TIMES,
        Goal("at least", 5.0),
    ),
    "step/fit": (
        "training step with fused_loop against `model.fit` with default settings, one thread: times as fast",
        TIMES,
        Goal("at least", 1.6),
    ),
    "step/products": ("training step with fused_loop in multiples of its matrix products", TIMES, Goal("at most", 2.0)),
    "step/torch_packed": (
        "training step with fused_loop against PyTorch's packed LSTM, one thread: times as fast",
        TIMES,
        Goal("at least", 4.0),
    ),
    "tracking/share": ("share of the training time that recording takes", SHARE, Goal("at most", 0.01)),
    "workers/two": ("trials per hour of two workers against one", TIMES, Goal("at least", 1.8)),
    "start/plan": ("from the command to the first line of the plan", SECONDS, Goal("at most", 3.0)),
    "word_vectors/pairs_per_second": (
        "pairs per second of skip-gram, 5 negatives and vectors of 100",
        "pairs per second",
        Goal("at least", 150_000.0),
    ),
    "analysis/load_10000": ("10,000 trials are loaded", SECONDS, Goal("at most", 2.0)),
    "analysis/report_10000": ("10,000 trials are reported", SECONDS, Goal("at most", 30.0)),
    "memory/trial": ("peak memory of a default trial", MEGABYTES, Goal("at most", 800.0)),
}


def for_goal(name: str, estimate: Estimate, *, n: int, **details: Any) -> Result:
    """Returns the result for a goal: its words, its unit and its bound are those of `GOALS`."""
    what, unit, goal = GOALS[name]
    return Result(name, what, estimate.value, unit, estimate.interval, goal, n, details)


def not_measured(name: str, why: str) -> Result:
    """Returns the result for a goal that was not measured, with the reason."""
    what, unit, goal = GOALS[name]
    return Result(name, what, None, unit, None, goal, 0, {"why": why})
