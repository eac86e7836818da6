"""How a trial learns and is judged: the loss, the translations of held-out sources, and their scores."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from src.data.batching import padded
from src.data.encoded_pairs import EncodedPairs
from src.data.pair_contents import TARGET
from src.tasks.translation import alignment, sentences
from src.tasks.translation.scores import right_tokens, scores
from src.tasks.translation.sentences import ALIGNED
from src.tasks.translation.settings import Settings
from src.training.phase import LOSS, Phase

TRANSLATION = "translation"  # the output and the prediction: int32[B, L] ids


def phase(settings: Settings, data: EncodedPairs) -> Phase:
    """Returns the splits, their batches and what is measured."""
    return Phase(
        measure=measure,
        predictions=lambda outputs: {TRANSLATION: outputs[TRANSLATION]},
        positions=positions,
        scores=scorer(settings, data),
        **sentences.phase_parts(settings, data),
    )


def measure(outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Returns the loss per token: its sum and the number of tokens of each pair."""
    import tensorflow as tf

    return {LOSS: (tf.reduce_sum(outputs["losses"], axis=1), tf.reduce_sum(outputs["counted"], axis=1))}


def positions(outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Returns how far attention is right at each target token, for an attention whose alignment is known."""
    if ALIGNED not in targets or "attention" not in outputs:
        return {}
    return alignment.by_token(outputs["attention"], targets[ALIGNED])


def scorer(settings: Settings, data: EncodedPairs) -> Callable[[str, Mapping[str, np.ndarray]], dict[str, float]]:
    """Returns (split, predictions) → BLEU, chrF, exact matches and right tokens of the translations.

    Translations are made without the reference. BLEU, chrF and exact matches compare texts, right tokens ids.
    """
    vocabulary = data.vocabulary(TARGET, settings.vocab_size)

    @functools.cache
    def references(split: str) -> tuple[list[str], np.ndarray]:
        """Returns the references of a split as texts and as ids int32[N, T], words and end, padded with 0."""
        flat = sentences.pairs(settings, data, split).target
        steps = flat.lengths - 1  # without the start
        return data.texts(split, TARGET), padded(flat.values, flat.starts[:-1] + 1, steps, int(steps.max()))

    def score(split: str, predictions: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Returns the scores of the translations of a split."""
        found = predictions[TRANSLATION]
        texts, ids = references(split)
        of_texts = scores([vocabulary.text(row) for row in found], texts, lowercase=settings.lowercase)
        right, tokens = right_tokens(found, ids)
        return {
            "bleu": of_texts.bleu,
            "chrf": of_texts.chrf,
            "exact_match": of_texts.exact_match,
            "token_accuracy": float(right.sum() / tokens.sum()),
        }

    return score
