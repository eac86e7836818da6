"""Loading, comparing and reporting studies of 100, 1,000 and 10,000 trials, from generated stores."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import generated
from benchmarks.goals import GOALS, for_goal
from benchmarks.inside import Options
from benchmarks.processes import measured, output_of
from benchmarks.result import MEGABYTES, SECONDS, Goal, Result, mean_of

SIZES = {100: (5, 4, 5), 1_000: (10, 10, 10), 10_000: (50, 25, 8)}  # trials → values of units and embedding_dim, seeds
# Seconds of the imports, of loading, and of the comparisons, in a new process
STAGES = """
import json, time
times = [time.perf_counter()]
from analysis import findings, load, store
times.append(time.perf_counter())
study = load.study("study", store.connect("sqlite:///PATH"))
times.append(time.perf_counter())
assert set(study.rows["status"]) == {"FINISHED"} and len(study.rows) == COUNT
findings.find(study)
times.append(time.perf_counter())
print(json.dumps([after - before for before, after in zip(times, times[1:])]))
"""
WHAT = {
    "imports": "imports of the analysis",
    "load": "a study is loaded",
    "effects": "its variants are compared",
    "report": "it is reported, the whole command",
}


def measure(options: Options) -> Iterator[Result]:
    """Yields the seconds of each stage for each number of trials, the peak memory of the report, and a long study."""
    sizes = {20: (5, 2, 2)} if options.is_quick else SIZES
    folders = {count: _stored(*sizes[count]) for count in sizes}
    seconds: dict[str, dict[int, list[float]]] = {name: {count: [] for count in sizes} for name in WHAT}
    peaks: dict[int, float] = {}
    for turn in range(1 if options.is_quick else 3):
        for count, path in folders.items():
            program = STAGES.replace("PATH", str(path)).replace("COUNT", str(count))
            for name, value in zip(WHAT, json.loads(output_of("-c", program)[-1]), strict=False):
                seconds[name][count].append(value)
            if turn < 2 or count < max(sizes):  # the largest report takes most of the time
                reported, peaks[count] = _report("study", path)
                seconds["report"][count].append(reported)
    for name, of_counts in seconds.items():
        yield from _results(name, of_counts)
    largest = max(sizes)
    curve = {str(count): peaks[count] for count in sizes}
    details = {"curve": curve, "axis": "trials", "label": "report"}
    what = f"peak memory of the report of {largest:,} trials"
    yield Result("analysis/memory", what, peaks[largest], MEGABYTES, goal=Goal("at most", 1_536.0), details=details)
    yield from _long(*((4, 20) if options.is_quick else (1_000, 500)))
    for path in folders.values():
        shutil.rmtree(path.parent)


def _results(name: str, of_counts: dict[int, list[float]]) -> Iterator[Result]:
    """Yields the result of a stage for each number of trials; that of the largest has the curve."""
    medians = {count: mean_of(values) for count, values in of_counts.items()}
    curve = {str(count): estimate.value for count, estimate in medians.items()}
    for count, estimate in medians.items():
        details: dict[str, Any] = {"seconds": of_counts[count]}
        if count == max(of_counts):
            details |= {"curve": curve, "axis": "trials", "label": name}
        key, n = f"analysis/{name}_{count}", len(of_counts[count])
        if key in GOALS:
            yield for_goal(key, estimate, n=n, **details)
        else:
            what = f"{count:,} trials: {WHAT[name]}"
            yield Result(key, what, estimate.value, SECONDS, estimate.interval, None, n, details)


def _stored(units: int, dims: int, seeds: int) -> Path:
    """Returns the path of a new database with a generated study of units × dims × seeds trials."""
    levels = {"units": list(range(8, 8 + units)), "embedding_dim": list(range(8, 8 + dims))}
    return _database(levels, seeds=range(seeds))


def _long(trials: int, steps: int) -> Iterator[Result]:
    """Yields the seconds and the memory of a report of trials with a record of every step."""
    levels = {"units": list(range(8, 8 + max(1, trials // 20))), "depth": [1, 2]}
    path = _database(levels, seeds=range(10 if trials >= 20 else 2), steps=steps)
    seconds, megabytes = _report("study", path)
    shutil.rmtree(path.parent)
    what = f"{trials:,} trials of {steps} recorded steps each"
    goal, peak = Goal("at most", 60.0), Goal("at most", 1_536.0)
    yield Result("analysis/long", f"{what}: they are reported", seconds, SECONDS, goal=goal)
    yield Result("analysis/long_memory", f"{what}: peak memory of the report", megabytes, MEGABYTES, goal=peak)


def _database(levels: dict[str, list[Any]], *, seeds: range, steps: int = 0) -> Path:
    path = generated.database(Path(tempfile.mkdtemp()))

    def outcome(values: dict[str, Any], seed: int) -> dict[str, Any]:
        noise = (values["units"] * 7_919 + seed * 104_729) % 1_000 / 1e5
        return {
            "test/accuracy": 0.8 + 0.001 * (values["units"] % 37) + noise,
            "validation": [0.6 + 0.01 * n for n in range(12)],
        }

    generated.study(path, "study", levels, outcome, seeds=seeds, steps=steps, examples=steps)
    return path


def _report(study: str, path: Path) -> tuple[float, float]:
    """Returns the seconds and the peak megabytes of the command that reports a study."""
    words = ["report", study, "--uri", f"sqlite:///{path}", "--no-attach", "--out", str(path.parent / "report")]
    process = measured("-m", "analysis", *words)
    return process.seconds, process.megabytes
