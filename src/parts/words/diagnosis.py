"""Why a model of words has learnt nothing: words that it does not know. Letters: B sequences, T steps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from src.data.splits import VALIDATION
from src.data.tokens import UNKNOWN
from src.training.diagnosis import Evidence, first

HALF = 0.5  # share of the words of validation; of English reviews it is below 0.1
MOST = 0.9  # a share from which on something is said of the whole


def unknown_words(evidence: Evidence, *, are_characters_tried: bool) -> Iterator[str]:
    """Yields that the vocabulary has too few of the words of training, or of validation.

    Args:
      evidence: of a trial whose inputs are ids int32[B, T].
      are_characters_tried: whether the model already reads characters, or cannot.
    """
    phase = evidence.learner.phase
    unknown = unknown_share(evidence.batch[0].numpy())
    if unknown >= MOST:
        yield f"inputs: {unknown:.0%} of the words are outside the vocabulary; raise vocab_size"
    held_out = first(phase.held_out[VALIDATION]()) if VALIDATION in phase.held_out else []
    unheard = max((unknown_share(inputs.numpy()) for inputs, _ in held_out), default=0.0)
    if unheard >= HALF:
        yield (
            f"inputs: {unheard:.0%} of the validation words are outside the vocabulary, "
            f"against {unknown:.0%} in training; "
            f"{'' if are_characters_tried else 'set tokens=character, or '}train on more texts"
        )


def unknown_share(ids: np.ndarray) -> float:
    """Returns the share of the words in ids int32[B, T] that are the unknown word; the start is no word."""
    words = ids[ids >= UNKNOWN]
    return float((words == UNKNOWN).mean()) if len(words) else 0.0
