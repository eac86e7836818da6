"""The compiled pieces of a loop have the outputs and gradients of Keras' layers, and of plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from src.models import fused_loop
from src.models.cells import CELLS
from src.models.loops import Recurrent
from tests.models.test_loops import KERAS
from tests.tasks.test_models import lstm_step

B, D, H = 3, 4, 5
LENGTHS = np.array([11, 2, 7])
T = max(LENGTHS)
X = np.random.default_rng(0).normal(size=(B, T, D)).astype(np.float32)
POST = np.arange(T) < LENGTHS[:, None]
MASKS = {"none": None, "post": POST, "pre": POST[:, ::-1]}


@pytest.fixture(autouse=True, scope="module")
def pieces_of_four_steps():
    """Divides 11 steps into three pieces, of which the last one is not full; the tests share compiled pieces."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused_loop, "PIECE", 4)
        fused_loop.traced.cache_clear()
        yield
    fused_loop.traced.cache_clear()


def twins(cell, **options):
    """Returns a Keras layer and a fused one with the same weights."""
    layers = KERAS[cell](H, **options), Recurrent(CELLS[cell](H), loop="fused_loop", **options)
    return [weighted(layer) for layer in layers]


def weighted(layer):
    """Builds a layer; layers of one cell get the same weights."""
    layer.build((B, T, D))
    layer.set_weights(
        [np.random.default_rng(place).normal(0, 0.5, each.shape) for place, each in enumerate(layer.get_weights())]
    )
    return layer


def results(layer, mask, *, states, batch=B, x=X, **options):
    """Returns the outputs, and the gradients of x, the initial states and the weights, from a graph for any length.

    Outputs of masked steps are set to zero: before the first real step, Keras returns zeros, and we return the initial
    state.

    Args:
      layer: the layer.
      mask: bool[B, T] or None.
      states: how many initial states it has.
      batch: B as the graph knows it: a number or None.
      x: float32[B, T, D].
      options: of `tf.function`.
    """
    first = [np.random.default_rng(place).normal(size=(len(x), H)).astype(np.float32) for place in range(states)]
    weighting = np.random.default_rng(9).normal(size=(x.shape[1], H)).astype(np.float32)

    def run(x, first, mask=None):
        with tf.GradientTape() as tape:
            tape.watch([x, first])
            outputs = layer(x, initial_state=first, mask=mask)
            if outputs.shape.rank == 3 and mask is not None:
                outputs *= tf.cast(mask, tf.float32)[:, :, None]
            loss = tf.reduce_sum(outputs * (weighting if outputs.shape.rank == 3 else weighting[0]))
        return [outputs, *tape.gradient(loss, [x, *first, *layer.trainable_variables])]

    specs = [tf.TensorSpec([batch, None, D]), [tf.TensorSpec([batch, H]) for _ in first]]
    masks = [] if mask is None else [mask]
    graph = tf.function(
        run,
        autograph=False,
        input_signature=[*specs, *(tf.TensorSpec([batch, None], tf.bool) for _ in masks)],
        **options,
    )
    return [np.asarray(value) for value in graph(x, first, *masks)]


CASES = [  # cell, mask, options of the layer, and whether the batch size is known, so that XLA compiles the pieces
    ("lstm", "none", {}, True),
    ("lstm", "post", {"return_sequences": True}, True),
    ("lstm", "pre", {"go_backwards": True}, True),
    ("lstm", "pre", {"return_sequences": True}, False),
    ("gru", "post", {"return_sequences": True}, True),
    ("gru", "none", {}, False),
    ("simple_rnn", "pre", {"return_sequences": True}, True),
    ("simple_rnn", "post", {}, False),
]


@pytest.mark.parametrize(("cell", "mask", "options", "is_known"), CASES)
def test_outputs_and_gradients_of_a_graph_equal_those_of_keras(cell, mask, options, is_known):
    theirs, ours = twins(cell, **options)
    states = CELLS[cell].facts.states

    expected = results(theirs, MASKS[mask], states=states)
    got = results(ours, MASKS[mask], states=states, batch=B if is_known else None)

    assert len(got) == len(expected) == 5 + states
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_the_outputs_are_those_of_plain_numpy():
    _, ours = twins("lstm", return_sequences=True)
    outputs, *_ = results(ours, POST, states=2)

    states = tuple(np.random.default_rng(place).normal(size=(B, H)) for place in range(2))
    for t in range(T):
        new = lstm_step(X[:, t], states, ours.get_weights())
        states = tuple(np.where(POST[:, t, None], after, before) for after, before in zip(new, states, strict=True))
        np.testing.assert_allclose(outputs[:, t], states[0] * POST[:, t, None], atol=1e-5)


def test_padded_steps_have_no_gradient():
    _, ours = twins("lstm")
    _, of_x, *_ = results(ours, POST, states=2)

    assert np.abs(of_x[~POST]).max() == 0 < np.abs(of_x[POST]).min()


def test_truncated_back_propagation_has_the_gradients_of_the_other_loops():
    loops = [Recurrent(CELLS["gru"](H), loop=loop, bptt_steps=3) for loop in ("graph_loop", "fused_loop")]
    expected, got = (results(weighted(layer), POST, states=1) for layer in loops)

    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    reached = np.abs(got[1]).sum(axis=2) > 0
    last_three = POST & (np.cumsum(POST[:, ::-1], axis=1)[:, ::-1] <= 3)
    np.testing.assert_array_equal(reached, last_three)


def test_a_whole_graph_may_be_compiled():
    theirs, ours = twins("lstm")

    expected, got = results(theirs, POST, states=2), results(ours, POST, states=2, jit_compile=True)
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_pieces_are_compiled_once_for_all_lengths(monkeypatch):
    traced = []
    forward = fused_loop._piece_forward

    def counted(rule, x, *others):
        traced.append(x.shape)
        return forward(rule, x, *others)

    monkeypatch.setattr(fused_loop, "_piece_forward", counted)  # `traced` has not seen it
    _, ours = twins("simple_rnn")
    for length in (3, 4, 9, 11):
        results(ours, None, states=1, x=X[:, :length])

    assert traced == [(4, B, D)]
