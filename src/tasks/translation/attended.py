"""The file of a trial with the attention of a few test sentences, which the report's figure `attention` shows.

The sentences are the same for all trials of a corpus: the longest of the first short ones. Their texts decide, not
their tokens, so that words and characters show the same sentences.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from src.data.encoded_pairs import EncodedPairs
from src.data.pair_contents import SIDES, SOURCE
from src.data.splits import TEST
from src.files import replaced
from src.tasks.translation import translating
from src.tasks.translation.pictures import Attention
from src.tasks.translation.settings import Settings
from src.tasks.translation.trained import Trained
from src.tasks.translation.translating import Options

FILE = "attention.json"
SENTENCES, AMONG = 3, 100  # sentences of the file, from so many at the beginning of test
LETTERS, STEPS = 40, 60  # of a source, and of its translation: the file has at most 50 kB
DIGITS = 2  # of a weight


def write(folder: Path, settings: Settings, data: EncodedPairs, model: Any) -> list[str]:
    """Writes the attention while a model translates greedily; returns the file's name.

    Returns no name, and writes nothing, without attention, and if no sentence is short.

    Args:
      folder: folder of the trial.
      settings: its settings.
      data: its corpus.
      model: its trained model.
    """
    texts = chosen(data.texts(TEST, SOURCE))
    if settings.attention == "none" or not texts:
        return []
    from src.models.translator import Translator

    translator = Translator(model)
    vocabularies = {side: data.vocabulary(side, settings.vocab_size) for side in SIDES}
    design = translator.design
    trained = Trained(folder, settings, vocabularies, design.longest, design.longest_source)
    options = Options("greedy", None, {})
    sources = [translating.encoded(text, trained, options) for text in texts]
    found = translating.translate(sources, options, trained, translator)
    panels = [translating.attention(*each, trained) for each in zip(sources, found, strict=True)]
    with replaced(folder / FILE) as path:
        path.write_text(json.dumps([_plain(panel) for panel in panels], ensure_ascii=False), encoding="utf-8")
    return [FILE]


def chosen(texts: list[str]) -> list[str]:
    """Returns the longest of the first short texts, at most `SENTENCES`, in their order."""
    short = [text for text in dict.fromkeys(texts[:AMONG]) if len(text) <= LETTERS]
    longest = sorted(short, key=len, reverse=True)[:SENTENCES]
    return [text for text in short if text in longest]


def _plain(panel: Attention) -> dict[str, Any]:
    weights = panel.weights[:STEPS].astype(float).round(DIGITS).tolist()
    return {"source": panel.source, "written": panel.written[:STEPS], "weights": weights}


def read(file: Path) -> list[Attention]:
    """Returns the attention of each sentence of a file."""
    rows = json.loads(file.read_text(encoding="utf-8"))
    return [Attention(row["source"], row["written"], np.array(row["weights"], float)) for row in rows]
