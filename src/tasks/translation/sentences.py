"""From an encoded parallel corpus to the batches of a trial.

A batch is (inputs, targets, rows). Inputs are `source`, `target` and `labels` of `src.models.encoder_decoder`: the
model computes the losses of the labels itself. Targets have the labels, too, and for corpora whose alignment is known
`aligned`, as in `src.data.pair_batches`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from src.data.batching import MAX_BUCKETS
from src.data.encoded_pairs import EncodedPairs, Tokenisation
from src.data.pair_batches import Batch, PairIds, batches, count, pair_ids
from src.data.pair_contents import SIDES
from src.data.splits import TEST, TRAIN, VALIDATION
from src.data.tokens import UNKNOWN
from src.streams import generator
from src.tasks.translation.settings import Settings

SOURCE_IDS, TARGET_IDS, LABELS, ALIGNED = "source", "target", "labels", "aligned"


def tokenisation(settings: Settings) -> Tokenisation:
    """Returns how the texts of a trial become ids."""
    return Tokenisation(settings.tokens, settings.lowercase, settings.share_vocabulary, settings.vocab_size)


def pairs(settings: Settings, data: EncodedPairs, split: str) -> PairIds:
    """Returns the pairs of a split as a trial reads them."""
    return pair_ids(data, split, settings.vocab_size, reverse_source=settings.reverse_source)


def longest(data: EncodedPairs) -> dict[str, int]:
    """Returns side → ids of the longest text of all splits, with its end: S and T."""
    return {side: 1 + max(sizes[side] for sizes in data.contents.longest.values()) for side in SIDES}


def left_out(settings: Settings, data: EncodedPairs) -> list[str]:
    """Returns why training has no batch, with the fix; empty if it has one."""
    if settings.drop_remainder and not _batch_count(settings, pairs(settings, data, TRAIN)):
        what = f"{data.origin}: drop_remainder=true leaves no batch: no {settings.batch_size} training pairs share one"
        return [f"{what}; lower batch_size, or set drop_remainder=false"]
    return []


def _batch_count(settings: Settings, split: PairIds) -> int:
    how = {"bucketing": settings.bucketing, "drop_remainder": settings.drop_remainder}
    return count(split, settings.batch_size, **how)


def training(settings: Settings, split: PairIds) -> Callable[[int], Iterator[Batch]]:
    """Returns epoch → its batches, in an order that depends on the seed and the epoch."""
    how = {"bucketing": settings.bucketing, "drop_remainder": settings.drop_remainder}
    in_order = batches(split, settings.batch_size, **how)
    return lambda epoch: in_order(generator(settings.seed, "order", epoch).permutation(len(split)))


def held_out(settings: Settings, data: EncodedPairs, split: str) -> Callable[[], Iterable[Any]]:
    """Returns the batches of all pairs of a split, as tensors."""

    @functools.cache
    def pipeline() -> tuple[Callable[[np.ndarray], Iterator[Batch]], int]:  # that of test is built when it is read
        found = pairs(settings, data, split)
        return batches(found, settings.batch_size, bucketing=True), len(found)

    def all_batches() -> Iterator[Any]:
        in_order, size = pipeline()
        return map(as_tensors, in_order(np.arange(size)))

    return all_batches


def phase_parts(settings: Settings, data: EncodedPairs) -> dict[str, Any]:
    """Returns the parts of a `Phase` that concern the data; what is measured is missing."""
    import tensorflow as tf

    split = pairs(settings, data, TRAIN)
    epoch_batches = training(settings, split)
    of_ids = tf.TensorSpec([None, None], tf.int32)
    targets = {LABELS: of_ids}
    if data.is_aligned:
        targets[ALIGNED] = tf.TensorSpec([None, None, None], tf.bool)
    return {
        "training": lambda epoch: map(as_tensors, epoch_batches(epoch)),
        "batches_per_epoch": _batch_count(settings, split),
        "held_out": {name: held_out(settings, data, name) for name in (VALIDATION, TEST)},
        "signature": (dict.fromkeys((SOURCE_IDS, TARGET_IDS, LABELS), of_ids), targets),
        "shape": lambda inputs: (
            int(inputs[SOURCE_IDS].shape[0]),
            int(inputs[SOURCE_IDS].shape[1] + inputs[TARGET_IDS].shape[1]),
        ),
        "real_positions": real_positions,
        "shapes": min(len(np.unique(split.longer)), MAX_BUCKETS) if settings.bucketing else len(split),
    }


def as_tensors(batch: Batch) -> tuple[Any, dict[str, Any], Any]:
    """Returns a batch as tensors: inputs, targets and rows."""
    import tensorflow as tf

    labels = tf.constant(batch.predicted)
    inputs = {SOURCE_IDS: tf.constant(batch.source), TARGET_IDS: tf.constant(batch.read), LABELS: labels}
    targets = {LABELS: labels}
    if batch.aligned is not None:
        targets[ALIGNED] = tf.constant(batch.aligned)
    return inputs, targets, tf.constant(batch.rows)


def real_positions(inputs: Any) -> Any:
    """Returns the number of ids of a batch that are no padding, sources and targets."""
    import tensorflow as tf

    return tf.math.count_nonzero(inputs[SOURCE_IDS]) + tf.math.count_nonzero(inputs[TARGET_IDS])


def unknown_shares(settings: Settings, data: EncodedPairs, split: str) -> dict[str, float]:
    """Returns side → share of the tokens of a split that the trial reads as the unknown token, from 0 to 1."""
    shares = {}
    for side in SIDES:
        ids = data.side(split, side).values
        shares[side] = float(((ids == UNKNOWN) | (ids >= settings.vocab_size)).mean()) if len(ids) else 0.0
    return shares
