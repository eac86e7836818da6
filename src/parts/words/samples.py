"""Sample texts of a split as the model reads them, with its predictions: an illustration, not a statistic."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from src.data.encoded import Original, Sequences
from src.data.tokens import FIRST_WORD, START, UNKNOWN
from src.files import replaced
from src.parts.classes import errors
from src.parts.classes.probabilities import of_every_class
from src.terminal.visible import in_markdown, shortened

MOST = 2_000  # characters of an original text in the file of the worst errors
COUNT = 5  # texts
LENGTH = 60  # largest number of steps that are shown of a text
FIRST_ROWS = 10_000  # rows of a split to choose from, because all batches before a chosen row are computed
SPECIAL = {START: "[start]", UNKNOWN: "[unknown]"}


class Reading(NamedTuple):
    """How a model reads texts.

    Attributes:
      words: the vocabulary; the first word has the id `FIRST_WORD`.
      classes: name of each class.
      is_masked: whether the model skips padding.
      gap: separator between two words.
    """

    words: Sequence[str]
    classes: Sequence[str]
    is_masked: bool
    gap: str = " "


def samples(
    batches: Callable[[], Iterable[Any]], labels: np.ndarray, probabilities: np.ndarray, reading: Reading
) -> list[dict[str, Any]]:
    """Returns texts spread over the first 10,000 rows of a split; all trials with the same data have the same texts.

    Args:
      batches: returns the batches of the split, (ids int32[B, T], anything, rows int64[B]); id 0 is padding.
      labels: int32[N] in the order of the split's rows.
      probabilities: float32[N, K] in the same order; a single column is that of class 1.
      reading: how the model reads the texts.

    Returns:
      One dictionary per text: `text` (at most `LENGTH` steps) and the number of `more` steps; the number of `padding`
      steps in its batch, their `side`, and whether padding `is_masked`; its `class`, the `prediction`, and the
      `probability` of the prediction.
    """
    count = min(FIRST_ROWS, len(labels))
    chosen = np.unique(np.linspace(0, count - 1, min(COUNT, count)).round().astype(int)).tolist()
    ids = _rows(batches, chosen)
    return [_sample(ids[row], int(labels[row]), probabilities[row], reading) for row in chosen if row in ids]


def _rows(batches: Callable[[], Iterable[Any]], chosen: Sequence[int]) -> Mapping[int, np.ndarray]:
    """Returns row → ids int32[T], padded as in their batches."""
    ids_of: dict[int, np.ndarray] = {}
    seen = 0
    for inputs, _, rows in batches():
        seen += len(rows)
        for place, row in enumerate(np.asarray(rows)):
            if int(row) in chosen:
                ids_of[int(row)] = np.asarray(inputs[place])
        if len(ids_of) == len(chosen) or seen > 2 * FIRST_ROWS:
            break
    return ids_of


def _sample(ids: np.ndarray, label: int, probabilities: np.ndarray, reading: Reading) -> dict[str, Any]:
    real = ids[ids != 0]
    (shares,) = of_every_class(probabilities[None])
    best = int(shares.argmax())
    return {
        "text": reading.gap.join(_word(number, reading.words) for number in real[:LENGTH].tolist()),
        "more": max(0, len(real) - LENGTH),
        "padding": len(ids) - len(real),
        "side": "pre" if len(ids) and ids[0] == 0 else "post",
        "is_masked": reading.is_masked,
        "class": reading.classes[label],
        "prediction": reading.classes[best],
        "probability": float(shares[best]),
    }


def _word(number: int, words: Sequence[str]) -> str:
    return SPECIAL.get(number) or words[number - FIRST_WORD]


def write_worst(
    folder: Path,
    split: Sequences,
    probabilities: np.ndarray,
    reading: Reading,
    *,
    originals: Callable[[Sequence[int]], Sequence[Original]],
    threshold: float = 0.5,
) -> str:
    """Writes the texts that the model got wrong, and the least certain of the right ones, the worst first.

    Args:
      folder: of the trial.
      split: N texts of the test as the model reads them.
      probabilities: float[N, K].
      reading: how the model reads the texts.
      originals: the texts of rows as the corpus has them.
      threshold: probability from which on class 1 of two is predicted.

    Returns:
      The name of the file, a table with the columns of `errors.table` and `errors.places`, `text` (as the model reads
      it) and `original`.
    """
    import pandas as pd

    table = errors.table(probabilities, split.labels, reading.classes, threshold=threshold)
    found = originals(table["row"].tolist())
    table |= errors.places([errors.Source(one.file, one.row) for one in found])
    texts = [split.ids[split.starts[row] : split.starts[row + 1]].tolist() for row in table["row"]]
    table["text"] = [
        reading.gap.join(_word(number, reading.words) for number in ids if number != START) for ids in texts
    ]
    table["original"] = [shortened(one.text, MOST) for one in found]
    with replaced(folder / errors.FILE) as path:
        pd.DataFrame(table).to_parquet(path, index=False)
    return errors.FILE


def markdown(samples: Sequence[Mapping[str, Any]]) -> str:
    """Returns the samples as Markdown for TensorBoard: each prediction, followed by the text as the model reads it.

    It is not a table, because TensorBoard's narrow columns would break the words.
    """
    return "\n\n".join(f"{_prediction(sample)}\n\n> {_as_read(sample)}" for sample in samples)


def _prediction(sample: Mapping[str, Any]) -> str:
    outcome = "right" if sample["prediction"] == sample["class"] else "**wrong**"
    predicted = f"predicted {in_markdown(sample['prediction'])} with probability {sample['probability']:.3f}"
    return f"class {in_markdown(sample['class'])}, {predicted}: {outcome}"


def _as_read(sample: Mapping[str, Any]) -> str:
    text, more = in_markdown(sample["text"]), f"*… and {sample['more']} steps more*" if sample["more"] else ""
    treatment = "masked" if sample["is_masked"] else "read like words"
    padding = f"*{sample['padding']} steps of padding, {treatment}*" if sample["padding"] else ""
    return " ".join(filter(None, [padding, text, more] if sample["side"] == "pre" else [text, more, padding]))
