"""Translates sentences with a trained model: the options, the sources, and the translations.

Letters: S ids of a source with its end, L largest number of tokens of a translation, n tokens of one, its end included.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from src.data.pair_batches import source_ids
from src.data.pair_contents import SOURCE, TARGET
from src.data.pair_vocabulary import SHOWN_END, SHOWN_UNKNOWN
from src.data.sentence_tokens import JOINER
from src.data.texts import checked
from src.data.tokens import END, UNKNOWN
from src.parts.strategies import Strategies, check_owner, flag
from src.spec.section import SettingsError
from src.tasks.translation.pictures import Attention
from src.tasks.translation.settings import output_limit
from src.tasks.translation.trained import Trained
from src.terminal.visible import counted, echoed, one_line

if TYPE_CHECKING:
    from src.models.translator import Translator

STRATEGIES: Strategies = {
    "greedy": {},
    "sample": {"seed": 0},
    "beam": {"beam_size": 5, "length_penalty": 1.0},
}
RANGES: Mapping[str, tuple[float, float, str]] = {  # option → least, most, what the values mean
    "length": (1, 10_000, "tokens of a translation, its end included"),
    "beam_size": (1, 100, "1 is --strategy greedy"),
    "length_penalty": (0, 10, "0 compares log-probabilities of translations"),
    "seed": (0, 2**31 - 1, "the same seed draws the same translation"),
}
LONGEST = 2_000  # tokens of a text
MOST_ROWS = 128  # texts at a time
MOST_NUMBERS = 50_000_000  # weights of all beams of a batch: a few arrays of 4 bytes each exist at a time
SHOWN = 5  # unknown tokens that a note names
_SPACE = "␣"  # a token that is a space, in a picture


class Options(NamedTuple):
    """How to translate; `given` has the options of the strategy that are not the defaults of `STRATEGIES`."""

    strategy: str
    length: int | None
    given: Mapping[str, float]

    @property
    def own(self) -> dict[str, Any]:
        """The options of the strategy, with defaults."""
        return {**STRATEGIES[self.strategy], **self.given}


class Source(NamedTuple):
    """A text as a model reads it.

    Attributes:
      tokens: its tokens in reading order, without the end.
      ids: int32[S] ids in the order in which the model reads them, the end last.
      unknown: its tokens that the vocabulary does not have, each once.
    """

    tokens: list[str]
    ids: np.ndarray
    unknown: list[str]


class Translation(NamedTuple):
    """A translation.

    Attributes:
      text: the translation as a text.
      ids: n ids, with the end if it has ended.
      log_probability: sum of log p of these ids.
      weights: float32[n, S], the attention while it wrote each of them, by position in `Source.ids`.
    """

    text: str
    ids: list[int]
    log_probability: float
    weights: np.ndarray

    @property
    def has_ended(self) -> bool:
        """Whether the model ended it, and not the largest length."""
        return self.ids[-1] == END

    @property
    def per_token(self) -> float:
        """The mean of log p of its tokens, the end included."""
        return self.log_probability / len(self.ids)


def check(options: Options) -> None:
    """Checks options, before TensorFlow is imported.

    Raises:
      SettingsError: a value is outside its range, or an option belongs to another strategy.
    """
    check_owner(STRATEGIES, options.strategy, options.given)
    length = {} if options.length is None else {"length": options.length}
    for name, value in {**length, **options.own}.items():
        least, most, about = RANGES[name]
        if not least <= value <= most:
            raise SettingsError(f"{flag(name)}: got {value}; allowed: {least} to {most:,} ({about})")


def encoded(text: str, trained: Trained, options: Options) -> Source:
    """Returns a text as the trial read its sources. Tokens outside the vocabulary become the unknown token.

    Raises:
      SettingsError: the text has no tokens, or too many.
    """
    if fault := checked(text).fault:
        raise SettingsError(f"{echoed(text)!r}: {fault}")
    vocabulary = trained.vocabularies[SOURCE]
    tokens = vocabulary.divided(text)
    if not tokens:
        raise SettingsError(f"{echoed(text)!r}: it has no tokens; give it words")
    words = vocabulary.ids(tokens)
    ids = source_ids(words, reverse_source=trained.settings.reverse_source)
    if len(tokens) > LONGEST:
        raise SettingsError(f"the text has {len(tokens):,} tokens; allowed: up to {LONGEST:,}; divide it")
    if trained.longest_source is not None and len(ids) > trained.longest_source:
        known = f"attention=location has weights for the {trained.longest_source - 1:,} tokens of the longest sentence"
        raise SettingsError(f"the text has {len(tokens):,} tokens; {known} of the trial's data; divide the text")
    if _numbers(len(ids), options, trained) > MOST_NUMBERS:
        fix = "lower --beam-size or --length, or divide the text"
        raise SettingsError(f"so many translations of {len(tokens):,} tokens at a time do not fit in memory; {fix}")
    return Source(tokens, ids, list(dict.fromkeys(t for t, i in zip(tokens, words, strict=True) if i == UNKNOWN)))


def remark(source: Source) -> str | None:
    """Returns what the user should know about a text, or None."""
    if not source.unknown:
        return None
    named = ", ".join(map(one_line, source.unknown[:SHOWN])) + (", …" if len(source.unknown) > SHOWN else "")
    missing = set(source.unknown)
    known = sum(token not in missing for token in source.tokens)
    if not known:
        return f"the model knows no token of the text, so its translation depends only on their number: {named}"
    of_all = f"{known:,} of the text's {counted(len(source.tokens), 'token')}"
    return f"the model knows {of_all}, and reads the unknown token for: {named}"


def translate(
    sources: Sequence[Source], options: Options, trained: Trained, translator: Translator
) -> list[Translation]:
    """Returns a translation of each source, in order. It does not depend on the other sources.

    Only sources of equal length are translated together, because without `mask_attention` a model also attends to
    padding. Random words depend on the place in a batch, so `sample` translates one at a time.

    Raises:
      ValueError: a log-probability is not finite.
    """
    found: dict[int, Translation] = {}
    for rows in _batches(sources, options, trained):
        ids = np.stack([sources[row].ids for row in rows])
        longest = _longest(ids.shape[1], options, trained)
        result = _method(options, translator)(ids, longest=longest)
        for row, written, total, weights in zip(rows, *result, strict=True):
            ends = np.flatnonzero(written == END)
            steps = int(ends[0]) + 1 if len(ends) else longest
            own = written[:steps].tolist()
            text = trained.vocabularies[TARGET].text(own)
            found[row] = Translation(text, own, float(total), weights[:steps])
    return [found[row] for row in range(len(sources))]


def _batches(sources: Sequence[Source], options: Options, trained: Trained) -> Iterator[list[int]]:
    """Yields rows of sources of equal length."""
    of_length: dict[int, list[int]] = {}
    for row, source in enumerate(sources):
        of_length.setdefault(len(source.ids), []).append(row)
    for length, rows in of_length.items():
        most = MOST_NUMBERS // _numbers(length, options, trained)
        size = 1 if options.strategy == "sample" else max(1, min(MOST_ROWS, most))
        yield from (rows[start : start + size] for start in range(0, len(rows), size))


def _numbers(length: int, options: Options, trained: Trained) -> int:
    """Returns the number of weights of all beams of a source of S = `length`."""
    return int(options.own.get("beam_size", 1)) * length * _longest(length, options, trained)


def _longest(length: int, options: Options, trained: Trained) -> int:
    """Returns L for S = `length`: as in the trial's test, and more for a source that is longer than all of its data."""
    if options.length is not None:
        return options.length
    return max(trained.longest, int(output_limit(trained.settings, length)))


def _method(options: Options, translator: Translator) -> Any:
    """Returns the function (ids, longest=L) → `decoding.Translations` for a strategy."""
    own = options.own
    if options.strategy == "greedy":
        return translator.greedy
    if options.strategy == "sample":
        return lambda ids, longest: translator.sample(ids, longest=longest, seed=own["seed"])
    how = {"size": own["beam_size"], "length_penalty": own["length_penalty"]}
    return lambda ids, longest: translator.beam(ids, longest=longest, **how)


def attention(source: Source, translation: Translation, trained: Trained) -> Attention:
    """Returns the attention of a translation for a picture, with the source in reading order."""
    weights = translation.weights
    if trained.settings.reverse_source:
        weights = np.concatenate([weights[:, -2::-1], weights[:, -1:]], axis=1)
    missing = set(source.unknown)
    read = [_label(token) + (f" {SHOWN_UNKNOWN}" if token in missing else "") for token in source.tokens]
    vocabulary = trained.vocabularies[TARGET]
    written = [
        SHOWN_END if id_ == END else _label("".join(vocabulary.shown([id_]))) or "<padding>" for id_ in translation.ids
    ]
    return Attention([*read, SHOWN_END], written, weights)


def _label(token: str) -> str:
    """Returns a token as a picture shows it: without signs of joined punctuation, which its font does not have."""
    return _SPACE if token == " " else token.replace(JOINER, "")
