"""The two phases: the pretext reads training images without labels, the classifier those with labels.

B images of H x W pixels and C channels, K classes. Pixels are from 0 to 1.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from src.data.image_batches import Scaling, batches, in_stored_order, scaling
from src.data.images import Split, Stored
from src.data.splits import TEST, TRAIN, VALIDATION
from src.parts.classes import labelled, measures, scores
from src.streams import generator
from src.tasks.pretraining import drawn
from src.tasks.pretraining.pretexts import PRETEXTS
from src.tasks.pretraining.settings import FITTED, Settings
from src.training.phase import Phase


def scale(data: Stored) -> Scaling:
    """Returns the scaling of pixels, to 0 to 1."""
    return scaling("unit", data.mean, data.deviation)


def labelled_batches(settings: Settings, labels: np.ndarray, epoch: int) -> Iterator[np.ndarray]:
    """Yields the rows of each batch of an epoch with labels, int64[B].

    Passes over the labelled images follow one another, each in an order of its own; the epoch ends after
    `steps_per_epoch` optimizer steps, perhaps within a pass. All batches have `batch_size` images, or as many as have
    labels.

    Args:
      settings: of the trial.
      labels: int[N], the classes of all training images.
      epoch: counted from 1.
    """
    rows, rng = labelled.rows(settings, labels), generator(settings.seed, "order", epoch)
    size, count = min(settings.batch_size, len(rows)), batch_count(settings)
    passes = -(-count * size // len(rows))
    order = np.concatenate([rng.permutation(rows) for _ in range(passes)])
    yield from order[: count * size].reshape(count, size)


def batch_count(settings: Settings) -> int:
    """Returns the number of batches of an epoch with labels."""
    return settings.steps_per_epoch * settings.accumulate


def with_labels(settings: Settings, data: Stored) -> Phase:
    """Returns the phase of the classifier, for settings without `refusals`."""
    import tensorflow as tf

    if settings.pretext in FITTED:  # imported here, as the time of building the model is that of fitting it
        import sklearn.decomposition
        import sklearn.linear_model  # noqa: F401
    split = data.split(TRAIN)

    def training(epoch: int) -> Iterator[Any]:
        return map(_as_tensors, batches(split, labelled_batches(settings, split.labels, epoch), scale(data)))

    return Phase(
        training=training,
        batches_per_epoch=batch_count(settings),
        held_out={name: functools.partial(_held_out, data.split(name), scale(data)) for name in (VALIDATION, TEST)},
        signature=(tf.TensorSpec([None, *data.shape], tf.float32), tf.TensorSpec([None], tf.int32)),
        measure=measures.measure_of(settings, split.labels[labelled.rows(settings, split.labels)], len(data.classes)),
        predictions=measures.predictions,
        scores=scores.of_phase(lambda name: data.split(name).labels),
        shape=lambda images: (int(images.shape[0]), 1),
        chances=measures.chances(data.split(VALIDATION).labels),
        is_fitted=settings.pretext in FITTED,
    )


HELD_OUT_BATCH = 250


def _held_out(split: Split, scale: Scaling) -> Iterable[Any]:
    return map(_as_tensors, batches(split, in_stored_order(len(split.labels), HELD_OUT_BATCH), scale))


def without_labels(settings: Settings, data: Stored) -> Phase:
    """Returns the phase of the pretext: it reads training images only, most of them to train and a tenth to validate.

    The changes of the images are drawn anew in each epoch; those of the validating images are drawn once.

    Args:
      settings: those of the pretext (`task.first`).
      data: the images.
    """
    rows, validating = drawn.unlabelled(settings, data.rows[TRAIN])

    def training(epoch: int) -> Iterator[Any]:
        order = generator(settings.seed, "pretext", "order", epoch).permutation(rows)
        groups = np.split(order, range(settings.batch_size, len(order), settings.batch_size))
        yield from made(settings, data, groups[: pretext_batches(settings, len(rows))], epoch)

    def held_out() -> Iterator[Any]:
        groups = np.split(validating, range(settings.batch_size, len(validating), settings.batch_size))
        numbers = in_stored_order(len(validating), settings.batch_size)
        for (inputs, targets, _), places in zip(made(settings, data, groups, 0), numbers, strict=True):
            yield inputs, targets, places

    inputs, targets, _ = next(iter(held_out()))
    return Phase(
        training=training,
        batches_per_epoch=pretext_batches(settings, len(rows)),
        held_out={VALIDATION: held_out, TEST: held_out},
        signature=tuple(tf_specs(part) for part in (inputs, targets)),  # type: ignore[arg-type]
        measure=PRETEXTS[settings.pretext].measure(settings),
        shape=lambda images: (int((images[0] if isinstance(images, tuple) else images).shape[0]), 1),
    )


def pretext_batches(settings: Settings, count: int) -> int:
    """Returns the batches of an epoch of the pretext; pretext=simclr has only full ones, if there is one."""
    whole, rest = divmod(count, settings.batch_size)
    return whole + (rest > 0 and (settings.pretext != "simclr" or whole == 0))


def made(settings: Settings, data: Stored, groups: Iterable[np.ndarray], epoch: int) -> Iterator[Any]:
    """Yields the batches of the pretext: inputs, targets and rows, as tensors.

    Args:
      settings: those of the pretext.
      data: the images.
      groups: rows of the training split, int64[B] for each batch.
      epoch: counted from 1; 0 for images that validate. It and the place of a batch decide what is drawn.
    """
    images, make, scaled = data.split(TRAIN).images, PRETEXTS[settings.pretext].make, scale(data)
    for place, rows in enumerate(groups):
        rng = generator(settings.seed, "pretext", "changes", epoch, place)
        inputs, targets = make(scaled(images[rows]), settings, rng)
        yield _nest(inputs), _nest(targets), _nest(rows)


def _nest(values: Any) -> Any:
    import tensorflow as tf

    return tuple(map(tf.convert_to_tensor, values)) if isinstance(values, tuple) else tf.convert_to_tensor(values)


def tf_specs(values: Any) -> Any:
    """Returns the signature of a nest of tensors, for any number of examples."""
    import tensorflow as tf

    return tf.nest.map_structure(lambda value: tf.TensorSpec([None, *value.shape[1:]], value.dtype), values)


def _as_tensors(batch: tuple[np.ndarray, np.ndarray, np.ndarray]) -> tuple[Any, ...]:
    import tensorflow as tf

    return tuple(map(tf.convert_to_tensor, batch))
