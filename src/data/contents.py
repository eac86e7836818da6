"""The contents of a corpus: counts and warnings, shown before training and recorded with each trial."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from rich.cells import set_cell_size

from src.data.classes import name_warnings
from src.data.splits import SPLITS, TEST, TRAIN, VALIDATION
from src.data.tokens import joined, unspaced

if TYPE_CHECKING:
    from src.data.corpora import Examples

HALF = 0.5  # least share of unknown words in validation for a warning
FEW = 6  # maximum number of classes that are all shown
TITLE, CELL = 38, 11  # widths of a table's columns in characters: 2 + 4 + 38 + 3 * 11 fit a terminal of 80
SEEN = 0.01  # least share of training texts in a script for a warning


@dataclass(frozen=True)
class Contents:
    """The contents of a corpus.

    Attributes:
      tokens: how its texts are tokenised: `word`, `character`, or `list` if they are lists of words.
      counts: split → number of examples of each class.
      vocabulary: number of distinct words in training.
      unknown: share of the words of validation, from 0 to 1, that do not occur in training.
      leaked: split → number of examples with the words of an example of an earlier split.
      leaked_exactly: split → number of examples with the characters of an example of an earlier split.
      repeated: split → number of examples with the words of an earlier example of the same split.
      contradicting: number of texts, distinct by their words, that have more than one class.
      wordless: split → number of examples without a word.
      unspaced: script without spaces between words → number of training texts with at least half of their words in it.
      dropped: number of rows without a text that were dropped; None if such rows are refused.
    """

    tokens: str
    counts: dict[str, list[int]]
    vocabulary: int
    unknown: float
    leaked: dict[str, int]
    leaked_exactly: dict[str, int]
    repeated: dict[str, int]
    contradicting: int
    wordless: dict[str, int]
    unspaced: dict[str, int]
    dropped: int | None = None

    def leaked_share(self, split: str) -> float:
        """Returns the share of a split's examples, from 0 to 1, with the words of an example of an earlier split."""
        return self.leaked[split] / sum(self.counts[split])

    def lines(self, origin: str, classes: Sequence[str], more: Sequence[tuple[str, Sequence[str]]] = ()) -> list[str]:
        """Returns the contents as lines: a table with one column per split, then the warnings.

        Args:
          origin: name and path of the corpus.
          classes: name of each class.
          more: further rows of the table: a title, and one cell per split.
        """
        totals = {name: sum(counts) for name, counts in self.counts.items()}
        kinds = f"{self.vocabulary:,} different {'characters' if self.tokens == 'character' else 'words'} in training"
        form = " (texts are lists of words)" if self.tokens == "list" else ""
        rows = [
            ("", SPLITS),
            ("texts", [f"{totals[name]:,}" for name in SPLITS]),
            *self._by_class(classes),
            *self._duplicates(),
            *more,
        ]
        several = f"{self.dropped or 0:,} rows without a text are dropped"
        empty = {0: "every row has a text", 1: "1 row without a text is dropped"}.get(self.dropped or 0, several)
        return [
            f"data {origin}: {len(classes)} classes, {kinds}{form}",
            *([f"  {empty} (data.drop_empty=true)"] if self.dropped is not None else []),
            *(
                ("  " + set_cell_size(title, TITLE) + "".join(f"{cell:>{CELL}}" for cell in cells)).rstrip()
                for title, cells in rows
            ),
            *(f"  warning: {text}" for text in self._warnings(classes, totals)),
        ]

    def _by_class(self, classes: Sequence[str]) -> list[tuple[str, list[str]]]:
        """Returns a row for each class, or for the largest and smallest of many."""
        sizes = [sum(self.counts[name][label] for name in SPLITS) for label in range(len(classes))]
        rows = [
            (f"  {_short(name)}", [f"{self.counts[split][label]:,}" for split in SPLITS])
            for label, name in enumerate(classes)
        ]
        if len(classes) <= FEW:
            return rows
        order = sorted(range(len(classes)), key=lambda label: (-sizes[label], label))
        omitted: tuple[str, list[str]] = (f"  … {len(classes) - FEW} classes of sizes between these", [])
        return [*(rows[label] for label in order[: FEW // 2]), omitted, *(rows[label] for label in order[-FEW // 2 :])]

    def _duplicates(self) -> list[tuple[str, list[str]]]:
        """Returns the rows about texts that occur more than once; rows with zeros are shown, too."""
        leaked = [f"{self.leaked[name]:,}" if name in self.leaked else "" for name in SPLITS]
        exactly = [f"{self.leaked_exactly[name]:,}" if name in self.leaked else "" for name in SPLITS]
        rows = [
            ("duplicates within the split", [f"{self.repeated[name]:,}" for name in SPLITS]),
            ("also in an earlier split", leaked),
        ]
        return [*rows, ("  identical to the letter", exactly)] if any(self.leaked.values()) else rows

    def _warnings(self, classes: Sequence[str], totals: Mapping[str, int]) -> list[str]:
        warnings = []
        if self.leaked_share(TEST) >= 0.1:
            share = f"{self.leaked_share(TEST):.0%} of the test texts"
            warnings.append(f"{share} occur in an earlier split, so the test accuracy is too high")
        if self.contradicting:
            have = "s have" if self.contradicting > 1 else " has"
            warnings.append(f"{self.contradicting:,} text{have} more than one class")
        for name, count in self.wordless.items():
            if count:
                warnings.append(f"{count:,} of {totals[name]:,} {name} texts have no words (no letter and no digit)")
        warnings += name_warnings(classes)
        for script, count in self.unspaced.items():
            texts = f"{count:,} of {totals[TRAIN]:,} training texts are in {script}, which has no spaces between words"
            warnings.append(f"{texts}, so a whole clause counts as one word; set tokens=character, or insert spaces")
        if self.unknown >= HALF and not self.unspaced:
            fix = "use more texts, or tokens=character" if self.tokens == "word" else "use more texts"
            warnings.append(f"{self.unknown:.0%} of the validation words do not occur in training; {fix}")
        return warnings


def describe(
    examples: Mapping[str, Examples],
    tokenised: Mapping[str, list[list[str]]],
    *,
    vocabulary: Collection[str],
    classes: Sequence[str],
    tokens: str,
    dropped: int | None = None,
) -> Contents:
    """Returns the contents of a corpus.

    Args:
      examples: split → texts with labels.
      tokenised: split → the same texts as words (or characters).
      vocabulary: the words in training.
      classes: name of each class.
      tokens: how the texts were tokenised, a key of `tokens.DIVISIONS`.
      dropped: number of rows without a text that were dropped; None if such rows are refused.
    """
    are_lists = isinstance(examples[TRAIN].texts[0], list)
    by_words = {name: [joined(text) for text in texts] for name, texts in tokenised.items()}
    exactly = {
        name: [text if isinstance(text, str) else joined(text) for text in part.texts]
        for name, part in examples.items()
    }
    labels = defaultdict(set)
    for name, part in examples.items():
        for text, label in zip(by_words[name], part.labels.tolist(), strict=True):
            labels[text].add(label)
    is_known = Counter(word in vocabulary for text in tokenised[VALIDATION] for word in text)
    return Contents(
        tokens="list" if are_lists else tokens,
        counts={name: np.bincount(part.labels, minlength=len(classes)).tolist() for name, part in examples.items()},
        vocabulary=len(vocabulary),
        unknown=is_known[False] / max(is_known.total(), 1),
        leaked=_leaked(by_words),
        leaked_exactly=_leaked(exactly),
        repeated={name: len(texts) - len(set(texts)) for name, texts in by_words.items()},
        contradicting=sum(len(classes_of_text) > 1 for text, classes_of_text in labels.items() if text),
        wordless={name: sum(not text for text in texts) for name, texts in tokenised.items()},
        unspaced={} if are_lists or tokens != "word" else _scripts(tokenised[TRAIN]),
        dropped=dropped,
    )


def _leaked(texts: Mapping[str, list[str]]) -> dict[str, int]:
    """Returns the number of validation and test texts that occur in an earlier split; ignores texts without words."""
    train, validation = set(texts[TRAIN]) - {""}, set(texts[VALIDATION]) - {""}
    earlier = {VALIDATION: train, TEST: train | validation}
    return {name: sum(text in earlier[name] for text in texts[name]) for name in earlier}


def _scripts(texts: Sequence[Sequence[str]]) -> dict[str, int]:
    """Returns script without spaces → number of texts in it, for scripts with enough texts for a warning."""
    texts_in: Counter[str] = Counter()
    for text in texts:
        scripts = Counter(script for word in text if (script := unspaced(word)))
        if scripts.total() * 2 >= len(text) > 0:
            texts_in[scripts.most_common(1)[0][0]] += 1
    return {script: count for script, count in texts_in.items() if count >= SEEN * len(texts)}


def _short(name: str) -> str:
    shown = name if name.isprintable() else repr(name)
    return shown if len(shown) <= 34 else f"{shown[:33]}…"
