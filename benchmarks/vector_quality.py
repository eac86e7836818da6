"""Word vectors of the default trial beside gensim's, by the same tests, on the same tokens with the same settings.

Seeds of the two programs have nothing in common, so the differences have the interval of two independent samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.inside import Options
from benchmarks.processes import measured
from benchmarks.result import MEGABYTES, SECONDS, Estimate, Goal, Result, mean_of
from benchmarks.word_vectors import KEY, as_gensim
from src.config.settings import checked, edited
from src.inference.student import interval
from src.paths import study_folder
from src.spec.metric import TEST
from src.tasks.word_vectors import corpus, scores
from src.tracking import journal, outcome
from src.trial.prepare import prepare

STUDY = "vector_quality"
SEEDS = 5
GOALS = {"wordsim": -0.03, "simlex": None, "analogies": -0.02}  # test → least difference from gensim
TITLES = {"wordsim": "WordSim-353", "simlex": "SimLex-999", "analogies": "analogies (3CosAdd)"}


def measure(options: Options) -> Iterator[Result]:
    """Yields the time and memory of a default trial, the scores of its vectors, and their differences from gensim's."""
    small = ["data.limit=200", "epochs=1"] if options.is_quick else []
    seeds = range(2 if options.is_quick else SEEDS)
    runs = [measured("-m", "src.run", f"task={KEY}", f"study={STUDY}", f"seed={seed}", *small) for seed in seeds]
    what = "word vectors: the default trial on the reviews, the whole command"
    for name, unit, values, most in (
        ("trial", SECONDS, [run.seconds for run in runs], 900.0),
        ("memory", MEGABYTES, [run.megabytes for run in runs], 1_536.0),
    ):
        title = what if name == "trial" else f"peak memory of {what}"
        found = mean_of(values)
        yield Result(f"{STUDY}/{name}", title, found.value, unit, found.interval, Goal("at most", most), len(seeds))
    ours, theirs = _ours(), [_of_gensim(seed, is_quick=options.is_quick) for seed in seeds]
    for name, least in GOALS.items():
        details = {"ours": [one[name] for one in ours], "gensim": [one[name] for one in theirs]}
        mean = _mean(details["ours"])
        goal = Goal("at least", 0.35) if name == "wordsim" else None
        yield Result(f"{STUDY}/{name}", TITLES[name], mean.value, "", mean.interval, goal, len(seeds), details)
        apart = _apart(details["ours"], details["gensim"])
        goal = None if least is None else Goal("at least", least)
        what = f"{TITLES[name]}: difference from gensim"
        yield Result(f"{STUDY}/{name}_difference", what, apart.value, "", apart.interval, goal, len(seeds), details)


def _mean(values: Sequence[float] | np.ndarray) -> Estimate:
    found = interval(np.asarray(values, float))
    return Estimate(found.mean, None if math.isnan(found.low) else (found.low, found.high))


def _apart(ours: Sequence[float], theirs: Sequence[float]) -> Estimate:
    """Returns the difference of two means with Welch's interval."""
    found = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    has_spread = math.isfinite(found.low)
    return Estimate(float(np.mean(ours) - np.mean(theirs)), (found.low, found.high) if has_spread else None)


def _ours() -> list[Mapping[str, float]]:
    """Returns the test scores of the trained seeds."""
    ends = [outcome.of_journal(folder) for folder in journal.folders(study_folder(STUDY))]
    return [{name: end.metrics[f"{TEST}{name}"] for name in GOALS} for end in ends if end is not None]


def _of_gensim(seed: int, *, is_quick: bool) -> dict[str, float]:
    """Trains gensim's vectors with a seed, and returns their scores."""
    trial = prepare(edited(checked({"task": KEY}), {"data.limit": 200, "epochs": 1} if is_quick else {}))
    settings: Any = trial.settings
    data: Any = trial.data
    model, sentences = as_gensim(trial, seed=seed)
    model.train(sentences, total_examples=len(sentences), epochs=settings.epochs)
    words = corpus.words_of(settings, data)
    return scores.of_vectors(np.stack([model.wv[word] for word in words]), words)
