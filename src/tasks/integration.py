"""Integration: whether the sum of white noise is above a threshold, drawn while it trains.

A task with a known answer and as many examples as one likes: what a recurrent network cannot learn here, it cannot learn for want of
memory or of gradient, not of data. Letters: T steps of noise, B examples in a batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from src.data.batching import pipeline_options
from src.data.splits import TEST, TRAIN, VALIDATION
from src.identity import digest
from src.settings import Integration, Settings
from src.streams import stream_seed
from src.training.problem import HeldOut, Problem

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

GENERATOR = 1  # version of what is drawn
HELD_OUT = 10_000  # examples of validation and of test
BLOCK = 1_000  # examples that are drawn at once, fewer where they have more than
MAX_DRAWN = 1_000_000  # steps


@dataclass(frozen=True)
class Noise:
    """What stands in a corpus' place: nothing is read.

    Attributes:
      digest: of how examples are drawn.
      classes: name of each class.
      longest: T.
      examples: of an epoch.
    """

    digest: str
    classes: list[str]
    longest: int
    examples: int

    @property
    def rows(self) -> dict[str, int]:
        """Split → its examples; of training, those of an epoch."""
        return {TRAIN: self.examples, VALIDATION: HELD_OUT, TEST: HELD_OUT}


def corpus(settings: Settings) -> Noise:
    """Returns what is known of the noise before it is drawn."""
    task = _of(settings)
    return Noise(digest(["integration", GENERATOR]), ["not above", "above"], task.sequence_length, task.num_samples)


def longest(settings: Settings, data: Noise) -> int:
    """Returns T."""
    return data.longest


def words(settings: Settings, data: Noise) -> list[str]:
    """Returns no words."""
    return []


def division(settings: Settings, data: Noise) -> str:
    """Returns what words are, where there are any."""
    return settings.tokens


def measures(settings: Settings, data: Noise) -> dict[str, float]:
    """Returns nothing more: what is drawn is known."""
    return {}


def summary(settings: Sequence[Settings], data: Noise) -> list[str]:
    """Returns nothing: nothing was read."""
    return []


def refusals(settings: Settings, data: Noise) -> list[str]:
    """Returns why this noise cannot be trained on; empty if it can."""
    task = _of(settings)
    if task.num_samples < settings.batch_size:
        return [
            f"task.num_samples={task.num_samples} is less than one batch of {settings.batch_size}; "
            "raise task.num_samples, or lower batch_size"
        ]
    spread = math.sqrt(task.sequence_length)
    if abs(task.threshold) > 3 * spread:
        return [
            f"task.threshold={task.threshold:g}: sums of {task.sequence_length} steps have a standard deviation of {spread:.3g}, and "
            f"almost all would be in one class; set a threshold from {-3 * spread:.3g} to {3 * spread:.3g}"
        ]
    return []


def problem(settings: Settings, data: Noise) -> Problem:
    """Returns what is drawn: anew for every epoch and seed in training, the same for all trials in validation and test."""
    task, size = _of(settings), settings.batch_size

    def training(epoch: int) -> tf.data.Dataset:
        seed = stream_seed(settings.seed, "noise", TRAIN, epoch)
        return _batches(task, task.num_samples, seed=seed, size=size, drop_remainder=settings.drop_remainder)

    return Problem(
        training=training,
        batches_per_epoch=task.num_samples // size if settings.drop_remainder else -(-task.num_samples // size),
        held_out={name: _held_out(task, name, size) for name in (VALIDATION, TEST)},
        loss="squared" if task.target == "integral" else settings.head,
        padding=None,
    )


def model(settings: Settings, data: Noise) -> keras.Model:
    """Returns the untrained classifier."""
    from src.models.build import classifier

    return classifier(settings, classes=len(data.classes))


def integration_task(sequence_length: int, num_samples: int, *, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields examples, up to `BLOCK` at a time: one by one they cost 27 times as long, nearly all of it between Python and TensorFlow.

    Args:
      sequence_length: T.
      num_samples: how many.
      rng: what they are drawn from; the same numbers come in the same order whatever the size of a block.

    Yields:
      float32[N, T, 1] of white noise (normal, mean 0, variance 1), and the sums float32[N, 1].
    """
    block = max(1, min(BLOCK, MAX_DRAWN // sequence_length))
    for begin in range(0, num_samples, block):
        noise = rng.standard_normal((min(block, num_samples - begin), sequence_length, 1), np.float32)
        yield noise, noise.sum(axis=1)


def _batches(task: Integration, count: int, *, seed: int, size: int, drop_remainder: bool = False) -> tf.data.Dataset:
    """Returns batches (noise float32[B, T, 1], targets [B], rows int64[B]).

    A target is the class (int32), or with `target=integral` how far the sum lies above the threshold (float32).
    """
    import tensorflow as tf

    def drawn() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return integration_task(task.sequence_length, count, rng=np.random.default_rng(seed))

    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]
    def example(row: tf.Tensor, drawn: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        noise, total = drawn
        above = total[0] - task.threshold
        return noise, above if task.target == "integral" else tf.cast(above > 0, tf.int32), row

    signature = (tf.TensorSpec((None, task.sequence_length, 1), tf.float32), tf.TensorSpec((None, 1), tf.float32))
    dataset = tf.data.Dataset.from_generator(drawn, output_signature=signature).unbatch().enumerate().map(example)
    return dataset.batch(size, drop_remainder=drop_remainder).prefetch(2).with_options(pipeline_options())


def _held_out(task: Integration, name: str, size: int) -> HeldOut:
    """Returns a split that is the same for every seed; validation is drawn once, and read from memory after."""
    seed = stream_seed(0, "noise", name)
    dataset = _batches(task, HELD_OUT, seed=seed, size=size)
    if name == VALIDATION:  # test is read once
        dataset = dataset.cache()
    sums = [totals[:, 0] for _, totals in integration_task(task.sequence_length, HELD_OUT, rng=np.random.default_rng(seed))]
    labels = (np.concatenate(sums) > task.threshold).astype(np.int32)
    return HeldOut(labels, lambda: dataset)


def _of(settings: Settings) -> Integration:
    assert isinstance(settings.task, Integration)
    return settings.task
