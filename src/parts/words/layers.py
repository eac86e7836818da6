"""From ids to the input of the first recurrent layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from src.models.onehot import OneHot
from src.parts.words.toggles import Words
from src.streams import stream_seed


def read_in(settings: Words) -> tuple[Any, Any, Any]:
    """Returns the input ids int32[B, T], their encoding float32[B, T, D], and their mask bool[B, T] or None."""
    ids = keras.Input((None,), dtype="int32", name="ids")
    return ids, _encoding(settings)(ids), keras.ops.not_equal(ids, 0) if settings.masking else None


def _encoding(settings: Words) -> Callable[[Any], Any]:
    table = keras.initializers.RandomUniform(
        -0.05, 0.05, seed=stream_seed(settings.seed, "weights", "encoding", "embeddings")
    )
    if settings.encoding == "embedding":
        lookup: Callable[[Any], Any] = keras.layers.Embedding(
            settings.vocab_size,
            settings.embedding_dim,
            embeddings_initializer=table,
            mask_zero=settings.masking,
            name="encoding",
        )
        return lookup
    onehot: Callable[[Any], Any] = OneHot(settings.vocab_size, mask_zero=settings.masking, name="onehot")
    if settings.encoding == "onehot":
        return onehot
    # The matrix is drawn from the stream of the embedding, so both encodings start as the same function.
    matrix = keras.layers.Dense(settings.embedding_dim, use_bias=False, kernel_initializer=table, name="encoding")
    return lambda ids: matrix(onehot(ids))
