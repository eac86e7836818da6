"""An experiment: the seeds of one variant as one model with stacked weights, instead of one model after the other.

Each weight gets a leading axis of K seeds, each seed has batches of its own, and one call takes the step of all. The
result is the time of that call in multiples of K calls for one seed, so below 1 stacking gains.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.inside import Options
from benchmarks.result import Result
from benchmarks.training import Times, details, in_turn, ratio

SEEDS, BATCH, CLASSES, STEPS = 8, 64, 10, 50
Forward = Callable[[list[Any], Any], Any]  # (weights [K, …] each, inputs [K, B, …]) → logits [K, B, classes]


def measure(options: Options) -> Iterator[Result]:
    """Yields the time of a stacked step for an MLP of two sizes and an LSTM."""
    from src.training.startup import import_tensorflow

    import_tensorflow()
    rounds = 3 if options.is_quick else 40
    models = {
        "MLP of 2 x 32 units": ([(784, 32), (32, 32), (32, CLASSES)], (784,), _mlp),
        "MLP of 2 x 512 units": ([(784, 512), (512, 512), (512, CLASSES)], (784,), _mlp),
        "LSTM of 64 units": ([(64, 256), (64, 256), (64, CLASSES)], (STEPS, 64), _lstm),
    }
    for name, (shapes, inputs, forward) in models.items():
        sides = {"stacked": _training(shapes, inputs, forward, SEEDS, calls=1)}
        sides["apart"] = _training(shapes, inputs, forward, 1, calls=SEEDS)
        times = in_turn(sides, rounds, warm_up=3)
        found = ratio(times["stacked"], times["apart"])
        what = f"{SEEDS} seeds of an {name} in one step, in multiples of {SEEDS} steps"
        key = name.split(" units")[0].replace(" ", "_")
        yield Result(f"stacked/{key}", what, found.value, "×", found.interval, n=rounds, details=details(times))


def _training(
    shapes: list[tuple[int, int]], inputs: tuple[int, ...], forward: Forward, seeds: int, *, calls: int
) -> Iterator[Times]:
    """Yields the milliseconds of `calls` optimizer steps (Adam) of a model of `seeds` stacked seeds."""
    import keras
    import tensorflow as tf

    rng = np.random.default_rng(0)
    weights = [tf.Variable(rng.normal(0, shape[0] ** -0.5, (seeds, *shape)), dtype=tf.float32) for shape in shapes]
    x = tf.constant(rng.normal(size=(seeds, BATCH, *inputs)), tf.float32)
    labels = tf.constant(rng.integers(0, CLASSES, (seeds, BATCH)))
    optimizer = keras.optimizers.Adam()
    optimizer.build(weights)

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def step() -> Any:
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, forward(weights, x))
            loss = tf.reduce_sum(tf.reduce_mean(losses, axis=1))  # of each seed alone: their gradients stay apart
        optimizer.apply(tape.gradient(loss, weights), weights)
        return loss

    while True:
        begin = time.perf_counter()
        for _ in range(calls):
            step().numpy()
        yield [1e3 * (time.perf_counter() - begin)]


def _mlp(weights: list[Any], x: Any) -> Any:
    import tensorflow as tf

    for weight in weights[:-1]:
        x = tf.nn.relu(tf.matmul(x, weight))
    return tf.matmul(x, weights[-1])


def _lstm(weights: list[Any], x: Any) -> Any:
    import tensorflow as tf

    kernel, recurrent, head = weights
    z = tf.transpose(tf.matmul(x, kernel[:, None]), [2, 0, 1, 3])  # [T, K, B, 4 H]
    inputs = tf.TensorArray(tf.float32, STEPS).unstack(z)

    def body(t: Any, h: Any, c: Any) -> Any:
        i, f, g, o = tf.split(inputs.read(t) + tf.matmul(h, recurrent), 4, axis=-1)
        c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
        return t + 1, tf.sigmoid(o) * tf.tanh(c), c

    zeros = tf.zeros([x.shape[0], BATCH, recurrent.shape[1]])
    _, h, _ = tf.while_loop(lambda t, *_: t < STEPS, body, (tf.constant(0), zeros, zeros), maximum_iterations=STEPS)
    return tf.matmul(h, head)
