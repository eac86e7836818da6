"""Builds the untrained noise classifier from settings."""

from __future__ import annotations

import keras

from src.parts.classes.toggles import outputs_of
from src.parts.recurrent import layers
from src.streams import stream_seed
from src.tasks.integration.settings import Settings


def classifier(settings: Settings, *, classes: int = 2) -> keras.Model:
    """Returns a model from noise float32[B, T, 1], which has no padding, to outputs float32[B, K].

    K is `classes` for `head=softmax` and 1 for `head=sigmoid`: the logit of class 1, or the predicted value with
    `target=integral`.
    """
    noise = keras.Input((None, 1), name="noise")
    seed = stream_seed(settings.seed, "weights", "encoding", "kernel")
    read_in = keras.layers.Dense(
        settings.embedding_dim, kernel_initializer=keras.initializers.GlorotUniform(seed), name="encoding"
    )
    return layers.model(settings, noise, read_in(noise), outputs=outputs_of(settings, classes))
