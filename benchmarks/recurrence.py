"""What was tried for the recurrence: the forward and backward pass of one masked LSTM, in several ways.

All sides compute the same outputs and gradients, which the benchmark checks, and take turns in drawn order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.inside import Options
from benchmarks.result import Result
from benchmarks.training import Times, details, in_turn, ratio

BATCH, STEPS, UNITS, SHORTEST = 64, 200, 64, 100
ABOUT = {
    "block": "TensorFlow's BlockLSTM, one fused operation",
    "xla": "Keras' layer compiled with XLA, once for each length",
    "graph_loop": "graph_loop",
    "fused_loop": "fused_loop, compiled in pieces of 20 steps",
}
Pass = Callable[
    [], list[Any]
]  # returns the sum of the squared outputs, and the gradients of kernel, recurrent and bias


def measure(options: Options) -> Iterator[Result]:
    """Yields the time of each way in multiples of Keras' layer in a `tf.while_loop`."""
    from src.training.startup import import_tensorflow

    import_tensorflow()
    ways = _ways(20 if options.is_quick else STEPS)
    expected = ways["keras"]()
    for name, way in ways.items():
        for ours, theirs in zip(way(), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3 * float(np.abs(theirs).max()), err_msg=name)
    rounds = 3 if options.is_quick else 40
    times = in_turn({name: _timed(way) for name, way in ways.items()}, rounds)
    for name, about in ABOUT.items():
        found = ratio(times[name], times["keras"])
        what = f"a masked LSTM, forward and backward, in multiples of Keras' layer: {about}"
        of_both = details({side: times[side] for side in (name, "keras")})
        yield Result(f"recurrence/{name}", what, found.value, "×", found.interval, n=rounds, details=of_both)


def _timed(way: Pass) -> Iterator[Times]:
    while True:
        begin = time.perf_counter()
        way()[0].numpy()
        yield [1e3 * (time.perf_counter() - begin)]


def _ways(steps: int) -> dict[str, Pass]:
    import keras
    import tensorflow as tf

    from src.models.cells import LSTMCell
    from src.models.loops import LOOPS

    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(BATCH, steps, UNITS)), tf.float32)
    lengths = tf.constant(rng.integers(steps // 2, steps + 1, BATCH), tf.int32)
    mask = tf.sequence_mask(lengths, steps)
    layer = keras.layers.LSTM(UNITS, use_cudnn=False)
    layer.build(x.shape)
    cell = LSTMCell(UNITS)
    cell.build((None, UNITS))
    cell.set_weights(layer.get_weights())

    def of(last: Callable[[Any], Any], weights: list[Any], **options: Any) -> Pass:
        @tf.function(autograph=False, **options)  # type: ignore[untyped-decorator]
        def both(x: Any) -> list[Any]:
            with tf.GradientTape() as tape:
                value = tf.reduce_sum(last(x) ** 2)
            return [value, *map(tf.convert_to_tensor, tape.gradient(value, weights))]

        return lambda: list(both(x))

    def of_loop(name: str) -> Pass:
        def last(x: Any) -> Any:
            return LOOPS[name](cell, x, mask, cell.zero_states(BATCH), sequences=False)

        return of(last, cell.trainable_variables)

    of_keras = [variable.value for variable in layer.trainable_variables]
    return {
        "keras": of(lambda x: layer(x, mask=mask), of_keras),
        "xla": of(lambda x: layer(x, mask=mask), of_keras, jit_compile=True),
        "block": of(lambda x: _block(x, lengths, of_keras), of_keras),
        **{name: of_loop(name) for name in ("graph_loop", "fused_loop")},
    }


def _block(x: Any, lengths: Any, weights: list[Any]) -> Any:
    """Returns the last real outputs of `BlockLSTM`, whose gates have the order i, c, f, o; Keras' have i, f, c, o."""
    import tensorflow as tf

    kernel, recurrent, bias = (
        tf.concat([part[place] for place in (0, 2, 1, 3)], axis=-1)
        for part in (tf.split(weight, 4, axis=-1) for weight in weights)
    )
    zeros, none = tf.zeros([BATCH, UNITS]), tf.zeros([UNITS])
    outputs = tf.raw_ops.BlockLSTM(
        seq_len_max=tf.cast(tf.reduce_max(lengths), tf.int64),
        x=tf.transpose(x, [1, 0, 2]),
        cs_prev=zeros,
        h_prev=zeros,
        w=tf.concat([kernel, recurrent], axis=0),
        wci=none,
        wcf=none,
        wco=none,
        b=bias,
        forget_bias=0.0,
        cell_clip=-1.0,
        use_peephole=False,
    )
    return tf.gather_nd(outputs.h, tf.stack([lengths - 1, tf.range(BATCH)], axis=1))
