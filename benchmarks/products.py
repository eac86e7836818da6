"""The matrix products of a training step of a recurrent classifier: what remains of a step if all else took no time.

Letters: B sequences, T steps, D width of the embedding, H units, G gates, K outputs. Forward:

    Z = X W        [BT, D] x [D, GH]       once: the projection of all steps
    h_{t-1} U      [B, H] x [H, GH]        T times
    h_T V          [B, H] x [H, K]         once: the head

Backward, the two gradients of each: with respect to its input and to its weights.

    dh = dy V^T    [B, K] x [K, H]         once        dV = h_T^T dy        [H, B] x [B, K]      once
    dh = dz U^T    [B, GH] x [GH, H]       T times     dU = h_{t-1}^T dz    [H, B] x [B, GH]     T times
    dX = dZ W^T    [BT, GH] x [GH, D]      once        dW = X^T dZ          [D, BT] x [BT, GH]   once

The look-up of the embedding and its gradient are no products. The products run in this order, each after the one
before it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


class Product(NamedTuple):
    """One product of float32 matrices.

    Attributes:
      a: shape of the first matrix, as it is stored.
      b: shape of the second one.
      transposed: which of them is transposed: "", "a" or "b".
    """

    a: tuple[int, int]
    b: tuple[int, int]
    transposed: str = ""

    @property
    def multiplications(self) -> int:
        """Number of multiplications."""
        inner = self.a[0] if self.transposed == "a" else self.a[1]
        rows = self.a[1] if self.transposed == "a" else self.a[0]
        return rows * inner * (self.b[0] if self.transposed == "b" else self.b[1])


def of_step(batch: int, steps: int, *, width: int, units: int, gates: int, outputs: int) -> list[Product]:
    """Returns the products of a training step in order; the letters are those of the module."""
    rows, wide = batch * steps, gates * units
    forward = [Product((rows, width), (width, wide))]
    forward += [Product((batch, units), (units, wide))] * steps
    forward += [Product((batch, units), (units, outputs))]
    backward = [Product((batch, outputs), (units, outputs), "b"), Product((batch, units), (batch, outputs), "a")]
    backward += [Product((batch, wide), (units, wide), "b"), Product((batch, units), (batch, wide), "a")] * steps
    backward += [Product((rows, wide), (width, wide), "b"), Product((rows, width), (rows, wide), "a")]
    return forward + backward


def in_tensorflow(products: Sequence[Product]) -> Callable[[], float]:
    """Returns a function that computes the products in one graph, one after the other, and returns the milliseconds."""
    import tensorflow as tf

    shapes = {shape for product in products for shape in (product.a, product.b)}
    matrices = {shape: tf.random.normal(shape) for shape in shapes}

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def computed() -> tf.Tensor:
        numbers: list[tf.Tensor] = []
        for a, b, transposed in products:
            with tf.control_dependencies(numbers[-1:]):  # in order, and none counts as a duplicate of another
                options = {"transpose_a": transposed == "a", "transpose_b": transposed == "b"}
                product = tf.linalg.matmul(matrices[a], matrices[b], **options)
                numbers.append(product[0, 0])  # TensorFlow leaves out a product that nothing reads
        return tf.add_n(numbers)

    return _timed(lambda: computed().numpy())


def in_numpy(products: Sequence[Product]) -> Callable[[], float]:
    """Returns a function that computes the products with NumPy's library (BLAS) and returns the milliseconds."""
    rng = np.random.default_rng(0)
    shapes = {shape for product in products for shape in (product.a, product.b)}
    matrices = {shape: rng.normal(size=shape).astype(np.float32) for shape in shapes}
    pairs = [
        (matrices[a].T if transposed == "a" else matrices[a], matrices[b].T if transposed == "b" else matrices[b])
        for a, b, transposed in products
    ]
    outputs = {(a.shape[0], b.shape[1]): np.empty((a.shape[0], b.shape[1]), np.float32) for a, b in pairs}
    ready = [(a, b, outputs[a.shape[0], b.shape[1]]) for a, b in pairs]

    def computed() -> None:
        for a, b, out in ready:
            np.matmul(a, b, out=out)

    return _timed(computed)


def _timed(function: Callable[[], object]) -> Callable[[], float]:
    def timed() -> float:
        begin = time.perf_counter()
        function()
        return 1e3 * (time.perf_counter() - begin)

    timed()  # the first call traces, or touches the memory
    return timed
