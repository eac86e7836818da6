"""Sizes of image networks, computed without TensorFlow. H x W pixels, C channels, K outputs."""

from __future__ import annotations

from collections.abc import Callable

from src.parts import sizes
from src.parts.images.sizes import Size
from src.tasks.images.settings import Settings, has_batch_norm, pooling_of

MOST_WIDE = {"width": 65_536, "growth_rate": 1_024}
OF_BOTTLENECK = 4  # its channels by the growth rate (Huang et al., 2017, section 3)
FIRST_FILTERS = 16  # of a DenseNet's first convolution without bottleneck (section 4.2); with it, twice the growth rate


def size(settings: Settings, *, shape: tuple[int, int, int], outputs: int) -> Size:
    """Returns the size of the network.

    Args:
      settings: of the trial.
      shape: (H, W, C) of an image.
      outputs: K.
    """
    found = Size(*shape)
    NETWORKS[settings.network](settings, found)
    found.dense(outputs)
    return found


def _linear(settings: Settings, size: Size) -> None:
    pass


def _mlp(settings: Settings, size: Size) -> None:
    for _ in range(settings.depth):
        size.dense(settings.width, has_bias=not has_batch_norm(settings))
        _after(settings, size)


def _cnn(settings: Settings, size: Size) -> None:
    pooling, is_normal = pooling_of(settings), has_batch_norm(settings)
    for _ in range(settings.depth):
        size.convolution(
            settings.width, settings.kernel_size, has_bias=not is_normal, stride=2 if pooling == "stride" else 1
        )
        _after(settings, size)
        if pooling in ("max", "average"):
            size.pooling()


def _after(settings: Settings, size: Size) -> None:
    """Counts the layers after a hidden layer."""
    if has_batch_norm(settings):
        size.normalisation()
    size.activation()
    if settings.dropout:
        size.activation()


def first_filters(settings: Settings) -> int:
    """Returns the channels before the first block of a DenseNet."""
    return 2 * settings.growth_rate if settings.bottleneck else FIRST_FILTERS


def compressed(settings: Settings, channels: int) -> int:
    """Returns the channels after a transition of a DenseNet."""
    return max(1, int(settings.compression * channels))


def _densenet(settings: Settings, size: Size) -> None:
    size.convolution(first_filters(settings), settings.kernel_size, has_bias=False)
    for block in range(settings.blocks):
        if block:
            _transition(settings, size)
        for _ in range(settings.depth):
            _dense_layer(settings, size)
    _before(settings, size)
    size.height, size.width = 1, 1  # global average


def _dense_layer(settings: Settings, size: Size) -> None:
    read = size.channels
    if settings.bottleneck:
        _before(settings, size)
        size.convolution(OF_BOTTLENECK * settings.growth_rate, 1, has_bias=False)
    _before(settings, size)
    size.convolution(settings.growth_rate, settings.kernel_size, has_bias=False)
    size.channels += read
    size.activation()  # all of them side by side


def _transition(settings: Settings, size: Size) -> None:
    _before(settings, size)
    pooling = pooling_of(settings)
    size.convolution(compressed(settings, size.channels), 1, has_bias=False, stride=2 if pooling == "stride" else 1)
    if pooling in ("max", "average"):
        size.pooling()


def _before(settings: Settings, size: Size) -> None:
    """Counts the layers before a convolution of a DenseNet."""
    if has_batch_norm(settings):
        size.normalisation()
    size.activation()


NETWORKS: dict[str, Callable[[Settings, Size], None]] = {
    "linear": _linear,
    "mlp": _mlp,
    "cnn": _cnn,
    "densenet": _densenet,
}


def chosen(settings: Settings) -> str:
    """Returns the toggle whose value follows from `parameters`."""
    return "growth_rate" if settings.network == "densenet" else "width"


def trained_at(settings: Settings, value: int, *, shape: tuple[int, int, int], outputs: int) -> int:
    """Returns the number of trainable parameters at a value of that toggle."""
    return size(settings.model_copy(update={chosen(settings): value}), shape=shape, outputs=outputs).trained


def nearest(settings: Settings, *, shape: tuple[int, int, int], outputs: int) -> int:
    """Returns the value of that toggle for which the network is nearest to `settings.parameters`."""

    def count(value: int) -> int:
        return trained_at(settings, value, shape=shape, outputs=outputs)

    return sizes.nearest(settings.parameters or 0, count, most=MOST_WIDE[chosen(settings)])


def required_mb(settings: Settings, *, shape: tuple[int, int, int], outputs: int) -> float:
    """Returns a rough lower bound of the memory that one training step takes, in megabytes.

    Counted, in 4-byte numbers: what is trained with gradient and two moments; of every image of a batch, what
    back-propagation keeps.
    """
    counted = size(settings, shape=shape, outputs=outputs)
    return (4 * counted.trained + settings.batch_size * counted.kept) * 4 / 2**20 + sizes.TENSORFLOW_MB
