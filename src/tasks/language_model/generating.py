"""Generates texts with a trained language model: the options, the prompt, and the texts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from src.data.texts import checked
from src.data.tokens import START, UNKNOWN
from src.models import generation
from src.models.generation import Search, Text
from src.parts.strategies import Strategies, check_owner, flag
from src.spec.section import SettingsError
from src.tasks.language_model.settings import Settings, is_stream
from src.tasks.language_model.stepping import Stepper
from src.tasks.language_model.texts import END
from src.tasks.language_model.trained import Trained
from src.terminal.visible import counted, echoed, one_line

STRATEGIES: Strategies = {
    "greedy": {"no_repeat": 3},
    "sample": {"samples": 10, "temperature": 0.8, "top_k": 40, "top_p": 0.9, "seed": 0, "no_repeat": 0},
    "beam": {"beam_size": 5, "length_penalty": 1.0, "no_repeat": 3},
}
LONGEST = 10_000  # words of a text
MOST_ROWS = 1_000  # texts at a time
MOST_NUMBERS = 50_000_000  # texts times ids: a few arrays of 8 bytes each exist at a time
SHOWN = 5  # unknown words that a note names


class Options(NamedTuple):
    """What to generate; `given` has the options of the strategy that are not the defaults of `STRATEGIES`."""

    strategy: str
    prompt: str
    length: int
    allow_unknown: bool
    given: Mapping[str, float]

    @property
    def own(self) -> dict[str, Any]:
        """The options of the strategy, with defaults."""
        return {**STRATEGIES[self.strategy], **self.given}


class Prompt(NamedTuple):
    """The beginning of a text: ids with the start of a text, and remarks for the user."""

    ids: list[int]
    remarks: list[str]


@dataclass(frozen=True)
class Range:
    """The allowed values of an option."""

    least: float
    most: float
    about: str = ""
    is_open: bool = False  # whether `least` itself is not allowed

    def __contains__(self, value: float) -> bool:
        return self.least <= value <= self.most and not (self.is_open and value == self.least)

    def __str__(self) -> str:
        begin = f"above {self.least}" if self.is_open else f"{self.least} or more"
        if self.most < math.inf:
            begin = f"above {self.least}, up to {self.most:,}" if self.is_open else f"{self.least} to {self.most:,}"
        return begin + (f" ({self.about})" if self.about else "")


def check(options: Options, trained: Trained) -> None:
    """Checks options against a model, before TensorFlow is imported.

    Raises:
      SettingsError: a value is outside its range, or an option belongs to another strategy.
    """
    check_owner(STRATEGIES, options.strategy, options.given)
    allowed = _ranges(trained, allow_unknown=options.allow_unknown)
    for name, value in {"length": options.length, **options.own}.items():
        if value not in allowed[name]:
            raise SettingsError(f"{flag(name)}: got {value}; allowed: {allowed[name]}")
    if options.prompt.strip() and (fault := checked(options.prompt).fault):
        raise SettingsError(f"--prompt {echoed(options.prompt)!r}: {fault}")


def _ranges(trained: Trained, *, allow_unknown: bool) -> dict[str, Range]:
    size = trained.settings.vocab_size
    rows = max(1, min(MOST_ROWS, MOST_NUMBERS // size))
    words = size - len(trained.never) - (not allow_unknown)
    return {
        "length": Range(1, LONGEST, f"{trained.vocabulary.unit} after the prompt"),
        "samples": Range(1, rows, "texts that are drawn at a time"),
        "temperature": Range(0, 1_000, "the likeliest word alone is --strategy greedy", is_open=True),
        "top_k": Range(1, math.inf, "1 leaves the likeliest word alone"),
        "top_p": Range(0, 1, "1 leaves all words", is_open=True),
        "seed": Range(0, 2**63 - 1),
        "beam_size": Range(1, min(rows, words), f"{words:,} words can follow a word, the end included"),
        "no_repeat": Range(0, LONGEST, "words in a row that come only once; 0 for no limit"),
        "length_penalty": Range(0, 10, "0 compares log-probabilities of texts, 1 those per word"),
    }


def encoded(prompt: str, trained: Trained) -> Prompt:
    """Returns a prompt as ids. Words outside the vocabulary become the unknown word, as in training."""
    words = trained.vocabulary.divided(prompt)
    ids, unit, remarks = trained.vocabulary.ids(words), trained.vocabulary.unit, []
    if prompt.strip() and not words:
        remarks.append(f"the prompt has no {unit} (no letter and no digit); the texts begin at the start of a text")
    unknown = list(dict.fromkeys(word for word, id_ in zip(words, ids, strict=True) if id_ == UNKNOWN))
    if unknown:
        named = ", ".join(map(one_line, unknown[:SHOWN])) + (", …" if len(unknown) > SHOWN else "")
        known = f"{len(ids) - ids.count(UNKNOWN):,} of the prompt's {counted(len(ids), unit.removesuffix('s'))}"
        remarks.append(f"the model knows {known}, and reads the unknown word for: {named}")
    if (longest := _longest(trained.settings)) and len(words) > longest[0]:
        remarks.append(f"the prompt has {len(words):,} {unit}; the model was trained on {longest[1]}")
    return Prompt([START, *ids], remarks)


def _longest(settings: Settings) -> tuple[int, str] | None:
    """Returns the number of words after which training began anew, and where it says so; None if it is not limited."""
    if settings.stateful:
        return None
    if is_stream(settings):
        return settings.length, f"pieces of {settings.length} (length={settings.length})"
    if settings.max_length is None:
        return None
    return settings.max_length - 1, f"texts of at most {settings.max_length - 1} (max_length={settings.max_length})"


def generate(options: Options, prompt: Prompt, trained: Trained, stepper: Stepper) -> list[Text]:
    """Returns the texts after the prompt: one for `greedy`, all draws for `sample`, the best first for `beam`.

    Args:
      options: checked by `check`.
      prompt: from `encoded`.
      trained: the files of the trial.
      stepper: its model.

    Raises:
      ValueError: a log-probability is not finite.
    """
    step = generation.without(stepper.step, trained.never | (set() if options.allow_unknown else {UNKNOWN}))
    *read, last = prompt.ids
    states = generation.read(stepper.step, stepper.start(), read)
    own = options.own
    search = Search(step, states, last, options.length, END, own.pop("no_repeat"))
    if options.strategy == "greedy":
        return [generation.greedy(search)]
    if options.strategy == "sample":
        return generation.sample(search, count=own.pop("samples"), **own)
    return generation.beam(search, size=own.pop("beam_size"), **own)


def likeliest(texts: list[Text]) -> int:
    """Returns the place of the text with the highest log-probability per word.

    The log-probability of the whole text would prefer short texts, and a draw may end after any word.
    """
    return max(range(len(texts)), key=lambda place: texts[place].per_word)
