"""Compares ways to generate text, and writes docs/samples/strategies.md for docs/predicting.md.

python -m docs.strategies RUN && python -m docs.generated

Every strategy continues the beginnings of the same test texts. The trained model and the texts are fixed, so intervals
are over beginnings: they do not say what another trained model would write.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from docs import samples
from src.data.splits import TEST
from src.inference.student import Interval, interval
from src.paths import REPOSITORY
from src.tasks.language_model import generating, texts
from src.tasks.language_model.generating import Options, Prompt
from src.tasks.language_model.settings import Settings
from src.tasks.language_model.stepping import Stepper
from src.tasks.language_model.task import TASK
from src.tasks.language_model.texts import END
from src.tasks.language_model.trained import Trained

FILE = REPOSITORY / "docs" / "samples" / "strategies.md"
BEGINNINGS, READ, LENGTH = 100, 5, 40  # test texts, the words of each that are read, the words that continue it
SPAN = 3  # words of the n-grams whose repetition is counted
EVERY_WORD = {"temperature": 1.0, "top_k": 10_000_000, "top_p": 1.0}
WAYS: Mapping[str, tuple[str, Mapping[str, float]]] = {  # title → strategy and its options; the first is the reference
    "`greedy --no-repeat 0`": ("greedy", {"no_repeat": 0}),
    "`greedy`": ("greedy", {}),
    "`beam --no-repeat 0`": ("beam", {"no_repeat": 0}),
    "`beam`": ("beam", {}),
    "`beam --beam-size 20`": ("beam", {"beam_size": 20}),
    "`sample`, one text": ("sample", {"samples": 1}),
    "`sample`, the likeliest of 10": ("sample", {"samples": 10}),
    "`sample --temperature 1 --top-p 1`, one text, from all words": ("sample", {"samples": 1, **EVERY_WORD}),
}
MEASURES = ("log-probability per word", f"repeated {SPAN}-grams", "distinct words")


class Written(NamedTuple):
    """A continuation: its ids without the end of the text, and its log-probability per word, the end included."""

    words: list[int]
    per_word: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the file; returns 0, or 2 for an error."""
    return samples.write(arguments, FILE, table, command="docs.strategies")


def beginnings(settings: Settings) -> list[np.ndarray]:
    """Returns the first words of test texts, int32[1 + READ + LENGTH] ids each, from the start of the text.

    They are evenly spread over the test texts that are long enough.

    Raises:
      ValueError: no test text is long enough, or the corpus cannot be read.
    """
    split = texts.with_ends(TASK.load(settings).split(TEST), settings.vocab_size)
    whole = 1 + READ + LENGTH
    rows = np.flatnonzero(split.lengths > whole)  # the end, too, comes later
    if not len(rows):
        raise ValueError(f"no test text has more than {whole - 1} {settings.tokens}s")
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, BEGINNINGS).round().astype(int))]
    return [np.array(split.ids[begin : begin + whole]) for begin in split.starts[chosen]]


def continued(title: str, begins: Sequence[np.ndarray], model: Trained, stepper: Stepper) -> list[Written]:
    """Returns one continuation of each beginning, in the way of `WAYS` with this title."""
    strategy, given = WAYS[title]
    found = []
    for number, ids in enumerate(begins):
        own = {**given, "seed": number} if strategy == "sample" else given
        options = Options(strategy, "", LENGTH, False, own)
        generating.check(options, model)
        drawn = generating.generate(options, Prompt(ids[: 1 + READ].tolist(), []), model, stepper)
        best = drawn[generating.likeliest(drawn) if strategy == "sample" else 0]
        found.append(Written([word for word in best.words if word != END], best.per_word))
    return found


def originals(begins: Sequence[np.ndarray], stepper: Stepper) -> list[Written]:
    """Returns how the texts themselves continue, with the log-probability that the model gives to these words."""
    whole, read = (np.array(stepper.log_probabilities(part)) for part in (begins, [ids[: 1 + READ] for ids in begins]))
    per_word = (whole - read) / LENGTH
    return [Written(ids[1 + READ :].tolist(), float(each)) for ids, each in zip(begins, per_word, strict=True)]


def repeated(words: Sequence[int], n: int = SPAN) -> float:
    """Returns the share of the n-grams of a text that occur earlier in it; 0 for a text without any.

    Source: Welleck et al., "Neural Text Generation with Unlikelihood Training", ICLR 2020 (seq-rep-n).
    """
    grams = [tuple(words[begin : begin + n]) for begin in range(len(words) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def distinct(words: Sequence[int]) -> float:
    """Returns the number of different words of a text as a share of its words; 1 for a text without words.

    Source: distinct-1 of Li et al., "A Diversity-Promoting Objective Function for Neural Conversation Models", NAACL
    2016, of each text instead of all texts, so that every text gives a value.
    """
    return len(set(words)) / len(words) if words else 1.0


def measured(found: Sequence[Written]) -> np.ndarray:
    """Returns float64[N, 3], the `MEASURES` of N continuations."""
    return np.array([[one.per_word, repeated(one.words), distinct(one.words)] for one in found])


def table(model: Trained) -> str:
    """Returns the means of each strategy, and its differences from the first one, with intervals over beginnings."""
    begins = beginnings(model.settings)  # an error about the corpus comes before the model is loaded
    stepper = model.stepper()
    found = {title: continued(title, begins, model, stepper) for title in WAYS}
    found["the reviews themselves" if model.settings.data.name == "movie_reviews" else "the texts themselves"] = (
        originals(begins, stepper)
    )
    values = {title: measured(each) for title, each in found.items()}
    reference, *others = values
    about = (
        f"`python -m docs.strategies RUN`: {len(begins)} test texts, the first {READ} words read and "
        f"{LENGTH} generated; means with 95 % intervals over texts; {samples.described(model.settings)}."
    )
    head = ["strategy", *MEASURES, "words per text", "different words in all"]
    rows = [[title, *cells(values[title]), *_sizes(each)] for title, each in found.items()]
    changes = [[title, *cells(values[title] - values[reference], sign="+")] for title in others]
    return f"{markdown(head, rows)}\n\n{markdown([f'against {reference}', *MEASURES], changes)}\n\n{about}\n"


def cells(values: np.ndarray, sign: str = "") -> list[str]:
    """Returns the mean of each column of float64[N, M], with its 95 % interval."""
    return [_shown(interval(column), sign) for column in values.T]


def _shown(one: Interval, sign: str) -> str:
    mean = f"{one.mean:{sign}.2f}"
    return mean if np.isnan(one.low) else f"{mean} [{one.low:{sign}.2f}, {one.high:{sign}.2f}]"


def _sizes(found: Sequence[Written]) -> list[str]:
    words = [word for one in found for word in one.words]
    return [f"{len(words) / len(found):.1f}", f"{len(set(words)):,}"]


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table in Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


if __name__ == "__main__":
    sys.exit(main())
