"""What was found in a corpus: how many of what, and what may be wrong with it. Shown before training, and recorded with each trial."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from src.data.classes import doubts
from src.data.splits import SPLITS, TEST, TRAIN, VALIDATION
from src.data.tokens import joined, unspaced

if TYPE_CHECKING:
    from src.data.corpora import Examples

HALF = 0.5  # share of validation from which on what is unknown is worth a line
FEW = 6  # classes that are shown one by one
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

    def lines(self, origin: str, classes: Sequence[str]) -> list[str]:
        """Returns the contents for a reader, a line for each matter, warnings last."""
        totals = {name: sum(counts) for name, counts in self.counts.items()}
        sizes = ", ".join(f"{totals[name]:,} {name}" for name in SPLITS)
        words = "characters" if self.tokens == "character" else "words"
        given = ", as listed," if self.tokens == "list" else ""
        lines = [
            f"data {origin}: {sizes} examples in {len(classes)} classes",
            f"  {self._by_class(classes)}",
            f"  training has {self.vocabulary:,} different {words}{given} and knows {1 - self.unknown:.1%} of the {words} of validation",
            f"  {self._duplicates(totals)}",
        ]
        if self.dropped is not None:
            several = f"{self.dropped:,} rows without a text are left out"
            rows = {0: "no row is without a text", 1: "1 row without a text is left out"}.get(self.dropped, several)
            lines.insert(1, f"  {rows} (data.drop_empty=true)")
        return lines + [f"  warning: {text}" for text in self._warnings(classes, totals)]

    def _by_class(self, classes: Sequence[str]) -> str:
        """Returns the examples of each class in the three splits, or of the smallest and largest where there are many."""

        def shown(label: int) -> str:
            return f"{_short(classes[label])} " + " / ".join(f"{self.counts[name][label]:,}" for name in SPLITS)

        sizes = [sum(self.counts[name][label] for name in SPLITS) for label in range(len(classes))]
        if len(classes) <= FEW:
            return ", ".join(map(shown, range(len(classes)))) + f"  ({' / '.join(SPLITS)})"
        order = sorted(range(len(classes)), key=lambda label: (-sizes[label], label))
        most, least = (", ".join(map(shown, part)) for part in (order[:3], order[-3:]))
        return f"most {most}; least {least}  ({' / '.join(SPLITS)})"

    def _duplicates(self, totals: Mapping[str, int]) -> str:
        leaks = [
            f"{self.leaked[name]:,} of {totals[name]:,} {name} texts are in {where} too ({self.leaked_exactly[name]:,} to the letter)"
            if self.leaked[name]
            else f"no {name} text is in {where} too"
            for name, where in ((TEST, f"{TRAIN} or {VALIDATION}"), (VALIDATION, TRAIN))
        ]
        count = self.repeated[TRAIN]
        repeated = f"{count:,} {TRAIN} text{' repeats' if count == 1 else 's repeat'} another"
        return "; ".join([*leaks, repeated] if count else leaks)

    def _warnings(self, classes: Sequence[str], totals: Mapping[str, int]) -> list[str]:
        found = []
        if self.leaked_share(TEST) >= 0.1:
            found.append(f"{self.leaked_share(TEST):.0%} of the test texts are not new to the model; its accuracy there is too good")
        if self.contradicting:
            found.append(f"{self.contradicting:,} text{'s have' if self.contradicting > 1 else ' has'} more than one class")
        for name, count in self.wordless.items():
            if count:
                found.append(f"{count:,} of {totals[name]:,} {name} texts have no words (no letter and no digit)")
        found += doubts(classes)
        for script, count in self.unspaced.items():
            many = f"{count:,} of {totals[TRAIN]:,} training texts are in {script}, which has no spaces between words"
            found.append(f"{many}: a whole clause counts as one unless spaces were put in; set tokens=character, or put them in")
        if self.unknown >= HALF and not self.unspaced:
            fix = "; more texts, or tokens=character, would help" if self.tokens == "word" else "; more texts would help"
            found.append(f"{self.unknown:.0%} of what validation holds is unknown to training{fix}")
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
    to_the_letter = {name: [text if isinstance(text, str) else joined(text) for text in part.texts] for name, part in examples.items()}
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
    return shown if len(shown) <= 30 else f"{shown[:29]}…"
