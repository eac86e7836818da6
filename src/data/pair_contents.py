"""The contents of a parallel corpus: counts and warnings, shown before training and recorded with each trial."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from src.data.pairs import key_of
from src.data.splits import SPLITS, TEST, TRAIN, VALIDATION

if TYPE_CHECKING:
    from src.data.pairs import Corpus

SOURCE, TARGET = SIDES = ("source", "target")
TITLE, CELL = 38, 11  # widths of a table's columns in characters, as of other corpora
HALF = 0.5  # least share of unknown tokens in validation for a warning


@dataclass(frozen=True)
class PairContents:
    """The contents of a parallel corpus.

    Attributes:
      pairs: split → number of pairs.
      sources: split → number of different sources.
      tokens: split → side → number of tokens.
      longest: split → side → tokens of its longest text.
      vocabulary: side → number of different tokens in training.
      common: number of tokens that training has on both sides.
      unknown: side → share of the tokens of validation, from 0 to 1, that training does not have on this side.
      leaked: split → number of pairs whose source is in an earlier split.
      dropped: reason → number of pairs that were left out.
    """

    pairs: dict[str, int]
    sources: dict[str, int]
    tokens: dict[str, dict[str, int]]
    longest: dict[str, dict[str, int]]
    vocabulary: dict[str, int]
    common: int
    unknown: dict[str, float]
    leaked: dict[str, int]
    dropped: dict[str, int]

    def lines(self, origin: str) -> list[str]:
        """Returns the contents as lines: a table with one column per split, then the warnings."""
        sizes = " and ".join(f"{self.vocabulary[side]:,} of the {side}" for side in SIDES)
        rows = [("", list(SPLITS)), ("pairs", [f"{self.pairs[name]:,}" for name in SPLITS])]
        rows.append(("different sources", [f"{self.sources[name]:,}" for name in SPLITS]))
        for side in SIDES:
            means = [self.tokens[name][side] / self.pairs[name] for name in SPLITS]
            rows.append((f"tokens of a {side}, mean", [f"{mean:.1f}" for mean in means]))
            rows.append(("  longest", [f"{self.longest[name][side]:,}" for name in SPLITS]))
        return [
            f"data {origin}: {sizes} are the different tokens in training, {self.common:,} of them on both sides",
            *(f"  left out: {count:,} pairs {reason}" for reason, count in self.dropped.items() if count),
            *(f"  {title:<{TITLE}}" + "".join(f"{cell:>{CELL}}" for cell in cells) for title, cells in rows),
            *(f"  warning: {text}" for text in self._warnings()),
        ]

    def _warnings(self) -> list[str]:
        warnings = [
            f"{self.leaked[name]:,} {name} pairs have a source of an earlier split"
            for name in (VALIDATION, TEST)
            if self.leaked[name]
        ]
        for side, share in self.unknown.items():
            if share >= HALF:
                fix = "use more pairs, or tokens=subword or tokens=character"
                warnings.append(f"{share:.0%} of the {side}'s validation tokens do not occur in training; {fix}")
        return warnings


def describe(
    corpus: Corpus, texts: Mapping[str, Mapping[str, list[list[str]]]], vocabularies: Mapping[str, Collection[str]]
) -> PairContents:
    """Returns the contents of a corpus.

    Args:
      corpus: its pairs.
      texts: split → side → the same texts as tokens.
      vocabularies: side → the tokens that its ids stand for, perhaps those of both sides.
    """
    seen = {side: {token for text in texts[TRAIN][side] for token in text} for side in SIDES}
    keys = {name: [key_of(pair.source) for pair in pairs] for name, pairs in corpus.splits.items()}
    earlier = {VALIDATION: set(keys[TRAIN]), TEST: set(keys[TRAIN]) | set(keys[VALIDATION])}
    return PairContents(
        pairs={name: len(pairs) for name, pairs in corpus.splits.items()},
        sources={name: len(set(part)) for name, part in keys.items()},
        tokens={name: {side: sum(map(len, texts[name][side])) for side in SIDES} for name in SPLITS},
        longest={name: {side: max(map(len, texts[name][side])) for side in SIDES} for name in SPLITS},
        vocabulary={side: len(seen[side]) for side in SIDES},
        common=len(seen[SOURCE] & seen[TARGET]),
        unknown={side: _unknown(texts[VALIDATION][side], vocabularies[side]) for side in SIDES},
        leaked={name: sum(key in known for key in keys[name]) for name, known in earlier.items()},
        dropped=dict(corpus.dropped),
    )


def _unknown(texts: list[list[str]], vocabulary: Collection[str]) -> float:
    known = [token in vocabulary for text in texts for token in text]
    return known.count(False) / max(len(known), 1)
