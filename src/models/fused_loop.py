"""A loop over time with a backward pass of its own, compiled by XLA in pieces of equal length.

Letters: B sequences, T steps, K steps of a piece, D width of the input, H width of a state, G gates.

TensorFlow differentiates a loop step by step: each step adds its part to the gradient of every weight, and runs about
twenty small operations. Here a piece of K steps is one compiled function. Its backward pass needs one product per step,
dinner_t U^T. The gradients of the weights and of the input are products over all K steps at once:

    dU = sum_t h_{t-1}^T dinner_t      dW = sum_t x_t^T dz_t      dx_t = dz_t W^T

Only K, B, D and H decide what is compiled, so one function serves sequences of all lengths. Batches of unknown size run
the same operations without XLA.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

PIECE = 20  # K; more steps compute more padding, fewer steps call the compiled function more often


class Rule(NamedTuple):
    """What a cell computes at each element, see `src.models.cells.Cell`.

    Attributes:
      activated: (z, inner) → gates.
      updated: (gates, states) → new states.
      is_additive: whether the gates depend only on z + inner.
    """

    activated: Callable[[Any, Any], list[Any]]
    updated: Callable[[list[Any], list[Any]], list[Any]]
    is_additive: bool


class Weights(NamedTuple):
    """Kernel W [D, G H], recurrent kernel U [H, G H], and bias [G H] or [2, G H], whose second row is added to h U."""

    kernel: Any
    recurrent: Any
    bias: Any


class Marks(NamedTuple):
    """What differs between steps, time first.

    Attributes:
      real: bool[T, B, 1], False at masked steps; None if all steps are real.
      passes: float32[T, B, 1] (or [T, 1, 1]), 0 where no gradient passes to the states before the step; None if all do.
    """

    real: Any = None
    passes: Any = None


def recurrence(
    rule: Rule, x: Any, weights: Weights, states: Sequence[Any], marks: Marks, *, sequences: bool
) -> tuple[Any, list[Any]]:
    """Returns the outputs float32[T, B, H], or the last output float32[B, H], and the states after the last step.

    Args:
      rule: the cell.
      x: float32[T, B, D].
      weights: of the cell.
      states: initial states, float32[B, H] each.
      marks: masked steps, and where back-propagation is truncated.
      sequences: whether to return all outputs.
    """
    run = _differentiable if tf.executing_eagerly() else traced(_differentiable)
    outputs, *after = run(rule, x, Weights(*map(tf.convert_to_tensor, weights)), list(states), marks, sequences)
    return outputs, after


@functools.cache
def traced(function: Callable[..., Any], is_compiled: bool = False) -> Callable[..., Any]:
    """Returns a function as a graph.

    The graph is kept until the process ends and serves all trials with these shapes. A gradient of our own within the
    graph of a trial would keep that whole graph instead (tensorflow issues 92094, 97697).
    """
    graph: Callable[..., Any] = tf.function(function, autograph=False, jit_compile=is_compiled or None)
    return graph


def _differentiable(
    rule: Rule, x: Any, weights: Weights, states: list[Any], marks: Marks, sequences: bool
) -> list[Any]:
    """Returns what `recurrence` does, as one list; its gradient is `_backward`."""

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def run(x: Any, kernel: Any, recurrent: Any, bias: Any, *states: Any) -> Any:
        used = Weights(kernel, recurrent, bias)
        outputs, after, saved = _forward(rule, x, used, list(states), marks.real, sequences)

        def gradient(*upstream: Any) -> list[Any]:
            of_outputs, of_states = upstream[0], list(upstream[1:])
            if not sequences:
                of_states[0] += of_outputs
            return _backward(rule, x, used, saved, marks, of_outputs if sequences else None, of_states)

        return [outputs if sequences else after[0], *after], gradient

    return list(run(x, *weights, *states))


class _Pieces(NamedTuple):
    """How T steps are divided: `count` pieces of `length` steps, the last of which may have fewer real ones."""

    count: Any
    length: Any
    is_compiled: bool

    def steps(self, place: Any, total: Any) -> Any:
        """Returns the number of steps of a piece."""
        return tf.minimum(self.length, total - place * self.length)

    def cut(self, values: Any, place: Any) -> Any:
        """Returns a piece of values [T', ...], whose T' is at least `count` * `length`."""
        if values is None or not self.is_compiled:
            return values
        shape = [self.length, *values.shape[1:]]
        return tf.ensure_shape(tf.slice(values, [place * self.length, *[0] * (len(shape) - 1)], shape), shape)

    def padded(self, values: Any) -> Any:
        """Returns values [T, ...], filled up to `count` * `length` steps."""
        if values is None or not self.is_compiled:
            return values
        missing = self.count * self.length - tf.shape(values)[0]
        return tf.pad(values, [[0, missing], *[[0, 0]] * (values.shape.rank - 1)])


def _divided(x: Any) -> _Pieces:
    is_compiled = x.shape[1] is not None and not tf.executing_eagerly()
    steps = tf.shape(x)[0]
    return _Pieces(-(-steps // PIECE), PIECE, True) if is_compiled else _Pieces(1, steps, False)


def _forward(
    rule: Rule, x: Any, weights: Weights, states: list[Any], real: Any, sequences: bool
) -> tuple[Any, list[Any], list[Any]]:
    """Returns the outputs, the last states, and for `_backward` one `TensorArray` over the pieces of each tensor."""
    pieces, total, batch, units = _divided(x), tf.shape(x)[0], x.shape[1], weights.recurrent.shape[0]
    x, real = pieces.padded(x), pieces.padded(real)
    piece = traced(_piece_forward, True) if pieces.is_compiled else _piece_forward
    length = pieces.length if pieces.is_compiled else None
    widths = _widths(rule, weights, len(states))
    arrays = [tf.TensorArray(x.dtype, pieces.count, element_shape=[length, batch, width]) for width in widths]
    results = [tf.TensorArray(x.dtype, pieces.count, element_shape=[length, batch, units], infer_shape=False)]

    def body(place: Any, states: list[Any], arrays: list[Any], results: list[Any]) -> Any:
        steps = pieces.steps(place, total)
        of_piece = pieces.cut(x, place), pieces.cut(real, place)
        outputs, after, saved = piece(rule, *of_piece, steps, weights, states, sequences)
        arrays = [array.write(place, value) for array, value in zip(arrays, saved, strict=True)]
        return place + 1, after, arrays, [results[0].write(place, outputs)] if sequences else results

    begin = (tf.constant(0), states, arrays, results)
    _, after, arrays, results = tf.while_loop(
        lambda place, *_: place < pieces.count, body, begin, parallel_iterations=1
    )
    return results[0].concat()[:total] if sequences else None, list(after), arrays


def _widths(rule: Rule, weights: Weights, states: int) -> list[int]:
    """Returns the widths of the tensors that a piece saves: the projections, and the states before each step."""
    units, width = weights.recurrent.shape
    return [*[width] * (1 if rule.is_additive else 2), *[units] * states]


def _backward(
    rule: Rule, x: Any, weights: Weights, saved: list[Any], marks: Marks, of_outputs: Any, of_states: list[Any]
) -> list[Any]:
    """Returns the gradients of x, the weights, and the initial states.

    Args:
      rule: the cell.
      x: float32[T, B, D].
      weights: of the cell.
      saved: from `_forward`.
      marks: masked steps, and where back-propagation is truncated.
      of_outputs: gradient of all outputs, float32[T, B, H]; None without.
      of_states: gradients of the last states.
    """
    pieces, total = _divided(x), tf.shape(x)[0]
    padded, of_outputs = pieces.padded(x), pieces.padded(of_outputs)
    marks = Marks(*map(pieces.padded, marks))
    piece = traced(_piece_backward, True) if pieces.is_compiled else _piece_backward
    length = pieces.length if pieces.is_compiled else None
    of_inputs = tf.TensorArray(x.dtype, pieces.count, element_shape=[length, *x.shape[1:]], infer_shape=False)

    def body(done: Any, of_states: list[Any], of_weights: list[Any], of_inputs: Any) -> Any:
        place = pieces.count - 1 - done
        of_piece = pieces.cut(padded, place), Marks(*(pieces.cut(mark, place) for mark in marks))
        known = [array.read(place) for array in saved]
        upstream = pieces.cut(of_outputs, place), of_states
        of_input, more, of_states = piece(rule, *of_piece, pieces.steps(place, total), weights, known, upstream)
        of_weights = [before + new for before, new in zip(of_weights, more, strict=True)]
        return done + 1, of_states, of_weights, of_inputs.write(place, of_input)

    begin = (tf.constant(0), of_states, [tf.zeros_like(weight) for weight in weights], of_inputs)
    _, of_states, of_weights, of_inputs = tf.while_loop(
        lambda done, *_: done < pieces.count, body, begin, parallel_iterations=1
    )
    return [of_inputs.concat()[:total], *of_weights, *of_states]


def _piece_forward(
    rule: Rule, x: Any, real: Any, steps: Any, weights: Weights, states: list[Any], sequences: bool
) -> tuple[Any, list[Any], list[Any]]:
    """Returns the outputs of a piece (None unless `sequences`), its last states, and what its backward pass needs."""
    length = tf.shape(x)[0] if x.shape[0] is None else x.shape[0]
    biases = tf.unstack(weights.bias) if weights.bias.shape.rank == 2 else [weights.bias]
    z = _product(x, weights.kernel) + biases[0]

    def array(width: int) -> Any:
        return tf.TensorArray(x.dtype, length, element_shape=[x.shape[1], width])

    def body(t: Any, states: list[Any], saved: list[Any], outputs: list[Any]) -> Any:
        inner = tf.matmul(states[0], weights.recurrent)
        inner = inner + biases[1] if len(biases) > 1 else inner
        new = rule.updated(rule.activated(z[t], inner), states)
        if real is not None:
            new = [tf.where(real[t], after, before) for after, before in zip(new, states, strict=True)]
        projections = [z[t] + inner] if rule.is_additive else [z[t], inner]
        saved = [array.write(t, value) for array, value in zip(saved, [*projections, *states], strict=True)]
        return t + 1, new, saved, [array.write(t, new[0]) for array in outputs]

    saved = [array(width) for width in _widths(rule, weights, len(states))]
    outputs = [array(states[0].shape[1])] if sequences else []
    begin = (tf.constant(0), states, saved, outputs)
    _, after, saved, outputs = tf.while_loop(
        lambda t, *_: t < steps, body, begin, maximum_iterations=length, parallel_iterations=1
    )
    return outputs[0].stack() if sequences else None, list(after), [array.stack() for array in saved]


def _piece_backward(
    rule: Rule, x: Any, marks: Marks, steps: Any, weights: Weights, saved: list[Any], upstream: tuple[Any, list[Any]]
) -> tuple[Any, list[Any], list[Any]]:
    """Returns the gradients of x, of the weights, and of the states before the piece.

    Args:
      rule: the cell.
      x: float32[K, B, D].
      marks: of these steps.
      steps: number of real steps of the piece; the others are filling.
      weights: of the cell.
      saved: from `_piece_forward`.
      upstream: the gradient of the outputs float32[K, B, H] or None, and those of the states after the piece.
    """
    length = tf.shape(x)[0] if x.shape[0] is None else x.shape[0]
    count = 1 if rule.is_additive else 2
    projections, before = saved[:count], saved[count:]
    of_outputs, of_last = upstream

    def body(done: Any, of_states: list[Any], of_projections: list[Any]) -> Any:
        t = steps - 1 - done
        if of_outputs is not None:
            of_states = [of_states[0] + of_outputs[t], *of_states[1:]]
        after, real = of_states, None if marks.real is None else marks.real[t]
        of_new = after if real is None else [tf.where(real, each, 0.0) for each in after]
        known = [each[t] for each in projections], [each[t] for each in before]
        of_step, of_states = _step_backward(rule, *known, of_new)
        of_states[0] += tf.matmul(of_step[-1], weights.recurrent, transpose_b=True)
        if real is not None:  # a masked step passes its state on
            of_states = [each + tf.where(real, 0.0, kept) for each, kept in zip(of_states, after, strict=True)]
        if marks.passes is not None:
            of_states = [marks.passes[t] * each for each in of_states]
        return done + 1, of_states, [array.write(t, each) for array, each in zip(of_projections, of_step, strict=True)]

    arrays = [tf.TensorArray(x.dtype, length, element_shape=each.shape[1:]) for each in projections]
    _, of_states, arrays = tf.while_loop(
        lambda done, *_: done < steps,
        body,
        (tf.constant(0), of_last, arrays),
        maximum_iterations=length,
        parallel_iterations=1,
    )
    of_projections = [_rows(array.stack()) for array in arrays]
    of_z, of_inner = of_projections[0], of_projections[-1]
    of_bias = [tf.reduce_sum(each, axis=0) for each in of_projections]
    of_weights = [
        tf.matmul(_rows(x), of_z, transpose_a=True),
        tf.matmul(_rows(before[0]), of_inner, transpose_a=True),
        of_bias[0] if weights.bias.shape.rank == 1 else tf.stack(of_bias),
    ]
    of_x = tf.reshape(tf.matmul(of_z, weights.kernel, transpose_b=True), tf.shape(x))
    return of_x, of_weights, list(of_states)


def _step_backward(
    rule: Rule, projections: list[Any], states: list[Any], of_new: list[Any]
) -> tuple[list[Any], list[Any]]:
    """Returns the gradients of the projections and of the states, without the way through the product with U."""
    with tf.GradientTape() as tape:
        tape.watch([projections, states])
        z, inner = projections if len(projections) > 1 else (projections[0], tf.zeros_like(projections[0]))
        new = rule.updated(rule.activated(z, inner), states)
    of_projections, of_states = tape.gradient(
        new, (projections, states), output_gradients=of_new, unconnected_gradients="zero"
    )
    return of_projections, of_states


def _product(x: Any, kernel: Any) -> Any:
    """Returns x W, float32[K, B, G H], as one product of matrices."""
    shape = tf.shape(x)
    product = tf.reshape(tf.matmul(_rows(x), kernel), [shape[0], shape[1], kernel.shape[1]])
    product.set_shape([x.shape[0], x.shape[1], kernel.shape[1]])
    return product


def _rows(values: Any) -> Any:
    """Returns values [K, B, N] as a matrix [K B, N]."""
    return tf.reshape(values, [-1, values.shape[-1]])
