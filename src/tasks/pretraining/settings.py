"""The settings of the task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from src.data.image_options import Digits, Images
from src.parts.classes.labelled import Labelled
from src.parts.classes.toggles import Classes
from src.spec.section import Count, Width

RECONSTRUCTING = ("autoencoder", "denoising", "inpainting")
TRAINED = (*RECONSTRUCTING, "rotation", "simclr")  # pretexts that are a training of their own
FITTED = ("pca", "pixels")  # baselines that scikit-learn fits
CODE = "code"  # name of the last layer of the encoder
WIDTHS = {"mlp": 256, "cnn": 32}  # what width=null means


class Settings(Classes, Labelled):
    """Settings of an encoder, its pretext, and the classifier on top of it."""

    ALIASES: ClassVar[Mapping[str, str]] = {
        "pretraining": "pretext",
        "selfsupervised": "pretext",
        "latentdim": "code_size",
        "latentsize": "code_size",
        "encodingdim": "code_size",
        "bottleneck": "code_size",
        "network": "encoder",
        "architecture": "encoder",
        "units": "width",
        "hidden": "width",
        "filters": "width",
        "layers": "depth",
        "batchnorm": "batch_norm",
        "init": "initializer",
        "upsampling": "decoder",
        "loss": "reconstruction",
        "lastactivation": "reconstruction",
        "noise": "corruption",
        "maskratio": "hole",
        "holesize": "hole",
        "tau": "temperature",
        "finetune": "tune",
        "finetuning": "tune",
        "freeze": "tune",
        "frozen": "tune=head",
        "lastn": "tuned_layers",
        "unlabeled": "unlabelled",
    }

    task: str = "pretraining"
    data: Images = Field(Digits.model_construct(), discriminator="name", description="images (config group)")
    head: Literal["sigmoid", "softmax"] = Field(
        "softmax", description="sigmoid = one output unit, softmax = one output unit per class"
    )
    pretext: Literal[
        "none", "random", "autoencoder", "denoising", "inpainting", "rotation", "simclr", "pca", "pixels"
    ] = Field(
        "autoencoder",
        description="what the encoder learns without labels; none = nothing, the whole network learns from labels; "
        "random = nothing, it stays as it starts; pca and pixels = baselines, a logistic regression on principal "
        "components or on pixels",
    )
    encoder: Literal["mlp", "cnn"] = Field("cnn", description="kind of encoder")
    width: Width | None = Field(
        None, description="units of each hidden layer of an MLP, filters of each convolution; null = 256 or 32"
    )
    depth: int = Field(
        2, ge=1, le=16, description="hidden layers of an MLP, convolutions of a CNN; each halves height and width"
    )
    code_size: Width = Field(64, description="numbers of the code, the output of the encoder")
    kernel_size: int = Field(3, ge=1, le=1_024, description="height and width of the kernels of convolutions")
    activation: Literal["relu", "elu", "gelu", "tanh", "sigmoid", "linear"] = Field(
        "relu", description="activation of hidden layers; the code has none"
    )
    initializer: Literal["zeros", "uniform", "glorot", "he"] = Field(
        "glorot",
        description="initial weights of all layers: zeros, uniform from -0.1 to 0.1, Glorot uniform, or He normal",
    )
    batch_norm: bool = Field(False, description="batch normalisation before activations")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout rate after each hidden layer")
    decoder: Literal["transpose", "upsample"] = Field(
        "transpose",
        description="what doubles height and width in the decoder of a CNN: transposed convolutions, or repeated "
        "pixels and a convolution",
    )
    reconstruction: Literal["sigmoid_bce", "sigmoid_mse", "linear_mse", "relu_mse"] = Field(
        "sigmoid_bce",
        description="last activation of the decoder and its loss: binary cross-entropy or mean squared error",
    )
    corruption: float = Field(0.5, ge=0, lt=1, description="pretext=denoising: share of the pixels that become black")
    hole: Count = Field(14, description="pretext=inpainting: height and width of the square that becomes black")
    hole_loss: Literal["hole", "all"] = Field(
        "all", description="pretext=inpainting: whether the loss counts the pixels of the hole or all"
    )
    temperature: float = Field(0.5, gt=0, le=100, description="pretext=simclr: what similarities are divided by")
    pretext_epochs: int = Field(30, ge=1, le=10_000, description="passes of the pretext over its images")
    pretext_learning_rate: float = Field(1e-3, gt=0, le=1_000, description="learning rate of the pretext")
    pretext_batch_size: Width = Field(128, description="images per batch of the pretext")
    unlabelled: int | None = Field(
        None,
        ge=20,
        le=10**9,
        description="training images of the pretext, of which a tenth only validates it; null = all",
    )
    tune: Literal["head", "last_n", "all"] = Field(
        "head", description="what learns from labels: the head, the last layers of the encoder with it, or everything"
    )
    tuned_layers: Count = Field(1, description="tune=last_n: layers of the encoder that learn, the code is the last")
    steps_per_epoch: Count = Field(
        50, description="batches of an epoch with labels, for which few images are repeated; each epoch is validated"
    )
    epochs: int = Field(20, ge=1, le=10_000, description="epochs with labels")


def width_of(settings: Settings) -> int:
    """Returns the units of a hidden layer, or the filters of a convolution."""
    return settings.width or WIDTHS[settings.encoder]


def frozen_layers(settings: Settings) -> int:
    """Returns the number of layers of the encoder, from the first one on, that do not learn from labels."""
    kept = {"all": settings.depth + 1, "last_n": settings.tuned_layers, "head": 0}[settings.tune]
    return settings.depth + 1 - kept
