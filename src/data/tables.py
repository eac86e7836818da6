"""Tables of a user's own: CSV, JSONL and Parquet, read as they are written or refused with the row.

Nothing is guessed from a value's looks. A text is a text or a list of words; a class, a split and a group is the text that the file has
for it: `01` stays `01`. JSON's numbers are taken digit for digit, its truth values are `true` and `false`; of Parquet, whole numbers are
their digits, other numbers the shortest text that gives them again (`1.0`), dates ISO 8601, categories what they stand for.
"""

from __future__ import annotations

import csv
import datetime
import decimal
import io
import itertools
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from src.data.files import MOST, DataError, allowed_length, decoded
from src.errors import first_line

Text = str | list[str]
READING = "1"  # part of the cache's key: raise it when a table is read otherwise

_NAMES = {bool: "true or false", dict: "an object", list: "a list", bytes: "bytes", type(None): "nothing"}


class _Number(str):
    """A number as it is written, which is a class but no text."""

    __slots__ = ()


@dataclass(frozen=True)
class Rows:
    """The rows of a table that are used, N of them, in file order.

    Attributes:
      texts: texts, or lists of words.
      labels: class of each.
      splits: of each, where a column says so.
      groups: of each, where a column says so.
    """

    texts: list[Text]
    labels: list[str]
    splits: list[str] | None
    groups: list[str] | None

    @property
    def are_lists(self) -> bool:
        """Whether the texts are lists of words."""
        return bool(self.texts) and isinstance(self.texts[0], list)


def read(path: Path, columns: Mapping[str, str | None]) -> Rows:
    """Returns the rows of a table.

    Args:
      path: a file that ends in .csv, .jsonl or .parquet.
      columns: what is wanted (`text`, `label`, `split`, `group`) → the column's name, or None.

    Raises:
      DataError: the file is no such table, a column is missing or named twice, a row has more or fewer fields than the header, or a value
        is empty or of no use. The row is named; rows are counted from 1 without the header.
    """
    formats = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}
    if path.suffix not in formats:
        raise DataError(f"{path}: a table ends in {', '.join(formats)}; got {path.suffix or 'no ending'!r}")
    wanted = {name: column for name, column in columns.items() if column}
    try:
        found = formats[path.suffix](path, wanted)
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: cannot be read ({first_line(error)})") from None
    texts: list[Text] = [_text(value, f"{path}, row {row}", wanted["text"]) for row, value in enumerate(found["text"], 1)]
    for row, text in enumerate(texts, 1):
        if isinstance(text, list) != isinstance(texts[0], list):
            kinds = ("a list of words", "a text") if isinstance(text, list) else ("a text", "a list of words")
            raise DataError(f"{path}, row {row}: it holds {kinds[0]}, and row 1 {kinds[1]}; write all rows alike")
    _refuse_abbreviated(path, texts)
    names = {
        name: [_name(value, f"{path}, row {row}", wanted[name]) for row, value in enumerate(found[name], 1)]
        for name in wanted
        if name != "text"
    }
    return Rows(texts, names["label"], names.get("split"), names.get("group"))


def _csv(path: Path, wanted: Mapping[str, str]) -> dict[str, list[Any]]:
    content = decoded(path)
    csv.field_size_limit(MOST)  # of the whole process; 128 kB are less than a long text
    header = next(_rows(path, csv.reader(io.StringIO(content, newline=""))), None)
    if header is None:
        raise DataError(f"{path}: not a CSV (it is empty)")
    is_spaced = any(name.startswith(" ") for name in header[1:])  # `text, label`: the spaces belong to the commas
    reader = csv.reader(io.StringIO(content, newline=""), strict=True, skipinitialspace=is_spaced)
    table = _rows(path, reader)
    header = [name.strip() for name in next(table)]
    places = {name: _place(path, header, name=name, column=column.strip()) for name, column in wanted.items()}
    rows = []
    for number, row in enumerate(table, 1):
        if len(row) != len(header):
            raise DataError(_slipped(path, number, row, header))
        if [field.strip() for field in row] == header:
            raise DataError(f"{path}, row {number}: it repeats the header; leave it out")
        rows.append(row)
    _refuse_unnamed(path, header, rows)
    _refuse_swallowed(path, header, rows, label=places["label"])
    return {name: [row[place] for row in rows] for name, place in places.items()}


def _rows(path: Path, reader: Any) -> Iterator[list[str]]:
    """Yields the rows that are not blank, the header first."""
    count, line = 0, 1
    try:
        for row in reader:
            if row:
                yield row
                count += 1
            line = reader.line_num + 1
    except csv.Error as error:
        why = {
            "unexpected end of data": "it opens a quote that is never closed",
            "',' expected after '\"'": "text follows a closing quote; double every quote inside a quoted text",
            f"field larger than field limit ({MOST})": f"a field is longer than {MOST:,} characters, which no text is",
        }.get(str(error), str(error))
        where = f"row {count}" if count else "the header"
        raise DataError(f"{path}: not a CSV ({where}, from line {line}: {why})") from None


def _place(path: Path, header: Sequence[str], *, name: str, column: str) -> int:
    """Returns where a column stands."""
    found = [place for place, known in enumerate(header) if known == column]
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(f"{path}: it has the column {column!r} {len(found)} times; give each a name of its own")
    fix = f"Set data.{name}_column=NAME"
    if path.suffix == ".csv" and len(header) == 1:
        signs = {";": "semicolons", "\t": "tabs", "|": "bars"}
        fix = next((f"Its first line is separated by {signs[sign]}: save it with commas" for sign in signs if sign in header[0]), fix)
    raise DataError(f"{path}: no column {column!r}; it has {_listed(header)}. {fix}")


def _listed(names: Sequence[str]) -> str:
    """Returns names for a reader, the first ones where there are many."""
    shown = ", ".join(name if len(name) <= 40 else f"{name[:39]}…" for name in names[:10])
    return shown if len(names) <= 10 else f"{shown}, … ({len(names):,} in all)"


def _slipped(path: Path, number: int, row: Sequence[str], header: Sequence[str]) -> str:
    fields = f"it has {len(row)} field{'s' * (len(row) != 1)}, the header has {len(header)} ({_listed(header)})"
    is_trailing = len(row) == len(header) + 1 and not row[-1]
    fix = "Leave out the comma at its end" if is_trailing else "Put a text that holds commas or line breaks between quotes"
    return f"{path}, row {number}: {fields}. {fix if len(row) > len(header) else 'Give it a field for each column'}"


def _refuse_unnamed(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Refuses content in a column without a name, which is where a text with commas puts its rest; pandas' row numbers may stand first."""
    for place in (place for place, name in enumerate(header) if not name):
        for number, row in enumerate(rows, 1):
            if (got := row[place].strip()) and not (place == 0 and got.isdecimal()):
                where = f"{path}, row {number}: field {place + 1} is {got[:40]!r}"
                raise DataError(f"{where}, and the header has no name for it; name all columns")


def _refuse_swallowed(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]], *, label: int) -> None:
    """Refuses a quoted field whose lines look like rows themselves, up to a known class: its first quote was no opening one."""
    classes = {row[label] for row in rows if "\n" not in row[label]}

    def is_row(fields: Sequence[str]) -> bool:
        return len(fields) == len(header) and fields[label] in classes

    for number, row in enumerate(rows, 1):
        for place, field in enumerate(row):
            if "\n" not in field and "\r" not in field:
                continue
            first, *others = ([*csv.reader([line]), [""]][0] for line in field.splitlines())
            is_first = label > place and is_row([*row[:place], *first])
            if is_first or any(is_row(fields) for fields in others):
                lines = len(others) + 1
                why = f"the column {header[place]!r} holds {lines} lines, and some look like rows of their own"
                raise DataError(f"{path}, row {number}: {why}; close the quote in its first line, or double it")


def _jsonl(path: Path, wanted: Mapping[str, str]) -> dict[str, list[Any]]:
    rows: list[dict[str, Any]] = []
    for line in decoded(path).split("\n"):  # splitlines would also split inside a text
        if not line.strip():
            continue
        number = len(rows) + 1
        allowed_length(line, f"{path}, row {number}")
        try:
            row = json.loads(line, parse_int=_Number, parse_float=_Number, parse_constant=_constant, object_pairs_hook=_object)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}, row {number}: not JSON ({error})") from None
        except RecursionError:
            raise DataError(f"{path}, row {number}: its lists or objects lie too deep in one another; a row is one flat object") from None
        except ValueError as error:
            raise DataError(f"{path}, row {number}: {first_line(error)}") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}, row {number}: got {line[:40]!r}; every row must be a JSON object")
        rows.append(row)
    known = list(dict.fromkeys(itertools.chain.from_iterable(rows)))
    for name, column in wanted.items():
        if rows:
            _place(path, known, name=name, column=column)
    return {name: [row.get(column) for row in rows] for name, column in wanted.items()}


def _constant(text: str) -> Any:
    return None if text == "NaN" else _Number(text)


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"the key {Counter(key for key, _ in pairs).most_common(1)[0][0]!r} occurs twice; keep one")
    return found


def _parquet(path: Path, wanted: Mapping[str, str]) -> dict[str, list[Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            known = list(file.schema_arrow.names)
            for name, column in wanted.items():
                _place(path, known, name=name, column=column)
            table = file.read(columns=list(dict.fromkeys(wanted.values())))
    except pa.ArrowException as error:  # not all of them are ValueError or OSError
        raise DataError(f"{path}: cannot be read ({first_line(error)})") from None
    found = {}
    for name, column in wanted.items():
        values = table.column(column)
        narrow = {pa.float16(): np.float16, pa.float32(): np.float32}.get(values.type)
        plain = _plain(path, column, values)
        found[name] = [None if value is None else narrow(value) for value in plain] if narrow else plain
    return found


def _plain(path: Path, column: str, values: Any) -> list[Any]:
    """Returns a column of Parquet as Python's values."""
    try:
        return list(values.to_pylist())
    except (ValueError, OverflowError, TypeError):
        for row, value in enumerate(values, 1):
            try:
                value.as_py()
            except UnicodeDecodeError:
                raise DataError(f"{path}, row {row}: the column {column!r} holds a text that is not UTF-8") from None
            except (ValueError, OverflowError, TypeError) as error:
                raise DataError(f"{path}, row {row}: the column {column!r} cannot be read ({first_line(error)})") from None
        raise


def _text(value: Any, where: str, column: str) -> Text:
    """Returns a text, or a list of words exactly as given."""
    if value is None or (isinstance(value, str | list) and not value) or (isinstance(value, float) and math.isnan(value)):
        raise DataError(f"{where}: the column {column!r} is empty")
    if isinstance(value, str) and not isinstance(value, _Number):
        if not value.strip():
            raise DataError(f"{where}: the text is empty")
        return allowed_length(value, where)
    if not isinstance(value, list):
        raise DataError(f"{where}: the column {column!r} holds {_kind(value)}; allowed: a text, or a list of words")
    for place, word in enumerate(value, 1):
        if not isinstance(word, str) or isinstance(word, _Number):
            raise DataError(f"{where}: the column {column!r} holds a list with {_kind(word)} in place {place}; allowed: a list of words")
        if not word.strip():
            raise DataError(f"{where}: the column {column!r} holds a list with an empty word in place {place}; leave it out")
    return value


def _refuse_abbreviated(path: Path, texts: Sequence[Text]) -> None:
    """Refuses texts that are NumPy's print of arrays, which leaves out all but six words of a long one."""
    if not all(isinstance(text, str) and text.startswith("[") and text.endswith("]") for text in texts):
        return
    for row, text in enumerate(texts, 1):
        if isinstance(text, str) and "..." in text.split():
            raise DataError(
                f"{path}, row {row}: the text is an array as NumPy prints it, with ... for what it leaves out; save lists of words"
            )


def _name(value: Any, where: str, column: str) -> str:
    """Returns a class, a split or a group as the file writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, np.floating | float):
        value = None if np.isnan(value) else str(value)
    elif isinstance(value, int | decimal.Decimal):
        value = str(value)
    elif isinstance(value, datetime.date | datetime.datetime | datetime.time):
        value = value.isoformat()
    if value is None or (isinstance(value, str) and not value.strip()):
        raise DataError(f"{where}: the column {column!r} is empty")
    if not isinstance(value, str):
        raise DataError(f"{where}: the column {column!r} holds {_kind(value)}; allowed: a text, a number, or true and false")
    return str(value)


def _kind(value: Any) -> str:
    """Returns what a value is, in words, with the value where it is short."""
    if isinstance(value, _Number) or (isinstance(value, int | float | np.floating | decimal.Decimal) and not isinstance(value, bool)):
        return f"a number ({str(value)[:40]})"
    return _NAMES.get(type(value), f"a value of type {type(value).__name__}")
