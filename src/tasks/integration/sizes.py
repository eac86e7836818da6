"""Size of a noise classifier, computed without TensorFlow."""

from __future__ import annotations

from src.parts.classes.toggles import outputs_of
from src.parts.recurrent import sizes
from src.tasks.integration.settings import Settings

HELD_OUT = 10_000  # examples of the validation split, and of the test split


def parameters(settings: Settings) -> int:
    """Returns the number of trainable parameters of the model, in Keras' layout."""
    read_in = 2 * settings.embedding_dim  # one row of weights and one of biases
    head = (sizes.output_width(settings) + 1) * outputs_of(settings, 2)
    return read_in + sizes.parameters(settings, width=settings.embedding_dim) + head


def required_mb(settings: Settings) -> float:
    """Returns a rough lower bound of the memory of a training step and of the validation split, in megabytes."""
    steps, width = settings.sequence_length, settings.embedding_dim
    return sizes.required_mb(
        settings, steps=steps, width=width, parameters=parameters(settings), extra=HELD_OUT * steps
    )
