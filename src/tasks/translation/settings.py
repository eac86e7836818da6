"""The settings of translation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from src.data.pair_options import Dates, Parallel
from src.parts.recurrent.toggles import Recurrent
from src.parts.words.pretrained import Pretrained
from src.parts.words.toggles import Words
from src.spec.section import Width


class Settings(Pretrained):
    """A sentence in another language or notation."""

    ALIASES: ClassVar[Mapping[str, str]] = {
        **Words.ALIASES,
        **Recurrent.ALIASES,
        "score": "attention",
        "attentiontype": "attention",
        "attentionscore": "attention",
        "inithidden": "initial_state",
        "initialization": "initial_state",
        "teacherforcingratio": "teacher_forcing",
        "scheduledsampling": "teacher_forcing",
        "reverse": "reverse_source",
        "tied": "tie_weights",
        "tiedsoftmax": "tie_weights",
        "tieweights": "tie_weights",
        "sharedvocabulary": "share_vocabulary",
        "sharevocab": "share_vocabulary",
        "jointvocabulary": "share_vocabulary",
        "bpe": "tokens=subword",
        "lower": "lowercase",
        "masking": "mask_loss (loss) or mask_attention (attention weights)",
        "sampling": "decode=sample",
        "maxlength": "data.max_words (pairs) or max_output_length (translations)",
        "maxlen": "data.max_words (pairs) or max_output_length (translations)",
    }

    task: str = "translation"
    data: Parallel = Field(
        Dates.model_construct(), discriminator="name", description="pairs of sentences (config group)"
    )
    tokens: Literal["word", "character", "subword"] = Field(
        "word",
        description="unit that sentences are split into: words and punctuation marks, characters, "
        "or parts of words by byte-pair merges that training teaches",
    )
    lowercase: bool = Field(True, description="read and write lower-case letters only")
    vocab_size: int = Field(
        8_000,
        ge=5,
        le=10_000_000,
        description="number of ids of each side: 0 padding, 1 start, 2 unknown, 3 end, then tokens",
    )
    share_vocabulary: bool = Field(False, description="the same token has the same id in both languages")
    reverse_source: bool = Field(False, description="read the words of every source backwards")
    bucketing: bool = Field(
        True, description="batch pairs of similar length (of their longer side), padded to the longest of their bucket"
    )
    cell: Literal["simple_rnn", "gru", "lstm"] = Field("lstm", description="recurrent cell of encoder and decoder")
    depth: int = Field(1, ge=1, le=16, description="number of recurrent layers of the encoder, and of the decoder")
    bidirectional: bool = Field(True, description="the encoder reads the source in both directions")
    units: Width = Field(128, description="size of the decoder's hidden state, H")
    embedding_dim: Width = Field(128, description="size of a token's embedding, D")
    attention: Literal["none", "dot", "general", "concat", "additive", "location"] = Field(
        "additive",
        description="score of a source position: dot, general, concat and location as in Luong et al. (2015), "
        "additive as in Bahdanau et al. (2015); none = the decoder knows only its initial state",
    )
    mask_attention: bool = Field(True, description="padded source positions get the attention weight 0")
    input_feeding: bool = Field(
        True, description="the decoder also reads what the attention made of the last step (Luong et al., 2015)"
    )
    initial_state: Literal["zero", "last", "bridge"] = Field(
        "bridge",
        description="state that the decoder begins with: zeros, the encoder's last state, or that state times a matrix",
    )
    teacher_forcing: float = Field(
        1.0,
        ge=0,
        le=1,
        description="probability that the decoder reads the right token in training instead of its own prediction",
    )
    mask_loss: bool = Field(True, description="padded target positions do not count in the loss of training")
    dropout: float = Field(
        0.0, ge=0, lt=1, description="dropout rate of the inputs of every recurrent layer and of the output layer"
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="share of the target probability that all tokens get equally, in training only"
    )
    tie_weights: bool = Field(
        False,
        description="the output layer multiplies with the target embedding",
    )
    decode: Literal["greedy", "sample"] = Field(
        "greedy",
        description="token of each step when validation and test translate: the likeliest one, or a random one",
    )
    max_output_length: int | None = Field(
        None, ge=1, le=10_000, description="most tokens of a translation; null = 1.5 times those of the source, plus 10"
    )
    epochs: int = Field(10, ge=1, le=10_000, description="passes over the training split")
    learning_rate: float = Field(2e-3, gt=0, le=1_000, description="learning rate of the optimizer")
    clip_norm: float | None = Field(1.0, gt=0, description="clip gradients to this global norm; null = no clipping")


def output_limit(settings: Settings, source_steps: Any) -> Any:
    """Returns the most tokens of a translation, end included.

    Args:
      settings: settings of the trial.
      source_steps: S, the ids of the longest source of a batch with its end: an int, or an integer tensor.
    """
    limit = settings.max_output_length
    return source_steps * 3 // 2 + 10 if limit is None else limit
