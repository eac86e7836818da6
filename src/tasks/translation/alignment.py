"""Whether attention looks at the right tokens of the source, for corpora whose alignment is known.

Only target tokens that come from a token of the source count: not the separators of a date, and not the end.
Letters: B pairs, T target tokens, S source tokens.
"""

from __future__ import annotations

from typing import Any


def measure(weights: Any, aligned: Any) -> dict[str, tuple[Any, Any]]:
    """Returns how far attention is right.

    - alignment_error: target tokens whose heaviest source token is wrong. As in alignment error rates of word alignment
      (Och and Ney, Computational Linguistics 29(1), 2003), with one link for each target token.
    - alignment_mass: sum of the weights of the right source tokens.

    Args:
      weights: float[B, T, S] attention weights of each target token when the reference is fed to the decoder.
      aligned: bool[B, T, S], whether a target token comes from a source token.

    Returns:
      Name → float32[B] sum and float32[B] number of target tokens that count. The sums divided are shares from 0 to 1.
    """
    import tensorflow as tf

    weights = tf.convert_to_tensor(weights, tf.float32)
    is_counted = tf.reduce_any(aligned, axis=2)
    counted = tf.reduce_sum(tf.cast(is_counted, tf.float32), axis=1)
    heaviest = tf.argmax(weights, axis=2)
    is_right = tf.gather(tf.cast(aligned, tf.bool), heaviest, axis=2, batch_dims=2)
    wrong = tf.reduce_sum(tf.cast(is_counted & ~is_right, tf.float32), axis=1)
    mass = tf.reduce_sum(tf.where(aligned, weights, 0.0), axis=(1, 2))
    return {"alignment_error": (wrong, counted), "alignment_mass": (mass, counted)}
