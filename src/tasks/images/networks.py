"""Untrained classifiers of images. B images of H x W pixels and C channels, K outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from src.parts.images.layers import POOLINGS, convolution, dense, hidden
from src.tasks.images.densenet import densenet
from src.tasks.images.settings import Settings, has_batch_norm, pooling_of


def classifier(settings: Settings, *, shape: tuple[int, int, int], outputs: int) -> keras.Model:
    """Returns a model from images float32[B, H, W, C] to logits float32[B, K]."""
    images = keras.Input(shape, name="images")
    features = NETWORKS[settings.network](settings, images)
    return keras.Model(images, dense(settings, outputs, name="head")(features), name="classifier")


def linear(settings: Settings, images: Any) -> Any:
    """Returns the flattened pixels, float32[B, HWC]; with the head this is softmax regression (logit = x W + b)."""
    return keras.layers.Flatten(name="flatten")(images)


def mlp(settings: Settings, images: Any) -> Any:
    """Returns the last hidden layer of a multilayer perceptron, float32[B, width].

        h_0 = x;  h_l = dropout(f(norm(h_{l-1} W_l + b_l)))

    Source: Rumelhart, Hinton and Williams, "Learning representations by back-propagating errors", Nature 323,
    1986. With batch normalisation there is no b_l, as its own shift has the same effect (Ioffe and Szegedy, 2015,
    section 3.2).
    """
    x = keras.layers.Flatten(name="flatten")(images)
    for layer in range(1, settings.depth + 1):
        name = f"hidden_{layer}"
        x = dense(settings, settings.width, name=name, has_bias=not has_batch_norm(settings))(x)
        x = hidden(settings, x, name=name, has_norm=has_batch_norm(settings))
    return x


def cnn(settings: Settings, images: Any) -> Any:
    """Returns the last feature map of a convolutional network, flattened.

        h_0 = x;  h_l = pool(dropout(f(norm(h_{l-1} * W_l + b_l))))

    Source: LeCun et al., "Gradient-based learning applied to document recognition", Proceedings of the IEEE 86(11),
    1998. Ours, not theirs: convolutions pad with zeros, all layers have the same number of filters, and the head reads
    the last map without a hidden layer between. With `pooling=stride` the convolution itself takes every second
    position (Springenberg et al., "Striving for Simplicity", arXiv:1412.6806).
    """
    pooling, x = pooling_of(settings), images
    for layer in range(1, settings.depth + 1):
        name = f"convolution_{layer}"
        stride, has_bias = 2 if pooling == "stride" else 1, not has_batch_norm(settings)
        x = convolution(settings, settings.width, settings.kernel_size, name=name, stride=stride, has_bias=has_bias)(x)
        x = hidden(settings, x, name=name, has_norm=has_batch_norm(settings))
        if pooling in POOLINGS:
            x = POOLINGS[pooling](2, name=f"pooling_{layer}")(x)
    return keras.layers.Flatten(name="flatten")(x)


NETWORKS: dict[str, Callable[[Settings, Any], Any]] = {"linear": linear, "mlp": mlp, "cnn": cnn, "densenet": densenet}
