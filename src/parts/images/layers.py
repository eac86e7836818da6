"""Layers of image networks. Each layer draws its initial weights and dropout from its own random stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import keras

from src.streams import stream_seed

INITIALIZERS: dict[str, Callable[[int], Any]] = {
    "zeros": lambda seed: keras.initializers.Zeros(),
    "uniform": lambda seed: keras.initializers.RandomUniform(-0.1, 0.1, seed=seed),
    # Glorot and Bengio, AISTATS 2010: uniform, variance 2 / (inputs + outputs)
    "glorot": keras.initializers.GlorotUniform,
    # He et al., ICCV 2015: truncated normal, variance 2 / inputs
    "he": keras.initializers.HeNormal,
}
NORM = "_norm"  # ending of the name of a batch normalisation
POOLINGS = {"max": keras.layers.MaxPooling2D, "average": keras.layers.AveragePooling2D}


class Layered(Protocol):
    """The settings of layers."""

    @property
    def seed(self) -> int:
        """Seed of the trial."""

    @property
    def initializer(self) -> str:
        """Key of `INITIALIZERS`."""

    @property
    def activation(self) -> str:
        """Activation of hidden layers."""

    @property
    def dropout(self) -> float:
        """Dropout rate after hidden layers."""


def dense(settings: Layered, units: int, *, name: str, has_bias: bool = True) -> keras.layers.Layer:
    """Returns a dense layer without activation."""
    return keras.layers.Dense(units, use_bias=has_bias, kernel_initializer=kernel_of(settings, name), name=name)


def convolution(
    settings: Layered, filters: int, size: int, *, name: str, stride: int = 1, has_bias: bool = False
) -> keras.layers.Layer:
    """Returns a convolution without activation that pads with zeros: its output has the size of its input / stride."""
    how: dict[str, Any] = {"strides": stride, "padding": "same", "use_bias": has_bias}
    return keras.layers.Conv2D(filters, size, kernel_initializer=kernel_of(settings, name), name=name, **how)


def normalised(x: Any, *, name: str) -> Any:
    """Returns x after batch normalisation.

    Source: Ioffe and Szegedy, "Batch Normalization", ICML 2015. The moving statistics have momentum 0.9, as in
    DenseNet's code: with Keras' own 0.99 they take several hundred steps to forget their first values.
    """
    return keras.layers.BatchNormalization(momentum=0.9, name=f"{name}{NORM}")(x)


def activated(settings: Layered, x: Any, *, name: str) -> Any:
    """Returns x after the activation."""
    return keras.layers.Activation(settings.activation, name=f"{name}_activation")(x)


def dropped(settings: Layered, x: Any, *, name: str) -> Any:
    """Returns x after dropout; x itself without dropout."""
    if not settings.dropout:
        return x
    name = f"{name}_dropout"
    return keras.layers.Dropout(settings.dropout, seed=stream_seed(settings.seed, "dropout", name), name=name)(x)


def hidden(settings: Layered, x: Any, *, name: str, has_norm: bool) -> Any:
    """Returns dropout(f(norm(x))): what follows a layer without activation, with the parts that the settings have."""
    x = normalised(x, name=name) if has_norm else x
    return dropped(settings, activated(settings, x, name=name), name=name)


def kernel_of(settings: Layered, name: str) -> Any:
    """Returns the initial weights of a layer."""
    return INITIALIZERS[settings.initializer](stream_seed(settings.seed, "weights", name, "kernel"))
