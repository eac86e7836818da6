"""Commands for a trained text classifier: `python -m src.use RUN predict "a film I would see again"`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from src.tasks.sentiment import predicting


class Format(StrEnum):
    """Output format."""

    text = "text"
    csv = "csv"
    jsonl = "jsonl"


def predict(
    folder: Path,
    texts: Annotated[list[str] | None, typer.Argument(help="texts to classify", show_default=False)] = None,
    file: Annotated[str | None, typer.Option(help="file with one text per line; - reads standard input")] = None,
    format: Annotated[Format, typer.Option(help="csv and jsonl give every class's probability in full")] = Format.text,
) -> int:
    """Classifies texts. Exit code: 0 if every text is answered, 1 if some are not, 2 for a usage error."""
    return predicting.answer(str(folder), texts or [], file=file, output_format=format.value)
