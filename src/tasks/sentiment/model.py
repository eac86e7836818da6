"""Builds the untrained text classifier from settings."""

from __future__ import annotations

import keras

from src.parts.classes.toggles import outputs_of
from src.parts.recurrent import layers
from src.parts.words.layers import read_in
from src.tasks.sentiment import encoders
from src.tasks.sentiment.settings import Settings, is_fitted, pads_in_front


def classifier(settings: Settings, *, classes: int) -> keras.Model:
    """Returns a model from ids int32[B, T] to logits float32[B, K].

    K is 1 for `head=sigmoid` (the logit of class 1) and `classes` for `head=softmax`.
    """
    outputs = outputs_of(settings, classes)
    if is_fitted(settings):
        return encoders.fitted(settings, outputs=outputs)
    if settings.encoder != "recurrent":
        return encoders.classifier(settings, outputs=outputs)
    ids, x, mask = read_in(settings)
    return layers.model(settings, ids, x, mask, outputs=outputs, pads_in_front=pads_in_front(settings))
