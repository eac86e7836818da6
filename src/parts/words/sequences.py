"""What the toggles of texts make of a corpus: which steps a model sees, and how they share batches."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from src.data.batching import Padding, padding
from src.data.encoded import Encoded, Sequences
from src.data.sequences import drop_longer, limit_vocabulary, truncate
from src.data.splits import SPLITS, TEST, TRAIN, VALIDATION
from src.data.tokens import START, UNKNOWN
from src.parts.words.toggles import Words

SHOWN = 4  # values of a toggle whose effect on the data is shown


def cut(split: Sequences, settings: Words, *, is_training: bool) -> Sequences:
    """Returns a split with words beyond the vocabulary as unknown, and texts beyond the length truncated or removed."""
    split = limit_vocabulary(split, settings.vocab_size)
    if settings.truncation == "remove":
        return drop_longer(split, settings.max_length) if is_training else truncate(split, settings.max_length, "pre")
    return truncate(split, settings.max_length, settings.truncation)


def all_cut(settings: Words, data: Encoded) -> dict[str, Sequences]:
    """Returns all splits as a trial sees them."""
    return {name: cut(data.split(name), settings, is_training=name == TRAIN) for name in SPLITS}


def padding_of(lengths: Mapping[str, np.ndarray], settings: Words) -> Padding:
    """Returns how a trial forms its batches; the training split chooses the buckets.

    Args:
      lengths: split → int[N], steps of the texts as a model sees them.
      settings: of the trial.
    """
    return padding(
        lengths[TRAIN],
        mode=settings.padding,
        bucketing=settings.bucketing,
        side=settings.padding_side,
        longest=max(int(steps.max()) for steps in lengths.values()),
    )


def lengths_of(settings: Words, data: Encoded) -> dict[str, np.ndarray]:
    """Returns the steps of all texts as a trial sees them, without the texts."""
    lengths = {name: data.split(name).lengths for name in SPLITS}
    if settings.max_length is None:
        return lengths
    shorter = {name: np.minimum(steps, settings.max_length) for name, steps in lengths.items()}
    kept = lengths[TRAIN][lengths[TRAIN] <= settings.max_length]
    return shorter | ({TRAIN: kept} if settings.truncation == "remove" else {})


def measures(settings: Words, data: Encoded) -> dict[str, float]:
    """Returns what is to be known of the texts beside the result, shares from 0 to 1."""
    known = word_ids(cut(data.split(VALIDATION), settings, is_training=False))
    return {
        "data/leaked_test": data.contents.leaked_share(TEST),
        "data/leaked_validation": data.contents.leaked_share(VALIDATION),
        "data/unknown_fraction": float((known == UNKNOWN).mean()) if len(known) else 0.0,
    }


def summary(settings: Sequence[Words], data: Encoded) -> list[str]:
    """Returns what was read, and what the settings of a study's trials make of it, in a few lines for the terminal."""
    lengths = {name: data.split(name).lengths for name in SPLITS}
    rows = [
        (
            f"truncated at max_length={limit}" if way != "remove" else f"longer than max_length={limit}",
            _shares(lengths, _above(limit)),
        )
        for limit, way in itertools.islice(
            dict.fromkeys((each.max_length, each.truncation) for each in settings), SHOWN
        )
        if limit is not None
    ]
    for size, some in itertools.islice(sorted({each.vocab_size: each for each in reversed(settings)}.items()), SHOWN):
        ids = {name: word_ids(cut(data.split(name), some, is_training=name == TRAIN)) for name in SPLITS}
        rows.append((f"words within vocab_size={size}", _shares(ids, lambda known: known != UNKNOWN)))
    return data.contents.lines(data.origin, data.classes, rows)


def word_ids(split: Sequences) -> np.ndarray:
    """Returns the ids of the words of a split, the start of each text left out."""
    return np.asarray(split.ids[split.ids != START])


def _above(limit: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda lengths: np.asarray(lengths > limit)


def _shares(of: Mapping[str, np.ndarray], are: Callable[[np.ndarray], np.ndarray]) -> list[str]:
    """Returns a share for each split as it is shown; what is not quite all or nothing is not rounded to it."""
    shares = [float(are(of[name]).mean()) if len(of[name]) else 0.0 for name in SPLITS]
    return ["< 0.1%" if 0 < share < 0.001 else "> 99.9%" if 0.999 < share < 1 else f"{share:.1%}" for share in shares]
