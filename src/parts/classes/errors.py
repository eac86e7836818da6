"""The worst errors of a classifier in its test: their file, and the command that prints them. N examples, K classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
import typer

from src.parts.classes.probabilities import decided, worst
from src.terminal.errors import first_line
from src.terminal.visible import echoed, one_line, replace_what_the_terminal_lacks

if TYPE_CHECKING:
    import pandas as pd

FILE = "worst_test.parquet"
KEPT = 24  # examples in the file
NEEDED = ("row", "class", "prediction", "probability", "is_wrong")  # columns that files of every version have


class Source(NamedTuple):
    """Where an example comes from.

    Attributes:
      file: name of its file; empty if the data have several without names.
      row: its row there, from 1; None for a file with a single example.
    """

    file: str
    row: int | None

    def __str__(self) -> str:
        """Returns `row 12 of mine.csv`, or the name of the file."""
        return self.file if self.row is None else f"row {self.row:,} of {self.file or 'the data'}"


def table(probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str], *, threshold: float) -> dict[str, Any]:
    """Returns the worst examples of a test as columns, the wrong ones first.

    Args:
      probabilities: float[N, K].
      labels: int[N].
      classes: name of each class.
      threshold: probability from which on class 1 of two is predicted.

    Returns:
      `row` (of the test split, from 0, as in `test_probabilities.parquet`), `class`, `prediction`, `probability` (of
      the prediction), `probability_of_class` and `is_wrong`.
    """
    rows = worst(probabilities, labels, KEPT, threshold=threshold)
    own, chosen = labels[rows], decided(probabilities[rows], threshold)
    return {
        "row": rows,
        "class": [classes[label] for label in own],
        "prediction": [classes[label] for label in chosen],
        "probability": probabilities[rows, chosen],
        "probability_of_class": probabilities[rows, own],
        "is_wrong": own != chosen,
    }


def places(sources: Sequence[Source]) -> dict[str, Any]:
    """Returns the columns `source` and `source_row` of the file."""
    import pandas as pd

    files = [one_line(source.file) for source in sources]  # Parquet allows no surrogates
    return {"source": files, "source_row": pd.array([source.row for source in sources], "Int64")}


def errors(
    folder: Path,
    count: Annotated[int, typer.Option("--count", min=1, max=KEPT, help="largest number of examples")] = 10,
) -> None:
    """Prints the test examples that the model got wrong, the least probability of the own class first.

    A trial keeps at most 24 of them.
    """
    frame = _read(folder / FILE)
    replace_what_the_terminal_lacks()
    wrong = frame[frame["is_wrong"].astype(bool)].head(count)
    if wrong.empty:
        print(f"no error: each of the {len(frame)} worst test examples is right")
        return
    has_texts = "text" in frame
    print("\t".join(["number", "class", "prediction", "probability", "source", *(["text"] if has_texts else [])]))
    for number, row in enumerate(wrong.to_dict("records"), 1):
        names = (one_line(str(row[name])) for name in ("class", "prediction"))
        cells = [str(number), *names, f"{row['probability']:.3f}", echoed(_source(row))]
        cells += [echoed(_text(row))] if has_texts else []
        print("\t".join(cells))


def _read(path: Path) -> pd.DataFrame:
    """Returns the file's table.

    Raises:
      ValueError: it cannot be read, or is another table.
    """
    import pandas as pd

    try:
        frame = pd.read_parquet(path)
    except Exception as error:  # pyarrow raises many kinds of errors for broken files
        raise ValueError(f"{path}: cannot be read ({first_line(error)})") from None
    if lacking := [name for name in NEEDED if name not in frame]:
        raise ValueError(f"{path}: has no column {lacking[0]!r}, so it is not the table of a trial's worst errors")
    return frame


def _source(row: dict[Any, Any]) -> str:
    """Returns where an example is; in files of earlier versions, which name no source, its row in the test."""
    import pandas as pd

    file, number = row.get("source"), row.get("source_row")
    if pd.isna(file):
        return f"row {row['row']} of the test split, from 0"
    return str(Source(str(file), None if pd.isna(number) else int(number)))


def _text(row: dict[Any, Any]) -> str:
    """Returns the original text, or where it is not known the text as the model reads it."""
    return str(row["original"] if isinstance(row.get("original"), str) else row["text"])
