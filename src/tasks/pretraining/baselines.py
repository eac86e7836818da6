"""Baselines without a network: logistic regression on pixels, or on their principal components.

N images, P numbers of an image, D components, K classes. Pixels are from 0 to 1, and are not standardised: they share
one unit, and most of those that hardly vary are noise at the edge.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from src.data.images import Stored
from src.data.splits import TRAIN, VALIDATION
from src.parts.classes import labelled
from src.tasks.pretraining import drawn, learning
from src.tasks.pretraining.networks import HEAD
from src.tasks.pretraining.settings import CODE, Settings

STRENGTHS = tuple(10.0**power for power in range(-3, 4))  # C of scikit-learn: inverse strengths of the penalty


def model(settings: Settings, data: Stored, *, outputs: int) -> keras.Model:
    """Returns the fitted baseline, from images float32[B, H, W, C] to logits float32[B, outputs].

        pixels: logits = x W + b;  pca: logits = (x - mean) V W + b

    The components V are those of the unlabelled images (Hotelling, 1933), W and b those of scikit-learn's logistic
    regression with an L2 penalty, whose strength is the best in validation.
    """
    images = keras.Input(data.shape, name="images")
    x = keras.layers.Flatten(name="flatten")(images)
    if settings.pretext == "pca":
        x = keras.layers.Dense(settings.code_size, name=CODE, trainable=False)(x)
    built = keras.Model(images, keras.layers.Dense(outputs, name=HEAD)(x), name="baseline")
    if settings.pretext == "pca":
        built.get_layer(CODE).set_weights(components(settings, data))
    codes = keras.Model(images, x)
    kernel, bias = _regression(settings, data, lambda rows: np.asarray(codes(rows)))
    built.get_layer(HEAD).set_weights([kernel, bias] if outputs > 1 else [kernel[:, 1:], bias[1:]])
    return built


def components(settings: Settings, data: Stored) -> list[np.ndarray]:
    """Returns the projection on principal components: kernel float32[P, D] and bias float32[D]."""
    from sklearn.decomposition import PCA
    from threadpoolctl import threadpool_limits

    rows = np.sort(np.concatenate(drawn.unlabelled(settings, data.rows[TRAIN])))
    pixels = learning.scale(data)(data.split(TRAIN).images[rows]).reshape(len(rows), -1)
    with threadpool_limits(1):  # TensorFlow's own threads wait for work beside those of the linear algebra
        fitted = PCA(settings.code_size, svd_solver="covariance_eigh").fit(pixels.astype(np.float64))
    return [fitted.components_.T.astype(np.float32), (-fitted.components_ @ fitted.mean_).astype(np.float32)]


def _regression(settings: Settings, data: Stored, encode: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns the logistic regression that is best in validation, the strongest penalty on ties.

    Returns:
      Kernel float32[D, K] and bias float32[K] of a softmax; for two classes, those of the first are zero.
    """
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    split, scale = data.split(TRAIN), learning.scale(data)
    rows, validation = labelled.rows(settings, split.labels), data.split(VALIDATION)
    train, held_out = (encode(scale(images)).astype(np.float64) for images in (split.images[rows], validation.images))
    with threadpool_limits(1):
        fitted = [
            LogisticRegression(C=strength, max_iter=1_000, tol=1e-3).fit(train, split.labels[rows])
            for strength in STRENGTHS
        ]
    best = fitted[int(np.argmax([one.score(held_out, validation.labels) for one in fitted]))]
    kernel, bias = best.coef_.T.astype(np.float32), best.intercept_.astype(np.float32)
    if len(best.classes_) == 2:
        kernel, bias = np.hstack([0 * kernel, kernel]), np.concatenate([0 * bias, bias])
    return kernel, bias
