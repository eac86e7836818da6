"""The training step of each task against what its users would write without this project: plain Keras.

Both sides train a network of the same size with the same optimizer on batches of the same shapes, with one thread.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks import training
from benchmarks.inside import Options
from benchmarks.result import SHARE, Goal, Result, ratio_of_pairs
from benchmarks.training import Times, in_turn, ours, plain_fit, prepared, ratio
from src.training.clock import Timing
from src.trial.prepare import Prepared


def measure(options: Options) -> Iterator[Result]:
    """Yields how many times as fast our step is, and the input wait of the task that draws its data."""
    from src.training.startup import import_tensorflow

    import_tensorflow()
    rounds = 2 if options.is_quick else 6
    digits = {"data.limit": 256 if options.is_quick else 1_280, "drop_remainder": True}
    for network in ("mlp", "cnn"):
        trial = prepared("images", network=network, **digits)
        yield _compared(f"images_{network}", f"images, {network.upper()}", trial, _images(trial), None, rounds)
    # the same loss on both sides: over all words, without dropout
    texts = {"data.limit": 64 if options.is_quick else 1_000, "tie_weights": False, "softmax": "full", "dropout": 0.0}
    texts |= {"vocab_size": 200, "units": 8, "embedding_dim": 8} if options.is_quick else {}
    count = 3 if options.is_quick else 8
    stream = prepared("language_model", **texts)
    yield _compared("language_model", "language model, pieces of a stream", stream, _words(stream), count, rounds)
    whole = prepared("language_model", **texts, text_mode="documents", max_length=100)
    yield _compared("documents", "language model, whole texts of 100 words", whole, _words(whole), count, rounds)
    yield _per_word(options, rounds)
    noise = prepared("integration", num_samples=640 if options.is_quick else 12_800)
    yield _compared("integration", "integration", noise, _noise(noise), 6 if options.is_quick else 100, rounds)
    yield _waiting(noise)


def _compared(name: str, what: str, trial: Prepared, fit: Iterator[Times], count: int | None, rounds: int) -> Result:
    times = in_turn({"ours": ours(trial, count), "fit": fit}, rounds)
    estimate = ratio(times["fit"], times["ours"])
    what = f"training step of the task {what}, against a plain `model.fit`: times as fast"
    details = training.details(times)
    return Result(f"tasks/{name}", what, estimate.value, "×", estimate.interval, None, rounds, details)


def _per_word(options: Options, rounds: int) -> Result:
    """Compares whole texts in buckets with pieces of a stream by the time per word that is no padding."""
    corpus = {"data.limit": 64 if options.is_quick else 1_000}
    modes = {"documents": {"text_mode": "documents", "bucketing": True}, "stream": {}}
    read = {name: training.timings(prepared("language_model", **corpus, **mode)) for name, mode in modes.items()}
    times = in_turn({name: _milliseconds_per_word(epochs) for name, epochs in read.items()}, rounds)
    of_mode = {name: [of_round for (of_round,) in each] for name, each in times.items()}
    estimate = ratio_of_pairs(of_mode["documents"], of_mode["stream"])
    what = "time per word of the language model on whole texts in buckets, in multiples of pieces of a stream"
    details = {"milliseconds per word": of_mode}
    return Result("tasks/per_word", what, estimate.value, "×", estimate.interval, Goal("at most", 1.3), rounds, details)


def _milliseconds_per_word(epochs: Iterator[list[Timing]]) -> Iterator[Times]:
    for epoch in epochs:
        steady = [timing for timing in epoch if not timing.is_first]
        yield [sum(timing.batch_ms for timing in steady) / sum(timing.tokens for timing in steady)]


def _images(trial: Prepared) -> Iterator[Times]:
    """Trains the same network with `model.fit`, on images that `tf.data` shuffles and batches."""
    import keras
    import tensorflow as tf

    task: Any = trial.task
    split = trial.data.split("train")  # type: ignore[attr-defined]
    images, labels = np.asarray(split.images, np.float32) / 255, np.asarray(split.labels)
    whole = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(len(labels))
    batches = whole.batch(trial.settings.batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return _fitted(trial, task.model(trial.settings, trial.data), loss, lambda number: batches)


def _words(trial: Prepared) -> Iterator[Times]:
    """Trains a plain language model of the same size; the cross-entropy of padding does not count.

    Its batches are those of the trial, ids int32[B, T + 1], as tensors in memory.
    """
    import keras

    settings: Any = trial.settings
    task: Any = trial.task
    ids = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(settings.vocab_size, settings.embedding_dim, mask_zero=True)(ids)
    x = keras.layers.LSTM(settings.units, return_sequences=True)(x)
    model = keras.Model(ids, keras.layers.Dense(settings.vocab_size)(x))
    _check_size(model, task.model(settings, trial.data))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=0)
    phase = task.phase(settings, trial.data)

    def batches(number: int) -> Any:
        import itertools

        import tensorflow as tf

        shape = tf.TensorSpec([None, None], tf.int32)
        read = list(itertools.islice(phase.training(number), 8))
        pairs = [(np.asarray(part)[:, :-1], np.asarray(part)[:, 1:]) for part, _, _ in read]
        return tf.data.Dataset.from_generator(lambda: iter(pairs), output_signature=(shape, shape)).prefetch(2)

    return _fitted(trial, model, loss, batches)


def _noise(trial: Prepared) -> Iterator[Times]:
    """Trains the same network on noise that `tf.data` draws batch by batch."""
    import keras
    import tensorflow as tf

    settings: Any = trial.settings
    task: Any = trial.task
    size, steps = settings.batch_size, settings.sequence_length

    def drawn(seed: Any) -> Any:
        noise = tf.random.stateless_normal([size, steps, 1], tf.stack([seed, seed]))
        return noise, tf.cast(tf.reduce_sum(noise, axis=[1, 2]) > settings.threshold, tf.int32)

    count = math.ceil(settings.num_samples / size)
    batches = tf.data.Dataset.range(count).map(drawn, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    if settings.head == "softmax":
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return _fitted(trial, task.model(settings, trial.data), loss, lambda number: batches)


def _fitted(trial: Prepared, model: Any, loss: Any, data: Callable[[int], Any]) -> Iterator[Times]:
    """Compiles a model with the optimizer of the trial, and returns the rounds of its `model.fit`."""
    import keras

    settings = trial.settings
    model.compile(keras.optimizers.Adam(settings.learning_rate, global_clipnorm=settings.clip_norm), loss)
    return plain_fit(model, data)


def _check_size(plain: Any, of_trial: Any) -> None:
    """Fails unless both models have the same number of parameters."""
    counts = [sum(math.prod(weight.shape) for weight in model.trainable_variables) for model in (plain, of_trial)]
    if counts[0] != counts[1]:
        raise AssertionError(f"the plain model has {counts[0]:,} parameters, that of the trial {counts[1]:,}")


def _waiting(trial: Prepared) -> Result:
    """Returns the share of the steps of an epoch of the integration task that waits for noise."""
    of_epoch = [timing for timing in next(training.timings(trial)) if not timing.is_first]
    waited = sum(timing.wait_ms for timing in of_epoch) / sum(timing.batch_ms for timing in of_epoch)
    what = "share of a step of the task integration that waits for noise"
    return Result("tasks/noise", what, waited, SHARE, goal=Goal("at most", 0.1), n=len(of_epoch))
