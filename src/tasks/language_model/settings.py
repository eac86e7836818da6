"""The settings of language models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from src.data.options import MovieReviews, Running
from src.parts.recurrent.toggles import Recurrent
from src.parts.words.toggles import Words
from src.spec.section import Value, Width


class Settings(Recurrent, Words):
    """The probability of each word of a text."""

    ADDED: ClassVar[Mapping[str, Value]] = {"averaging": "none", "averaging_interval": 5}
    ALIASES: ClassVar[Mapping[str, str]] = {
        "unit": "tokens",
        "mode": "text_mode",
        "bptt": "length",
        "sequencelength": "length",
        "tied": "tie_weights",
        "tying": "tie_weights",
        "tieweights": "tie_weights",
        "wdrop": "weight_drop",
        "dropoute": "dropout_embedding",
        "alpha": "activation_penalty",
        "ar": "activation_penalty",
        "beta": "temporal_penalty",
        "tar": "temporal_penalty",
        "lockeddropout": "dropout_locked",
        "variationaldropout": "dropout_locked",
        "ntasgd": "averaging=nt_asgd",
        "asgd": "averaging=nt_asgd",
        "nonmono": "averaging_interval",
    }

    task: str = "language_model"
    data: Running = Field(MovieReviews.model_construct(), discriminator="name", description="corpus (config group)")
    text_mode: Literal["stream", "documents"] = Field(
        "stream",
        description="training examples: pieces of the line of all texts, or whole texts; "
        "validation and test always read whole texts",
    )
    length: int = Field(35, ge=1, le=100_000, description="words of a piece of the stream, L")
    stateful: bool = Field(
        False, description="train on batch_size parallel streams, and carry the state from piece to piece"
    )
    bptt_random: bool = Field(False, description="draw the length of the pieces of each batch, length on average")
    max_length: int | None = Field(
        None,
        ge=2,
        le=100_000,
        description="maximum steps of a training text with text_mode=documents, start token included; null = no limit",
    )
    cell: Literal["simple_rnn", "gru", "lstm"] = Field("lstm", description="recurrent cell")
    embedding_dim: Width = Field(256, description="size of a word's embedding, D")
    units: Width = Field(256, description="size of the hidden state, H")
    tie_weights: bool = Field(
        True,
        description="the output layer multiplies with the embedding; "
        "where units and embedding_dim differ, a matrix of units x embedding_dim comes before it",
    )
    dropout: float = Field(
        0.2, ge=0, lt=1, description="dropout rate of the inputs of every recurrent layer and of the output layer"
    )
    dropout_locked: bool = Field(False, description="drop the same units at all steps of a text (variational dropout)")
    dropout_embedding: float = Field(0.0, ge=0, lt=1, description="rate at which whole words are dropped in a batch")
    weight_drop: float = Field(0.0, ge=0, lt=1, description="dropout rate of the recurrent weights")
    activation_penalty: float = Field(
        0.0, ge=0, le=1_000, description="factor of the mean square of the last layer's states, added to the loss"
    )
    temporal_penalty: float = Field(
        0.0, ge=0, le=1_000, description="factor of the mean squared change of these states, added to the loss"
    )
    averaging: Literal["none", "ema", "swa", "nt_asgd"] = Field(  # type: ignore[assignment]
        "none",
        description="weights of validation, test and the model file: ema = exponential moving average over the steps, "
        "swa = mean after each epoch of the second half, nt_asgd = mean since validation has stalled (optimizer=sgd)",
    )
    averaging_interval: int = Field(
        5,
        ge=1,
        le=10_000,
        description="averaging=nt_asgd: validation has stalled if it is worse than the best of the epochs before it, "
        "the latest n left out; needs at least n + 3 epochs",
    )
    softmax: Literal["full", "sampled"] = Field(
        "sampled",
        description="sampled = the loss of training compares each word with softmax_samples drawn ones; "
        "validation and test always use all words",
    )
    softmax_samples: Width = Field(1_000, description="words that softmax=sampled draws for each batch")
    implementation: Literal["keras", "cell_loop", "graph_loop", "packed_loop", "eager_loop", "fused_loop"] = Field(
        "fused_loop",
        description="loop over time: Keras' layer, Keras' RNN with the project's cell, or a loop of the project; "
        "fused_loop is the fastest",
    )
    epochs: int = Field(6, ge=1, le=10_000, description="passes over the training split")
    learning_rate: float = Field(3e-3, gt=0, le=1_000, description="learning rate of the optimizer")
    clip_norm: float | None = Field(1.0, gt=0, description="clip gradients to this global norm; null = no clipping")


def is_stream(settings: Settings) -> bool:
    """Returns whether training reads pieces of the line of all texts."""
    return settings.text_mode == "stream"


def is_masked(settings: Settings) -> bool:
    """Returns whether the recurrent layers need a mask.

    They do not if padding comes after the words: a step never reads what follows it.
    """
    is_packed = settings.implementation == "packed_loop"
    return not is_stream(settings) and settings.masking and (settings.padding_side == "pre" or is_packed)


def uses_text_loop(settings: Settings) -> bool:
    """Returns whether the recurrent layers carry their state, or drop recurrent weights."""
    return settings.stateful or settings.weight_drop > 0
