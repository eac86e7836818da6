"""The attention of a few test sentences: a file that the report's figure `attention` shows, and pictures by epoch.

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
from src.tasks.translation.pictures import Attention, figure, pixels
from src.tasks.translation.settings import Settings
from src.tasks.translation.trained import Trained
from src.tasks.translation.translating import Options

FILE = "attention.json"
SENTENCES, AMONG = 3, 100  # sentences of the file, from so many at the beginning of test
LETTERS, STEPS = 40, 60  # of a source, and of its translation: the file has at most 50 kB
SHOWN = 25  # written tokens of a picture by epoch: a model that has learnt little does not end
DIGITS = 2  # of a weight
PICTURE = "attention"  # name in TensorBoard


def write(folder: Path, settings: Settings, data: EncodedPairs, model: Any) -> list[str]:
    """Writes the attention while a model translates greedily; returns the file's name.

    Returns no name, and writes nothing, without attention, and if no sentence is short.

    Args:
      folder: folder of the trial.
      settings: its settings.
      data: its corpus.
      model: its trained model.
    """
    panels = _panels(folder, settings, data, model, chosen(data.texts(TEST, SOURCE)))
    if not panels:
        return []
    with replaced(folder / FILE) as path:
        path.write_text(json.dumps([_plain(panel) for panel in panels], ensure_ascii=False), encoding="utf-8")
    return [FILE]


def pictures(folder: Path, settings: Settings, data: EncodedPairs, model: Any) -> dict[str, np.ndarray]:
    """Returns a picture of the attention of the first sentence of the file; nothing where `write` writes nothing."""
    panels = _panels(folder, settings, data, model, chosen(data.texts(TEST, SOURCE))[:1])
    return {PICTURE: pixels(figure([[_shortened(panel, SHOWN) for panel in panels]]))} if panels else {}


def _panels(folder: Path, settings: Settings, data: EncodedPairs, model: Any, texts: list[str]) -> list[Attention]:
    """Returns the attention while a model translates texts greedily, or nothing if it has no attention."""
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
    return [translating.attention(*each, trained) for each in zip(sources, found, strict=True)]


def chosen(texts: list[str]) -> list[str]:
    """Returns the longest of the first short texts, at most `SENTENCES`, in their order."""
    short = [text for text in dict.fromkeys(texts[:AMONG]) if len(text) <= LETTERS]
    longest = sorted(short, key=len, reverse=True)[:SENTENCES]
    return [text for text in short if text in longest]


def _shortened(panel: Attention, steps: int) -> Attention:
    return Attention(panel.source, panel.written[:steps], panel.weights[:steps])


def _plain(panel: Attention) -> dict[str, Any]:
    panel = _shortened(panel, STEPS)
    return {**panel._asdict(), "weights": panel.weights.astype(float).round(DIGITS).tolist()}


def read(file: Path) -> list[Attention]:
    """Returns the attention of each sentence of a file."""
    rows = json.loads(file.read_text(encoding="utf-8"))
    return [Attention(row["source"], row["written"], np.array(row["weights"], float)) for row in rows]
