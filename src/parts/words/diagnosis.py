"""Finds why a model of texts did not learn: identical texts, unknown words, the learning rate. B sequences, T steps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from src.data.splits import VALIDATION
from src.data.tokens import UNKNOWN
from src.training import diagnosis
from src.training.diagnosis import Evidence, first

HALF = 0.5  # least share of unknown validation words that is reported; English reviews have less than 0.1
MOST = 0.9  # least share of unknown training words that is reported


def of_texts(evidence: Evidence, *, what: str, look_at: str, are_characters_tried: bool) -> Iterator[str]:
    """Yields the causes of every model of texts: identical inputs, unknown words, and the learning rate.

    All but an oscillating loss are only likely, and not for trials that learnt.

    Args:
      evidence: evidence of a trial whose inputs are ids int32[B, T].
      what: plural noun for the examples.
      look_at: what the user should check if all are identical.
      are_characters_tried: whether the model already reads characters, or cannot read them.
    """
    if not evidence.has_learnt:
        yield from diagnosis.identical_inputs(evidence, what=what, look_at=look_at)
        yield from unknown_words(evidence, are_characters_tried=are_characters_tried)
    yield from diagnosis.learning_rate_too_high(evidence)
    if not evidence.has_learnt:
        yield from diagnosis.learning_rate_too_low(evidence)


def unknown_words(evidence: Evidence, *, are_characters_tried: bool) -> Iterator[str]:
    """Yields a cause if the vocabulary lacks most training words, or half of the validation words.

    Args:
      evidence: evidence of a trial whose inputs are ids int32[B, T].
      are_characters_tried: whether the model already reads characters, or cannot read them.
    """
    phase = evidence.learner.phase
    unknown = unknown_share(evidence.batch[0].numpy())
    if unknown >= MOST:
        yield f"unknown words: {unknown:.0%} of the words are outside the vocabulary; raise vocab_size"
    held_out = first(phase.held_out[VALIDATION]()) if VALIDATION in phase.held_out else []
    in_validation = max((unknown_share(inputs.numpy()) for inputs, _ in held_out), default=0.0)
    if in_validation >= HALF:
        yield (
            f"unknown words: {in_validation:.0%} of the validation words are outside the vocabulary, "
            f"against {unknown:.0%} in training; "
            f"{'' if are_characters_tried else 'set tokens=character, or '}train on more texts"
        )


def unknown_share(ids: np.ndarray) -> float:
    """Returns the share of unknown words in ids int32[B, T]; the start token does not count as a word."""
    words = ids[ids >= UNKNOWN]
    return float((words == UNKNOWN).mean()) if len(words) else 0.0
