"""DenseNet, in which each layer reads the outputs of all earlier layers of its block."""

from __future__ import annotations

from typing import Any

import keras

from src.parts.images.layers import POOLINGS, activated, convolution, dropped, normalised
from src.tasks.images.settings import Settings, has_batch_norm, pooling_of
from src.tasks.images.sizes import OF_BOTTLENECK, compressed, first_filters


def densenet(settings: Settings, images: Any) -> Any:
    r"""Returns the mean of each channel after the last block, float32[B, channels].

        x_l = H_l([x_0, x_1, ..., x_{l-1}]),  H_l = convolution(relu(norm(.))), k filters

    Source: Huang, Liu, van der Maaten and Weinberger, "Densely Connected Convolutional Networks", CVPR 2017, sections 3
    and 4.1, with bottleneck (a convolution of size 1 to 4k channels) and compression (theta). Their depth L counts all
    layers of the network: L = blocks * depth * (2 with bottleneck) + blocks + 1.

    Ours, not theirs: `depth` counts the layers of one block; the initial weights are those of `initializer` (theirs:
    He); kernels, activation, pooling and batch normalisation can be others; there is no weight decay.
    """
    x = convolution(settings, first_filters(settings), settings.kernel_size, name="first")(images)
    for block in range(1, settings.blocks + 1):
        if block > 1:
            x = _transition(settings, x, name=f"transition_{block - 1}")
        for layer in range(1, settings.depth + 1):
            name = f"block_{block}_layer_{layer}"
            x = keras.layers.Concatenate(name=f"{name}_joined")([x, _layer(settings, x, name=name)])
    return keras.layers.GlobalAveragePooling2D(name="mean")(_prepared(settings, x, name="last"))


def _layer(settings: Settings, x: Any, *, name: str) -> Any:
    """Returns the k channels that a layer adds; dropout follows each convolution, as in section 4.2."""
    if settings.bottleneck:
        before = f"{name}_bottleneck"
        x = convolution(settings, OF_BOTTLENECK * settings.growth_rate, 1, name=before)(
            _prepared(settings, x, name=before)
        )
        x = dropped(settings, x, name=before)
    x = convolution(settings, settings.growth_rate, settings.kernel_size, name=name)(_prepared(settings, x, name=name))
    return dropped(settings, x, name=name)


def _transition(settings: Settings, x: Any, *, name: str) -> Any:
    """Returns a transition: fewer channels, with half the height and width."""
    pooling, filters = pooling_of(settings), compressed(settings, x.shape[-1])
    x = _prepared(settings, x, name=name)
    x = dropped(
        settings, convolution(settings, filters, 1, name=name, stride=2 if pooling == "stride" else 1)(x), name=name
    )
    return POOLINGS[pooling](2, name=f"{name}_pooling")(x) if pooling in POOLINGS else x


def _prepared(settings: Settings, x: Any, *, name: str) -> Any:
    """Returns x, normalised and activated, for a convolution."""
    return activated(settings, normalised(x, name=name) if has_batch_norm(settings) else x, name=name)
