"""The training phase of an image classifier. B images of H x W pixels and C channels, K classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from src.data.image_batches import CHANGES, Scaling, batch_count, batches
from src.data.images import Split, Stored
from src.data.splits import TEST, TRAIN, VALIDATION
from src.parts.classes import measures
from src.streams import generator
from src.tasks.images import faults
from src.tasks.images.settings import Settings
from src.training.phase import Phase


def scaling_of(settings: Settings, data: Stored, split: str = TRAIN) -> Scaling:
    """Returns the scaling of the pixels of a split: that of training, unless `fault` scales them apart."""
    return faults.scaling(settings, data, split)


def training_batches(
    settings: Settings, data: Stored, epoch: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Returns the batches of an epoch; order and augmentation have their own random streams."""
    split = data.split(TRAIN)
    order = generator(settings.seed, "order", epoch).permutation(len(split.labels))
    draw = CHANGES.get(settings.augment)
    change = draw and draw(generator(settings.seed, "augment", epoch), len(order))
    how: dict[str, Any] = {"size": settings.batch_size, "drop_remainder": settings.drop_remainder, "change": change}
    return batches(split, order, scaling_of(settings, data), **how)


def phase(settings: Settings, data: Stored) -> Phase:
    """Returns the phase, for settings without `refusals`."""
    import tensorflow as tf

    def training(epoch: int) -> Iterator[Any]:
        return map(_as_tensors, training_batches(settings, data, epoch))

    return Phase(
        training=training,
        batches_per_epoch=batch_count(data.rows[TRAIN], settings.batch_size, drop_remainder=settings.drop_remainder),
        held_out={
            name: _held_out(data.split(name), settings, scaling_of(settings, data, name)) for name in (VALIDATION, TEST)
        },
        signature=(tf.TensorSpec([None, *data.shape], tf.float32), tf.TensorSpec([None], tf.int32)),
        measure=measures.MEASURES[settings.head],
        predictions=measures.predictions,
        shape=lambda images: (int(images.shape[0]), 1),
        chance=measures.chance(data.split(VALIDATION).labels),
    )


def _held_out(split: Split, settings: Settings, scale: Scaling) -> Callable[[], Iterable[Any]]:
    return lambda: map(_as_tensors, batches(split, np.arange(len(split.labels)), scale, size=settings.batch_size))


def _as_tensors(batch: tuple[np.ndarray, np.ndarray, np.ndarray]) -> tuple[Any, ...]:
    import tensorflow as tf

    return tuple(map(tf.convert_to_tensor, batch))
