"""Sentiment: one label for a text, from an encoded corpus and a recurrent classifier."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from src.data import encoded
from src.data.batching import Padding, batch_count, batches, padding
from src.data.encoded import Encoded, Sequences
from src.data.sequences import drop_longer, limit_vocabulary, truncate
from src.data.splits import SPLITS, TEST, TRAIN, VALIDATION
from src.data.tokens import START, UNKNOWN
from src.settings import Settings
from src.streams import generator
from src.training.problem import HeldOut, Problem

if TYPE_CHECKING:
    import keras

SHOWN = 4  # values of a toggle whose effect on the data is shown


def corpus(settings: Settings) -> Encoded:
    """Returns the encoded corpus; no TensorFlow."""
    return encoded.load(settings.data, tokens=settings.tokens)


def longest(settings: Settings, data: Encoded) -> int:
    """Returns the steps of the longest sequence that a model will see."""
    return min(data.longest, settings.max_length or data.longest)


def words(settings: Settings, data: Encoded) -> list[str]:
    """Returns the words that the model knows by an id of their own."""
    return data.words(settings.vocab_size)


def division(settings: Settings, data: Encoded) -> str:
    """Returns how the model's texts were divided into words, a key of `data.tokens.DIVISIONS`."""
    return data.contents.tokens


def measures(settings: Settings, data: Encoded) -> dict[str, float]:
    """Returns what is to be known of the data beside the result, shares from 0 to 1."""
    heard = _heard(_cut(data.split(VALIDATION), settings, is_training=False))
    return {
        "data/leaked_test": data.contents.leaked_share(TEST),
        "data/leaked_validation": data.contents.leaked_share(VALIDATION),
        "data/unknown_fraction": float((heard == UNKNOWN).mean()) if len(heard) else 0.0,
    }


def summary(settings: Sequence[Settings], data: Encoded) -> list[str]:
    """Returns what was read, and what the settings of a study's trials make of it, in a few lines for the terminal."""
    lengths = {name: data.split(name).lengths for name in SPLITS}
    rows = [
        (f"truncated at max_length={limit}" if way != "remove" else f"longer than max_length={limit}", _shares(lengths, _above(limit)))
        for limit, way in itertools.islice(dict.fromkeys((one.max_length, one.truncation) for one in settings), SHOWN)
        if limit is not None
    ]
    for size, one in itertools.islice(sorted({each.vocab_size: each for each in reversed(settings)}.items()), SHOWN):
        heard = {name: _heard(_cut(data.split(name), one, is_training=name == TRAIN)) for name in SPLITS}
        rows.append((f"words within vocab_size={size}", _shares(heard, lambda ids: ids != UNKNOWN)))
    return data.contents.lines(data.origin, data.classes, rows)


def refusals(settings: Settings, data: Encoded) -> list[str]:
    """Returns why these data cannot be trained on with these settings; empty if they can."""
    if settings.truncation != "remove" and not settings.drop_remainder:
        return []
    name = getattr(settings.data, "path", None) or settings.data.name
    train = _cut(data.split(TRAIN), settings, is_training=True)
    left = set(train.labels.tolist())
    gone = [name for number, name in enumerate(data.classes) if number not in left]
    if gone:
        return [
            f"{name}: truncation=remove with max_length={settings.max_length} leaves no "
            f"training example of class {' or '.join(map(repr, gone))}; the shortest text has {data.split(TRAIN).lengths.min()} steps. "
            "Raise max_length, or set truncation=pre"
        ]
    how = _padding({TRAIN: train}, settings)
    if settings.drop_remainder and not batch_count(train.lengths, how, settings.batch_size, drop_remainder=True):
        return [
            f"{name}: drop_remainder=true leaves no batch: no {settings.batch_size} of the {len(train.labels)} training examples "
            "share one; lower batch_size, or set drop_remainder=false"
        ]
    return []


def problem(settings: Settings, data: Encoded) -> Problem:
    """Returns the splits and their batches, for settings without `refusals`."""
    splits = {name: _cut(data.split(name), settings, is_training=name == TRAIN) for name in SPLITS}
    train, how = splits[TRAIN], _padding(splits, settings)
    of_order = batches(train, how, settings.batch_size, drop_remainder=settings.drop_remainder)
    return Problem(
        training=lambda epoch: of_order(generator(settings.seed, "order", epoch).permutation(len(train.labels))),
        batches_per_epoch=batch_count(train.lengths, how, settings.batch_size, drop_remainder=settings.drop_remainder),
        held_out={name: _held_out(splits[name], how, settings) for name in (VALIDATION, TEST)},
        loss=settings.head,
        padding=how,
    )


def model(settings: Settings, data: Encoded) -> keras.Model:
    """Returns the untrained classifier."""
    from src.models.build import classifier

    return classifier(settings, classes=len(data.classes))


def _heard(split: Sequences) -> np.ndarray:
    """Returns the ids of the words of a split, the start of each text left out."""
    return np.asarray(split.ids[split.ids != START])


def _above(limit: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda lengths: np.asarray(lengths > limit)


def _shares(of: Mapping[str, np.ndarray], are: Callable[[np.ndarray], np.ndarray]) -> list[str]:
    """Returns a share for each split as it is shown; what is not quite all or nothing is not rounded to it."""
    shares = [float(are(of[name]).mean()) if len(of[name]) else 0.0 for name in SPLITS]
    return ["< 0.1%" if 0 < share < 0.001 else "> 99.9%" if 0.999 < share < 1 else f"{share:.1%}" for share in shares]


def _held_out(split: Sequences, how: Padding, settings: Settings) -> HeldOut:
    of_order = batches(split, how, settings.batch_size)
    return HeldOut(split.labels, lambda: of_order(np.arange(len(split.labels))))


def _padding(splits: dict[str, Sequences], settings: Settings) -> Padding:
    return padding(
        splits[TRAIN].lengths,
        mode=settings.padding,
        bucketing=settings.bucketing,
        side=settings.padding_side,
        longest=max(int(split.lengths.max()) for split in splits.values()),
    )


def _cut(split: Sequences, settings: Settings, *, is_training: bool) -> Sequences:
    split = limit_vocabulary(split, settings.vocab_size)
    if settings.truncation == "remove":
        return drop_longer(split, settings.max_length) if is_training else truncate(split, settings.max_length, "pre")
    return truncate(split, settings.max_length, settings.truncation)
