"""What was found in a corpus: how many of what, and what may be wrong with it. Shown before training, and recorded with each trial."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from rich.cells import set_cell_size

from src.data.classes import doubts
from src.data.splits import SPLITS, TEST, TRAIN, VALIDATION
from src.data.tokens import joined, unspaced

if TYPE_CHECKING:
    from src.data.corpora import Examples

HALF = 0.5  # share of validation from which on what is unknown is worth a line
FEW = 6  # classes that are shown one by one
TITLE, CELL = 38, 11  # characters of a table's columns: 2 + 4 + 38 + 3 * 11 fit a terminal of 80
SEEN = 0.01  # share of the training texts from which on a script is worth a line


@dataclass(frozen=True)
class Contents:
    """What was found in a corpus.

    Attributes:
      tokens: what its texts are divided into: `word`, `character`, or `list` where they came as lists of words.
      counts: split → examples of each class.
      vocabulary: different words of training.
      unknown: share of the words of validation that are none of them.
      leaked: split → examples whose words train, or validate in the case of test, too.
      leaked_exactly: the same of texts that are equal to the letter.
      repeated: split → examples with the words of one before in the same split.
      contradicting: different texts, by their words, that have more than one class.
      wordless: split → examples without a word.
      unspaced: script without spaces between words → training texts in it, at least half of whose words are.
      dropped: rows without a text that were left out; None where such rows are refused.
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
        """Returns the share of a split's examples whose words train (or validate) too, from 0 to 1."""
        return self.leaked[split] / sum(self.counts[split])

    def lines(self, origin: str, classes: Sequence[str], more: Sequence[tuple[str, Sequence[str]]] = ()) -> list[str]:
        """Returns the contents for a reader: a table with a column a split, warnings last.

        Args:
          origin: what the user calls the corpus.
          classes: name of each class.
          more: further rows, each a title with one text a split.
        """
        totals = {name: sum(counts) for name, counts in self.counts.items()}
        kinds = f"{self.vocabulary:,} different {'characters' if self.tokens == 'character' else 'words'} in training"
        given = " (texts are lists of words)" if self.tokens == "list" else ""
        rows = [
            ("", SPLITS),
            ("texts", [f"{totals[name]:,}" for name in SPLITS]),
            *self._by_class(classes),
            *self._duplicates(),
            *more,
        ]
        several = f"{self.dropped or 0:,} rows without a text are left out"
        empty = {0: "no row is without a text", 1: "1 row without a text is left out"}.get(self.dropped or 0, several)
        return [
            f"data {origin}: {len(classes)} classes, {kinds}{given}",
            *([f"  {empty} (data.drop_empty=true)"] if self.dropped is not None else []),
            *(
                ("  " + set_cell_size(title, TITLE) + "".join(f"{cell:>{CELL}}" for cell in cells)).rstrip()
                for title, cells in rows
            ),
            *(f"  warning: {text}" for text in self._warnings(classes, totals)),
        ]

    def _by_class(self, classes: Sequence[str]) -> list[tuple[str, list[str]]]:
        """Returns a row for each class, or for the largest and smallest where there are many."""
        sizes = [sum(self.counts[name][label] for name in SPLITS) for label in range(len(classes))]
        rows = [
            (f"  {_short(name)}", [f"{self.counts[split][label]:,}" for split in SPLITS])
            for label, name in enumerate(classes)
        ]
        if len(classes) <= FEW:
            return rows
        order = sorted(range(len(classes)), key=lambda label: (-sizes[label], label))
        others: tuple[str, list[str]] = (f"  … {len(classes) - FEW} classes between them in size", [])
        return [*(rows[label] for label in order[: FEW // 2]), others, *(rows[label] for label in order[-FEW // 2 :])]

    def _duplicates(self) -> list[tuple[str, list[str]]]:
        """Returns rows of texts that occur twice; of a comparison that nothing was found in, none is left out."""
        leaked = [f"{self.leaked[name]:,}" if name in self.leaked else "" for name in SPLITS]
        exactly = [f"{self.leaked_exactly[name]:,}" if name in self.leaked else "" for name in SPLITS]
        rows = [
            ("duplicates within the split", [f"{self.repeated[name]:,}" for name in SPLITS]),
            ("also in an earlier split", leaked),
        ]
        return [*rows, ("  identical to the letter", exactly)] if any(self.leaked.values()) else rows

    def _warnings(self, classes: Sequence[str], totals: Mapping[str, int]) -> list[str]:
        found = []
        if self.leaked_share(TEST) >= 0.1:
            found.append(
                f"{self.leaked_share(TEST):.0%} of the test texts occur in an earlier split, so the test accuracy is too high"
            )
        if self.contradicting:
            found.append(
                f"{self.contradicting:,} text{'s have' if self.contradicting > 1 else ' has'} more than one class"
            )
        for name, count in self.wordless.items():
            if count:
                found.append(f"{count:,} of {totals[name]:,} {name} texts have no words (no letter and no digit)")
        found += doubts(classes)
        for script, count in self.unspaced.items():
            many = f"{count:,} of {totals[TRAIN]:,} training texts are in {script}, which has no spaces between words"
            found.append(f"{many}, so a whole clause counts as one word; set tokens=character, or insert spaces")
        if self.unknown >= HALF and not self.unspaced:
            fix = "use more texts, or tokens=character" if self.tokens == "word" else "use more texts"
            found.append(f"{self.unknown:.0%} of the validation words do not occur in training; {fix}")
        return found


def of(
    examples: Mapping[str, Examples],
    divided: Mapping[str, list[list[str]]],
    *,
    vocabulary: Collection[str],
    classes: Sequence[str],
    tokens: str,
    dropped: int | None = None,
) -> Contents:
    """Returns what is in a corpus.

    Args:
      examples: split → texts with labels.
      divided: split → the same texts as words (or characters).
      vocabulary: the words of training.
      classes: name of each class.
      tokens: what texts were divided into.
      dropped: rows without a text that were left out; None where such rows are refused.
    """
    are_lists = isinstance(examples[TRAIN].texts[0], list)
    by_words = {name: [joined(text) for text in texts] for name, texts in divided.items()}
    to_the_letter = {
        name: [text if isinstance(text, str) else joined(text) for text in part.texts]
        for name, part in examples.items()
    }
    labels = defaultdict(set)
    for name, part in examples.items():
        for text, label in zip(by_words[name], part.labels.tolist(), strict=True):
            labels[text].add(label)
    heard = Counter(word in vocabulary for text in divided[VALIDATION] for word in text)
    return Contents(
        tokens="list" if are_lists else tokens,
        counts={name: np.bincount(part.labels, minlength=len(classes)).tolist() for name, part in examples.items()},
        vocabulary=len(vocabulary),
        unknown=heard[False] / max(heard.total(), 1),
        leaked=_leaked(by_words),
        leaked_exactly=_leaked(to_the_letter),
        repeated={name: len(texts) - len(set(texts)) for name, texts in by_words.items()},
        contradicting=sum(len(found) > 1 for text, found in labels.items() if text),
        wordless={name: sum(not text for text in texts) for name, texts in divided.items()},
        unspaced={} if are_lists or tokens != "word" else _scripts(divided[TRAIN]),
        dropped=dropped,
    )


def _leaked(texts: Mapping[str, list[str]]) -> dict[str, int]:
    """Returns how many validation texts train, and how many test texts train or validate; texts without a word are not compared."""
    train, validation = set(texts[TRAIN]) - {""}, set(texts[VALIDATION]) - {""}
    seen = {VALIDATION: train, TEST: train | validation}
    return {name: sum(text in before for text in texts[name]) for name, before in seen.items()}


def _scripts(texts: Sequence[Sequence[str]]) -> dict[str, int]:
    """Returns script without spaces → texts in it, where they are many enough to matter."""
    found: Counter[str] = Counter()
    for text in texts:
        scripts = Counter(script for word in text if (script := unspaced(word)))
        if scripts.total() * 2 >= len(text) > 0:
            found[scripts.most_common(1)[0][0]] += 1
    return {script: count for script, count in found.items() if count >= SEEN * len(texts)}


def _short(name: str) -> str:
    shown = name if name.isprintable() else repr(name)
    return shown if len(shown) <= 34 else f"{shown[:33]}…"
