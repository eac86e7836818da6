"""Commands on a trained language model: `python -m src.use RUN generate` and `python -m src.use RUN score FILE`."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from src.parts.strategies import option
from src.tasks.language_model import generating, scoring, trained
from src.tasks.language_model.generating import STRATEGIES, Options
from src.terminal.visible import one_line, replace_what_the_terminal_lacks, shortened

SHOWN = 60  # characters of a text beside its score


class Strategy(StrEnum):
    """How words are chosen."""

    greedy = "greedy"
    sample = "sample"
    beam = "beam"


class Texts(StrEnum):
    """What counts as one text."""

    line = "line"
    paragraph = "paragraph"


def generate(
    folder: Path,
    prompt: Annotated[str, typer.Option(help="beginning of the texts; empty = the start of a text")] = "",
    strategy: Annotated[Strategy, typer.Option(help="greedy = the likeliest word each time")] = Strategy.sample,
    length: Annotated[int, typer.Option(help="largest number of words after the prompt")] = 40,
    allow_unknown: Annotated[bool, typer.Option("--allow-unknown", help="let texts contain the unknown word")] = False,
    samples: Annotated[int | None, option(STRATEGIES, "samples", "number of texts")] = None,
    temperature: Annotated[float | None, option(STRATEGIES, "temperature", "below 1 prefers likely words")] = None,
    top_k: Annotated[int | None, option(STRATEGIES, "top_k", "draw from the k likeliest words")] = None,
    top_p: Annotated[float | None, option(STRATEGIES, "top_p", "draw from the likeliest words of this share")] = None,
    seed: Annotated[int | None, option(STRATEGIES, "seed", "seed of the draws")] = None,
    beam_size: Annotated[int | None, option(STRATEGIES, "beam_size", "number of texts")] = None,
    length_penalty: Annotated[
        float | None, option(STRATEGIES, "length_penalty", "0 ranks by log p, 1 per word")
    ] = None,
    no_repeat: Annotated[
        int | None, option(STRATEGIES, "no_repeat", "words in a row that come only once; 0 = no limit")
    ] = None,
) -> None:
    """Writes texts with their log-probability per word, one text on a line."""
    model = trained.load(folder)
    own = {
        "samples": samples, "temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed,
        "beam_size": beam_size, "length_penalty": length_penalty, "no_repeat": no_repeat,
    }  # fmt: skip
    given = {name: value for name, value in own.items() if value is not None}
    options = Options(strategy.value, prompt, length, allow_unknown, given)
    generating.check(options, model)
    start = generating.encoded(prompt, model)
    for remark in start.remarks:
        print(f"note: {remark}", file=sys.stderr)
    texts = generating.generate(options, start, model, model.stepper())
    replace_what_the_terminal_lacks()
    print(
        f"number\tlog-probability per {model.vocabulary.unit.removesuffix('s')}\t{model.vocabulary.unit}\tended\ttext"
    )
    for number, text in enumerate(texts, 1):
        shown = one_line(model.vocabulary.text([*start.ids, *text.words]))
        print(f"{number}\t{text.per_word:.3f}\t{len(text.words)}\t{'yes' if text.has_ended else 'no'}\t{shown}")
    if strategy is Strategy.sample:
        print(f"The likeliest of {len(texts)} texts is text {generating.likeliest(texts) + 1}.")


def score(
    folder: Path,
    file: Annotated[str, typer.Argument(help="text file", show_default=False)],
    texts: Annotated[Texts | None, typer.Option(help="what is one text; default: as in the trial's corpus")] = None,
) -> None:
    """Prints the log-probability, the number of words and the perplexity of every text, and of the whole file."""
    model = trained.load(folder)
    kind = texts.value if texts else scoring.default_texts(model.settings)
    for _ in scoring.parts(file, texts=kind):  # a fault ends the command before the model is loaded
        pass
    replace_what_the_terminal_lacks()
    found = scoring.scores(scoring.parts(file, texts=kind), model.vocabulary, model.stepper())
    whole = None
    print(f"line\tlog-probability\t{model.vocabulary.unit}\tunknown\tperplexity\ttext")
    for part, one in found:
        whole = one if whole is None else whole + one
        print(f"{part.line}\t{_columns(one)}\t{one_line(shortened(part.text, SHOWN))}", flush=True)
    if whole is not None:
        print(f"all\t{_columns(whole)}\t{one_line(file)}")


def _columns(one: scoring.Score) -> str:
    return f"{one.log_probability:.3f}\t{one.words}\t{one.unknown}\t{one.perplexity:.1f}"
