"""The size of an image network, counted without TensorFlow. H x W pixels, C channels."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Size:
    """Running counts over the layers of a network.

    Attributes:
      height: of what the layer makes of an image, H.
      width: the same, W.
      channels: the same, C.
      trained: numbers that training changes.
      moving: means and variances of batch normalisation, which are no weights.
      products: multiplications for one image.
      kept: numbers that back-propagation keeps of one image.
    """

    height: int
    width: int
    channels: int
    trained: int = 0
    moving: int = 0
    products: int = 0
    kept: int = 0

    def convolution(self, filters: int, kernel: int, *, has_bias: bool, stride: int = 1) -> None:
        """Counts a convolution that pads with zeros."""
        self.height, self.width = -(-self.height // stride), -(-self.width // stride)
        weights = kernel * kernel * self.channels * filters
        self.trained += weights + (filters if has_bias else 0)
        self.products += weights * self.height * self.width
        self.channels = filters
        self._keep()

    def dense(self, units: int, *, has_bias: bool = True) -> None:
        """Counts a dense layer."""
        weights = self.height * self.width * self.channels * units
        self.trained += weights + (units if has_bias else 0)
        self.products += weights
        self.height, self.width, self.channels = 1, 1, units
        self._keep()

    def normalisation(self) -> None:
        """Counts a batch normalisation, with scale and shift of each channel."""
        self.trained += 2 * self.channels
        self.moving += 2 * self.channels
        self._keep()

    def activation(self) -> None:
        """Counts the output of an activation or a dropout."""
        self._keep()

    def pooling(self) -> None:
        """Counts a pooling of 2 x 2."""
        self.height, self.width = self.height // 2, self.width // 2
        self._keep()

    def _keep(self) -> None:
        self.kept += self.height * self.width * self.channels
