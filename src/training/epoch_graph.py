"""Many optimizer steps as one graph, with the loop over their batches inside: `execution=graph_epoch`.

A run is a list of consecutive batches that one call of the graph takes. Its batches are stacked, and the loop slices
them. A `tf.data` dataset inside the graph was slower than one graph per step: `Dataset.from_generator` by a factor of 2
to 4 (it calls Python for every batch), `Dataset.from_tensor_slices` of the same stack had no gain, while slices took
0.5 to 0.6 of the time in a bare loop (MLP of 8 to 64 units on digits, batch_size=64, 2 cores). Whole trials gain less:
the study `execution_by_size` has 0.8 to 1.0.

Letters: N batches of a run, B examples, K numbers of a step (see `update.Numbers`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from src.training.phase import Learner
from src.training.update import batch_size, step_of, with_batch_size

MOST_BYTES = 32 * 2**20  # of the stack of a run, which is a copy of its batches
Run = Sequence[tuple[Any, Any, Any]]


class EpochGraph:
    """The optimizer steps of runs. One graph is for full batches, a second one for batches of any other size."""

    def __init__(
        self, learner: Learner, *, on_trace: Callable[[], None], optimizer: keras.optimizers.Optimizer | None = None
    ) -> None:
        """Takes a model with its phase.

        Args:
          learner: model, phase and settings.
          on_trace: called whenever a graph is traced.
          optimizer: from `update.new_optimizer`; None creates a new one.
        """
        self._learner, self._on_trace = learner, on_trace
        self._step, self._called = step_of(learner, optimizer), set[bool]()
        signature, size = learner.phase.signature, learner.settings.batch_size
        self._graphs = {True: self._graph(with_batch_size(signature, size)), False: self._graph([*signature])}

    def runs(self, batches: Iterable[Any], most: Callable[[], int]) -> Iterator[Run]:
        """Yields the runs of an epoch: only full batches or only others, and not much more than `MOST_BYTES`.

        The first run of each graph has one batch, so that only that step's time includes tracing.

        Args:
          batches: the batches of the epoch.
          most: returns the largest number of batches of the next run.
        """
        for is_full, alike in itertools.groupby(batches, key=self._is_full):
            while run := _up_to(alike, most() if is_full in self._called else 1):
                yield run

    def __call__(self, run: Run) -> tuple[np.ndarray, list[Any]]:
        """Takes one step with each batch of a run.

        Returns:
          The numbers of every step, float32[N, K], and the gradients of the last step.
        """
        is_full = self._is_full(run[0])
        self._called.add(is_full)
        leaves = zip(*(tf.nest.flatten((inputs, targets)) for inputs, targets, _ in run), strict=True)
        stacks, shapes = zip(*map(_stacked, leaves), strict=True)
        numbers, gradients = self._graphs[is_full](list(stacks), list(shapes))
        return numbers.numpy(), gradients

    def _is_full(self, batch: Any) -> bool:
        return batch_size(batch[0]) == self._learner.settings.batch_size

    def _graph(self, signature: Sequence[Any]) -> Callable[..., Any]:
        """Returns (stacks [N, B, ...], shapes of their parts int32[N, R]) → (numbers float32[N, K], last gradients)."""
        specs, variables = tf.nest.flatten(signature), self._learner.model.trainable_variables

        def steps(stacks: list[Any], shapes: list[Any]) -> tuple[Any, list[Any]]:
            self._on_trace()  # Python code runs only while TensorFlow traces the function
            count = tf.shape(stacks[0])[0]

            def body(i: Any, taken: Any, _: Any) -> Any:
                each = zip(stacks, shapes, specs, strict=True)
                parts = [_part(stack[i], shape[i], spec) for stack, shape, spec in each]
                numbers, gradients = self._step(*tf.nest.pack_sequence_as(signature, parts))
                for gradient, variable in zip(gradients, variables, strict=True):
                    gradient.set_shape(variable.shape)  # a loop needs it, and for an embedding it is not known
                return i + 1, taken.write(i, numbers), gradients

            begin = (tf.constant(0), tf.TensorArray(tf.float32, count), [tf.zeros_like(each) for each in variables])
            _, taken, gradients = tf.while_loop(lambda i, *_: i < count, body, begin, parallel_iterations=1)
            return taken.stack(), gradients

        stacks = [tf.TensorSpec([None, *spec.shape], spec.dtype) for spec in specs]
        shapes = [tf.TensorSpec([None, spec.shape.rank], tf.int32) for spec in specs]
        return self._learner.as_graph(steps, input_signature=[stacks, shapes])


def _up_to(batches: Iterator[Any], most: int) -> list[Any]:
    """Returns the next batches: at most `most`, and no further one once their stack would have `MOST_BYTES`."""
    run, largest = [], 0
    for batch in itertools.islice(batches, most):
        run.append(batch)
        size = sum(math.prod(leaf.shape) * leaf.dtype.size for leaf in tf.nest.flatten(batch[:2]))
        largest = max(largest, size)  # in the stack, every batch is filled up to the largest
        if len(run) * largest >= MOST_BYTES:
            break
    return run


def _stacked(leaves: Sequence[Any]) -> tuple[Any, np.ndarray]:
    """Returns tensors, filled up with zeros to one shape, as one tensor [N, ...], and their shapes int32[N, R]."""
    shapes = np.array([leaf.shape for leaf in leaves], np.int32)
    largest = shapes.max(axis=0)
    alike = [
        leaf if (shape == largest).all() else tf.pad(leaf, [(0, more) for more in largest - shape])
        for leaf, shape in zip(leaves, shapes, strict=True)
    ]
    return tf.stack(alike), shapes


def _part(padded: Any, shape: Any, spec: Any) -> Any:
    """Returns one tensor of a stack without its filling."""
    if spec.shape.is_fully_defined():
        return padded
    part = tf.slice(padded, tf.zeros_like(shape), shape)
    part.set_shape(spec.shape)
    return part
