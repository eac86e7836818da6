"""What one does with a trained classifier of texts: `python -m src.use RUN predict "a film I would see again"`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from src.tasks.sentiment import predicting


class Format(StrEnum):
    """How answers are printed."""

    text = "text"
    csv = "csv"
    jsonl = "jsonl"


def predict(
    folder: Path,
    texts: Annotated[list[str] | None, typer.Argument(help="texts to classify", show_default=False)] = None,
    file: Annotated[str | None, typer.Option(help="file with one text a line; - reads standard input")] = None,
    format: Annotated[Format, typer.Option(help="csv and jsonl give every class's probability in full")] = Format.text,
) -> int:
    """Classifies texts. Ends with 0 if every text is answered, with 1 if some are not, and with 2 for what was typed wrong."""
    return predicting.answer(str(folder), texts or [], file=file, form=format.value)
