"""How long a user waits: for answers, for the plan, and for the first step of a trial."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks import training
from benchmarks.goals import for_goal
from benchmarks.inside import Options
from benchmarks.result import SECONDS, SHARE, Goal, Result, mean_of
from src.config.settings import edited
from src.paths import REPOSITORY
from src.tasks.sentiment.settings import Settings
from src.trial.prepare import Prepared, prepare

ANSWERS = {"help": "--help", "wrong_value": "cell=foo", "wrong_key": "maskin=true"}
STUDY = ["-m", "masking=true,false", "cell=lstm,gru", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
PLANNING = ["-m", "plan_only=true", "units=range(1,101)", "embedding_dim=range(1,101)"]
TWO_SECONDS = Goal("at most", 2.0)


def measure(options: Options) -> Iterator[Result]:
    """Yields the waiting times of commands, and those of a trial."""
    repeats = 1 if options.is_quick else 5
    for name, word in ANSWERS.items():
        yield _waited(f"start/{name}", f"`{word}` is answered", [_seconds([word]) for _ in range(repeats)], TWO_SECONDS)
    limit = ["data.limit=64"] if options.is_quick else []
    _first_line([*STUDY, *limit])  # creates the database and fills the cache of the data
    first = [_first_line([*STUDY, *limit]) for _ in range(repeats)]
    yield for_goal("start/plan", mean_of(first), n=repeats, seconds=first, command=" ".join(STUDY))
    planning = [_seconds(PLANNING) for _ in range(1 if options.is_quick else 3)]
    yield _waited("start/planning", "10,000 cells are planned", planning, Goal("at most", 10.0))
    yield from _first_steps(options)


def _waited(name: str, what: str, seconds: Sequence[float], goal: Goal | None = None) -> Result:
    estimate = mean_of(seconds)
    return Result(name, what, estimate.value, SECONDS, estimate.interval, goal, len(seconds), {"seconds": [*seconds]})


def _seconds(words: Sequence[str]) -> float:
    """Returns how long a command runs."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-m", "src.run", *words], cwd=REPOSITORY, capture_output=True, check=False)
    return time.perf_counter() - begin


def _first_line(words: Sequence[str]) -> float:
    """Starts a study, and stops it at the first line of its plan; returns the seconds until then."""
    begin = time.perf_counter()
    command = [sys.executable, "-u", "-m", "src.run", *words]
    with subprocess.Popen(
        command,
        cwd=REPOSITORY,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # so that the workers are stopped, too
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.perf_counter() - begin
        if not line.startswith("study "):
            raise RuntimeError(f"expected the plan of the study, got {line!r}")
        os.killpg(process.pid, signal.SIGINT)
        process.stdout.read()
    return seconds


def _first_steps(options: Options) -> Iterator[Result]:
    """Yields the seconds to the first step of further trials on the same data, and the input waits of one."""
    from src.spec.record import STEP
    from src.trial import run as trial

    limit: dict[str, Any] = {"data.limit": 320} if options.is_quick else {}
    trial.run(edited(Settings(), {"data.limit": 320, "epochs": 1, "study": "first"}))
    seconds = []
    for seed in range(1, 3 if options.is_quick else 6):
        begin = time.perf_counter()
        prepared = prepare(edited(Settings(), {"seed": seed, "epochs": 1, **limit}))
        for record in trial.records(prepared):
            if record.kind == STEP:
                seconds.append(time.perf_counter() - begin)
                break
    goal = Goal("at most", 3.0)
    yield _waited("start/first_step", "a further trial in the same process ends its first step", seconds, goal)
    yield _waiting(training.prepared(seed=7, **limit))


def _waiting(trial: Prepared) -> Result:
    """Returns the share of the steps of an epoch that waits for input."""
    from src.training.clock import Timing

    timings: list[Timing] = next(training.timings(trial))
    waited = sum(timing.wait_ms for timing in timings) / sum(timing.batch_ms for timing in timings)
    what = "share of an epoch of the default trial that waits for input"
    return Result("start/input", what, waited, SHARE, goal=Goal("at most", 0.05), n=len(timings))
