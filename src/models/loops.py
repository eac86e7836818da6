"""Explicit loops over time that run the cells of `src.models.cells`.

Letters: B sequences, T steps, D width of the input, H width of a state.

Every loop takes x float32[B, T, D], a mask bool[B, T] or None, and the initial states. It returns all outputs
float32[B, T, H], or the last output float32[B, H]. With the mask m_t,

    state_t = m_t * new_state_t + (1 - m_t) * state_{t-1}

The output of a step is its first state, at masked steps too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from .fused_loop import Marks, Rule, Weights, recurrence

Loop = Callable[..., Any]


def graph_loop(
    cell: Any,
    x: Any,
    mask: Any,
    states: list[Any],
    *,
    sequences: bool = True,
    bptt_steps: int | None = None,
    with_states: bool = False,
) -> Any:
    """Runs `tf.while_loop` over a `TensorArray`. One graph serves every length, and no step runs in Python.

    Args:
      cell: a cell of `src.models.cells`.
      x: float32[B, T, D].
      mask: bool[B, T], or None if all steps are real.
      states: initial states, float32[B, H] each.
      sequences: whether to return all outputs instead of the last one.
      bptt_steps: length of the segments, in real steps counted from the end of a sequence. No gradient passes from a
        segment to the one before it. None disables truncation.
      with_states: whether to return the states after the last step too.
    """
    steps = tf.shape(x)[1]
    z = cell.project(x)
    # A TensorArray, because the gradient of z[t] would be as large as z itself in every step.
    inputs = tf.TensorArray(z.dtype, steps).unstack(tf.transpose(z, [1, 0, 2]))
    real = None if mask is None else tf.transpose(mask)[:, :, None]
    remaining: Any = None if bptt_steps is None else _remaining_steps(mask, steps)
    # There is no array unless all outputs are returned: XLA has no gradient of an array that is never written.
    arrays = [tf.TensorArray(z.dtype, steps, element_shape=states[0].shape)] if sequences else []

    def body(t: Any, states: list[Any], arrays: list[Any]) -> Any:
        states = list(states) if bptt_steps is None else _truncated(states, remaining[t], bptt_steps)
        _, new = cell.step(inputs.read(t), states)
        if real is not None:
            new = _masked(tf.cast(real[t], z.dtype), new, states)
        return t + 1, new, [outputs.write(t, new[0]) for outputs in arrays]

    begin = (tf.constant(0), list(states), arrays)
    _, after, arrays = tf.while_loop(lambda t, *_: t < steps, body, begin, maximum_iterations=steps)
    returned = tf.transpose(arrays[0].stack(), [1, 0, 2]) if sequences else after[0]
    return (returned, list(after)) if with_states else returned


def eager_loop(
    cell: Any,
    x: Any,
    mask: Any,
    states: list[Any],
    *,
    sequences: bool = True,
    bptt_steps: int | None = None,
    with_states: bool = False,
) -> Any:
    """Runs a Python loop over the steps. Python calls every operation, and nothing is compiled.

    The arguments are those of `graph_loop`.
    """
    remaining: Any = None if bptt_steps is None else _remaining_steps(mask, x.shape[1])
    outputs = []
    for t, z in enumerate(tf.unstack(cell.project(x), axis=1)):
        states = list(states) if bptt_steps is None else _truncated(states, remaining[t], bptt_steps)
        _, new = cell.step(z, states)
        states = new if mask is None else _masked(tf.cast(mask[:, t], z.dtype)[:, None], new, states)
        outputs.append(states[0])
    returned = tf.stack(outputs, axis=1) if sequences else states[0]
    return (returned, states) if with_states else returned


def packed_loop(
    cell: Any, x: Any, mask: Any, states: list[Any], *, sequences: bool = True, bptt_steps: int | None = None
) -> Any:
    """Computes only the real steps. The batch is sorted by length and shrinks as sequences end.

    The idea is that of packed sequences in PyTorch. Step t has one row for each of the n_t sequences that are longer
    than t. The rows of all steps form one matrix of sum_t n_t rows, one row per real step. A masked step repeats the
    state of the step before it, whichever side the padding is on. The arguments are those of `graph_loop`.
    """
    batch, steps = tf.shape(x)[0], tf.shape(x)[1]
    mask = tf.ones([batch, steps], tf.bool) if mask is None else mask
    lengths = tf.math.count_nonzero(mask, axis=1, dtype=tf.int32)
    order = tf.argsort(lengths, direction="DESCENDING", stable=True)
    sorted_lengths, longest = tf.gather(lengths, order), tf.reduce_max(lengths)
    running = tf.cast(tf.range(longest)[:, None] < sorted_lengths, tf.int32)  # [T', B]
    counts = tf.reduce_sum(running, axis=1)
    offsets = tf.cumsum(counts, exclusive=True)
    rows = tf.where(running > 0)  # (index among the real steps, index in the sorted batch), time first
    sequence = tf.gather(order, rows[:, 1])
    position = tf.gather_nd(_real_steps(mask), tf.stack([sequence, tf.cast(rows[:, 0], tf.int32)], axis=1))
    z = cell.project(tf.gather_nd(x, tf.stack([sequence, position], axis=1)))
    inputs = tf.TensorArray(
        z.dtype, longest, element_shape=tf.TensorShape([None, z.shape[1]]), infer_shape=False
    ).split(z, counts)

    outputs = tf.TensorArray(z.dtype, longest, element_shape=tf.TensorShape([None, cell.units]), infer_shape=False)

    def body(t: Any, states: list[Any], outputs: Any) -> Any:
        read = inputs.read(t)
        n = tf.shape(read)[0]
        states = [state[:n] for state in states]
        if bptt_steps is not None:
            states = _truncated(states, sorted_lengths[:n, None] - t, bptt_steps)
        output, states = cell.step(read, states)
        return t + 1, states, outputs.write(t, output)

    begin = (tf.constant(0), [tf.gather(state, order) for state in states], outputs)
    shapes = (tf.TensorShape([]), [tf.TensorShape([None, cell.units])] * len(states), tf.TensorShape(None))
    _, _, outputs = tf.while_loop(
        lambda t, *_: t < longest, body, begin, shape_invariants=shapes, maximum_iterations=longest
    )
    packed = outputs.concat()

    inverse = tf.argsort(order, stable=True)
    if not sequences:
        return tf.gather(packed, tf.gather(offsets, lengths - 1) + inverse)
    done = tf.cumsum(tf.cast(mask, tf.int32), axis=1)  # number of real steps up to and including this one
    step = tf.maximum(done - 1, 0)
    unpacked = tf.gather(packed, tf.gather(offsets, step) + inverse[:, None])
    return tf.where(done[:, :, None] > 0, unpacked, states[0][:, None])


def fused_loop(
    cell: Any,
    x: Any,
    mask: Any,
    states: list[Any],
    *,
    sequences: bool = True,
    bptt_steps: int | None = None,
    with_states: bool = False,
) -> Any:
    """Runs compiled pieces of the loop, with a backward pass of our own, see `src.models.fused_loop`.

    The arguments are those of `graph_loop`.
    """
    real = None if mask is None else tf.transpose(mask)[:, :, None]
    remaining = None if bptt_steps is None else _remaining_steps(mask, tf.shape(x)[1])
    marks = Marks(real, None if remaining is None else _passes(remaining, bptt_steps, x.dtype))
    rule = Rule(cell.activated, cell.updated, cell.facts.biases == 1)
    weights = Weights(cell.kernel, cell.recurrent_kernel, cell.bias)
    outputs, after = recurrence(rule, tf.transpose(x, [1, 0, 2]), weights, states, marks, sequences=sequences)
    returned = tf.transpose(outputs, [1, 0, 2]) if sequences else outputs
    return (returned, after) if with_states else returned


def _real_steps(mask: Any) -> Any:
    """Returns int32[B, T]: for each sequence the indices of its real steps in order, then those of its masked steps."""
    return tf.argsort(tf.cast(tf.logical_not(mask), tf.int32), axis=1, stable=True)


def _masked(real: Any, new: list[Any], old: list[Any]) -> list[Any]:
    """Returns the states after a masked step: m * new + (1 - m) * old for each."""
    return [tf.add_n([real * after, (1 - real) * before]) for after, before in zip(new, old, strict=True)]


def _remaining_steps(mask: Any, steps: Any) -> Any:
    """Returns how many real steps remain from each step on, this step included; 0 at masked steps.

    The shape is int32[T, B, 1], or [T, 1, 1] without a mask.
    """
    if mask is None:
        return tf.range(steps, 0, -1)[:, None, None]
    real = tf.transpose(tf.cast(mask, tf.int32))[:, :, None]
    return tf.cumsum(real, axis=0, reverse=True) * real


def _truncated(states: list[Any], remaining: Any, bptt_steps: int) -> list[Any]:
    """Returns the states; stops their gradient where a positive multiple of `bptt_steps` real steps remains."""
    passes = _passes(remaining, bptt_steps, states[0].dtype)
    return [passes * state + (1 - passes) * tf.stop_gradient(state) for state in states]


def _passes(remaining: Any, bptt_steps: int | None, dtype: Any) -> Any:
    """Returns 1 where the gradient passes to the states before a step, and 0 where a segment begins."""
    return tf.cast((remaining % bptt_steps != 0) | (remaining == 0), dtype)


LOOPS: dict[str, Loop] = {
    "graph_loop": graph_loop,
    "eager_loop": eager_loop,
    "packed_loop": packed_loop,
    "fused_loop": fused_loop,
}


@keras.saving.register_keras_serializable("ablation")
class Recurrent(keras.layers.Layer):
    """A recurrent layer of one direction: a cell of `src.models.cells` and the loop that runs it.

    Call: float32[B, T, D], mask bool[B, T] or None → float32[B, H], or float32[B, T, H] with `return_sequences`. With
    `go_backwards` the layer reads the sequence from its end, but returns the outputs in the order of the input.
    """

    def __init__(
        self,
        cell: Any,
        *,
        loop: str,
        return_sequences: bool = False,
        go_backwards: bool = False,
        bptt_steps: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Creates the layer; `loop` is a key of `LOOPS`."""
        super().__init__(**kwargs)
        self.cell = keras.saving.deserialize_keras_object(cell) if isinstance(cell, dict) else cell
        self.loop, self.return_sequences, self.go_backwards, self.bptt_steps = (
            loop,
            return_sequences,
            go_backwards,
            bptt_steps,
        )
        self.supports_masking = True

    def build(self, shape: Any) -> None:
        """Creates the cell's weights."""
        if not self.cell.built:
            self.cell.build(shape)

    def call(self, x: Any, mask: Any = None, initial_state: Any = None) -> Any:
        """Returns the last output, or all outputs with `return_sequences`."""
        states = self.cell.zero_states(tf.shape(x)[0]) if initial_state is None else list(initial_state)
        if self.go_backwards:
            x, mask = tf.reverse(x, [1]), None if mask is None else tf.reverse(mask, [1])
        outputs = LOOPS[self.loop](
            self.cell, x, mask, states, sequences=self.return_sequences, bptt_steps=self.bptt_steps
        )
        return tf.reverse(outputs, [1]) if self.go_backwards and self.return_sequences else outputs

    def compute_mask(self, x: Any, previous_mask: Any = None) -> Any:
        """Returns the mask if the layer returns all steps, else None."""
        return previous_mask if self.return_sequences else None

    def compute_output_shape(self, shape: Any, *_: Any, **__: Any) -> tuple[int | None, ...]:
        """Returns [B, H] or [B, T, H]; Keras could not infer it, because `eager_loop` cannot be traced."""
        return (shape[0], shape[1], self.cell.units) if self.return_sequences else (shape[0], self.cell.units)

    def get_config(self) -> dict[str, Any]:
        """Returns the configuration that recreates the layer."""
        names = ("loop", "return_sequences", "go_backwards", "bptt_steps")
        return {
            **super().get_config(),
            "cell": keras.saving.serialize_keras_object(self.cell),
            **{name: getattr(self, name) for name in names},
        }
