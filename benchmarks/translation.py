"""Translation: the default trial, a thousand translations from it, memory with large vocabularies, and long targets."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import training
from benchmarks.inside import Options
from benchmarks.processes import measured, output_of
from benchmarks.result import MEGABYTES, SECONDS, Goal, Result
from benchmarks.training import in_turn, ours, prepared
from src.data.pair_contents import SOURCE
from src.data.splits import TEST
from src.paths import home, study_folder
from src.tracking import journal

STUDY = "translation"
TRANSLATED = 1_000
WORDS_A_SIDE = 8_000
LENGTHS = (10, 20, 40, 80)  # words of a target
SOURCE_WORDS = 20


def measure(options: Options) -> Iterator[Result]:
    """Yields times of a default trial and of its translations, a peak memory, and how a step grows with its target."""
    yield from _default(options)
    yield _memory(options)
    yield _growth(options)


def _default(options: Options) -> Iterator[Result]:
    """Trains the default trial as a user does, and translates sources of its test with the command."""
    quick = ["data.train_pairs=200", "units=8", "embedding_dim=8", "epochs=1"] if options.is_quick else []
    trial = measured("-m", "src.run", "task=translation", f"study={STUDY}", *quick)
    what = "translation: the default trial on dates, the whole command"
    yield Result("translation/trial", what, trial.seconds, SECONDS, goal=Goal("at most", 300.0))
    (folder,) = journal.folders(study_folder(STUDY))
    data: Any = prepared("translation", **{"data.train_pairs": 200} if options.is_quick else {}).data
    file = home() / "sources.txt"
    sources = list(itertools.islice(itertools.cycle(data.texts(TEST, SOURCE)), 20 if options.is_quick else TRANSLATED))
    file.write_text("\n".join(sources) + "\n", encoding="utf-8")
    for name, words, most in (("greedy", ["greedy"], 30.0), ("beam", ["beam", "--beam-size", "5"], 180.0)):
        begin = time.perf_counter()
        lines = output_of("-m", "src.use", str(folder), "translate", "--file", str(file), "--strategy", *words)
        seconds = time.perf_counter() - begin
        if len(lines) != len(sources) + 1:
            raise RuntimeError(f"{len(sources)} sources have {len(lines) - 1} translations")
        what = f"translation of {len(sources):,} sources with {' '.join(words)}, the whole command"
        yield Result(f"translation/{name}", what, seconds, SECONDS, goal=Goal("at most", most))


def _memory(options: Options) -> Result:
    """Trains on sentences of random words, so that both sides have as many ids as the settings allow."""
    words, pairs = (100, 100) if options.is_quick else (WORDS_A_SIDE, 4_000)
    file = _pairs(home() / "large.tsv", pairs, words=words, lengths=(30, 30))
    trial = measured(
        "-m", "src.run", "task=translation", "study=large", "data=pairs", f"data.path={file}", f"vocab_size={words}",
        "epochs=1",
    )  # fmt: skip
    what = f"peak memory of a translation with {words:,} ids of each side and sentences of 30 words"
    return Result("translation/memory", what, trial.megabytes, MEGABYTES, goal=Goal("at most", 3_072.0))


def _growth(options: Options) -> Result:
    """Compares steps with targets of different lengths, in turn; sources have one length."""
    rounds, count = (1, 3) if options.is_quick else (6, 10)
    sides = {
        str(length): ours(
            prepared(
                "translation",
                **{
                    "data": {"name": "pairs", "path": str(_file(length))},
                    "units": 8 if options.is_quick else 128,
                    "vocab_size": 1_000,
                },
            ),
            count,
        )
        for length in LENGTHS
    }
    times = in_turn(sides, rounds)
    curve = {name: training.median_ms(of_side) for name, of_side in times.items()}
    exponent = float(np.polyfit(np.log(LENGTHS), np.log(list(curve.values())), 1)[0])
    what = f"time of a translation's step, as a power of its target's length, {LENGTHS[0]} to {LENGTHS[-1]} words"
    details = {"milliseconds by words": curve, **training.details(times)}
    return Result("translation/growth", what, exponent, "", None, Goal("at most", 1.1), rounds, details)


def _file(length: int) -> Path:
    return _pairs(home() / f"targets_{length}.tsv", 1_000, words=500, lengths=(SOURCE_WORDS, length))


def _pairs(file: Path, count: int, *, words: int, lengths: Sequence[int]) -> Path:
    """Writes pairs of sentences of random words, and returns the file."""
    rng = np.random.default_rng(0)
    drawn = [rng.integers(words, size=(count, length)) for length in lengths]
    lines = [
        "\t".join(" ".join(f"w{word}" for word in sentence) for sentence in pair) for pair in zip(*drawn, strict=True)
    ]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file
