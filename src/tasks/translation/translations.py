"""The file of a trial with the translations of the test, and the samples of it that TensorBoard and MLflow show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from src.data.encoded_pairs import EncodedPairs
from src.data.pair_contents import SOURCE, TARGET
from src.data.splits import TEST
from src.files import replaced
from src.tasks.translation.scores import exact_matches, scores, sentence_chrf
from src.tasks.translation.settings import Settings
from src.terminal.visible import in_markdown

FILE = "translations.json"
SHOWN = 10


def of_test(settings: Settings, data: EncodedPairs, ids: np.ndarray) -> dict[str, Any]:
    """Returns the test pairs with their translations, as plain values.

    Args:
      settings: settings of the trial.
      data: its corpus.
      ids: int32[N, L], translations of all test sources.

    Returns:
      `signatures`: how sacrebleu computed BLEU and chrF; only equal signatures compare.
      `pairs`: for each test pair `source`, `reference`, `translation`, `chrf` (0 to 100) and `is_exact`.
    """
    sources, references, found = _texts(settings, data, ids)
    signatures = scores(found, references, lowercase=settings.lowercase).signatures
    return {"signatures": signatures, "pairs": _pairs(sources, references, found, settings)}


def plain_pairs(settings: Settings, data: EncodedPairs, ids: np.ndarray) -> list[dict[str, str]]:
    """Returns `source`, `reference` and `translation` of each test pair; `of_test` has the arguments."""
    names = ("source", "reference", "translation")
    return [dict(zip(names, row, strict=True)) for row in zip(*_texts(settings, data, ids), strict=True)]


def _texts(settings: Settings, data: EncodedPairs, ids: np.ndarray) -> tuple[list[str], list[str], list[str]]:
    """Returns the test sources, their references, and their translations."""
    vocabulary = data.vocabulary(TARGET, settings.vocab_size)
    return data.texts(TEST, SOURCE), data.texts(TEST, TARGET), [vocabulary.text(row) for row in ids]


def _pairs(
    sources: list[str], references: list[str], found: list[str], settings: Settings, *, count: int | None = None
) -> list[dict[str, Any]]:
    """Returns the first pairs, or all of them, each with the scores of its translation."""
    sources, references, found = sources[:count], references[:count], found[:count]
    columns = {
        "source": sources,
        "reference": references,
        "translation": found,
        "chrf": sentence_chrf(found, references, lowercase=settings.lowercase).round(2).tolist(),
        "is_exact": exact_matches(found, references, lowercase=settings.lowercase).tolist(),
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def write(folder: Path, values: dict[str, Any]) -> str:
    """Writes what `of_test` returned; returns the name of the file."""
    with replaced(folder / FILE) as path:
        path.write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")
    return FILE


def sample(settings: Settings, data: EncodedPairs, ids: np.ndarray) -> dict[str, Any]:
    """Returns the detail of a `samples` record: the first test pairs, which are the same in every trial.

    `of_test` has the arguments.
    """
    pairs = _pairs(*_texts(settings, data, ids), settings, count=SHOWN)
    rows = [
        f"| {' | '.join(in_markdown(pair[key]) for key in ('source', 'reference', 'translation'))} |" for pair in pairs
    ]
    lines = [
        "Translations of the first test sentences",
        "",
        "| source | reference | translation |",
        "| --- | --- | --- |",
    ]
    return {"samples": pairs, "markdown": "\n".join([*lines, *rows])}
