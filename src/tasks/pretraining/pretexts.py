"""The pretexts: what the model of a pretext reads, what it should answer, and how the answer is measured.

B images of H x W pixels and C channels. Pixels are from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from src.parts.classes.measures import measure_softmax
from src.spec.metric import LOSS, Metric
from src.tasks.pretraining.settings import Settings

MSE = Metric("mse", "lower", title="squared error", digits=4)
TURNED = Metric("accuracy", "higher", title="recognised rotations", least=0.0, most=1.0)
FARTHEST = 4  # largest shift of a view, in pixels, for images of 28; others in proportion
COVERED = 3  # a view has a black square of a third of the side
Made = tuple[Any, Any]  # inputs, targets


class Pretext(NamedTuple):
    """A pretext.

    Attributes:
      make: images float32[B, H, W, C], settings, random generator → inputs and targets.
      measure: settings → the measures of outputs and targets.
      metrics: the first one chooses the epoch.
    """

    make: Callable[[np.ndarray, Settings, np.random.Generator], Made]
    measure: Callable[[Settings], Callable[[Any, Any], Mapping[str, Any]]]
    metrics: tuple[Metric, ...]


def copied(images: np.ndarray, settings: Settings, rng: np.random.Generator) -> Made:
    """An autoencoder reads and returns the image (Hinton and Salakhutdinov, Science 313, 2006)."""
    return images, (images, np.ones_like(images[..., :1]))


def corrupted(images: np.ndarray, settings: Settings, rng: np.random.Generator) -> Made:
    """A denoising autoencoder reads an image of which a share of the pixels is black, and returns the whole image.

    Source: Vincent et al., "Extracting and Composing Robust Features with Denoising Autoencoders", ICML 2008. Ours, not
    theirs: each pixel is black with the probability `corruption`, so that their number varies.
    """
    kept = rng.random(images.shape[:3], np.float32) >= settings.corruption
    return images * kept[..., None], (images, np.ones_like(images[..., :1]))


def holed(images: np.ndarray, settings: Settings, rng: np.random.Generator) -> Made:
    """An inpainting autoencoder reads an image with a black square anywhere in it, and returns the whole image.

    Source: Pathak et al., "Context Encoders", CVPR 2016, without their adversarial loss. Targets have the weight of
    each pixel: with `hole_loss=hole`, 1 in the hole and 0 elsewhere.
    """
    inside = squares(images.shape[:3], settings.hole, rng)[..., None]
    counted = inside if settings.hole_loss == "hole" else np.ones_like(inside)
    return images * ~inside, (images, counted.astype(np.float32))


def squares(shape: tuple[int, ...], side: int, rng: np.random.Generator) -> np.ndarray:
    """Returns bool[B, H, W] with one square inside each image at a drawn place."""
    count, height, width = shape
    top, left = (rng.integers(0, size - side + 1, count)[:, None] for size in (height, width))
    rows, columns = np.arange(height)[None], np.arange(width)[None]
    in_rows, in_columns = (rows >= top) & (rows < top + side), (columns >= left) & (columns < left + side)
    return np.asarray(in_rows[:, :, None] & in_columns[:, None, :])


def turned(images: np.ndarray, settings: Settings, rng: np.random.Generator) -> Made:
    """The model says by how many quarter turns, 0 to 3, an image was turned.

    Source: Gidaris, Singh and Komodakis, "Unsupervised Representation Learning by Predicting Image Rotations", ICLR
    2018. Ours, not theirs: a batch has one drawn rotation of each image instead of all four.
    """
    turns = rng.integers(0, 4, len(images)).astype(np.int32)
    rotated = np.empty_like(images)
    for turn in range(4):
        rotated[turns == turn] = np.rot90(images[turns == turn], turn, axes=(1, 2))
    return rotated, turns


def viewed(images: np.ndarray, settings: Settings, rng: np.random.Generator) -> Made:
    """The model reads two views of each image, and finds to each view the other one in the batch.

    Source: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations" (SimCLR), ICML 2020.
    Ours, not theirs: digits have no colours, so a view is shifted and covered by a black square instead of cropped,
    recoloured and blurred.
    """
    return tuple(_view(images, rng) for _ in range(2)), np.zeros(len(images), np.int32)


def _view(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    count, height, width, _ = images.shape
    side = min(height, width)
    far = max(1, round(FARTHEST * side / 28))
    padded = np.pad(images, [(0, 0), (far, far), (far, far), (0, 0)])
    down, right = rng.integers(0, 2 * far + 1, (2, count))
    lines = down[:, None, None] + np.arange(height)[None, :, None]
    columns = right[:, None, None] + np.arange(width)[None, None, :]
    shifted = padded[np.arange(count)[:, None, None], lines, columns]
    return np.asarray(shifted * ~squares((count, height, width), max(1, side // COVERED), rng)[..., None])


def of_pixels(settings: Settings) -> Callable[[Any, Any], Mapping[str, Any]]:
    """Returns the measures of reconstructions: the mean loss of the counted pixels, and their mean squared error."""

    def measure(outputs: Any, targets: Any) -> Mapping[str, Any]:
        import tensorflow as tf

        images, counted = targets
        weights = counted * tf.ones_like(images)
        squared = tf.square(finished(outputs, settings) - images)
        loss = squared
        if settings.reconstruction == "sigmoid_bce":
            loss = tf.nn.sigmoid_cross_entropy_with_logits(images, outputs)
        total = tf.reduce_sum(weights, axis=(1, 2, 3))
        sums = [tf.reduce_sum(values * weights, axis=(1, 2, 3)) for values in (loss, squared)]
        return {LOSS.name: (sums[0], total), MSE.name: (sums[1], total)}

    return measure


def finished(outputs: Any, settings: Settings) -> Any:
    """Returns the reconstructions of a decoder's outputs: its last activation is applied."""
    import tensorflow as tf

    activations = {"sigmoid": tf.sigmoid, "linear": tf.identity, "relu": tf.nn.relu}
    return activations[settings.reconstruction.split("_")[0]](outputs)


def of_turns(settings: Settings) -> Callable[[Any, Any], Mapping[str, Any]]:
    """Returns the cross-entropy of four rotations and the share of recognised ones."""
    return measure_softmax


def of_views(settings: Settings) -> Callable[[Any, Any], Mapping[str, Any]]:
    r"""Returns the loss of pairs of views (NT-Xent of Chen et al., 2020, equation 1), a mean over both views.

    s(i, j) = z_i . z_j / (|z_i| |z_j| temperature)
    l(i, j) = -log(exp s(i, j) / sum_{k != i} exp s(i, k))   for the views i and j of one image
    """

    def measure(outputs: Any, targets: Any) -> Mapping[str, Any]:
        import tensorflow as tf

        count = tf.shape(outputs[0])[0]
        views = tf.math.l2_normalize(tf.concat(outputs, axis=0), axis=1)
        similar = tf.matmul(views, views, transpose_b=True) / settings.temperature
        others = similar - 1e9 * tf.eye(2 * count)
        partner = tf.concat([tf.range(count, 2 * count), tf.range(count)], axis=0)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(partner, others)
        each = (losses[:count] + losses[count:]) / 2
        return {LOSS.name: (each, tf.ones_like(each))}

    return measure


PRETEXTS: dict[str, Pretext] = {
    "autoencoder": Pretext(copied, of_pixels, (LOSS, MSE)),
    "denoising": Pretext(corrupted, of_pixels, (LOSS, MSE)),
    "inpainting": Pretext(holed, of_pixels, (LOSS, MSE)),
    "rotation": Pretext(turned, of_turns, (LOSS, TURNED)),
    "simclr": Pretext(viewed, of_views, (LOSS,)),
}
