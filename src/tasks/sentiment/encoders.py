"""Builds classifiers without recurrence. Each layer draws its initial weights and dropout from its own random stream.

Letters: B texts, T steps, D size of a step, F features of a text, K outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from src.models.readout import PoolSteps
from src.models.text_encoders import ClearMasked, Positions, TfIdf
from src.parts.words.layers import read_in
from src.streams import stream_seed
from src.tasks.sentiment.settings import Settings


def classifier(settings: Settings, *, outputs: int) -> keras.Model:
    """Returns the untrained model from ids int32[B, T] to logits float32[B, K], for any encoder but `recurrent`."""
    ids, x, mask = read_in(settings)
    features = ENCODERS[settings.encoder](settings, x, mask)
    return keras.Model(ids, _head(settings, outputs)(features), name="classifier")


def fitted(settings: Settings, *, outputs: int) -> keras.Model:
    """Returns the model from ids int32[B, T] to logits float32[B, K] whose weights `fitted.start` computes.

    The features of `largest_class` are one zero, so that its logits are the biases of the head.
    """
    ids = keras.Input((None,), dtype="int32", name="ids")
    if settings.encoder == "tfidf":
        features = TfIdf(settings.vocab_size, name="encoding")(ids)
    else:
        features = keras.ops.cast(keras.ops.sum(ids, axis=1, keepdims=True), "float32") * 0.0
    return keras.Model(ids, _head(settings, outputs)(features), name="classifier")


def bag(settings: Settings, x: Any, mask: Any) -> Any:
    """Returns the mean of the steps, float32[B, D].

    Source: Iyyer et al., "Deep Unordered Composition Rivals Syntactic Methods for Text Classification", ACL 2015,
    section 2: the neural bag of words.
    """
    return _dropped(settings, PoolSteps("mean", name="readout")(x, mask=mask), name="features")


def cnn(settings: Settings, x: Any, mask: Any) -> Any:
    """Returns the largest value of each filter over the steps, float32[B, F].

        c_t = relu(W x_{t : t + h} + b)        y = max_t c_t        for several widths h side by side

    Source: Kim, "Convolutional Neural Networks for Sentence Classification", EMNLP 2014, section 2, with the ReLU of
    his experiments. Ours, not the paper's: windows also begin before the text and end after it, where steps are zero,
    so that a text may be shorter than h; and the norm of the head is not limited.
    """
    cleared = ClearMasked(name="cleared")(x, mask=mask)
    pooled = []
    for number in range(1, settings.branches + 1):
        name, width = f"convolution_{number}", settings.kernel_size + number - 1
        convolution = keras.layers.Conv1D(
            settings.units,
            width,
            padding="same",
            activation="relu",
            kernel_initializer=_glorot(settings, name, "kernel"),
            name=name,
        )
        pooled.append(PoolSteps("max", name=f"readout_{number}")(convolution(cleared), mask=mask))
    features = keras.layers.Concatenate(name="features")(pooled) if len(pooled) > 1 else pooled[0]
    return _dropped(settings, features, name="features")


def transformer(settings: Settings, x: Any, mask: Any) -> Any:
    """Returns the mean of the steps after blocks of attention and feed-forward layers, float32[B, D].

        x = LayerNorm(x + MultiHead(x, x, x))        x = LayerNorm(x + W_2 relu(W_1 x + b_1) + b_2)

    Source: the encoder of Vaswani et al., "Attention Is All You Need", NIPS 2017, section 3.1. Ours, not the paper's:
    the mean over the steps, as it has one label for a text.
    """
    x = _dropped(settings, Positions(settings.positions != "none", name="positions")(x, mask=mask), name="positions")
    for number in range(1, settings.depth + 1):
        name = f"block_{number}"
        x = _added(settings, x, _attention(settings, f"{name}_attention", x, mask), name=f"{name}_attention")
        hidden = _dense(settings, settings.units, f"{name}_hidden", activation="relu")(x)
        x = _added(settings, x, _dense(settings, x.shape[-1], f"{name}_output")(hidden), name=f"{name}_output")
    return PoolSteps("mean", name="readout")(x, mask=mask)


ENCODERS: dict[str, Callable[[Settings, Any, Any], Any]] = {"bag": bag, "cnn": cnn, "transformer": transformer}


def _attention(settings: Settings, name: str, x: Any, mask: Any) -> Any:
    """Returns the attention of each step to all real steps, float32[B, T, D].

    Keras gives queries, keys and values one initializer and so equal weights, of a variance that is not that of a
    matrix. Here each matrix has its own stream.
    """
    size = x.shape[-1]
    layer = keras.layers.MultiHeadAttention(settings.heads, size // settings.heads, name=name)
    steps = None if mask is None else keras.ops.expand_dims(mask, 1)
    attended = layer(x, x, attention_mask=steps)
    parts = {
        "query": layer.query_dense,
        "key": layer.key_dense,
        "value": layer.value_dense,
        "output": layer.output_dense,
    }
    for part, dense in parts.items():
        matrix = _glorot(settings, name, part)((size, size))
        dense.kernel.assign(keras.ops.reshape(matrix, dense.kernel.shape))
    return attended


def _added(settings: Settings, x: Any, change: Any, *, name: str) -> Any:
    """Returns x plus the output of a layer, normalised."""
    total = keras.layers.Add(name=f"{name}_sum")([x, _dropped(settings, change, name=name)])
    return keras.layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm")(total)


def _head(settings: Settings, outputs: int) -> keras.layers.Layer:
    return _dense(settings, outputs, "head")


def _dense(settings: Settings, units: int, name: str, **options: Any) -> keras.layers.Layer:
    return keras.layers.Dense(units, kernel_initializer=_glorot(settings, name, "kernel"), name=name, **options)


def _glorot(settings: Settings, name: str, role: str) -> keras.initializers.Initializer:
    return keras.initializers.GlorotUniform(stream_seed(settings.seed, "weights", name, role))


def _dropped(settings: Settings, x: Any, *, name: str) -> Any:
    """Returns x after dropout; x itself without dropout."""
    if not settings.dropout:
        return x
    name = f"{name}_dropout"
    return keras.layers.Dropout(settings.dropout, seed=stream_seed(settings.seed, "dropout", name), name=name)(x)
