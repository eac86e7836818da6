"""Builds the untrained language model from settings.

    e_t = E[id_t]    h_t = recurrent(e_1 … e_t)    log p(id_{t+1} | id_1 … id_t) = log softmax(h_t E'^T + b)

The model returns the losses of the words instead of their logits, which would not fit into memory for long texts.
Letters: B texts, T steps, V ids, D embedding, H units.
"""

from __future__ import annotations

from typing import Any

import keras

from src.models.cell_facts import FACTS
from src.models.initial_state import LearnedState
from src.models.onehot import OneHot
from src.models.text_loop import TextLoop
from src.models.word_loss import WordLoss
from src.models.word_vectors import BeforeAndAfter, DropWords, StatePenalty, WordVectors
from src.parts.recurrent import layers
from src.streams import stream_seed
from src.tasks.language_model.settings import Settings, is_masked, is_stream, uses_text_loop
from src.tasks.language_model.texts import FIRST_PREDICTED


def language_model(settings: Settings) -> keras.Model:
    """Returns a model from ids int32[B, T + 1] to `losses` float32[B, T] and, if set, `penalty` float32[B]."""
    ids = keras.Input((None,), dtype="int32", name="ids")
    before, after = BeforeAndAfter(name="before_and_after")(ids)
    vectors, table = _encoded(settings, before)
    mask = keras.ops.not_equal(before, 0) if is_masked(settings) else None
    states = vectors
    for number in range(1, settings.depth + 1):
        states = _recurrent(settings, _dropped(settings, states, f"dropout_{number}"), before, mask, number=number)
    dropped = _dropped(settings, states, "dropout_output")
    outputs = {"losses": _losses(settings, dropped, after, table)}
    if settings.activation_penalty or settings.temporal_penalty:
        penalty = StatePenalty(
            activation=settings.activation_penalty, temporal=settings.temporal_penalty, name="penalty"
        )
        outputs["penalty"] = penalty(states, dropped, keras.ops.greater_equal(after, FIRST_PREDICTED))
    return layers.initialised(keras.Model(ids, outputs, name="language_model"), settings)


def _encoded(settings: Settings, ids: Any) -> tuple[Any, Any]:
    """Returns what the first layer reads, float32[B, T, D], and the table float32[V, D] of tied weights, or None."""
    if settings.encoding == "onehot":
        vectors, table = OneHot(settings.vocab_size, name="onehot")(ids), None
    else:
        initial = keras.initializers.RandomUniform(
            -0.05, 0.05, seed=stream_seed(settings.seed, "weights", "encoding", "embeddings")
        )
        is_product = settings.encoding == "onehot_projected"
        encoding = WordVectors(
            settings.vocab_size, settings.embedding_dim, is_product=is_product, initializer=initial, name="encoding"
        )
        vectors, table = encoding(ids)
    if settings.dropout_embedding:
        seed = stream_seed(settings.seed, "dropout", "words")
        drop = DropWords(settings.dropout_embedding, settings.vocab_size, seed=seed, name="dropout_words")
        vectors = drop(vectors, ids)
    return vectors, table if settings.tie_weights else None


def _dropped(settings: Settings, x: Any, name: str) -> Any:
    """Returns x after dropout of the same units at all steps (`dropout_locked`) or of other ones at each."""
    if not settings.dropout:
        return x
    shape = (None, 1, None) if settings.dropout_locked else None
    seed = stream_seed(settings.seed, "dropout", name)
    return keras.layers.Dropout(settings.dropout, noise_shape=shape, seed=seed, name=name)(x)


def _recurrent(settings: Settings, x: Any, ids: Any, mask: Any, *, number: int) -> Any:
    """Returns the states of one recurrent layer at all steps, float32[B, T, H]."""
    name = f"recurrent_{number}"
    layer: Any = layers.one_direction(settings, name, pads_in_front=is_masked(settings))
    options: dict[str, Any] = {"mask": mask}
    if settings.initial_state == "learned":
        count = FACTS[settings.cell].states
        options["initial_state"] = LearnedState(settings.units, count, name=f"{name}_initial_state")(x)
    if not uses_text_loop(settings):
        return layer(x, **options)
    layer = TextLoop(
        layer.cell,
        loop=settings.implementation,
        bptt_steps=settings.bptt_steps,
        carries=settings.stateful,
        weight_drop=settings.weight_drop,
        seed=stream_seed(settings.seed, "dropout", f"{name}_weights"),
        name=name,
    )
    return layer(x, ids, **options)


def _losses(settings: Settings, states: Any, words: Any, table: Any) -> Any:
    """Returns the loss of every word, float32[B, T].

    Tied weights need states of the embedding's width. Where the widths differ, a matrix without bias comes between.
    """
    if table is not None and settings.units != settings.embedding_dim:
        seed = stream_seed(settings.seed, "weights", "projection", "kernel")
        glorot = keras.initializers.GlorotUniform(seed)
        project = keras.layers.Dense(
            settings.embedding_dim, use_bias=False, kernel_initializer=glorot, name="projection"
        )
        states = project(states)
    skips = not is_stream(settings) and not settings.uses_xla
    initial = keras.initializers.RandomUniform(
        -0.05, 0.05, seed=stream_seed(settings.seed, "weights", "head", "kernel")
    )
    head = WordLoss(
        settings.vocab_size,
        first=FIRST_PREDICTED,
        skips_others=skips,
        samples=settings.softmax_samples if settings.softmax == "sampled" else 0,
        seed=stream_seed(settings.seed, "softmax"),
        initializer=initial,
        name="head",
    )
    return head(states, words) if table is None else head(states, words, table)
