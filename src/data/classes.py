"""Class names: which names are refused, and which may be a mistake.

A class name is the text in the file. Two names that look equal to a reader would divide one class into two.
"""

from __future__ import annotations

import decimal
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from src.data.faults import row_numbers
from src.data.files import DataError

MAX_RATINGS = 30  # distinct numbers with decimals that may be ratings; more of them are a scale
MAX_UNIQUE = 20  # a column with more distinct names that mostly occur once holds no classes
LONGEST_NUMBER = 50  # characters
MISSING = {"nan", "NaN", "None", "null", "NULL", "NA", "<NA>", "N/A", "#N/A", "NaT"}
_NUMBER = re.compile(r"[-+]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][-+]?\d+)?", re.ASCII)


def refuse_alike(names: Iterator[tuple[Path, int, str]]) -> None:
    """Refuses names that look equal.

    Such names differ only in white space, invisible characters or Unicode's normal form.

    Args:
      names: file, row and class of every example.

    Raises:
      DataError: the text names the first such pair, and the rows of all pairs.
    """
    seen: dict[str, tuple[str, str]] = {}
    message, rows = "", []
    for path, row, name in names:
        earlier, place = seen.setdefault(_visible(name), (name, f"{path}, row {row}"))
        if earlier != name:
            pair = f"class {name!r} and class {earlier!r} ({place})"
            fault = "differ only in white space or invisible characters; use one spelling"
            message = message or f"{path}, row {row}: {pair} {fault}"
            rows.append(row)
    if rows:
        in_all = f". In all, {len(rows):,} rows have such a name: {row_numbers(rows)}" if len(rows) > 1 else ""
        raise DataError(message + in_all)


def refuse_scale(path: Path, column: str, names: Sequence[str]) -> None:
    """Refuses numbers on a scale, and names that mostly occur once: neither are classes.

    Args:
      path: the file, for the error.
      column: the column that holds the names.
      names: class of every example.

    Raises:
      DataError: all names are numbers, at least one has decimals, and there are too many for ratings; or most
        names occur once.
    """
    counts = Counter(names)
    is_unique = 2 * len(counts) > len(names)
    numbers = [_number(name) for name in counts]
    if _have_decimals(numbers) and (len(counts) > MAX_RATINGS or (is_unique and len(counts) > 2)):
        extent = f"{len(counts):,} different numbers in {len(names):,} rows ({', '.join(list(counts)[:3])}, …)"
        raise DataError(
            f"{path}: the column {column!r} holds numbers on a scale, {extent}. Classes are needed: write ranges of "
            "the numbers, such as low and high, to a new column, and set data.label_column to its name; write a letter "
            "before each number if it is a class"
        )
    if is_unique and len(counts) > MAX_UNIQUE:
        extent = f"holds {len(counts):,} different values in {len(names):,} rows"
        fix = "does it hold the classes? Set data.label_column=NAME"
        raise DataError(f"{path}: the column {column!r} {extent}; {fix}")


def name_warnings(classes: Sequence[str]) -> list[str]:
    """Returns a sentence for each possible mistake in the class names."""
    warnings = []
    folded: dict[str, str] = {}
    numbers: dict[decimal.Decimal, str] = {}
    for name in classes:
        if (other := folded.setdefault(_folded(name), name)) != name:
            or_more = "" if other.casefold() == name.casefold() else ", white space or the form of their letters"
            warnings.append(f"the classes {other!r} and {name!r} differ only in upper and lower case{or_more}")
        number = None if "," in name else _number(name)
        if number is not None and (other := numbers.setdefault(number, name)) != name:
            warnings.append(f"the classes {other!r} and {name!r} are the same number")
    if not set(classes) <= MISSING:
        missing = [name for name in classes if name in MISSING]
        warnings += [f"the class {name!r} looks like a missing value" for name in missing]
    if _have_decimals([_number(name) for name in classes]):
        warnings.append("the classes are numbers with decimals; training does not use their order")
    return warnings


def _visible(name: str) -> str:
    """Returns a name without invisible characters and with single spaces."""
    visible = "".join(sign for sign in unicodedata.normalize("NFC", name) if unicodedata.category(sign) != "Cf")
    return " ".join(visible.split())


def _folded(name: str) -> str:
    """Returns a form that is equal for names that a reader may confuse."""
    return unicodedata.normalize("NFKC", _visible(name)).casefold()


def _number(name: str) -> decimal.Decimal | None:
    """Returns a name as a number, or None if it is not a number; the decimal sign may be a comma."""
    is_number = len(name) <= LONGEST_NUMBER and _NUMBER.fullmatch(name)
    return decimal.Decimal(name.replace(",", ".")) if is_number else None


def _have_decimals(numbers: Sequence[decimal.Decimal | None]) -> bool:
    """Returns whether all are numbers and at least one is not an integer."""
    return None not in numbers and any(number != number.to_integral_value() for number in numbers if number is not None)
