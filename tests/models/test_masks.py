"""Calls every layer and compares with docs/masks.md: does it pass its mask on, and does its result depend on it?"""

from __future__ import annotations

import re
import warnings

import keras
import numpy as np
import pytest

from src.models.cells import LSTMCell
from src.models.loops import Recurrent
from src.models.readout import PoolSteps
from src.paths import REPOSITORY

PAGE = REPOSITORY / "docs" / "masks.md"
IDS = np.array([[1, 5, 6, 7, 0, 0], [1, 8, 0, 0, 0, 0]], np.int32)
layers = keras.layers

LAYERS = {
    "LSTM": lambda: layers.LSTM(3),
    "LSTM(return_sequences=True)": lambda: layers.LSTM(3, return_sequences=True),
    "GRU": lambda: layers.GRU(3),
    "SimpleRNN": lambda: layers.SimpleRNN(3),
    "RNN(LSTMCell)": lambda: layers.RNN(layers.LSTMCell(3)),
    "Bidirectional(LSTM)": lambda: layers.Bidirectional(layers.LSTM(3)),
    "Bidirectional(LSTM(return_sequences=True))": lambda: layers.Bidirectional(layers.LSTM(3, return_sequences=True)),
    "Recurrent (ours)": lambda: Recurrent(LSTMCell(3), loop="graph_loop"),
    "Recurrent(return_sequences=True) (ours)": lambda: Recurrent(LSTMCell(3), loop="graph_loop", return_sequences=True),
    "PoolSteps (ours)": lambda: PoolSteps("mean"),
    "TimeDistributed(Dense)": lambda: layers.TimeDistributed(layers.Dense(3)),
    "Dense": lambda: layers.Dense(3),
    "EinsumDense": lambda: layers.EinsumDense("btd,de->bte", output_shape=(None, 3)),
    "Activation": lambda: layers.Activation("tanh"),
    "Dropout": lambda: layers.Dropout(0.5),
    "SpatialDropout1D": lambda: layers.SpatialDropout1D(0.5),
    "GaussianNoise": lambda: layers.GaussianNoise(0.1),
    "LayerNormalization": layers.LayerNormalization,
    "BatchNormalization (training)": layers.BatchNormalization,
    "GlobalAveragePooling1D": layers.GlobalAveragePooling1D,
    "GlobalMaxPooling1D": layers.GlobalMaxPooling1D,
    "MaxPooling1D": lambda: layers.MaxPooling1D(2),
    "AveragePooling1D": lambda: layers.AveragePooling1D(2),
    "Conv1D": lambda: layers.Conv1D(3, 2),
    "ZeroPadding1D": lambda: layers.ZeroPadding1D(1),
    "Cropping1D": lambda: layers.Cropping1D(1),
    "UpSampling1D": lambda: layers.UpSampling1D(2),
    "Flatten": layers.Flatten,
    "Reshape": lambda: layers.Reshape((3, -1)),
    "Permute": lambda: layers.Permute((2, 1)),
    "Rescaling": lambda: layers.Rescaling(2.0),
}
OF_TWO = {
    "Add": layers.Add,
    "Concatenate": layers.Concatenate,
    "Attention": layers.Attention,
    "MultiHeadAttention": lambda: layers.MultiHeadAttention(2, 4),
}


def behaviour(name):
    """Returns whether the layer passes the mask on, and whether the output depends on it."""
    masked = layers.Embedding(
        9, 4, mask_zero=True, embeddings_initializer=keras.initializers.RandomNormal(1.0, seed=0)
    )(IDS)
    plain = keras.ops.convert_to_tensor(np.array(masked))
    options = {"training": True} if "training" in name else {}
    if name in OF_TWO:
        layer = OF_TWO[name]()
        call = (lambda x: layer(x, x)) if name == "MultiHeadAttention" else lambda x: layer([x, x])
    else:
        layer = LAYERS[name]()
        call = lambda x: layer(x, **options)  # noqa: E731
    call(plain)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with_mask, without = call(masked), call(plain)
    is_carried = getattr(with_mask, "_keras_mask", None) is not None
    is_warned = any("destroy the mask" in str(warning.message) for warning in caught)
    is_used = not np.allclose(with_mask, without, atol=1e-6)
    return (
        "carried" if is_carried else "dropped, with a warning" if is_warned else "dropped",
        "yes" if is_used else "no",
    )


def row(name):
    layer, _, remark = name.partition(" (")
    fate, use = behaviour(name)
    return f"| `{layer}`{f' ({remark}' if remark else ''} | {fate} | {use} |"


def test_the_table_in_the_docs_matches_the_behaviour_of_the_layers():
    page = PAGE.read_text(encoding="utf-8")
    rows = [row(name) for name in (*LAYERS, *OF_TWO)]

    written = [line for line in page.splitlines() if re.match(r"\| `.* (yes|no) \|$", line)]
    assert written == rows, "what docs/masks.md should say:\n" + "\n".join(rows)


def test_keras_drops_the_mask_of_a_layer_that_is_called_with_a_second_tensor():
    x = layers.Embedding(9, 4, mask_zero=True)(IDS)
    layer = layers.GRU(3)
    states = keras.ops.zeros((2, 3))

    silent, handed = layer(x, initial_state=[states]), layer(x, initial_state=[states], mask=x._keras_mask)
    assert not np.allclose(silent, handed)
    np.testing.assert_allclose(handed, layer(x), atol=1e-6)


def test_keras_recurrent_layers_do_not_accept_ragged_tensors():
    import tensorflow as tf

    ragged = tf.ragged.constant([[[1.0, 2.0]], [[1.0, 2.0], [3.0, 4.0]]], ragged_rank=1)
    with pytest.raises(ValueError, match="Cannot index into an inner ragged dimension"):
        layers.LSTM(3)(ragged)
