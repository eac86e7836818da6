"""What buckets save, and the loops over time: Keras' layer, ours, packed sequences, and ragged tensors."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks import training
from benchmarks.inside import Options
from benchmarks.result import Goal, Result, ratio_of_pairs
from benchmarks.training import in_turn, ours, prepared, ratio


def measure(options: Options) -> Iterator[Result]:
    """Yields the ratios of times."""
    small = {"data.limit": 320} if options.is_quick else {}
    reviews = {"data.limit": 320} if options.is_quick else {"data.limit": 6_000}
    turns = 2 if options.is_quick else 3
    yield _bucketing({"max_length": 60 if options.is_quick else 500, **reviews}, turns)
    count, rounds = (3, 2) if options.is_quick else (15, 6)
    keras, graph = {"implementation": "keras"}, {"implementation": "graph_loop"}
    what = "time of a step of graph_loop in multiples of Keras' layer, default classifier"
    yield _compared("graph_loop", what, (graph, keras), small, count, rounds, Goal("at most", 1.3))
    fused = {"implementation": "fused_loop"}
    what = "time of a step of fused_loop in multiples of Keras' layer, default classifier"
    yield _compared("fused_loop", what, (fused, keras), small, count, rounds, Goal("at most", 0.7))
    long = {**small, "max_length": 60 if options.is_quick else 500, "bucketing": False}
    what = "packed_loop at max_length=500 without buckets: times as fast as graph_loop"
    packed = {"implementation": "packed_loop"}
    yield _compared("packed_loop", what, (graph, packed), long, min(count, 6), rounds, Goal("at least", 1.3))
    yield _ragged(3 if options.is_quick else 12)


def _bucketing(shared: Mapping[str, Any], turns: int) -> Result:
    """Returns the time of an epoch with buckets in multiples of that with padding to the longest review of the data."""
    sides = {"buckets": ours(prepared(**shared)), "padded": ours(prepared(**shared, padding="dataset"))}
    times = in_turn(sides, turns)
    steady = {name: [training.epoch_ms(each) for each in rounds] for name, rounds in times.items()}
    estimate = ratio_of_pairs(steady["buckets"], steady["padded"])
    what = f"time of an epoch with buckets in multiples of padding=dataset, max_length={shared['max_length']}"
    goal, details = Goal("at most", 0.55), {"epoch_ms": steady, **shared}
    return Result("loops/bucketing", what, estimate.value, "×", estimate.interval, goal, turns, details)


def _compared(
    name: str,
    what: str,
    pair: tuple[Mapping[str, Any], Mapping[str, Any]],
    shared: Mapping[str, Any],
    count: int,
    rounds: int,
    goal: Goal,
) -> Result:
    """Returns the time of a step with the first changes, in multiples of that with the second ones."""
    above, below = (ours(prepared(**shared, **changes), count) for changes in pair)
    times = in_turn({"above": above, "below": below}, rounds)
    estimate = ratio(times["above"], times["below"])
    details = training.details(times)
    return Result(f"loops/{name}", what, estimate.value, "×", estimate.interval, goal, rounds, details)


def _ragged(repeats: int) -> Result:
    """Compares a ragged tensor with padding and a mask: forward and backward pass of an LSTM over 64 sequences."""
    import numpy as np
    import tensorflow as tf

    from src.models.cells import LSTMCell
    from src.models.loops import graph_loop

    rng, units = np.random.default_rng(0), 64
    lengths = rng.integers(20, 201, 64)
    padded = tf.constant(rng.normal(size=(64, 200, 64)), tf.float32)
    mask = tf.sequence_mask(lengths, 200)
    x = tf.RaggedTensor.from_tensor(padded, lengths)
    cell = LSTMCell(units)
    cell.build((None, 64))

    def last_of_sequence(row: Any) -> Any:
        return graph_loop(cell, row[None], None, cell.zero_states(1), sequences=False)[0]

    def last(is_ragged: bool) -> Any:
        if is_ragged:
            return tf.map_fn(last_of_sequence, x, fn_output_signature=tf.TensorSpec([units]), parallel_iterations=2)
        return graph_loop(cell, padded, mask, cell.zero_states(64), sequences=False)

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def step(is_ragged: bool) -> Any:
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(last(is_ragged))
        return tape.gradient(value, cell.trainable_variables)

    def seconds(is_ragged: bool) -> float:
        begin = time.perf_counter()
        step(is_ragged)[0].numpy()
        return time.perf_counter() - begin

    for ragged_gradient, padded_gradient in zip(step(True), step(False), strict=True):
        np.testing.assert_allclose(ragged_gradient, padded_gradient, rtol=1e-3, atol=1e-3)
    pairs = [(seconds(True), seconds(False)) for _ in range(repeats)]
    estimate = ratio_of_pairs(*zip(*pairs, strict=True))
    what = "an LSTM over a ragged tensor in multiples of padding with a mask, 64 sequences of 20 to 200 steps"
    return Result("loops/ragged", what, estimate.value, "×", estimate.interval, None, repeats, {"s": pairs})
