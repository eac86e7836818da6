"""Sizes of the networks, computed without TensorFlow. H x W pixels, C channels, K outputs."""

from __future__ import annotations

from src.parts import sizes
from src.parts.images.sizes import Size
from src.tasks.pretraining.settings import FITTED, RECONSTRUCTING, TRAINED, Settings, width_of


def classifier(settings: Settings, *, shape: tuple[int, int, int], outputs: int) -> Size:
    """Returns the size of encoder and head."""
    found = Size(*shape)
    if settings.pretext == "pca":
        found.dense(settings.code_size)
    elif settings.pretext not in FITTED:
        _encoder(settings, found)
    found.dense(outputs)
    return found


def pretext(settings: Settings, *, shape: tuple[int, int, int]) -> Size:
    """Returns the size of the pretext's model without biases of the decoder, which is about as large as the encoder."""
    found = Size(*shape)
    if settings.pretext in TRAINED:
        _encoder(settings, found)
    if settings.pretext in RECONSTRUCTING:
        for name in ("trained", "products", "kept"):
            setattr(found, name, 2 * getattr(found, name))
    return found


def required_mb(settings: Settings, *, shape: tuple[int, int, int], outputs: int) -> float:
    """Returns a rough lower bound of the memory of a training step of the larger phase, in megabytes.

    Counted, in 4-byte numbers: what is trained with gradient and two moments; of every image of a batch, what
    back-propagation keeps.
    """
    phases = [(classifier(settings, shape=shape, outputs=outputs), settings.batch_size)]
    phases.append((pretext(settings, shape=shape), settings.pretext_batch_size))
    return max(4 * one.trained + batch * one.kept for one, batch in phases) * 4 / 2**20 + sizes.TENSORFLOW_MB


def _encoder(settings: Settings, size: Size) -> None:
    for _ in range(settings.depth):
        if settings.encoder == "mlp":
            size.dense(width_of(settings), has_bias=not settings.batch_norm)
        else:
            size.convolution(width_of(settings), settings.kernel_size, has_bias=not settings.batch_norm, stride=2)
        if settings.batch_norm:
            size.normalisation()
        size.activation()
        if settings.dropout:
            size.activation()
    size.dense(settings.code_size)
