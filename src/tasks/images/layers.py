"""Layers of image networks. Each layer draws its initial weights and dropout from its own random stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from src.streams import stream_seed
from src.tasks.images.settings import Settings, has_batch_norm

INITIALIZERS: dict[str, Callable[[int], Any]] = {
    "zeros": lambda seed: keras.initializers.Zeros(),
    "uniform": lambda seed: keras.initializers.RandomUniform(-0.1, 0.1, seed=seed),
    # Glorot and Bengio, AISTATS 2010: uniform, variance 2 / (inputs + outputs)
    "glorot": keras.initializers.GlorotUniform,
    # He et al., ICCV 2015: truncated normal, variance 2 / inputs
    "he": keras.initializers.HeNormal,
}
POOLINGS = {"max": keras.layers.MaxPooling2D, "average": keras.layers.AveragePooling2D}


def dense(settings: Settings, units: int, *, name: str, has_bias: bool = True) -> keras.layers.Layer:
    """Returns a dense layer without activation."""
    return keras.layers.Dense(units, use_bias=has_bias, kernel_initializer=_kernel(settings, name), name=name)


def convolution(
    settings: Settings, filters: int, size: int, *, name: str, stride: int = 1, has_bias: bool = False
) -> keras.layers.Layer:
    """Returns a convolution without activation that pads with zeros: its output has the size of its input / stride."""
    how: dict[str, Any] = {"strides": stride, "padding": "same", "use_bias": has_bias}
    return keras.layers.Conv2D(filters, size, kernel_initializer=_kernel(settings, name), name=name, **how)


def normalised(settings: Settings, x: Any, *, name: str) -> Any:
    """Returns x after batch normalisation, if the network has it.

    Source: Ioffe and Szegedy, "Batch Normalization", ICML 2015. The moving statistics have momentum 0.9, as in
    DenseNet's code: with Keras' own 0.99 they take several hundred steps to forget their first values.
    """
    return keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x) if has_batch_norm(settings) else x


def activated(settings: Settings, x: Any, *, name: str) -> Any:
    """Returns x after the activation."""
    return keras.layers.Activation(settings.activation, name=f"{name}_activation")(x)


def dropped(settings: Settings, x: Any, *, name: str) -> Any:
    """Returns x after dropout; x itself without dropout."""
    if not settings.dropout:
        return x
    name = f"{name}_dropout"
    return keras.layers.Dropout(settings.dropout, seed=stream_seed(settings.seed, "dropout", name), name=name)(x)


def _kernel(settings: Settings, name: str) -> Any:
    return INITIALIZERS[settings.initializer](stream_seed(settings.seed, "weights", name, "kernel"))
