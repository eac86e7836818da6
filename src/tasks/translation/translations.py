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
    vocabulary, lowercase = data.vocabulary(TARGET, settings.vocab_size), settings.lowercase
    found, references = [vocabulary.text(row) for row in ids], data.texts(TEST, TARGET)
    columns = {
        "source": data.texts(TEST, SOURCE),
        "reference": references,
        "translation": found,
        "chrf": sentence_chrf(found, references, lowercase=lowercase).round(2).tolist(),
        "is_exact": exact_matches(found, references, lowercase=lowercase).tolist(),
    }
    pairs = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return {"signatures": scores(found, references, lowercase=lowercase).signatures, "pairs": pairs}


def write(folder: Path, values: dict[str, Any]) -> str:
    """Writes what `of_test` returned; returns the name of the file."""
    with replaced(folder / FILE) as path:
        path.write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")
    return FILE


def sample(values: dict[str, Any]) -> dict[str, Any]:
    """Returns the detail of a `samples` record: the first test pairs, which are the same in every trial."""
    pairs = values["pairs"][:SHOWN]
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
