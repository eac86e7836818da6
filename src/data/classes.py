"""Names of classes: which are refused, and which may be a mistake.

A name is the text that the file has for it. Two names that look like one to a reader make two classes of one.
"""

from __future__ import annotations

import decimal
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from src.data.faults import named
from src.data.files import DataError

MOST_RATINGS = 30  # different numbers with decimals that may be ratings; more are a scale
MOST_UNIQUE = 20  # different names from which on hardly two rows share one
LONGEST_NUMBER = 50  # signs
MISSING = {"nan", "NaN", "None", "null", "NULL", "NA", "<NA>", "N/A", "#N/A", "NaT"}
_NUMBER = re.compile(r"[-+]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][-+]?\d+)?", re.ASCII)


def refuse_alike(names: Iterator[tuple[Path, int, str]]) -> None:
    """Refuses two names that look like one.

    They differ in white space, invisible characters or Unicode's normal form alone.

    Args:
      names: file, row and class of every example.

    Raises:
      DataError: it names the first such pair, and the rows of all.
    """
    seen: dict[str, tuple[str, str]] = {}
    said, rows = "", []
    for path, row, name in names:
        other, first = seen.setdefault(_visible(name), (name, f"{path}, row {row}"))
        if other != name:
            pair = f"class {name!r} and class {other!r} ({first})"
            how = "differ in white space or invisible characters alone; write them alike"
            said = said or f"{path}, row {row}: {pair} {how}"
            rows.append(row)
    if rows:
        in_all = f". In all, {len(rows):,} rows have such a name: {named(rows)}" if len(rows) > 1 else ""
        raise DataError(said + in_all)


def refuse_scale(path: Path, column: str, names: Sequence[str]) -> None:
    """Refuses numbers on a scale, and names that hardly two rows share: neither are classes.

    Args:
      path: of the file, for the error.
      column: that the names are from.
      names: class of every example.

    Raises:
      DataError: all names are numbers, one with decimals, and too many to be ratings; or most names occur once.
    """
    counts = Counter(names)
    is_unique = 2 * len(counts) > len(names)
    numbers = [_number(name) for name in counts]
    if _have_decimals(numbers) and (len(counts) > MOST_RATINGS or (is_unique and len(counts) > 2)):
        many = f"{len(counts):,} different ones in {len(names):,} rows ({', '.join(list(counts)[:3])}, …)"
        raise DataError(
            f"{path}: the column {column!r} holds numbers on a scale, {many}. Classes are needed: divide the numbers into "
            "ranges, such as low and high, in a column of its own, and name that in data.label_column; write a letter "
            "before each number if it is a class"
        )
    if is_unique and len(counts) > MOST_UNIQUE:
        many = f"holds {len(counts):,} different values in {len(names):,} rows"
        fix = "is it the column of the classes? Set data.label_column=NAME"
        raise DataError(f"{path}: the column {column!r} {many}; {fix}")


def doubts(classes: Sequence[str]) -> list[str]:
    """Returns what may be a mistake in the names of classes, a sentence each."""
    found = []
    folded: dict[str, str] = {}
    numbers: dict[decimal.Decimal, str] = {}
    for name in classes:
        if (other := folded.setdefault(_folded(name), name)) != name:
            or_more = "" if other.casefold() == name.casefold() else ", white space or the form of their letters"
            found.append(f"the classes {other!r} and {name!r} differ only in upper and lower case{or_more}")
        number = None if "," in name else _number(name)
        if number is not None and (other := numbers.setdefault(number, name)) != name:
            found.append(f"the classes {other!r} and {name!r} are the same number")
    if not set(classes) <= MISSING:
        missing = [name for name in classes if name in MISSING]
        found += [f"the class {name!r} is what programs write for a missing value" for name in missing]
    if _have_decimals([_number(name) for name in classes]):
        found.append("the classes are numbers with decimals, and their order is not used")
    return found


def _visible(name: str) -> str:
    """Returns a name without what one does not see in it."""
    seen = "".join(sign for sign in unicodedata.normalize("NFC", name) if unicodedata.category(sign) != "Cf")
    return " ".join(seen.split())


def _folded(name: str) -> str:
    """Returns what a name has in common with those that a reader may take for it."""
    return unicodedata.normalize("NFKC", _visible(name)).casefold()


def _number(name: str) -> decimal.Decimal | None:
    """Returns the number that a name is, or None; a comma may stand before the decimals."""
    is_number = len(name) <= LONGEST_NUMBER and _NUMBER.fullmatch(name)
    return decimal.Decimal(name.replace(",", ".")) if is_number else None


def _have_decimals(numbers: Sequence[decimal.Decimal | None]) -> bool:
    """Returns whether all are numbers, and one is no whole number."""
    return None not in numbers and any(number != number.to_integral_value() for number in numbers if number is not None)
