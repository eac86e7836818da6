"""The data of a language model in a few lines, for the plan."""

from __future__ import annotations

from collections.abc import Sequence

from src.data.encoded import Encoded
from src.data.splits import SPLITS
from src.tasks.language_model import texts
from src.tasks.language_model.settings import Settings
from src.terminal.visible import one_line

SHOWN = 4  # largest number of vocabularies whose share of unknown words is shown


def lines(settings: Sequence[Settings], data: Encoded) -> list[str]:
    """Returns counts of texts and words, and the shares of unknown words for the vocabularies of a study."""
    unit = "characters" if data.contents.tokens == "character" else "words"
    table = [
        f"data {one_line(data.origin)}: {data.contents.vocabulary:,} different {unit} in training",
        _row("", SPLITS),
        _row("texts", [f"{data.rows[name]:,}" for name in SPLITS]),
        _row(f"{unit}, with one end of each text", [f"{count:,}" for count in texts.word_counts(data).values()]),
    ]
    leaked = data.contents.leaked
    table.append(
        _row("texts also in an earlier split", [f"{leaked[name]:,}" if name in leaked else "" for name in SPLITS])
    )
    first_of_size = {one.vocab_size: one for one in reversed(settings)}
    for size, first in sorted(first_of_size.items())[:SHOWN]:
        shares = texts.unknown_shares(first, data)
        table.append(_row(f"unknown with vocab_size={size}", [f"{shares[name]:.1%}" for name in SPLITS]))
    return table


def _row(title: str, cells: Sequence[str]) -> str:
    return f"  {title:<38}{''.join(f'{cell:>11}' for cell in cells)}".rstrip()
