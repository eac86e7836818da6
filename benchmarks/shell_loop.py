"""A study of 8 variants against a shell loop of plain Keras scripts that do the same work: `plain_script.py`.

The loop starts one process a trial, as a shell does. Half of its trials run before the study and half after it, so that
a steady drift of the machine favours neither side. Our study starts with an empty cache and without a database: it
encodes the corpus, creates MLflow's database, and starts its two workers within the measured time.
"""

from __future__ import annotations

import itertools
import json
import statistics
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import breakdown
from benchmarks.goals import for_goal
from benchmarks.inside import Options
from benchmarks.processes import output_of
from benchmarks.result import SHARE, Result, ratio_of_sums
from src.paths import home, study_folder
from src.spec.record import STEP
from src.tracking.journal import Entry

SCRIPT = Path(__file__).with_name("plain_script.py")
LEVELS = {"masking": ["true", "false"], "cell": ["lstm", "gru"], "max_length": ["200", "100"]}
STUDY, WORKERS, EPOCHS = "shell_loop", 2, 2
LOOP = "fused_loop"  # the same network as Keras' layer, to float error
MOST = {"steps": 0.03, "padding": 0.03, "accuracy": 0.03}  # differences of the means at which the work is the same
Variant = tuple[str, ...]


def measure(options: Options) -> Iterator[Result]:
    """Yields the trials per hour against those of the loop, and where the time of our trials and study goes."""
    levels = {**LEVELS, "max_length": ["200"], "cell": ["lstm"]} if options.is_quick else LEVELS
    size: dict[str, Any] = {"epochs": 1, "limit": 320} if options.is_quick else {"epochs": EPOCHS, "limit": None}
    variants = list(itertools.product(*levels.values()))
    order = [variants[place] for place in np.random.default_rng(0).permutation(len(variants))]
    half = len(order) // 2
    plain = {variant: _script(variant, **size) for variant in order[:half]}
    begin = time.time()
    _study(levels, **size)
    end = time.time()
    plain |= {variant: _script(variant, **size) for variant in order[half:]}
    ours = {_variant(attempt): attempt for attempt in breakdown.attempts(study_folder(STUDY))}
    work = _check_work(plain, ours, is_quick=options.is_quick)
    yield _rate(variants, plain, ours, end - begin, work)
    yield from _parts(list(ours.values()), begin, end)


def _script(variant: Variant, *, epochs: int, limit: int | None) -> dict[str, Any]:
    """Runs the script for one variant; returns its results and its seconds."""
    folder = home() / "plain" / "_".join(variant)
    folder.mkdir(parents=True)
    words = [f"--{name}={value}" for name, value in zip(LEVELS, variant, strict=True)]
    words += [f"--epochs={epochs}", f"--folder={folder}", *([] if limit is None else [f"--limit={limit}"])]
    begin = time.perf_counter()
    output_of(str(SCRIPT), *words)
    seconds = time.perf_counter() - begin
    return {**json.loads((folder / "result.json").read_text(encoding="utf-8")), "seconds": seconds}


def _study(levels: Mapping[str, list[str]], *, epochs: int, limit: int | None) -> None:
    words = [f"{name}={','.join(values)}" for name, values in levels.items()]
    words += [
        f"epochs={epochs}",
        f"study={STUDY}",
        f"implementation={LOOP}",
        *([] if limit is None else [f"data.limit={limit}"]),
    ]
    launcher = ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={WORKERS}"]
    output_of("-m", "src.run", "-m", *words, *launcher)


def _variant(attempt: list[Entry]) -> Variant:
    """Returns the values of a trial's toggles, as the loop writes them."""
    params = attempt[0].record.detail["params"]
    return tuple(str(params[name]).lower() for name in LEVELS)


def _check_work(
    plain: Mapping[Variant, Mapping[str, Any]], ours: Mapping[Variant, list[Entry]], *, is_quick: bool
) -> dict[str, Any]:
    """Returns what both sides did; fails if it is not the same work."""
    if plain.keys() != ours.keys():
        raise AssertionError(f"the loop trained {sorted(plain)}, the study {sorted(ours)}")
    ends = {variant: attempt[-1].record.metrics for variant, attempt in ours.items()}
    sizes = [(plain[variant]["parameters"], int(ends[variant]["model/parameters"])) for variant in plain]
    if any(of_loop != of_study for of_loop, of_study in sizes):
        raise AssertionError(f"the models differ in their parameters: {sizes}")
    of_study: dict[str, list[float]] = {
        "steps": [sum(entry.record.kind == STEP for entry in attempt) for attempt in ours.values()],
        "padding": [metrics["data/padding_fraction"] for metrics in ends.values()],
        "accuracy": [metrics["test/accuracy"] for metrics in ends.values()],
    }
    of_loop = {name: [result[name] for result in plain.values()] for name in MOST}
    means = {name: (statistics.fmean(of_loop[name]), statistics.fmean(of_study[name])) for name in MOST}
    for name, (a, b) in means.items():
        difference = abs(a / b - 1) if name == "steps" else abs(a - b)
        if difference > MOST[name] and not is_quick:
            raise AssertionError(f"the work differs: {name} is {a:.4g} in the loop and {b:.4g} in the study on average")
    return {"parameters": sizes[0][0], "means_of_loop_and_study": {name: list(pair) for name, pair in means.items()}}


def _rate(
    variants: list[Variant],
    plain: Mapping[Variant, Mapping[str, Any]],
    ours: Mapping[Variant, list[Entry]],
    seconds: float,
    work: dict[str, Any],
) -> Result:
    """Returns the ratio of the trials per hour; its interval is over the variants.

    Each of our trials has a share of the study's time as large as its share of the trials' time.
    """
    spans = {variant: (attempt[-1].time_ms - attempt[0].time_ms) / 1e3 for variant, attempt in ours.items()}
    shares = [spans[variant] / sum(spans.values()) * seconds for variant in variants]
    of_loop = [plain[variant]["seconds"] for variant in variants]
    parts = {name: statistics.fmean(result["times"][name] for result in plain.values()) for name in ("imports", "data")}
    details = {
        "variants": [" ".join(variant) for variant in variants],
        "loop_s": of_loop,
        "study_s": seconds,
        "trials_s": [spans[variant] for variant in variants],
        "loop_imports_and_data_s": parts,
        "work": work,
    }
    return for_goal("shell_loop/trials_per_hour", ratio_of_sums(of_loop, shares), n=len(variants), **details)


def _parts(trials: list[list[Entry]], begin: float, end: float) -> Iterator[Result]:
    """Yields the shares of a trial's time and of the study's."""
    seconds = [breakdown.of_trial(attempt) for attempt in trials]
    whole = sum(sum(of_trial.values()) for of_trial in seconds)
    for name, what in breakdown.PARTS.items():
        values = [of_trial[name] for of_trial in seconds]
        share, details = sum(values) / whole, {"seconds": values}
        yield Result(f"shell_loop/trial_{name}", f"of a trial: {what}", share, SHARE, n=len(values), details=details)
    of_study = breakdown.of_study(study_folder(STUDY), begin=begin, end=end, workers=WORKERS)
    for name, what in breakdown.OF_STUDY.items():
        share = of_study[name] / sum(of_study.values())
        of_name = {"worker_seconds": of_study[name]}
        yield Result(f"shell_loop/study_{name}", f"of the workers' time: {what}", share, SHARE, details=of_name)
