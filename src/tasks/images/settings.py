"""The settings of the task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from src.data.image_options import Digits, Images
from src.parts.classes.toggles import Classes
from src.parts.own_model import OwnModel
from src.spec.section import Count, Value, Width


class Settings(OwnModel, Classes):
    """Settings of an image classifier."""

    ADDED: ClassVar[Mapping[str, Value]] = {"pipeline": "shuffle_batch_repeat", "prefetch": 0, "fault": "none"}
    ALIASES: ClassVar[Mapping[str, str]] = {
        "architecture": "network",
        "arch": "network",
        "units": "width",
        "hidden": "width",
        "hiddenunits": "width",
        "filters": "width",
        "channels": "width",
        "layers": "depth",
        "numlayers": "depth",
        "nlayers": "depth",
        "dropoutrate": "dropout",
        "batchnorm": "batch_norm",
        "filtersize": "kernel_size",
        "kernel": "kernel_size",
        "kernelinitializer": "initializer",
        "init": "initializer",
        "growth": "growth_rate",
        "augmentation": "augment",
        "normalisation": "normalise",
        "normalization": "normalise",
        "normalize": "normalise",
        "order": "pipeline",
        "shuffle": "shuffle_buffer",
        "buffer": "shuffle_buffer",
        "buffersize": "shuffle_buffer",
    }

    task: str = "images"
    data: Images = Field(Digits.model_construct(), discriminator="name", description="images (config group)")
    head: Literal["sigmoid", "softmax"] = Field(
        "softmax", description="sigmoid = one output unit, softmax = one output unit per class"
    )
    normalise: Literal["none", "unit", "standard"] = Field(
        "unit",
        description="pixels: none = 0 to 255, unit = 0 to 1, standard = mean 0 and variance 1 of a channel in training",
    )
    augment: Literal["none", "shift", "flip"] = Field(
        "none",
        description="change of training images in each epoch: shift = by up to 2 pixels, flip = mirror half of them",
    )
    pipeline: Literal[
        "shuffle_batch_repeat",
        "shuffle_repeat_batch",
        "batch_shuffle_repeat",
        "batch_repeat_shuffle",
        "repeat_shuffle_batch",
        "repeat_batch_shuffle",
    ] = Field(
        "shuffle_batch_repeat",
        description="order of tf.data's steps shuffle, batch and repeat, through which the stored training images pass",
    )
    shuffle_buffer: Count | None = Field(
        None,
        description="elements in the buffer of the shuffle: images, or batches where batch comes before shuffle; "
        "1 = no shuffling, null = as many as one pass has",
    )
    prefetch: int = Field(
        0, ge=0, le=1_000, description="training batches that a thread prepares ahead; 0 = none; changes no result"
    )
    network: Literal["linear", "mlp", "cnn", "densenet"] = Field("mlp", description="kind of network")
    width: Width = Field(128, description="units of each layer of an MLP, filters of each layer of a CNN")
    depth: int = Field(
        2, ge=1, le=64, description="hidden layers of an MLP, convolutions of a CNN, layers of each block of a DenseNet"
    )
    activation: Literal["relu", "elu", "gelu", "tanh", "sigmoid", "linear"] = Field(
        "relu", description="activation of hidden layers"
    )
    initializer: Literal["zeros", "uniform", "glorot", "he"] = Field(
        "glorot",
        description="initial weights of all layers: zeros, uniform from -0.1 to 0.1, Glorot uniform, or He normal",
    )
    batch_norm: bool | None = Field(
        None, description="batch normalisation before activations; null = in a DenseNet only"
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout rate after each hidden layer")
    kernel_size: int = Field(3, ge=1, le=1_024, description="height and width of the kernels of convolutions")
    pooling: Literal["max", "average", "stride", "none"] | None = Field(
        None,
        description="what halves an image after each convolution of a CNN and each block of a DenseNet; stride = the "
        "convolution has strides of 2; null = max in a CNN, average in a DenseNet",
    )
    growth_rate: int = Field(12, ge=1, le=1_024, description="filters that each layer of a DenseNet adds, k")
    blocks: int = Field(3, ge=1, le=16, description="dense blocks of a DenseNet")
    bottleneck: bool = Field(True, description="convolution of size 1 to 4k channels before each layer of a DenseNet")
    compression: float = Field(
        0.5, gt=0, le=1, description="share of the channels that a DenseNet keeps between two blocks"
    )
    epochs: int = Field(20, ge=1, le=10_000, description="passes over the training split")
    parameters: int | None = Field(
        None,
        ge=1,
        le=10**12,
        description="choose width (DenseNet: growth_rate) to train about this many numbers; null = use width",
    )
    fault: Literal[
        "none",
        "inputs_unscaled",
        "inputs_constant",
        "scaled_apart",
        "labels_shuffled",
        "labels_sorted",
        "loss_of_numbers",
        "weights_zero",
        "weights_large",
        "units_dead",
        "softmax_twice",
        "rate_diverging",
        "rate_oscillating",
        "rate_too_low",
        "layer_left_out",
    ] = Field("none", description="deliberate mistake, to be found from the record; its results only show the mistake")


def has_batch_norm(settings: Settings) -> bool:
    """Returns whether the network has batch normalisation."""
    return settings.network == "densenet" if settings.batch_norm is None else settings.batch_norm


def pooling_of(settings: Settings) -> str:
    """Returns the pooling of the network."""
    return settings.pooling or ("average" if settings.network == "densenet" else "max")
