"""The worst-classified images: the wrong ones with the lowest probability of their class. N images, K classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from src.data.images import Stored
from src.data.splits import TEST
from src.files import replaced
from src.parts.classes import errors
from src.parts.classes.errors import Source
from src.parts.classes.probabilities import decided, worst
from src.terminal.visible import in_markdown

SHOWN = 8  # images of each split that TensorBoard shows


def samples(data: Stored, name: str, probabilities: np.ndarray, *, threshold: float = 0.5) -> list[dict[str, Any]]:
    """Returns the worst images of a split, each with its name, class and prediction, and both probabilities.

    Args:
      data: that the split is of.
      name: of the split.
      probabilities: float[N, K].
      threshold: probability from which on class 1 of two is predicted.
    """
    split, names = data.split(name), data.names()
    found = []
    for row in worst(probabilities, split.labels, SHOWN, threshold=threshold).tolist():
        label, best = int(split.labels[row]), int(decided(probabilities[row : row + 1], threshold)[0])
        found.append(
            {
                "split": name,
                "row": row,
                "image": str(_source(int(split.rows[row]), names)),
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


def write(folder: Path, data: Stored, probabilities: np.ndarray, *, threshold: float = 0.5) -> str:
    """Writes the worst images of the test split with their pixels, for figures; returns the file's name.

    Args:
      folder: of the trial.
      data: that the split is of.
      probabilities: float[N, K].
      threshold: probability from which on class 1 of two is predicted.
    """
    import pandas as pd

    split, names = data.split(TEST), data.names()
    table = errors.table(probabilities, split.labels, data.classes, threshold=threshold)
    table |= errors.places([_source(row, names) for row in split.rows[table["row"]].tolist()])
    table["pixels"] = [np.ascontiguousarray(split.images[row]).tobytes() for row in table["row"]]
    table |= dict(zip(("height", "width", "channels"), data.shape, strict=True))
    with replaced(folder / errors.FILE) as path:
        pd.DataFrame(table).to_parquet(path, index=False)
    return errors.FILE


def _source(row: int, names: Sequence[str]) -> Source:
    """Returns where an image comes from; `row` is its position in the data, from 0."""
    return Source(names[row], None) if names else Source("", row + 1)
