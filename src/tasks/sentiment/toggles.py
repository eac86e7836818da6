"""Combinations in which a toggle has no effect, and combinations that cannot run."""

from __future__ import annotations

from typing import Any

from src.parts import own_model
from src.parts.classes import labelled
from src.parts.recurrent import own_cell
from src.parts.recurrent import toggles as recurrent
from src.parts.words import toggles as words
from src.spec.rules import Inert
from src.tasks.sentiment.settings import FITTED, Settings, is_fitted

RECURRENT, NETWORKS = ("recurrent",), ("recurrent", "bag", "cnn", "transformer")
HAVE = {  # toggle → encoders that it changes
    **dict.fromkeys(recurrent.OF_LAYERS, RECURRENT),
    "depth": ("recurrent", "transformer"),
    "units": ("recurrent", "cnn", "transformer"),
    "heads": ("transformer",),
    "positions": ("transformer",),
    "kernel_size": ("cnn",),
    "branches": ("cnn",),
    **dict.fromkeys(("parameters", "dropout", "encoding", "embedding_dim", "embedding_from", "pretext"), NETWORKS),
    **dict.fromkeys(("class_weights", "decision_threshold"), (*NETWORKS, "tfidf")),
    **dict.fromkeys(("padding", "bucketing", "padding_side", "masking"), NETWORKS),
}
OF_TRAINING = (
    *("optimizer", "momentum", "learning_rate", "clip_norm", "batch_size", "accumulate", "drop_remainder"),
    *("max_steps", "execution", "retracing", "schedule", "warmup", "patience", "averaging", "select"),
)


def _of_others(key: str) -> Inert[Any]:
    having = HAVE[key]
    names = " and ".join(filter(None, [", ".join(having[:-1]), having[-1]]))
    reason = f"of the encoders, only {names} {'has' if len(having) == 1 else 'have'} it"
    return Inert(key, Settings.model_fields[key].default, lambda s: s.encoder not in having, reason)


def _untrained(key: str, value: Any) -> Inert[Any]:
    return Inert(key, value, is_fitted, f"encoder={' and encoder='.join(FITTED)} take no steps of training")


def _reads_padding_anywhere(settings: Settings) -> bool:
    """Returns whether the side of the padding has no effect, though there is padding."""
    return settings.encoder == "bag" or (settings.encoder in ("cnn", "transformer") and settings.masking)


def _is_frozen(settings: Settings) -> bool:
    """Returns whether no layer that dropout comes before is trained."""
    return settings.pretext == "language_model" and not settings.pretext_trainable


INERT: tuple[Inert[Any], ...] = (
    *own_model.inert(Settings, ("encoder", "encoding", "embedding_from", "pretext", *recurrent.OF_LAYERS)),
    *map(_of_others, HAVE),
    *labelled.INERT,
    Inert(
        "pretext",
        "none",
        lambda s: s.pretext == "word_vectors" and s.encoding == "onehot",
        "encoding=onehot has no embedding",
    ),
    *(
        Inert(key, Settings.model_fields[key].default, lambda s: s.pretext == "none", "there is no pretext")
        for key in ("pretext_trainable", "pretext_epochs", "pretext_learning_rate")
    ),
    Inert("dropout", 0.0, _is_frozen, "layers that are not trained drop nothing"),
    *(_untrained(key, Settings.model_fields[key].default) for key in OF_TRAINING),
    _untrained("epochs", 1),
    Inert(
        "parameters",
        None,
        lambda s: s.encoder == "bag" and s.encoding == "onehot",
        "a bag of one-hot vectors has no size that could be chosen",
    ),
    *words.INERT,
    Inert("padding_side", "post", _reads_padding_anywhere, "this encoder gives the same result on both sides"),
    Inert(
        "implementation",
        "graph_loop",
        lambda s: s.implementation == "packed_loop" and not s.masking,
        recurrent.UNPACKED,
    ),
    *recurrent.INERT,
    recurrent.LINEAR_HEAD,
)


def refusals(settings: Settings, *, width: int) -> list[str]:
    """Returns the combinations of toggles that cannot run, each with its fix.

    Args:
      settings: resolved settings.
      width: size of the vectors that the encoder reads.
    """
    if settings.encoder == "transformer" and width % settings.heads:
        key = "vocab_size" if settings.encoding == "onehot" else "embedding_dim"
        fits = max(heads for heads in range(1, settings.heads) if width % heads == 0)
        fix = f"set heads={fits}, or {key} to a multiple of {settings.heads}"
        return [f"heads={settings.heads} does not divide {key}={width} into equal parts; {fix}"]
    return recurrent.refusals(settings) or own_cell.refusals(settings, width=width)
