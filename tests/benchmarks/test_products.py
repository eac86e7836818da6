"""The matrix products of a step are those that a recurrent classifier needs."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import products

SIZES = {"width": 3, "units": 5, "gates": 4, "outputs": 1}


def test_a_step_has_three_times_the_multiplications_of_its_forward_pass():
    batch, steps = 2, 7
    forward = batch * steps * 3 * 20 + steps * batch * 5 * 20 + batch * 5 * 1

    assert sum(each.multiplications for each in products.of_step(batch, steps, **SIZES)) == 3 * forward


def test_products_have_the_shapes_of_the_gradients():
    batch, steps = 2, 7
    shapes = []
    for a, b, transposed in products.of_step(batch, steps, **SIZES):
        first, second = np.ones(a), np.ones(b)
        result = (first.T if transposed == "a" else first) @ (second.T if transposed == "b" else second)
        shapes.append(result.shape)

    # kernel, recurrent matrix (once a step) and head
    assert [shapes.count(shape) for shape in ((3, 20), (5, 20), (5, 1))] == [1, steps, 1]
    # projection and its input's gradient; states of all steps, forward and back
    assert [shapes.count(shape) for shape in ((14, 20), (14, 3), (2, 20), (2, 5))] == [1, 1, steps, steps + 1]


@pytest.mark.training
def test_tensorflow_leaves_out_no_product():
    from src.training.startup import import_tensorflow

    import_tensorflow()
    few, many = (products.in_tensorflow([products.Product((400, 400), (400, 400))] * count) for count in (1, 12))

    assert min(many() for _ in range(5)) > 4 * min(few() for _ in range(5))
