"""Some texts of a split as a model reads them, with what it predicts: for a look, not for numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from src.data.tokens import FIRST_WORD, START, UNKNOWN
from src.terminal.visible import in_markdown

COUNT = 5  # texts
LENGTH = 60  # steps of each
FROM = 10_000  # rows, the first ones of a split; to find one, the batches before it are made
SPECIAL = {START: "[start]", UNKNOWN: "[unknown]"}


class Reading(NamedTuple):
    """How a model reads texts.

    Attributes:
      words: the first has the id `FIRST_WORD`.
      classes: name of each class.
      is_masked: whether states are carried over padding.
      gap: stands between two words.
    """

    words: Sequence[str]
    classes: Sequence[str]
    is_masked: bool
    gap: str = " "


def samples(
    batches: Callable[[], Iterable[Any]], labels: np.ndarray, probabilities: np.ndarray, how: Reading
) -> list[dict[str, Any]]:
    """Returns texts from all over the first 10,000 rows of a split, the same ones for every trial that has these data.

    Args:
      batches: of the split, (ids int32[B, T], anything, rows int64[B]); id 0 is padding.
      labels: int32[N] in the order of the split's rows.
      probabilities: float32[N, K] in the same order; one column is of class 1.
      how: the model reads.

    Returns:
      For each: `text`, at most `LENGTH` steps of it, and how many `more` there are; the steps of `padding` in its batch, their `side`,
      whether it `is_masked`; its `class`, the `prediction` and that prediction's `probability`.
    """
    count = min(FROM, len(labels))
    wanted = np.unique(np.linspace(0, count - 1, min(COUNT, count)).round().astype(int)).tolist()
    read = _rows(batches, wanted)
    return [_sample(read[row], int(labels[row]), probabilities[row], how) for row in wanted if row in read]


def _rows(batches: Callable[[], Iterable[Any]], wanted: Sequence[int]) -> Mapping[int, np.ndarray]:
    """Returns row → ids int32[T], as they stand in their batches."""
    found: dict[int, np.ndarray] = {}
    seen = 0
    for inputs, _, rows in batches():
        seen += len(rows)
        for place, row in enumerate(np.asarray(rows)):
            if int(row) in wanted:
                found[int(row)] = np.asarray(inputs[place])
        if len(found) == len(wanted) or seen > 2 * FROM:
            break
    return found


def _sample(ids: np.ndarray, label: int, probabilities: np.ndarray, how: Reading) -> dict[str, Any]:
    real = ids[ids != 0]
    shares = np.array([1 - probabilities[0], probabilities[0]]) if len(probabilities) == 1 else probabilities
    best = int(shares.argmax())
    return {
        "text": how.gap.join(_word(one, how.words) for one in real[:LENGTH].tolist()),
        "more": max(0, len(real) - LENGTH),
        "padding": len(ids) - len(real),
        "side": "pre" if len(ids) and ids[0] == 0 else "post",
        "is_masked": how.is_masked,
        "class": how.classes[label],
        "prediction": how.classes[best],
        "probability": float(shares[best]),
    }


def _word(number: int, words: Sequence[str]) -> str:
    return SPECIAL.get(number) or words[number - FIRST_WORD]


def markdown(samples: Sequence[Mapping[str, Any]]) -> str:
    """Returns what TensorBoard shows of samples: texts as the model reads them, each below what it predicts.

    It is no table, whose narrow columns would break the words.
    """
    return "\n\n".join(f"{_prediction(sample)}\n\n> {_as_read(sample)}" for sample in samples)


def _prediction(sample: Mapping[str, Any]) -> str:
    outcome = "right" if sample["prediction"] == sample["class"] else "**wrong**"
    predicted = f"predicted {in_markdown(sample['prediction'])} with probability {sample['probability']:.3f}"
    return f"class {in_markdown(sample['class'])}, {predicted}: {outcome}"


def _as_read(sample: Mapping[str, Any]) -> str:
    text, more = in_markdown(sample["text"]), f"*… and {sample['more']} steps more*" if sample["more"] else ""
    how = "masked" if sample["is_masked"] else "read like words"
    padding = f"*{sample['padding']} steps of padding, {how}*" if sample["padding"] else ""
    return " ".join(filter(None, [padding, text, more] if sample["side"] == "pre" else [text, more, padding]))
