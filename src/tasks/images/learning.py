"""The training phase of an image classifier. B images of H x W pixels and C channels, K classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from src.data.image_batches import CHANGES, Scaling, batches, in_stored_order
from src.data.images import Split, Stored
from src.data.order import Epochs
from src.data.prefetch import ahead
from src.data.splits import TEST, TRAIN, VALIDATION
from src.parts.classes import measures, scores
from src.streams import generator
from src.tasks.images import faults
from src.tasks.images.pipeline import draws_of, order_of
from src.tasks.images.settings import Settings
from src.training.phase import Phase


def training_batches(
    settings: Settings, data: Stored, epoch: int, *, epochs: Epochs | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Returns the batches of an epoch; order and augmentation have their own random streams.

    A row that an epoch has twice is changed in the same way both times.

    Args:
      settings: of the trial.
      data: the images.
      epoch: counted from 1.
      epochs: the order, continued from epoch to epoch; None begins it anew.
    """
    split = data.split(TRAIN)
    epochs = epochs or Epochs(order_of(settings, len(split.labels)), draws_of(settings))
    draw = CHANGES.get(settings.augment)
    change = draw and draw(generator(settings.seed, "augment", epoch), len(split.labels))
    return batches(split, epochs.rows(epoch), faults.scaling(settings, data, TRAIN), change=change)


def phase(settings: Settings, data: Stored) -> Phase:
    """Returns the phase, for settings without `refusals`."""
    import tensorflow as tf

    order = order_of(settings, data.rows[TRAIN])
    epochs = Epochs(order, draws_of(settings))

    def training(epoch: int) -> Iterator[Any]:
        prepared = map(_as_tensors, training_batches(settings, data, epoch, epochs=epochs))
        return ahead(prepared, settings.prefetch)

    return Phase(
        training=training,
        batches_per_epoch=order.batches_per_epoch,
        held_out={
            name: _held_out(data.split(name), settings, faults.scaling(settings, data, name))
            for name in (VALIDATION, TEST)
        },
        signature=(tf.TensorSpec([None, *data.shape], tf.float32), tf.TensorSpec([None], tf.int32)),
        measure=measures.measure_of(settings, data.split(TRAIN).labels, len(data.classes)),
        predictions=measures.predictions,
        scores=scores.of_phase(lambda name: data.split(name).labels),
        shape=lambda images: (int(images.shape[0]), 1),
        chances=measures.chances(data.split(VALIDATION).labels),
    )


def _held_out(split: Split, settings: Settings, scale: Scaling) -> Callable[[], Iterable[Any]]:
    groups = in_stored_order(len(split.labels), settings.batch_size)
    return lambda: map(_as_tensors, batches(split, groups, scale))


def _as_tensors(batch: tuple[np.ndarray, np.ndarray, np.ndarray]) -> tuple[Any, ...]:
    import tensorflow as tf

    return tuple(map(tf.convert_to_tensor, batch))
