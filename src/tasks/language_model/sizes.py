"""Sizes of language models, computed without TensorFlow. Letters: V ids, D embedding, H units."""

from __future__ import annotations

from src.parts import sizes as of_parts
from src.parts.recurrent import sizes
from src.spec.rules import Change
from src.tasks.language_model.settings import Settings

BLOCK = 256  # words whose logits exist at a time, as in `src.models.word_loss`


def width(settings: Settings) -> int:
    """Returns the input width of the first recurrent layer."""
    return settings.vocab_size if settings.encoding == "onehot" else settings.embedding_dim


def parameters(settings: Settings) -> int:
    """Returns the number of trainable parameters of the model."""
    table = 0 if settings.encoding == "onehot" else settings.vocab_size * settings.embedding_dim
    recurrent = sizes.parameters(settings, width=width(settings))
    return table + recurrent + _output(settings) + settings.vocab_size  # the last ones are biases


def _output(settings: Settings) -> int:
    if not settings.tie_weights:
        return settings.vocab_size * settings.units
    return 0 if settings.units == settings.embedding_dim else settings.units * settings.embedding_dim


def units_for(settings: Settings) -> Change:
    """Returns the number of units for which the size of the model is closest to `settings.parameters`.

    With tied weights, the size drops where units and embedding_dim are equal; this number is tried too.
    """

    def count(units: int) -> int:
        return parameters(settings.model_copy(update={"units": units}))

    found = sizes.units_for(settings, count)
    target = settings.parameters or 0
    best = min((found.used, settings.embedding_dim), key=lambda units: abs(count(units) - target))
    reason = f"the model then has {count(best):,} parameters, which is closest to parameters={target}"
    return Change("units", settings.units, best, reason)


def required_mb(settings: Settings, *, steps: int) -> float:
    """Returns a rough lower bound of the memory that one training step needs, in megabytes.

    `src.parts.recurrent.sizes.required_mb` says what is counted; three arrays of logits are added.

    Args:
      settings: settings of the trial.
      steps: T of the longest training example.
    """
    onehot = settings.batch_size * steps * settings.vocab_size if settings.encoding == "onehot_projected" else 0
    extra = onehot + 3 * BLOCK * settings.vocab_size
    return sizes.required_mb(settings, steps=steps, width=width(settings), parameters=parameters(settings), extra=extra)


def memory_refusals(settings: Settings, *, steps: int) -> list[str]:
    """Returns a refusal if the model needs more memory than this machine has."""
    fix = "set a smaller batch_size, units or embedding_dim"
    if settings.encoding != "embedding":
        fix = f"set encoding=embedding, or a smaller vocab_size (now {settings.vocab_size})"
    elif settings.text_mode == "documents":
        fix = "set max_length, or a smaller batch_size or units"
    keys = ("encoding", "vocab_size", "batch_size", "units")
    needed = required_mb(settings, steps=steps)
    return of_parts.memory_refusals(settings, needed, keys=keys, data=f"{steps} steps", fix=fix)
