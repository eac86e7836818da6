"""The worst-classified images: those with the lowest probability of their own class. N images, K classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from src.data.images import Split, Stored
from src.files import replaced
from src.parts.classes.probabilities import worst
from src.terminal.visible import in_markdown

FILE = "worst_test.parquet"
KEPT = 24  # images in the file
SHOWN = 8  # images of each split that TensorBoard shows


def samples(data: Stored, name: str, probabilities: np.ndarray) -> list[dict[str, Any]]:
    """Returns the worst images of a split, each with its name, class and prediction, and both probabilities.

    Args:
      data: that the split is of.
      name: of the split.
      probabilities: float[N, K].
    """
    split, names = data.split(name), data.names()
    found = []
    for row in worst(probabilities, split.labels, SHOWN).tolist():
        label, best = int(split.labels[row]), int(probabilities[row].argmax())
        found.append(
            {
                "split": name,
                "row": row,
                "image": names[split.rows[row]] if names else f"row {split.rows[row] + 1:,} of the data",
                "class": data.classes[label],
                "prediction": data.classes[best],
                "probability": float(probabilities[row, best]),
                "probability_of_class": float(probabilities[row, label]),
            }
        )
    return found


def markdown(samples: Sequence[Mapping[str, Any]]) -> str:
    """Returns the samples as Markdown tables for TensorBoard, one per split, the worst first."""
    parts = []
    for split in dict.fromkeys(sample["split"] for sample in samples):
        lines = [
            f"Worst-classified images of the {split} split",
            "",
            "| image | class | its probability | prediction | its probability |",
        ]
        lines.append("| --- | --- | --- | --- | --- |")
        for one in (sample for sample in samples if sample["split"] == split):
            mark = "" if one["prediction"] == one["class"] else " (**wrong**)"
            cells = [in_markdown(one["image"]), in_markdown(one["class"]), f"{one['probability_of_class']:.3f}"]
            cells += [f"{in_markdown(one['prediction'])}{mark}", f"{one['probability']:.3f}"]
            lines.append(f"| {' | '.join(cells)} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def write(folder: Path, split: Split, probabilities: np.ndarray, classes: Sequence[str]) -> str:
    """Writes the worst images of the test split with their pixels, for figures; returns the file's name.

    Args:
      folder: of the trial.
      split: of test.
      probabilities: float[N, K].
      classes: name of each class.
    """
    import pandas as pd

    rows = worst(probabilities, split.labels, KEPT)
    labels, best = split.labels[rows], probabilities[rows].argmax(axis=1)
    frame = pd.DataFrame(
        {
            "row": rows,
            "class": [classes[label] for label in labels],
            "prediction": [classes[label] for label in best],
            "probability": probabilities[rows, best],
            "is_wrong": labels != best,
            "pixels": [np.ascontiguousarray(split.images[row]).tobytes() for row in rows],
            **dict(zip(("height", "width", "channels"), split.images.shape[1:], strict=True)),
        }
    )
    with replaced(folder / FILE) as path:
        frame.to_parquet(path, index=False)
    return FILE
