"""Asks trained word vectors for two analogies, and writes docs/samples/analogies.md for experiments/word_vectors.md.

python -m docs.analogies RUN RUN… && python -m docs.generated

The runs are trials that differ by their seed only. Each analogy is answered with all words, and with the most frequent
ones only.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from docs import samples
from docs.strategies import markdown
from src.artifacts import MODEL
from src.parts import model_files
from src.paths import REPOSITORY
from src.tasks.word_vectors import vectors
from src.tasks.word_vectors.commands import FREQUENT
from src.tasks.word_vectors.settings import Settings
from src.tasks.word_vectors.vectors import Vectors
from src.terminal.visible import in_markdown

FILE = REPOSITORY / "docs" / "samples" / "analogies.md"
EXPECTED = {"king - man + woman": "queen", "paris - france + germany": "berlin"}
SIGNS = ("-", "+")
SHOWN = 3


class Trained(NamedTuple):
    """A trained model: its settings and its vectors."""

    settings: Settings
    vectors: Vectors


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the file; returns 0, or 2 for an error."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    return samples.write_of(words, FILE, table, _loaded, (MODEL,), usage="docs.analogies RUN RUN…")


def _loaded(folder: Path) -> Trained:
    settings, _ = model_files.read(folder, Settings, reads="word vectors")
    return Trained(settings, vectors.load(folder))


def table(models: Sequence[Trained]) -> str:
    """Returns the place of the expected word in each model, and the first answers of the one with the lowest seed.

    Raises:
      ValueError: the trials differ by more than their seed, two have the same one, or a word has no vector.
    """
    models = sorted(models, key=lambda one: one.settings.seed)
    settings = samples.common([one.settings for one in models])
    first = models[0]
    rows = [
        [
            " ".join(part if part in SIGNS else _counted(first.vectors, part) for part in text.split()),
            _counted(first.vectors, word),
            f"the {among:,} most frequent" if among else f"all {len(first.vectors.words):,}",
            ", ".join(str(_place(one.vectors, text, word, among)) for one in models),
            ", ".join(_answers(first.vectors, text, among)),
        ]
        for text, word in EXPECTED.items()
        for among in (None, FREQUENT)
    ]
    head = ["analogy", "expected", "words", "its place, by seed", f"first {SHOWN} of seed {first.settings.seed}"]
    seeds = ", ".join(str(one.settings.seed) for one in models)
    about = (
        "`python -m docs.analogies RUN RUN…`: in brackets, how often training has a word; "
        f"seeds {seeds}; {samples.described(settings, without=('seed',))}."
    )
    return f"{markdown(head, rows)}\n\n{about}\n"


def _counted(of: Vectors, word: str) -> str:
    """Returns a word, and in brackets how often training has it."""
    return f"{in_markdown(word)} ({of.counts[of.number(word)]:,})"


def _place(of: Vectors, text: str, word: str, among: int | None) -> int:
    """Returns the place of a word among the answers, counted from 1."""
    answers = [near.word for near in of.analogy(text, len(of.words), among=among)]
    if word not in answers:
        raise ValueError(f"{word!r} is none of the {len(answers):,} words that can answer {text}")
    return answers.index(word) + 1


def _answers(of: Vectors, text: str, among: int | None) -> list[str]:
    return [_counted(of, near.word) for near in of.analogy(text, SHOWN, among=among)]


if __name__ == "__main__":
    sys.exit(main())
