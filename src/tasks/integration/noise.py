"""White noise as data. It is not read from files; the examples are drawn during training.

Letters: T steps of noise, B examples in a batch.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from src.data.batching import pipeline_options
from src.data.splits import TEST, TRAIN, VALIDATION
from src.files import digest
from src.parts.classes import measures, scores
from src.streams import stream_seed
from src.tasks.integration.settings import Settings
from src.tasks.integration.sizes import HELD_OUT
from src.training.phase import Phase

if TYPE_CHECKING:
    import tensorflow as tf

GENERATOR = 1  # version of the generator
BLOCK = 1_000  # examples that are drawn at once; fewer if together they have more steps than
MAX_DRAWN = 1_000_000  # steps


@dataclass(frozen=True)
class Noise:
    """The description of the noise, which takes the place of a corpus.

    Attributes:
      digest: hash of the generator and its version.
      classes: name of each class.
      longest: T.
      examples: training examples per epoch.
    """

    digest: str
    classes: list[str]
    longest: int
    examples: int

    @property
    def rows(self) -> dict[str, int]:
        """Split → number of examples; for training, per epoch."""
        return {TRAIN: self.examples, VALIDATION: HELD_OUT, TEST: HELD_OUT}


def description(settings: Settings) -> Noise:
    """Returns the description of the noise, which is drawn later."""
    return Noise(
        digest(["integration", GENERATOR]), ["not above", "above"], settings.sequence_length, settings.num_samples
    )


def phase(settings: Settings) -> Phase:
    """Returns the splits and their batches.

    Training noise is new in every epoch and for every seed. Validation and test noise are the same for all trials.
    """
    import tensorflow as tf

    size = settings.batch_size

    def training(epoch: int) -> tf.data.Dataset:
        seed = stream_seed(settings.seed, "noise", TRAIN, epoch)
        return _batches(settings, settings.num_samples, seed=seed, size=size, drop_remainder=settings.drop_remainder)

    is_sum = settings.target == "integral"
    return Phase(
        training=training,
        batches_per_epoch=settings.num_samples // size if settings.drop_remainder else -(-settings.num_samples // size),
        held_out={name: _held_out(settings, name, size) for name in (VALIDATION, TEST)},
        signature=(
            tf.TensorSpec([None, None, 1], tf.float32),
            tf.TensorSpec([None], tf.float32 if is_sum else tf.int32),
        ),
        measure=measures.MEASURES["squared"] if is_sum else _measure(settings),
        predictions=measures.predictions,
        scores=scores.of_phase(functools.cache(functools.partial(labels, settings)), are_probabilities=not is_sum),
        shape=lambda noise: (int(noise.shape[0]), int(noise.shape[1])),
        is_eager=settings.implementation == "eager_loop",
        chances=measures.chances(labels(settings, VALIDATION)),
    )


def _measure(settings: Settings) -> measures.Measure:
    """Returns the measure; the shares of the classes are those of a sum, which is normal with variance T."""
    measure = measures.MEASURES[settings.head]
    if settings.class_weights == "none":
        return measure
    below = NormalDist(0, math.sqrt(settings.sequence_length)).cdf(settings.threshold)
    return measures.weighted(measure, 1 / (2 * np.array([below, 1 - below])))


def integration_task(
    sequence_length: int, num_samples: int, *, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields examples in blocks of at most `BLOCK`.

    One by one they would take 27 times as long, mostly for the transfer from Python to TensorFlow.

    Args:
      sequence_length: T.
      num_samples: number of examples.
      rng: the generator; the numbers and their order do not depend on the size of the blocks.

    Yields:
      float32[N, T, 1] of white noise (normal, mean 0, variance 1), and the sums float32[N, 1].
    """
    block = max(1, min(BLOCK, MAX_DRAWN // sequence_length))
    for begin in range(0, num_samples, block):
        noise = rng.standard_normal((min(block, num_samples - begin), sequence_length, 1), np.float32)
        yield noise, noise.sum(axis=1)


def _batches(settings: Settings, count: int, *, seed: int, size: int, drop_remainder: bool = False) -> tf.data.Dataset:
    """Returns batches (noise float32[B, T, 1], targets [B], rows int64[B]).

    A target is the class (int32) or, with `target=integral`, the sum minus the threshold (float32).
    """
    import tensorflow as tf

    def blocks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return integration_task(settings.sequence_length, count, rng=np.random.default_rng(seed))

    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]
    def example(row: tf.Tensor, drawn: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        noise, total = drawn
        above = total[0] - settings.threshold
        return noise, above if settings.target == "integral" else tf.cast(above > 0, tf.int32), row

    signature = (tf.TensorSpec((None, settings.sequence_length, 1), tf.float32), tf.TensorSpec((None, 1), tf.float32))
    dataset = tf.data.Dataset.from_generator(blocks, output_signature=signature).unbatch().enumerate().map(example)
    return dataset.batch(size, drop_remainder=drop_remainder).prefetch(2).with_options(pipeline_options())


def _held_out(settings: Settings, name: str, size: int) -> Callable[[], tf.data.Dataset]:
    """Returns a split that is the same for every seed. Validation is drawn once and then cached in memory."""
    dataset = _batches(settings, HELD_OUT, seed=stream_seed(0, "noise", name), size=size)
    if name == VALIDATION:  # the test split is read only once
        dataset = dataset.cache()
    return lambda: dataset


def labels(settings: Settings, name: str) -> np.ndarray:
    """Returns the classes of a held-out split, int32[N]."""
    rng = np.random.default_rng(stream_seed(0, "noise", name))
    sums = [totals[:, 0] for _, totals in integration_task(settings.sequence_length, HELD_OUT, rng=rng)]
    return (np.concatenate(sums) > settings.threshold).astype(np.int32)
