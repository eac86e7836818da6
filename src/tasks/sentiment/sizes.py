"""Size of a text classifier, computed without TensorFlow. D size of a step, V ids, F features of a text, T steps."""

from __future__ import annotations

from src.parts.classes.toggles import outputs_of
from src.parts.recurrent import sizes
from src.parts.sizes import TENSORFLOW_MB, nearest
from src.spec.rules import Change
from src.tasks.sentiment.settings import Settings, is_fitted

MOST_WIDE = 65_536


def width(settings: Settings) -> int:
    """Returns D, the size of the vectors that the encoder reads."""
    return settings.vocab_size if settings.encoding == "onehot" else settings.embedding_dim


def parameters(settings: Settings, *, classes: int = 2) -> int:
    """Returns the number of trainable parameters of the model, in Keras' layout."""
    table = 0 if settings.encoding == "onehot" or is_fitted(settings) else settings.vocab_size * settings.embedding_dim
    head = (features(settings) + 1) * outputs_of(settings, classes)
    return table + _of_encoder(settings) + head


def features(settings: Settings) -> int:
    """Returns F, the number of features that the head reads."""
    of_encoder = {
        "cnn": settings.branches * settings.units,
        "tfidf": settings.vocab_size,
        "largest_class": 1,
    }
    if settings.encoder == "recurrent":
        return sizes.output_width(settings)
    return of_encoder.get(settings.encoder, width(settings))


def _of_encoder(settings: Settings) -> int:
    size, units = width(settings), settings.units
    if settings.encoder == "recurrent":
        return sizes.parameters(settings, width=size)
    if settings.encoder == "cnn":
        kernels = range(settings.kernel_size, settings.kernel_size + settings.branches)
        return sum((kernel * size + 1) * units for kernel in kernels)
    if settings.encoder == "transformer":
        attention, feed_forward = 4 * (size + 1) * size, (size + 1) * units + (units + 1) * size
        return settings.depth * (attention + feed_forward + 4 * size)  # each normalisation has a scale and a shift
    return 0


def sized(settings: Settings, *, classes: int) -> Change:
    """Returns the width for which the size of the model is closest to `parameters`: `units`, or a bag's embedding."""
    key, target = "embedding_dim" if settings.encoder == "bag" else "units", settings.parameters or 0

    def count(value: int) -> int:
        return parameters(settings.model_copy(update={key: value}), classes=classes)

    value = nearest(target, count, most=MOST_WIDE)
    reason = f"the model then has {count(value):,} parameters, which is closest to parameters={target}"
    return Change(key, getattr(settings, key), value, reason)


def required_mb(settings: Settings, *, steps: int, classes: int = 2) -> float:
    """Returns a rough lower bound of the memory that one training step needs, in megabytes.

    `src.parts.recurrent.sizes.required_mb` says what is counted. Of a Transformer, these are also the weights of its
    attention.
    """
    count = parameters(settings, classes=classes)
    if is_fitted(settings):
        return TENSORFLOW_MB + (4 * count + settings.batch_size * features(settings)) * 4 / 2**20
    rows = settings.batch_size * steps
    onehot = rows * settings.vocab_size if settings.encoding == "onehot_projected" else 0
    if settings.encoder == "recurrent":
        return sizes.required_mb(settings, steps=steps, width=width(settings), parameters=count, extra=onehot)
    of_block = 6 * width(settings) + 2 * settings.units + 2 * settings.heads * steps
    kept = {"cnn": 2 * features(settings), "transformer": settings.depth * of_block}.get(settings.encoder, 0)
    return TENSORFLOW_MB + (4 * count + rows * (2 * width(settings) + kept) + onehot) * 4 / 2**20
