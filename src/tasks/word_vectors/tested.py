"""The files of a trial: its words, the analogies by section, and TensorBoard's projector."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

from src.files import replaced
from src.parts.words import projector, vectors_file
from src.spec.record import EXTRAS
from src.tasks.word_vectors import corpus, course, scores, vectors
from src.tasks.word_vectors.settings import Settings

if TYPE_CHECKING:
    from src.spec.task import Trial
    from src.tasks.word_vectors.corpus import Corpus
    from src.training.task import Trained

FILE = "analogies.json"


def share_multiplied(folder: Path) -> float:
    """Returns the share of answered analogies that 3CosMul solves, from the trial's files; NaN if none was answered."""
    every = json.loads((folder / FILE).read_text(encoding="utf-8"))[-1]
    return every["multiplied"] / every["answered"] if every["answered"] else math.nan


def write(trial: Trial[Settings, Corpus], trained: Trained) -> list[str]:
    """Writes the files of a trained model; returns the names of those that a trial keeps."""
    words, counts = corpus.words_of(trial.settings, trial.data), corpus.counts_of(trial.settings, trial.data)
    table = vectors.of_model(trained.learner.model, trial.settings.combine)
    rows = scores.by_section(scores.unit(table), {word: number for number, word in enumerate(words)})
    with replaced(trial.folder / FILE) as path:
        path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    if trial.settings.tracking.projector:
        projector.write_counted(trial.folder / EXTRAS, table, words, counts.tolist())
    return [
        vectors_file.write(trial.folder, words, counts.tolist()),
        FILE,
        course.write(trial.folder, course.places(table, words)),
    ]
