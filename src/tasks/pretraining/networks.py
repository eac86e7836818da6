"""Untrained networks. B images of H x W pixels and C channels, D numbers of a code, K classes.

The encoder and the classifier are the same for every pretext: their layers have the same names, shapes and initial
weights. The decoder, and what else only a pretext needs, is in the model of the pretext.
"""

from __future__ import annotations

from typing import Any

import keras

from src.parts.images.layers import NORM, convolution, dense, hidden, kernel_of
from src.tasks.pretraining.settings import CODE, RECONSTRUCTING, Settings, frozen_layers, width_of

ENCODER = "encoder"  # name of the model of the encoder
STANDARDISED, HEAD = "standardised", "head"  # names of the layers of the classifier after the encoder
TURNS = 4  # rotations by 0, 90, 180 and 270 degrees
Shape = tuple[int, int, int]


def classifier(settings: Settings, *, shape: Shape, outputs: int) -> keras.Model:
    """Returns a model from images float32[B, H, W, C] to logits float32[B, K].

    The head standardises each number of the code by a batch normalisation without scale and shift, as He et al. do
    ("Masked Autoencoders Are Scalable Vision Learners", CVPR 2022, appendix A.1, after Doersch et al., 2015), because
    the codes of the pretexts have different scales, and one learning rate would favour one of them.

    Layers that do not learn from labels have no dropout, and their batch normalisation uses its moving statistics and
    keeps them.
    """
    images, frozen = keras.Input(shape, name="images"), frozen_layers(settings)
    code = encoded(settings, images, frozen=frozen)
    standardised = keras.layers.BatchNormalization(momentum=0.9, center=False, scale=False, name=STANDARDISED)(code)
    model = keras.Model(images, dense(settings, outputs, name=HEAD)(standardised), name="classifier")
    names = [*(f"hidden_{number}" for number in range(1, settings.depth + 1)), CODE][:frozen]
    for layer in model.layers:
        if layer.name.removesuffix(NORM) in names:
            layer.trainable = False
    return model


def encoded(settings: Settings, images: Any, *, frozen: int = 0) -> Any:
    """Returns the code float32[B, D] of images.

        h_0 = x;  h_l = dropout(f(norm(h_{l-1} W_l + b_l)));  code = h_L W + b

    In a CNN, W_l is a convolution in strides of 2 that pads with zeros; its height and width are those before, halved
    and rounded up.

    Args:
      settings: of the trial.
      images: float32[B, H, W, C].
      frozen: number of layers, from the first one on, without dropout.
    """
    x = images if settings.encoder == "cnn" else keras.layers.Flatten(name="flatten")(images)
    for number in range(1, settings.depth + 1):
        used = settings.model_copy(update={"dropout": 0.0}) if number <= frozen else settings
        x = hidden(used, _layer(settings, number)(x), name=f"hidden_{number}", has_norm=settings.batch_norm)
    if settings.encoder == "cnn":
        x = keras.layers.Flatten(name="flatten")(x)
    return dense(settings, settings.code_size, name=CODE)(x)


def _layer(settings: Settings, number: int) -> keras.layers.Layer:
    name, width, has_bias = f"hidden_{number}", width_of(settings), not settings.batch_norm
    if settings.encoder == "mlp":
        return dense(settings, width, name=name, has_bias=has_bias)
    return convolution(settings, width, settings.kernel_size, name=name, stride=2, has_bias=has_bias)


def pretext(settings: Settings, *, shape: Shape) -> keras.Model:
    """Returns the model of a pretext, which contains the encoder as one layer."""
    images = keras.Input(shape, name="images")
    encoder = keras.Model(images, encoded(settings, images), name=ENCODER)
    if settings.pretext in RECONSTRUCTING:
        return keras.Model(images, decoded(settings, encoder(images), shape=shape), name="autoencoder")
    if settings.pretext == "rotation":
        return keras.Model(images, dense(settings, TURNS, name="rotation")(encoder(images)), name="rotation")
    views = tuple(keras.Input(shape, name=f"view_{number}") for number in (1, 2))
    first = dense(settings, settings.code_size, name="projection_1")
    between = keras.layers.Activation("relu", name="projection_1_activation")
    last = dense(settings, settings.code_size, name="projection_2")
    return keras.Model(views, tuple(last(between(first(encoder(view)))) for view in views), name="simclr")


def decoded(settings: Settings, code: Any, *, shape: Shape) -> Any:
    """Returns what the decoder makes of codes, float32[B, H, W, C], before its last activation.

    It has as many hidden layers as the encoder, in the opposite order. Transposed convolutions are those of Zeiler et
    al., "Deconvolutional Networks", CVPR 2010; repeated pixels followed by a convolution avoid their uneven overlap
    (Odena, Dumoulin and Olah, "Deconvolution and Checkerboard Artifacts", Distill 2016).
    """
    height, width, channels = shape
    if settings.encoder == "mlp":
        x = code
        for number in range(1, settings.depth + 1):
            name = f"decoder_{number}"
            x = dense(settings, width_of(settings), name=name, has_bias=not settings.batch_norm)(x)
            x = hidden(settings, x, name=name, has_norm=settings.batch_norm)
        x = dense(settings, height * width * channels, name="pixels")(x)
        return keras.layers.Reshape(shape, name="image")(x)
    factor, filters = 2**settings.depth, width_of(settings)
    small = (-(-height // factor), -(-width // factor), filters)
    x = dense(settings, small[0] * small[1] * filters, name="decoder_0", has_bias=not settings.batch_norm)(code)
    x = hidden(settings, x, name="decoder_0", has_norm=settings.batch_norm)
    x = keras.layers.Reshape(small, name="decoder_map")(x)
    for number in range(1, settings.depth + 1):
        is_last, name = number == settings.depth, f"decoder_{number}"
        has_bias = is_last or not settings.batch_norm
        x = _doubled(settings, x, channels if is_last else filters, name=name, has_bias=has_bias)
        x = x if is_last else hidden(settings, x, name=name, has_norm=settings.batch_norm)
    return x


def _doubled(settings: Settings, x: Any, filters: int, *, name: str, has_bias: bool) -> Any:
    """Returns maps of twice the height and width, without activation."""
    size = settings.kernel_size
    if settings.decoder == "upsample":
        x = keras.layers.UpSampling2D(2, name=f"{name}_repeated")(x)
        return convolution(settings, filters, size, name=name, has_bias=has_bias)(x)
    how: dict[str, Any] = {"strides": 2, "padding": "same", "use_bias": has_bias}
    kernel = kernel_of(settings, name)
    return keras.layers.Conv2DTranspose(filters, size, kernel_initializer=kernel, name=name, **how)(x)


def take_over(model: keras.Model, of_pretext: keras.Model | None) -> None:
    """Gives a classifier the encoder of a pretext's model, if there is one."""
    if of_pretext is None:
        return
    for layer in of_pretext.get_layer(ENCODER).layers:
        if layer.weights:
            model.get_layer(layer.name).set_weights(layer.get_weights())
