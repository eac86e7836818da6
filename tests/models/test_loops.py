"""The project's cells and loops have the outputs and gradients of Keras' layers."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from src.models.cells import CELLS, ForgetBias
from src.models.loops import LOOPS, Recurrent

B, T, D, H = 4, 7, 3, 5
KERAS = {"simple_rnn": keras.layers.SimpleRNN, "gru": keras.layers.GRU, "lstm": keras.layers.LSTM}
LENGTHS = np.array([3, 7, 1, 5])
X = np.random.default_rng(0).normal(size=(B, T, D)).astype(np.float32)
POST = np.arange(T) < LENGTHS[:, None]
MASKS = {"none": None, "post": POST, "pre": POST[:, ::-1], "holes": np.random.default_rng(1).random((B, T)) < 0.6}
MASKS["holes"][:, 2] = True  # no sequence is empty


def twins(cell, loop, **options):
    """Returns a Keras layer and one of ours with the same weights."""
    theirs = KERAS[cell](H, **options)
    ours = Recurrent(CELLS[cell](H), loop=loop, **options)
    theirs.build((B, T, D))
    ours.build((B, T, D))
    weights = [
        np.random.default_rng(place).normal(0, 0.5, weight.shape) for place, weight in enumerate(theirs.get_weights())
    ]
    theirs.set_weights(weights)
    ours.set_weights(weights)
    return theirs, ours


def results(layer, mask, *, weighting):
    """Returns the output, and the gradients of its weighted sum with respect to input and weights."""
    x = tf.Variable(X)
    with tf.GradientTape() as tape:
        output = layer(x, mask=None if mask is None else tf.constant(mask))
        loss = tf.reduce_sum(output * weighting[: output.shape[1]] if output.shape.rank == 2 else output * weighting)
    return output.numpy(), [
        tf.convert_to_tensor(g).numpy() for g in tape.gradient(loss, [x, *layer.trainable_variables])
    ]


CASES = list(itertools.product(CELLS, LOOPS, MASKS, [True, False], [True, False]))


@pytest.mark.parametrize(("cell", "loop", "mask", "sequences", "backwards"), CASES)
def test_outputs_and_gradients_equal_those_of_keras(cell, loop, mask, sequences, backwards):
    theirs, ours = twins(cell, loop, return_sequences=sequences, go_backwards=backwards)
    shape = (T, H) if sequences else (H,)
    weighting = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    expected, expected_gradients = results(
        theirs, MASKS[mask], weighting=weighting[::-1] if sequences and backwards else weighting
    )
    output, gradients = results(ours, MASKS[mask], weighting=weighting)

    if sequences and backwards:
        expected = expected[:, ::-1]  # Keras returns them in the order in which it read the steps
    np.testing.assert_allclose(output, expected, atol=1e-5)
    for ours_, theirs_ in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(ours_, theirs_, atol=1e-5)


def test_a_packed_loop_computes_one_row_per_real_step():
    counted = []

    class Counting(CELLS["lstm"]):
        def step(self, z, states):
            counted.append(int(z.shape[0]))
            return super().step(z, states)

    layer = Recurrent(Counting(H), loop="packed_loop")
    layer.build((B, T, D))
    layer(tf.constant(X), mask=tf.constant(POST))

    assert sum(counted) == LENGTHS.sum() < B * T
    assert counted == sorted(counted, reverse=True)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("mask", MASKS)
def test_truncated_back_propagation_keeps_the_outputs_and_reaches_exactly_that_many_real_steps_back(loop, mask):
    whole, cut = Recurrent(CELLS["gru"](H), loop=loop), Recurrent(CELLS["gru"](H), loop=loop, bptt_steps=2)
    for layer in (whole, cut):
        layer.build((B, T, D))
    cut.set_weights(whole.get_weights())
    real = np.ones((B, T), bool) if MASKS[mask] is None else MASKS[mask]
    x = tf.Variable(X)
    with tf.GradientTape() as tape:
        output = cut(x, mask=None if mask == "none" else tf.constant(real))
        loss = tf.reduce_sum(output)
    reached = np.abs(tape.gradient(loss, x).numpy()).sum(axis=2) > 0

    np.testing.assert_allclose(output, whole(X, mask=None if mask == "none" else real), atol=1e-6)
    last_two = real & (np.cumsum(real[:, ::-1], axis=1)[:, ::-1] <= 2)
    np.testing.assert_array_equal(reached, last_two)


@pytest.mark.parametrize("value", [0.0, 2.0])
def test_only_the_forget_gate_starts_with_the_forget_bias(value):
    bias = np.asarray(ForgetBias(value)((4 * H,)))
    assert bias.reshape(4, H)[:, 0].tolist() == [0, value, 0, 0]
