"""The loss per test word of a trial and of the 5-gram model: by the word's frequency in training, and by its position.

A trial stores means over ranges, not words. Letters: N test words, ends of texts included; K ranges.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from src.data.splits import TEST, TRAIN
from src.data.tokens import UNKNOWN
from src.files import replaced
from src.tasks.language_model import baselines, texts
from src.tasks.language_model.settings import Settings, is_stream

if TYPE_CHECKING:
    from src.data.encoded import Encoded
    from src.training.task import Trained

FILE = "losses.json"
FREQUENCY, POSITION = "frequency", "position"
FREQUENCIES = [digit * 10**power for power in range(10) for digit in (1, 2, 5)]  # where ranges begin
POSITIONS = sorted({2**power for power in range(25)} | {3 * 2**power for power in range(24)})
OTHERS = {UNKNOWN: "unknown word", texts.END: "end of a text"}  # no words of the vocabulary


def of_trial(settings: Settings, data: Encoded, trained: Trained) -> dict[str, Any]:
    """Returns the means of a trained model, as plain values.

    Returns:
      `length`: words of a training example (of the longest one, if they differ).
      `frequency`: ranges of how often a word of the vocabulary occurs in training.
      `others`: the unknown word and the end of a text, each with its `name`.
      `position`: ranges of the place of a word in its text, from 1; one range ends at `length`.
      The last three are lists. Each entry has `low` and `high` (both within the range), the number of `words`, and the
        mean loss in nats of the `model` and of the `ngrams`.
    """
    train, tested = (texts.predicted(data, name, settings.vocab_size) for name in (TRAIN, TEST))
    of_models = trained.test.positions[texts.LOSSES], -baselines.of_corpus(settings, data).test
    length = settings.length if is_stream(settings) else texts.longest_steps(settings, data)
    counts = np.bincount(train, minlength=settings.vocab_size)[tested]
    is_other = np.isin(tested, list(OTHERS))
    known = [values[~is_other] for values in (counts, *of_models)]
    others = [
        {"name": name, **one}
        for word, name in OTHERS.items()
        for one in ranges([int((train == word).sum())], *(values[tested == word] for values in (counts, *of_models)))
    ]
    return {
        "length": length,
        FREQUENCY: ranges(FREQUENCIES, *known),
        "others": others,
        POSITION: ranges(sorted({*POSITIONS, length + 1}), places(tested), *of_models),
    }


def places(words: np.ndarray) -> np.ndarray:
    """Returns the position of each word in its text, from 1, int64[N], of texts that each end with `END`, int[N]."""
    number = np.arange(len(words))
    is_first = np.concatenate([[True], words[:-1] == texts.END])[: len(words)]
    return np.asarray(number - np.maximum.accumulate(np.where(is_first, number, 0)) + 1)


def ranges(begins: Sequence[int], values: np.ndarray, model: np.ndarray, ngrams: np.ndarray) -> list[dict[str, Any]]:
    """Returns the ranges that contain a value, with the mean losses of their words.

    Args:
      begins: smallest value of each range, K rising numbers.
      values: int[N] from `begins[0]` up.
      model: float[N] losses.
      ngrams: float[N] losses.
    """
    place = np.searchsorted(begins, values, side="right") - 1
    words, of_model, of_ngrams = (np.bincount(place, weights, len(begins)) for weights in (None, model, ngrams))
    return [
        {
            "low": int(begins[k]),
            "high": int(begins[k + 1] - 1 if k + 1 < len(begins) else values.max()),
            "words": int(words[k]),
            "model": float(of_model[k] / words[k]),
            "ngrams": float(of_ngrams[k] / words[k]),
        }
        for k in np.flatnonzero(words).tolist()
    ]


def write(folder: Path, values: dict[str, Any]) -> str:
    """Writes the means of `of_trial`; returns the name of the file."""
    with replaced(folder / FILE) as path:
        path.write_text(json.dumps(values), encoding="utf-8")
    return FILE
