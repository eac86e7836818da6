"""What the plan and the record say about the data of word vectors."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from src.data.splits import TRAIN
from src.tasks.word_vectors import corpus, examples, scores
from src.tasks.word_vectors.corpus import Corpus
from src.tasks.word_vectors.settings import Settings, is_counted, is_skipgram

SHOWN = 6  # largest number of different settings whose examples are counted for the plan
MATTERS = ("vocab_size", "min_count", "sample", "window", "shrink_windows", "pad_pairs", "across_lines")


def measures(settings: Settings, data: Corpus) -> dict[str, float]:
    """Returns the number of words with a vector, of words and examples of an epoch, and of tests with known words."""
    words = corpus.words_of(settings, data)
    counts = {
        "data/vocabulary": len(words),
        "data/words": len(corpus.texts_of(settings, data, TRAIN).ids),
        **{f"data/{name}_known": count for name, count in scores.pair_counts(words).items()},
    }
    if not is_counted(settings):
        counts["data/pairs"] = examples.Training(settings, data).count
    return {name: float(count) for name, count in counts.items()}


def lines(settings: Sequence[Settings], data: Corpus) -> list[str]:
    """Returns lines for the terminal: the corpus, and the examples and known tests of a study's settings."""
    first = settings[0]
    found = [f"data {data.encoded.origin}: {len(data.words):,} different words in training"]
    different = {tuple(getattr(each, key) for key in MATTERS): each for each in reversed(settings)}
    for each in itertools.islice(reversed(different.values()), SHOWN):
        found.append(f"  {_changed(each, first)}{_described(each, data)}")
    if len(different) > SHOWN:
        found.append(f"  … and {len(different) - SHOWN} more")
    return found


def _changed(one: Settings, first: Settings) -> str:
    """Returns what differs from the first settings, with a colon."""
    changes = [f"{key}={getattr(one, key)}" for key in MATTERS if getattr(one, key) != getattr(first, key)]
    return f"{' '.join(changes)}: " if changes else ""


def _described(settings: Settings, data: Corpus) -> str:
    of_tests = scores.pair_counts(corpus.words_of(settings, data))
    words, count = len(corpus.texts_of(settings, data, TRAIN).ids), examples.Training(settings, data).count
    is_random = settings.sample > 0 or settings.shrink_windows
    kind = "pairs" if is_skipgram(settings) else "windows"
    per = f"{'about ' if is_random else ''}{count:,} {kind} an epoch ({count / words:.1f} a word)"
    vectors = f"{corpus.row_count(settings, data):,} words with a vector occur {words:,} times"
    known = (
        f"{of_tests['wordsim']} of WordSim-353, {of_tests['simlex']} of SimLex-999, {of_tests['analogies']:,} analogies"
    )
    return f"{vectors}; {per}; known: {known}"
