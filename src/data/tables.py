"""The user's own tables: CSV, TSV, JSONL and Parquet, read exactly as written, or refused with the rows at fault.

No type is inferred from a value. A text is a string or a list of words. Classes, splits and groups are the strings in
the file: `01` stays `01`. In JSON, numbers keep their digits, and booleans are `true` and `false`. In Parquet, integers
are their digits, other numbers the shortest string that parses to the same number (`1.0`), dates ISO 8601, and
categories their values.
"""

from __future__ import annotations

import csv
import datetime
import decimal
import functools
import io
import itertools
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from src.data.faults import Faults, Unusable
from src.data.files import MAX_CHARACTERS, DataError, allowed_length, decoded
from src.data.options import DELIMITERS
from src.terminal.errors import first_line

Text = str | list[str]
Parsed = tuple[list[int], dict[str, list[Any]]]  # row numbers, and the values of each wanted column
Value = TypeVar("Value")
READING = "1"  # part of the cache key: increment it when tables are read differently

_NAMES = {bool: "true or false", dict: "an object", list: "a list", bytes: "bytes", type(None): "nothing"}


class _Number(str):
    """A number with its original digits: allowed as a class, not as a text."""

    __slots__ = ()


@dataclass(frozen=True)
class Rows:
    """The N rows of a table that are used, in file order.

    Attributes:
      numbers: number of each row in the file, from 1.
      texts: strings, or lists of words.
      labels: class of each row.
      splits: split of each row, or None without a column of splits.
      groups: group of each row, or None without a column of groups.
      dropped: number of rows without a text that were dropped.
    """

    numbers: list[int]
    texts: list[Text]
    labels: list[str]
    splits: list[str] | None
    groups: list[str] | None
    dropped: int

    @property
    def are_lists(self) -> bool:
        """Whether the texts are lists of words."""
        return bool(self.texts) and isinstance(self.texts[0], list)


def read(
    path: Path,
    columns: Mapping[str, str | None],
    *,
    delimiter: str | None = None,
    drop_empty: bool = False,
) -> Rows:
    """Returns the rows of a table.

    Args:
      path: a file that ends in .csv, .tsv, .jsonl or .parquet.
      columns: role (`text`, `label`, `split`, `group`) → the column's name, or None.
      delimiter: a key of `DELIMITERS`, for .csv and .tsv; None: comma in .csv, tab in .tsv.
      drop_empty: drop rows without a text, instead of refusing the file.

    Raises:
      DataError: the file is not such a table, a column is missing or named twice, rows have more or fewer fields than
        the header, or values are empty or invalid. The text counts all such rows and names the first. Rows are counted
        from 1, without the header.
    """
    wanted = {name: column for name, column in columns.items() if column}
    faults = Faults(path)
    try:
        numbers, columns_of_values = _parsed(path, wanted, faults, delimiter=delimiter)
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: cannot be read ({first_line(error)})") from None
    is_kept = [not (drop_empty and _is_empty(value)) for value in columns_of_values["text"]]
    rows = list(itertools.compress(numbers, is_kept))
    kept = {name: itertools.compress(values, is_kept) for name, values in columns_of_values.items()}
    texts: list[Text] = _usable(rows, kept.pop("text"), faults, functools.partial(_text, column=wanted["text"]))
    names = {
        name: _usable(rows, values, faults, functools.partial(_name, column=wanted[name]))
        for name, values in kept.items()
    }
    _add_mixed(rows, texts, faults)
    _add_abbreviated(rows, texts, faults)
    faults.refuse()
    return Rows(rows, texts, names["label"], names.get("split"), names.get("group"), len(numbers) - len(rows))


def sign_of(path: Path, delimiter: str | None) -> str:
    """Returns the delimiter of a file as a character, empty for formats without one.

    Args:
      path: the file; its ending decides if `delimiter` is None.
      delimiter: a key of `DELIMITERS`, or None.
    """
    by_ending = {".csv": ",", ".tsv": "\t"}.get(path.suffix.lower(), "")
    return DELIMITERS[delimiter] if by_ending and delimiter else by_ending


def _parsed(path: Path, wanted: Mapping[str, str], faults: Faults, *, delimiter: str | None) -> Parsed:
    """Returns the rows of a file; its ending says the format."""
    if sign := sign_of(path, delimiter):
        return _csv(path, wanted, faults, sign=sign)
    formats = {".jsonl": _jsonl, ".parquet": _parquet}
    if path.suffix.lower() not in formats:
        fix = ". Unpack it first" if path.suffix.lower() in (".gz", ".bz2", ".xz", ".zip", ".zst") else ""
        got = path.suffix or "no ending"
        raise DataError(f"{path}: a table ends in .csv, .tsv, {', '.join(formats)}; got {got!r}{fix}")
    if delimiter:
        raise DataError(f"{path}: data.delimiter={delimiter} is for .csv and .tsv; remove it")
    return formats[path.suffix.lower()](path, wanted, faults)


def _usable(rows: Iterable[int], values: Iterable[Any], faults: Faults, convert: Callable[[Any], Value]) -> list[Value]:
    """Returns the converted values; counts those that cannot be used as faults."""
    usable = []
    for row, value in zip(rows, values, strict=True):
        try:
            usable.append(convert(value))
        except Unusable as fault:
            faults.add(row, fault)
    return usable


def _csv(path: Path, wanted: Mapping[str, str], faults: Faults, *, sign: str) -> Parsed:
    content = decoded(path)
    csv.field_size_limit(MAX_CHARACTERS)  # for the whole process; the default, 128 kB, is too little for a long text
    header = next(_rows(path, csv.reader(io.StringIO(content, newline=""), delimiter=sign), faults), None)
    if header is None:
        raise DataError(f"{path}: not a CSV (it is empty)")
    if not any("\n" in name for name in header):  # as a quote that is never closed gives
        _refuse_other_sign(
            path, [name.strip() for name in header], [name.strip() for name in wanted.values()], sign=sign
        )
    is_spaced = any(name.startswith(" ") for name in header[1:])  # as in `text, label`
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=sign, strict=True, skipinitialspace=is_spaced)
    table = _rows(path, reader, faults)
    header = [name.strip() for name in next(table)]
    places = {name: _place(path, header, name=name, column=column.strip()) for name, column in wanted.items()}
    rows: dict[int, list[str]] = {}
    misaligned: dict[int, list[str]] = {}
    for number, row in enumerate(table, 1):
        if len(row) != len(header):
            misaligned[number] = row
        elif [field.strip() for field in row] == header:
            faults.add(number, Unusable("it repeats the header; remove it", "repeat the header; remove them"))
        else:
            rows[number] = row
    _add_misaligned(misaligned, header, faults, sign=sign)
    _add_unnamed(header, rows, faults)
    if not misaligned:  # such a row may be the cause of a wrong quote
        _add_swallowed(header, rows, faults, label=places["label"], sign=sign)
    return list(rows), {name: [row[place] for row in rows.values()] for name, place in places.items()}


def _rows(path: Path, reader: Any, faults: Faults) -> Iterator[list[str]]:
    """Yields the rows that are not blank, the header first."""
    count, line = 0, 1
    try:
        for row in reader:
            if row:
                yield row
                count += 1
            line = reader.line_num + 1
    except csv.Error as error:
        faults.refuse()  # an earlier row may be the cause
        cause = {
            "unexpected end of data": "it opens a quote that is never closed",
            f"field larger than field limit ({MAX_CHARACTERS})": f"a field has more than {MAX_CHARACTERS:,} characters",
        }.get(str(error), str(error))
        if "expected after" in cause:
            cause = "text follows a closing quote; double every quote inside a quoted text"
        where = f"row {count}" if count else "the header"
        raise DataError(f"{path}: not a CSV ({where}, from line {line}: {cause})") from None


def _refuse_other_sign(path: Path, header: Sequence[str], columns: Sequence[str], *, sign: str) -> None:
    """Refuses a header that has the wanted columns with another delimiter, or that is a single column."""
    missing = set(columns) - set(header)
    if not missing:
        return
    line = sign.join(header)
    alternatives = {name: character for name, character in DELIMITERS.items() if character != sign}
    parts = {name: [part.strip().strip('"') for part in line.split(by)] for name, by in alternatives.items()}
    matches = {name: len(set(columns) & set(parts[name])) for name in parts}
    best = max(matches, key=lambda name: (matches[name], len(parts[name])))
    start = f"{path}: no column {min(missing, key=columns.index)!r}; it has {_listed(header)}"
    if matches[best] > len(set(columns) & set(header)) or (len(header) == 1 and len(parts[best]) > 1):
        raise DataError(f"{start}. Its header is separated by {best}s; set data.delimiter={best}")
    if len(header) == 1:
        delimiters = ", ".join(DELIMITERS)
        raise DataError(f"{start}. Set data.delimiter to its delimiter ({delimiters}), or data.text_column=NAME")


def _place(path: Path, header: Sequence[str], *, name: str, column: str) -> int:
    """Returns the position of a column, from 0."""
    places = [place for place, heading in enumerate(header) if heading == column]
    if len(places) == 1:
        return places[0]
    if places:
        raise DataError(f"{path}: it has the column {column!r} {len(places)} times; rename all but one")
    raise DataError(f"{path}: no column {column!r}; it has {_listed(header)}. Set data.{name}_column=NAME")


def _listed(names: Sequence[str]) -> str:
    """Returns names as text, only the first ten of many."""
    shown = ", ".join(name if len(name) <= 40 else f"{name[:39]}…" for name in names[:10])
    return shown if len(names) <= 10 else f"{shown}, … ({len(names):,} in all)"


def _add_misaligned(rows: Mapping[int, Sequence[str]], header: Sequence[str], faults: Faults, *, sign: str) -> None:
    """Counts rows with more fields than the header as one fault, and rows with fewer as another."""
    for is_more in (True, False):
        faulty = {number: row for number, row in rows.items() if (len(row) > len(header)) == is_more}
        least, most = (extreme(map(len, faulty.values()), default=0) for extreme in (min, max))
        expected = f"the header has {len(header)} ({_listed(header)})"
        several = f"have {least if least == most else f'{least} to {most}'} field{'s' * (most != 1)}, {expected}"
        fix = _fix_of_misaligned(list(faulty.values()), header, sign=sign)
        for number, row in faulty.items():
            single = f"it has {len(row)} field{'s' * (len(row) != 1)}, {expected}"
            faults.add(number, Unusable(single, several, fix=fix))


def _fix_of_misaligned(rows: Sequence[Sequence[str]], header: Sequence[str], *, sign: str) -> str:
    """Returns the fix for rows that all have more fields than the header, or all fewer."""
    name = next(name for name, character in DELIMITERS.items() if character == sign)
    if all(len(row) == len(header) + 1 and not row[-1] for row in rows):
        return f"Remove the {name} at {{its}} end"
    if rows and len(rows[0]) > len(header):
        return f"Put quotes around texts that contain {name}s or line breaks"
    for other, character in DELIMITERS.items():
        has_all = all(sign.join(row).count(character) == len(header) - 1 for row in rows)
        if character != sign and has_all and len(header) > 1:
            return f"{other.capitalize()}s separate {{its}} fields, and {name}s those of the header; use one delimiter"
    return "Give {it} a field for each column"


def _add_unnamed(header: Sequence[str], rows: Mapping[int, Sequence[str]], faults: Faults) -> None:
    """Counts values in a column without a name: the rest of a text with commas is there.

    The first column may hold the row numbers that pandas writes.
    """
    for place in (place for place, name in enumerate(header) if not name):
        cause = "and the header has no name for it; name all columns"
        for number, row in rows.items():
            if (got := row[place].strip()) and not (place == 0 and got.isdecimal()):
                single = f"field {place + 1} is {got[:40]!r}, {cause}"
                several = f"have a value in field {place + 1}, {cause}"
                faults.add(number, Unusable(single, several, example=repr(got[:40])))


def _add_swallowed(
    header: Sequence[str],
    rows: Mapping[int, Sequence[str]],
    faults: Faults,
    *,
    label: int,
    sign: str,
) -> None:
    """Counts quoted fields with lines that look like rows of a known class: their first quote opened no field."""
    classes = {row[label] for row in rows.values() if "\n" not in row[label]}

    def is_row(fields: Sequence[str]) -> bool:
        return len(fields) == len(header) and fields[label] in classes

    for number, row in rows.items():
        for place, field in enumerate(row):
            if "\n" not in field and "\r" not in field:
                continue
            first, *further = ([*csv.reader([line], delimiter=sign), [""]][0] for line in field.splitlines())
            is_first = label > place and is_row([*row[:place], *first])
            if is_first or any(is_row(fields) for fields in further):
                lines, fix = len(further) + 1, "Close the quote in {its} first line, or double it"
                single = f"the column {header[place]!r} holds {lines} lines, and some look like separate rows"
                several = f"hold several lines in the column {header[place]!r}, and some look like separate rows"
                faults.add(number, Unusable(single, several, fix=fix))


def _jsonl(path: Path, wanted: Mapping[str, str], faults: Faults) -> Parsed:
    lines = (line for line in decoded(path).split("\n") if line.strip())  # `splitlines` would also split within a text
    rows: dict[int, dict[str, Any]] = {}
    for number, line in enumerate(lines, 1):
        try:
            rows[number] = _json_object(allowed_length(line, f"{path}, row {number}"))
        except Unusable as fault:
            faults.add(number, fault)
    keys = list(dict.fromkeys(itertools.chain.from_iterable(rows.values())))
    for name, column in wanted.items():
        if rows:
            _place(path, keys, name=name, column=column)
    return list(rows), {name: [row.get(column) for row in rows.values()] for name, column in wanted.items()}


def _json_object(line: str) -> dict[str, Any]:
    """Returns a line of JSONL; numbers keep their digits."""
    try:
        row = json.loads(
            line, parse_int=_Number, parse_float=_Number, parse_constant=_constant, object_pairs_hook=_object
        )
    except json.JSONDecodeError as error:
        raise Unusable(f"not JSON ({error})", "are not JSON") from None
    except RecursionError:
        fault = "are nested too deeply; every row must be a flat object"
        raise Unusable(f"its lists or objects {fault}", f"have lists or objects that {fault}") from None
    if not isinstance(row, dict):
        single = f"got {line[:40]!r}; every row must be a JSON object"
        raise Unusable(single, "are not JSON objects; every row must be one")
    return row


def _constant(text: str) -> Any:
    return None if text == "NaN" else _Number(text)


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise Unusable(f"the key {twice[:40]!r} occurs twice; keep one", "have a key twice", fix="Keep one of each")
    return row


def _parquet(path: Path, wanted: Mapping[str, str], faults: Faults) -> Parsed:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            names = list(file.schema_arrow.names)
            for name, column in wanted.items():
                _place(path, names, name=name, column=column)
            table = file.read(columns=list(dict.fromkeys(wanted.values())))
    except pa.ArrowException as error:  # some of them are neither ValueError nor OSError
        raise DataError(f"{path}: cannot be read ({first_line(error)})") from None
    columns = {}
    for name, column in wanted.items():
        values = table.column(column)
        narrow = {pa.float16(): np.float16, pa.float32(): np.float32}.get(values.type)
        plain = _plain(path, column, values)
        columns[name] = [None if value is None else narrow(value) for value in plain] if narrow else plain
    return list(range(1, table.num_rows + 1)), columns


def _plain(path: Path, column: str, values: Any) -> list[Any]:
    """Returns a Parquet column as Python values."""
    try:
        return list(values.to_pylist())
    except (ValueError, OverflowError, TypeError):
        for row, value in enumerate(values, 1):
            try:
                value.as_py()
            except UnicodeDecodeError:
                raise DataError(f"{path}, row {row}: the column {column!r} holds a text that is not UTF-8") from None
            except (ValueError, OverflowError, TypeError) as error:
                raise DataError(
                    f"{path}, row {row}: the column {column!r} cannot be read ({first_line(error)})"
                ) from None
        raise


def _is_empty(value: Any) -> bool:
    """Returns whether a value is missing, an empty list, or only white space."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or value == [] or (isinstance(value, float) and math.isnan(value))


def _text(value: Any, column: str) -> Text:
    """Returns a text, or a list of words, unchanged.

    Raises:
      Unusable: the value is neither.
    """
    if _is_empty(value):
        single, several = f"the column {column!r} is empty", f"are empty in the column {column!r}"
        raise Unusable(single, several, fix="Set data.drop_empty=true to drop {it}")
    if isinstance(value, str) and not isinstance(value, _Number):
        if len(value) > MAX_CHARACTERS:
            single = f"it has {len(value):,} characters; allowed for one text: up to {MAX_CHARACTERS:,}"
            raise Unusable(single, f"have a text of more than {MAX_CHARACTERS:,} characters", fix="Split {it}")
        return value
    if not isinstance(value, list):
        raise _wrong_kind(column, value, allowed="a text, or a list of words")
    for place, word in enumerate(value, 1):
        if not isinstance(word, str) or isinstance(word, _Number):
            raise Unusable(
                f"the column {column!r} holds a list with {_kind(word, with_value=True)} at position {place}",
                f"hold a list with items other than words in the column {column!r}",
                fix="Allowed: a text, or a list of words",
            )
        if not word.strip():
            single = f"the column {column!r} holds a list with an empty word at position {place}"
            several = f"hold a list with an empty word in the column {column!r}"
            raise Unusable(single, several, fix="Remove empty words")
    return value


def _add_mixed(rows: Sequence[int], texts: Sequence[Text], faults: Faults) -> None:
    """Counts rows that differ in kind (text or list of words) from the first row."""
    for row, text in zip(rows, texts, strict=False):  # fewer texts if some cannot be used
        if isinstance(text, list) != isinstance(texts[0], list):
            kinds = ("a list of words", "a text") if isinstance(text, list) else ("a text", "a list of words")
            contrast = f"row {rows[0]} holds {kinds[1]}; use one kind in all rows"
            faults.add(row, Unusable(f"it holds {kinds[0]}, and {contrast}", f"hold {kinds[0]}, and {contrast}"))


def _add_abbreviated(rows: Sequence[int], texts: Sequence[Text], faults: Faults) -> None:
    """Counts texts that are printed NumPy arrays: NumPy omits all but six words of a long array."""
    if not all(isinstance(text, str) and text.startswith("[") and text.endswith("]") for text in texts):
        return
    for row, text in zip(rows, texts, strict=False):
        if isinstance(text, str) and "..." in text.split():
            fault = "a printed NumPy array, with ... for omitted words; save lists of words"
            faults.add(row, Unusable(f"the text is {fault}", f"hold {fault}"))


def _name(value: Any, column: str) -> str:
    """Returns a class, a split or a group as it is written in the file.

    Raises:
      Unusable: the value is empty or cannot be a name.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, np.floating | float):
        value = None if np.isnan(value) else str(value)
    elif isinstance(value, int | decimal.Decimal):
        value = str(value)
    elif isinstance(value, datetime.date | datetime.datetime | datetime.time):
        value = value.isoformat()
    if value is None or (isinstance(value, str) and not value.strip()):
        raise Unusable(f"the column {column!r} is empty", f"are empty in the column {column!r}")
    if not isinstance(value, str):
        raise _wrong_kind(column, value, allowed="a text, a number, true or false")
    return str(value)


def _wrong_kind(column: str, value: Any, *, allowed: str) -> Unusable:
    """Returns the fault of a value of the wrong kind."""
    single = f"the column {column!r} holds {_kind(value, with_value=True)}"
    example = str(value)[:40] if "number" in _kind(value) else ""
    several = f"hold {_kind(value)} in the column {column!r}"
    return Unusable(single, several, example=example, fix=f"Allowed: {allowed}")


def _kind(value: Any, *, with_value: bool = False) -> str:
    """Returns the kind of a value in words; `with_value` adds the value of a number."""
    if isinstance(value, _Number) or (
        isinstance(value, int | float | np.floating | decimal.Decimal) and not isinstance(value, bool)
    ):
        return f"a number ({str(value)[:40]})" if with_value else "a number"
    return _NAMES.get(type(value), f"a value of type {type(value).__name__}")
