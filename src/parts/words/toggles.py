"""The toggles of tasks that read texts, and when they have no effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from src.parts.words import pretrained
from src.parts.words.pretrained import Pretrained
from src.spec.rules import Change, Inert
from src.spec.section import Value, Width


class Words(Pretrained):
    """Settings that include the toggles of texts."""

    ADDED: ClassVar[Mapping[str, Value]] = {"tokens": "word"}

    ALIASES: ClassVar[Mapping[str, str]] = {
        "embeddingsize": "embedding_dim",
        "embedsize": "embedding_dim",
        "embeddim": "embedding_dim",
        "inputdim": "vocab_size",
        "vocab": "vocab_size",
        "vocabularysize": "vocab_size",
        "numwords": "vocab_size",
        "maxfeatures": "vocab_size",
        "maxlen": "max_length",
        "seqlen": "max_length",
        "tokenizer": "tokens",
    }

    padding: Literal["dataset", "batch", "equal"] = Field(
        "batch",
        description="pad to the longest sequence of the data set or batch; equal = only equal lengths share a batch",
    )
    bucketing: bool = Field(
        True, description="batch sequences of similar length, padded to the boundary of their bucket"
    )
    padding_side: Literal["post", "pre"] = Field("post", description="side of the sequence that is padded")
    truncation: Literal["pre", "post", "remove"] = Field(
        "pre",
        description="side that is cut at max_length; remove = drop long training sequences (validation and test: pre)",
    )
    max_length: int | None = Field(
        200, ge=2, le=100_000, description="maximum steps of a sequence, start token included; null = no limit"
    )
    vocab_size: int = Field(
        10_000, ge=5, le=10_000_000, description="number of ids: 0 padding, 1 start, 2 unknown, 3 unused, then words"
    )
    tokens: Literal["word", "character"] = Field(
        "word",
        description="unit that texts are split into; character suits scripts without spaces (Chinese, Thai, …)",
    )
    encoding: Literal["embedding", "onehot", "onehot_projected"] = Field(
        "embedding",
        description="input of the first layer: an embedding, a one-hot vector, or a one-hot vector times a matrix",
    )
    embedding_dim: Width = Field(64, description="size of a word's embedding, D")
    masking: bool = Field(True, description="skip padded steps: the state stays the same")


def is_never_padded(settings: Words) -> bool:
    """Returns whether all sequences of a batch always have the same length."""
    has_single_examples = settings.padding == "batch" and not settings.bucketing and settings.batch_size == 1
    return settings.padding == "equal" or has_single_examples


INERT: tuple[Inert[Any], ...] = (
    Inert("embedding_from", None, lambda s: s.encoding == "onehot", "encoding=onehot has no embedding"),
    *pretrained.INERT,
    Inert(
        "bucketing", False, lambda s: s.padding == "dataset", "with padding=dataset every sequence has the same length"
    ),
    Inert(
        "bucketing",
        False,
        lambda s: s.padding == "equal",
        "with padding=equal only sequences of equal length share a batch",
    ),
    Inert("padding_side", "post", is_never_padded, "no batch is padded"),
    Inert("masking", False, is_never_padded, "no batch is padded, so a mask has no effect"),
    Inert("truncation", "pre", lambda s: s.max_length is None, "without max_length no sequence is truncated"),
    Inert("embedding_dim", 64, lambda s: s.encoding == "onehot", "encoding=onehot has no embedding"),
)


def longest_allowed(settings: Words, longest: int) -> int:
    """Returns the steps of the longest sequence that a model reads, given `longest`, the longest of the data."""
    return min(longest, settings.max_length or longest)


def truncation_of(settings: Words, longest: int) -> list[Change]:
    """Returns `truncation=pre` if no sequence is long enough to be truncated; no change otherwise."""
    if settings.truncation == "pre" or settings.max_length is None or longest >= settings.max_length:
        return []
    return [
        Change(
            "truncation", settings.truncation, "pre", f"the longest sequence has {longest} steps, so none is truncated"
        )
    ]
