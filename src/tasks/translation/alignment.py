"""Whether attention looks at the right tokens of the source, for corpora whose alignment is known.

Only target tokens that come from a token of the source count: not the separators of a date, and not the end.
Letters: B pairs, T target tokens, S source tokens.
"""

from __future__ import annotations

from typing import Any

ERROR, MASS = "alignment_error", "alignment_mass"


def by_token(weights: Any, aligned: Any) -> dict[str, tuple[Any, Any]]:
    """Returns how far attention is right at each target token.

    - alignment_error: 1 where the heaviest source token is wrong, otherwise 0. As in alignment error rates of word
      alignment (Och and Ney, Computational Linguistics 29(1), 2003), with one link for each target token.
    - alignment_mass: sum of the weights of the right source tokens, from 0 to 1.

    Args:
      weights: float[B, T, S] attention weights of each target token when the reference is fed to the decoder.
      aligned: bool[B, T, S], whether a target token comes from a source token.

    Returns:
      Name → float32[B, T] values, and bool[B, T] which of them count.
    """
    import tensorflow as tf

    weights = tf.convert_to_tensor(weights, tf.float32)
    is_counted = tf.reduce_any(aligned, axis=2)
    heaviest = tf.argmax(weights, axis=2)
    is_right = tf.gather(tf.cast(aligned, tf.bool), heaviest, axis=2, batch_dims=2)
    mass = tf.reduce_sum(tf.where(aligned, weights, 0.0), axis=2)
    return {ERROR: (tf.cast(~is_right, tf.float32), is_counted), MASS: (mass, is_counted)}
