"""Sentiment: one label for a text, from an encoded corpus and a recurrent classifier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from src.data import encoded
from src.data.batching import Padding, batch_count, batches, padding
from src.data.encoded import Encoded, Sequences
from src.data.sequences import drop_longer, limit_vocabulary, truncate
from src.data.splits import SPLITS, TRAIN
from src.settings import Settings

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


@dataclass(frozen=True)
class Problem:
    """What a trial trains on.

    Attributes:
      splits: the sequences of each split, cut as the settings say.
      padding: how batches are formed.
      batches: for each split, a function from an order of its rows to batches.
      batches_per_epoch: optimizer steps that one pass over the training split takes.
    """

    splits: dict[str, Sequences]
    padding: Padding
    batches: dict[str, Callable[[np.ndarray], tf.data.Dataset]]
    batches_per_epoch: int


def corpus(settings: Settings) -> Encoded:
    """Returns the encoded corpus; no TensorFlow."""
    return encoded.load(settings.data)


def longest(settings: Settings, data: Encoded) -> int:
    """Returns the steps of the longest sequence that a model will see."""
    return min(data.longest, settings.max_length or data.longest)


def refusals(settings: Settings, data: Encoded) -> list[str]:
    """Returns why these data cannot be trained on with these settings; empty if they can."""
    if settings.truncation != "remove":
        return []
    train = data.split(TRAIN)
    left = set(drop_longer(train, settings.max_length).labels.tolist())
    gone = [name for number, name in enumerate(data.classes) if number not in left]
    if not gone:
        return []
    return [
        f"{getattr(settings.data, 'path', None) or settings.data.name}: truncation=remove with max_length={settings.max_length} leaves no "
        f"training example of class {' or '.join(map(repr, gone))}; the shortest of all has {train.lengths.min()} steps. "
        "Raise max_length, or set truncation=pre"
    ]


def problem(settings: Settings, data: Encoded) -> Problem:
    """Returns the splits and their batches, for settings without `refusals`."""
    splits = {name: _cut(data.split(name), settings, is_training=name == TRAIN) for name in SPLITS}
    how = padding(
        splits[TRAIN].lengths,
        mode=settings.padding,
        bucketing=settings.bucketing,
        side=settings.padding_side,
        longest=max(int(split.lengths.max()) for split in splits.values()),
    )
    of_split = {name: batches(split, how, settings.batch_size) for name, split in splits.items()}
    return Problem(splits, how, of_split, batch_count(splits[TRAIN].lengths, how, settings.batch_size))


def model(settings: Settings, data: Encoded) -> keras.Model:
    """Returns the untrained classifier."""
    from src.models.build import classifier

    return classifier(settings, classes=len(data.classes))


def _cut(split: Sequences, settings: Settings, *, is_training: bool) -> Sequences:
    split = limit_vocabulary(split, settings.vocab_size)
    if settings.truncation == "remove":
        return drop_longer(split, settings.max_length) if is_training else truncate(split, settings.max_length, "pre")
    return truncate(split, settings.max_length, settings.truncation)
