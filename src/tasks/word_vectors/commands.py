"""Commands on trained word vectors: `python -m src.use RUN nearest|analogy|similarity|export`."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from src.tasks.word_vectors import exporting, vectors
from src.terminal.visible import counted, one_line, replace_what_the_terminal_lacks


class Table(StrEnum):
    """Which vector of a word."""

    input = "input"
    output = "output"
    sum = "sum"
    average = "average"


RARE = 20  # occurrences under which a word's vector has been moved too few times to be believed
FREQUENT = 5_000  # words of a restricted vocabulary

Combine = Annotated[Table | None, typer.Option(help="vector of a word; default: the trial's combine")]
Count = Annotated[int, typer.Option(min=1, max=1_000, help="number of words")]
Among = Annotated[
    int | None,
    typer.Option("--restrict-vocab", min=1, help="answer with this many of the most frequent words only; default: all"),
]


def nearest(
    folder: Path,
    word: Annotated[str, typer.Argument(show_default=False)],
    count: Count = 10,
    restrict_vocab: Among = None,
    combine: Combine = None,
) -> None:
    """Prints the words nearest to a word, with their cosines."""
    found = vectors.load(folder, how=combine and combine.value)
    _print(found.nearest(word, count, among=restrict_vocab), found, "cosine")


def analogy(
    folder: Path,
    text: Annotated[list[str], typer.Argument(help="as in: king - man + woman", show_default=False)],
    count: Count = 10,
    multiply: Annotated[bool, typer.Option("--multiply", help="3CosMul in place of 3CosAdd")] = False,
    restrict_vocab: Among = None,
    combine: Combine = None,
) -> None:
    """Answers an analogy. Its own words are left out of the answers."""
    found = vectors.load(folder, how=combine and combine.value)
    near = found.analogy(" ".join(text), count, multiplied=multiply, among=restrict_vocab)
    _print(near, found, "score")
    rare = sum(of_word < RARE for of_word in (found.counts[found.ids[one.word]] for one in near))
    if rare and restrict_vocab is None:
        what = f"{counted(rare, 'answer')} of {len(near)} occur{'s' if rare == 1 else ''} fewer than {RARE} times"
        print(f"{what}; --restrict-vocab {FREQUENT} answers with frequent words only", file=sys.stderr)


def similarity(
    folder: Path,
    one: Annotated[str, typer.Argument(show_default=False)],
    other: Annotated[str, typer.Argument(show_default=False)],
    combine: Combine = None,
) -> None:
    """Prints the cosine of two words, from -1 to 1."""
    print(f"{vectors.load(folder, how=combine and combine.value).similarity(one, other):.4f}")


def export(
    folder: Path,
    file: Annotated[Path, typer.Argument(help="file to write", show_default=False)],
    text: Annotated[bool, typer.Option("--text", help="the text format in place of the binary one")] = False,
    combine: Combine = None,
) -> None:
    """Writes the vectors in the format of word2vec; gensim reads it with KeyedVectors.load_word2vec_format."""
    found = vectors.load(folder, how=combine and combine.value)
    exporting.write(file, found, is_binary=not text)
    flag = "False" if text else "True"
    print(f"{len(found.words):,} vectors of size {found.table.shape[1]} in {one_line(str(file))}")
    print(f"gensim reads it with KeyedVectors.load_word2vec_format({str(file)!r}, binary={flag})")


def _print(near: list[vectors.Near], of: vectors.Vectors, what: str) -> None:
    replace_what_the_terminal_lacks()
    print(f"number\t{what}\tcount\tword")
    for number, one in enumerate(near, 1):
        print(f"{number}\t{one.similarity:.4f}\t{of.counts[of.ids[one.word]]}\t{one_line(one.word)}")
