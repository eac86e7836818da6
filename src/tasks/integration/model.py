"""Settings to an untrained classifier of noise."""

from __future__ import annotations

import keras

from src.parts.classes.toggles import outputs_of
from src.parts.recurrent import layers
from src.streams import stream_seed
from src.tasks.integration.settings import Settings


def classifier(settings: Settings, *, classes: int = 2) -> keras.Model:
    """Returns a model from noise float32[B, T, 1], all of whose steps are real, to outputs float32[B, K].

    K is 1 for `head=sigmoid` (the logit of class 1, or with `target=integral` the value itself) and `classes` for `head=softmax`.
    """
    noise = keras.Input((None, 1), name="noise")
    seed = stream_seed(settings.seed, "weights", "encoding", "kernel")
    read_in = keras.layers.Dense(
        settings.embedding_dim, kernel_initializer=keras.initializers.GlorotUniform(seed), name="encoding"
    )
    return layers.model(settings, noise, read_in(noise), outputs=outputs_of(settings, classes))
