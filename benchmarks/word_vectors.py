"""Pairs per second of skip-gram with negative sampling, beside gensim on the same tokens with the same settings.

gensim is compiled C and updates its tables without locks, word after word. The number of its pairs is that of ours:
both draw windows and subsample in the same way.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.goals import for_goal
from benchmarks.inside import Options
from benchmarks.result import Result, mean_of, ratio_of_pairs
from benchmarks.training import Times, in_turn, ours, prepared
from src.data.splits import TRAIN
from src.tasks.word_vectors import corpus, examples
from src.trial.prepare import Prepared

WORKERS = 2
KEY = "word_vectors"
SAME = ("vector_size", "window", "min_count", "sample", "negative", "ns_exponent", "epochs")  # settings


def measure(options: Options) -> Iterator[Result]:
    """Yields the pairs per second of our training, and gensim's in multiples of ours."""
    rounds, steps = (2, 5) if options.is_quick else (6, 300)
    trial = prepared(KEY, **{"data.limit": 200 if options.is_quick else None})
    settings: Any = trial.settings
    times = in_turn({"ours": ours(trial, steps), "gensim": _gensim(trial)}, rounds)
    speed = [settings.batch_size / np.nanmean(of_round) * 1e3 for of_round in times["ours"]]
    details = {"pairs per second": speed, "batch_size": settings.batch_size}
    yield for_goal(f"{KEY}/pairs_per_second", mean_of(speed), n=len(speed), **details)
    per_pair = [float(np.nanmean(of_round)) / settings.batch_size for of_round in times["ours"]]
    found = ratio_of_pairs(per_pair, [one for (one,) in times["gensim"]])
    what = "pairs per second of gensim with 2 workers against ours: times as fast"
    yield Result(f"{KEY}/gensim", what, found.value, "×", found.interval, None, rounds, details)


def _gensim(trial: Prepared) -> Iterator[Times]:
    """Trains an epoch in each round, and yields the milliseconds of a pair."""
    settings: Any = trial.settings
    data: Any = trial.data
    model, sentences = as_gensim(trial)
    pairs = examples.Training(settings, data).count
    while True:
        begin = time.perf_counter()
        model.train(sentences, total_examples=len(sentences), epochs=1)
        yield [(time.perf_counter() - begin) * 1e3 / pairs]


def as_gensim(trial: Prepared, *, seed: int = 1) -> tuple[Any, list[list[str]]]:
    """Returns gensim's untrained model with the settings of a trial, and the trial's training texts as words."""
    from gensim.models import Word2Vec

    settings: Any = trial.settings
    data: Any = trial.data
    texts, names = corpus.texts_of(settings, data, TRAIN), corpus.words_of(settings, data)
    words = np.array(names)[texts.ids]
    sentences = [words[a:b].tolist() for a, b in zip(texts.starts[:-1], texts.starts[1:], strict=True)]
    model = Word2Vec(
        sg=1,
        workers=WORKERS,
        seed=seed,
        alpha=settings.learning_rate,
        min_alpha=settings.learning_rate_end,
        **{key: getattr(settings, key) for key in SAME},
    )
    model.build_vocab(sentences)
    return model, sentences
