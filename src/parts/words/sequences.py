"""Applies the toggles of texts to a corpus: which steps a model reads, and how texts form batches."""

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

SHOWN = 4  # largest number of values of a toggle whose effect on the data is shown


def limited(split: Sequences, settings: Words, *, is_training: bool) -> Sequences:
    """Returns a split limited to the vocabulary and to `max_length`.

    Words outside the vocabulary become the unknown word; longer texts are truncated or removed.
    """
    if settings.truncation != "remove":
        split = truncate(split, settings.max_length, settings.truncation)
    else:
        split = drop_longer(split, settings.max_length) if is_training else truncate(split, settings.max_length, "pre")
    return limit_vocabulary(split, settings.vocab_size)  # at last, because it copies all ids


def limited_splits(settings: Words, data: Encoded) -> dict[str, Sequences]:
    """Returns all splits as a trial reads them."""
    return {name: limited(data.split(name), settings, is_training=name == TRAIN) for name in SPLITS}


def padding_of(lengths: Mapping[str, np.ndarray], settings: Words) -> Padding:
    """Returns how a trial forms its batches; the training split chooses the buckets.

    Args:
      lengths: split → int[N], steps of the texts as a model reads them.
      settings: settings of the trial.
    """
    return padding(
        lengths[TRAIN],
        mode=settings.padding,
        bucketing=settings.bucketing,
        side=settings.padding_side,
        longest=max(int(steps.max()) for steps in lengths.values()),
    )


def lengths_of(settings: Words, data: Encoded) -> dict[str, np.ndarray]:
    """Returns the number of steps of every text as a trial reads it, computed without the texts."""
    lengths = {name: data.split(name).lengths for name in SPLITS}
    if settings.max_length is None:
        return lengths
    truncated = {name: np.minimum(steps, settings.max_length) for name, steps in lengths.items()}
    short_enough = lengths[TRAIN][lengths[TRAIN] <= settings.max_length]
    return truncated | ({TRAIN: short_enough} if settings.truncation == "remove" else {})


def measures(settings: Words, data: Encoded) -> dict[str, float]:
    """Returns the shares, from 0 to 1, of leaked texts and of unknown words."""
    words = word_ids(limited(data.split(VALIDATION), settings, is_training=False))
    return {
        "data/leaked_test": data.contents.leaked_share(TEST),
        "data/leaked_validation": data.contents.leaked_share(VALIDATION),
        "data/unknown_fraction": float((words == UNKNOWN).mean()) if len(words) else 0.0,
    }


def summary(settings: Sequence[Words], data: Encoded) -> list[str]:
    """Returns a few lines for the terminal: which data were read, and the effect of a study's settings on them."""
    lengths = {name: data.split(name).lengths for name in SPLITS}
    rows = [
        (
            f"truncated at max_length={limit}" if truncation != "remove" else f"longer than max_length={limit}",
            _shares(lengths, _above(limit)),
        )
        for limit, truncation in itertools.islice(
            dict.fromkeys((each.max_length, each.truncation) for each in settings), SHOWN
        )
        if limit is not None
    ]
    first_of_size = {each.vocab_size: each for each in reversed(settings)}
    for size, first in itertools.islice(sorted(first_of_size.items()), SHOWN):
        ids = {name: word_ids(limited(data.split(name), first, is_training=name == TRAIN)) for name in SPLITS}
        rows.append((f"words within vocab_size={size}", _shares(ids, lambda words: words != UNKNOWN)))
    return data.contents.lines(data.origin, data.classes, rows)


def word_ids(split: Sequences) -> np.ndarray:
    """Returns the ids of the words of a split, without the start token of each text."""
    return np.asarray(split.ids[split.ids != START])


def _above(limit: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda lengths: np.asarray(lengths > limit)


def _shares(values: Mapping[str, np.ndarray], condition: Callable[[np.ndarray], np.ndarray]) -> list[str]:
    """Returns for each split the share of values that meet a condition, as text.

    Only an exact 0 becomes 0.0% and only an exact 1 becomes 100.0%.
    """
    shares = [float(condition(values[name]).mean()) if len(values[name]) else 0.0 for name in SPLITS]
    return ["< 0.1%" if 0 < share < 0.001 else "> 99.9%" if 0.999 < share < 1 else f"{share:.1%}" for share in shares]
