"""Size of a text classifier, computed without TensorFlow."""

from __future__ import annotations

from src.parts.classes.toggles import outputs_of
from src.parts.recurrent import sizes
from src.tasks.sentiment.settings import Settings


def width(settings: Settings) -> int:
    """Returns D, the input width of the first recurrent layer."""
    return settings.vocab_size if settings.encoding == "onehot" else settings.embedding_dim


def parameters(settings: Settings, *, classes: int = 2) -> int:
    """Returns the number of trainable parameters of the model, in Keras' layout."""
    table = 0 if settings.encoding == "onehot" else settings.vocab_size * settings.embedding_dim
    head = (sizes.output_width(settings) + 1) * outputs_of(settings, classes)
    return table + sizes.parameters(settings, width=width(settings)) + head


def required_mb(settings: Settings, *, steps: int, classes: int = 2) -> float:
    """Returns a rough lower bound of the memory that one training step needs, in megabytes.

    `src.parts.recurrent.sizes.required_mb` says what is counted.
    """
    onehot = settings.batch_size * steps * settings.vocab_size if settings.encoding == "onehot_projected" else 0
    count = parameters(settings, classes=classes)
    return sizes.required_mb(settings, steps=steps, width=width(settings), parameters=count, extra=onehot)
