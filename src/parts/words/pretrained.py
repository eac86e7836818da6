"""Embeddings that start from the word vectors of another trial.

Letters: V ids, D size of an embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from src.spec.rules import Change, Inert
from src.spec.section import SettingsError, Value
from src.spec.settings import Settings

if TYPE_CHECKING:
    from src.parts.words.vectors_file import Tables

LEAST = 0.2  # share of the words of a vocabulary that must have a vector


class Pretrained(Settings):
    """Settings of tasks whose embedding may start from word vectors."""

    ADDED: ClassVar[Mapping[str, Value]] = {"embedding_trainable": True}
    ALIASES: ClassVar[Mapping[str, str]] = {
        "pretrained": "embedding_from",
        "pretrainedembedding": "embedding_from",
        "embeddings": "embedding_from",
        "freezeembedding": "embedding_trainable",
    }

    embedding_from: str | None = Field(
        None,
        min_length=4,
        max_length=500,
        description="trial of word_vectors whose vectors the embedding (of translation: that of the source) starts "
        "from: folder, identity or MLflow run id",
    )
    embedding_trainable: bool = Field(True, description="train the embedding; false = it stays as it starts")


INERT: tuple[Inert[Any], ...] = (
    Inert("embedding_trainable", True, lambda s: s.embedding_from is None, "only vectors of another trial are frozen"),
)


def changes_of(settings: Pretrained) -> list[Change]:
    """Returns `embedding_from` as the identity of the other trial, which the identity of this one then holds.

    Raises:
      SettingsError: there is no such trial.
    """
    if settings.embedding_from is None:
        return []
    from src import paths

    folder = _folder(settings)
    is_ours = folder.resolve().is_relative_to(paths.outputs().resolve()) and ".cache" not in folder.parts
    used = folder.name if is_ours else str(settings.embedding_from)
    if used == settings.embedding_from:
        return []
    return [Change("embedding_from", settings.embedding_from, used, "it is the trial's identity")]


def refusals(settings: Pretrained, words: Sequence[str], *, width: int, encoding: str = "embedding") -> list[str]:
    """Returns why the vectors do not fit, each reason with its fix; empty if they do.

    Args:
      settings: resolved settings.
      words: the vocabulary.
      width: D.
      encoding: how ids become vectors.
    """
    if settings.embedding_from is None:
        return []
    name = f"embedding_from={settings.embedding_from}"
    if encoding != "embedding":
        return [f"{name} does not work with encoding={encoding}; set encoding=embedding"]
    tables = _tables(settings)
    if (size := tables.input.shape[1]) != width:
        return [f"{name} has vectors of size {size}, but embedding_dim={width}; set embedding_dim={size}"]
    known = len(set(words) & set(tables.words))
    if known < LEAST * len(words):
        have = f"{known:,} of the {len(words):,} words of this vocabulary have a vector"
        return [
            f"{name} has another vocabulary: only {have}; train word vectors on these texts, with a lower min_count"
        ]
    return []


def start(layer: Any, table: Any, settings: Pretrained, words: Sequence[str]) -> None:
    """Gives the words of an embedding their vectors; a word without one keeps its random start.

    Args:
      layer: the built layer, which `embedding_trainable=false` freezes.
      table: its variable, float32[V, D].
      settings: settings without `refusals`.
      words: the vocabulary; the first word has the id `FIRST_WORD`.
    """
    if settings.embedding_from is None:
        return
    import numpy as np

    from src.artifacts import Artifacts
    from src.data.tokens import FIRST_WORD

    tables = _tables(settings)
    vectors = tables.combined(getattr(Artifacts(_folder(settings)).settings(), "combine", "input"))
    rows = {word: row for row, word in enumerate(tables.words)}
    values = np.array(table)
    found = [(FIRST_WORD + place, rows[word]) for place, word in enumerate(words) if word in rows]
    ids, chosen = (list(part) for part in zip(*found, strict=True))
    values[ids] = vectors[chosen]
    table.assign(values)
    layer.trainable = settings.embedding_trainable


def _folder(settings: Pretrained) -> Path:
    from src import paths
    from src.parts.words.vectors_file import FILES
    from src.trial import locate

    run = str(settings.embedding_from)
    download_to = paths.cache() / "vectors" / run.replace("/", "_")[-64:]
    try:
        return locate.folder_of(run, uri=settings.tracking.uri, download_to=download_to, files=FILES)
    except SettingsError as error:
        raise SettingsError(f"embedding_from: {str(error).removeprefix('RUN: ')}") from None


def _tables(settings: Pretrained) -> Tables:
    from src.parts.words import vectors_file

    try:
        return vectors_file.read(_folder(settings))
    except SettingsError:
        raise
    except ValueError as error:
        raise SettingsError(f"embedding_from: {error}") from None
