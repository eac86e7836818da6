"""The settings of sentiment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from src.data.options import MovieReviews, Texts
from src.parts.classes.labelled import Labelled
from src.parts.classes.toggles import Classes
from src.parts.own_model import OwnModel
from src.parts.recurrent.toggles import Recurrent
from src.parts.words.toggles import Words
from src.spec.section import Count, Value, Width

FITTED = ("tfidf", "largest_class")  # encoders without steps of training


class Settings(OwnModel, Classes, Labelled, Recurrent, Words):
    """One label for a text."""

    ADDED: ClassVar[Mapping[str, Value]] = {
        "encoder": "recurrent",
        "heads": 4,
        "positions": "sinusoidal",
        "kernel_size": 3,
        "branches": 3,
        "pretext": "none",
        "pretext_trainable": True,
    }
    ALIASES: ClassVar[Mapping[str, str]] = {
        "architecture": "encoder",
        "arch": "encoder",
        "baseline": "encoder",
        "filters": "units",
        "channels": "units",
        "feedforward": "units",
        "dff": "units",
        "numheads": "heads",
        "nheads": "heads",
        "attentionheads": "heads",
        "positionalencoding": "positions",
        "filtersize": "kernel_size",
        "pretraining": "pretext",
        "freezepretext": "pretext_trainable",
    }

    task: str = "sentiment"
    data: Texts = Field(MovieReviews.model_construct(), discriminator="name", description="corpus (config group)")
    encoder: Literal["recurrent", "bag", "cnn", "transformer", "tfidf", "largest_class"] = Field(
        "recurrent",
        description="from steps to features: recurrent layers, the mean of the embeddings (bag), convolutions, or a "
        "Transformer; tfidf = logistic regression of TF-IDF, largest_class = always the largest class, both without "
        "steps of training",
    )
    depth: int = Field(1, ge=1, le=64, description="number of recurrent layers, or of blocks of a Transformer")
    units: Width = Field(
        64,
        description="size of the hidden state, H; filters of each convolution; units of a Transformer's feed-forward "
        "layers",
    )
    parameters: int | None = Field(
        None,
        ge=1,
        le=10**12,
        description="choose units (encoder=bag: embedding_dim) so that the model has about this many parameters; "
        "null = use units",
    )
    dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="dropout rate of the inputs of every recurrent layer, of the features of a bag or of convolutions, "
        "and in a Transformer where Vaswani et al. (2017) have it",
    )
    heads: int = Field(4, ge=1, le=1_024, description="heads of a Transformer's attention; they divide embedding_dim")
    positions: Literal["sinusoidal", "none"] = Field(
        "sinusoidal", description="what a Transformer knows of the order of words; none = nothing"
    )
    kernel_size: int = Field(3, ge=1, le=1_024, description="steps that the narrowest convolution reads")
    branches: int = Field(
        3, ge=1, le=64, description="convolutions side by side; each reads one step more than the one before"
    )
    pretext: Literal["none", "language_model", "word_vectors"] = Field(
        "none",
        description="what the classifier starts from, trained before on all training texts without labels: nothing, "
        "the embedding and the recurrent layers of a language model, or word vectors",
    )
    pretext_trainable: bool = Field(
        True, description="train what starts from the pretext; false = it stays as it starts"
    )
    pretext_epochs: Count | None = Field(None, description="epochs of the pretext; null = the default of its task")
    pretext_learning_rate: float | None = Field(
        None, gt=0, le=1_000, description="learning rate of the pretext; null = the default of its task"
    )


def pads_in_front(settings: Settings) -> bool:
    """Returns whether masked steps come before the words."""
    return settings.masking and settings.padding_side == "pre"


def is_fitted(settings: Settings) -> bool:
    """Returns whether the model is computed from the training texts, without steps of training."""
    return settings.encoder in FITTED
