"""Tables of a user's own: CSV, TSV, JSONL and Parquet, read as they are written or refused with the rows.

Nothing is guessed from a value's looks. A text is a text or a list of words; a class, a split and a group is the text that the file has
for it: `01` stays `01`. JSON's numbers are taken digit for digit, its truth values are `true` and `false`; of Parquet, whole numbers are
their digits, other numbers the shortest text that gives them again (`1.0`), dates ISO 8601, categories what they stand for.
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
from src.data.files import MOST, DataError, allowed_length, decoded
from src.data.options import DELIMITERS
from src.terminal.errors import first_line

Text = str | list[str]
Parsed = tuple[list[int], dict[str, list[Any]]]  # numbers of the rows, and what each wanted column holds in them
Value = TypeVar("Value")
READING = "1"  # part of the cache's key: raise it when a table is read otherwise

_NAMES = {bool: "true or false", dict: "an object", list: "a list", bytes: "bytes", type(None): "nothing"}


class _Number(str):
    """A number as it is written, which is a class but no text."""

    __slots__ = ()


@dataclass(frozen=True)
class Rows:
    """The rows of a table that are used, N of them, in file order.

    Attributes:
      numbers: of the rows in the file, from 1.
      texts: texts, or lists of words.
      labels: class of each.
      splits: of each, where a column says so.
      groups: of each, where a column says so.
      dropped: rows without a text that were left out.
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
      columns: what is wanted (`text`, `label`, `split`, `group`) → the column's name, or None.
      delimiter: name of the sign between the columns of .csv and .tsv, a key of `DELIMITERS`; None: as the ending says.
      drop_empty: leave out rows without a text, instead of refusing the file.

    Raises:
      DataError: the file is no such table, a column is missing or named twice, rows have more or fewer fields than the
        header, or values are empty or of no use. All such rows are counted and the first named; rows are counted from 1
        without the header.
    """
    wanted = {name: column for name, column in columns.items() if column}
    faults = Faults(path)
    try:
        numbers, found = _parsed(path, wanted, faults, delimiter=delimiter)
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: cannot be read ({first_line(error)})") from None
    is_kept = [not (drop_empty and _is_empty(value)) for value in found["text"]]
    rows = list(itertools.compress(numbers, is_kept))
    kept = {name: itertools.compress(values, is_kept) for name, values in found.items()}
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
    """Returns the sign between the columns of a file, empty for one whose format has none.

    Args:
      path: of the file, whose ending says the sign where no other is given.
      delimiter: a key of `DELIMITERS`, or None.
    """
    by_ending = {".csv": ",", ".tsv": "\t"}.get(path.suffix.lower(), "")
    return DELIMITERS[delimiter] if by_ending and delimiter else by_ending


def _parsed(path: Path, wanted: Mapping[str, str], faults: Faults, *, delimiter: str | None) -> Parsed:
    """Returns the rows of a file whose format is known by its ending."""
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


def _usable(rows: Iterable[int], values: Iterable[Any], faults: Faults, of: Callable[[Any], Value]) -> list[Value]:
    """Returns what values are read as; counts those that cannot be used."""
    found = []
    for row, value in zip(rows, values, strict=True):
        try:
            found.append(of(value))
        except Unusable as fault:
            faults.add(row, fault)
    return found


def _csv(path: Path, wanted: Mapping[str, str], faults: Faults, *, sign: str) -> Parsed:
    content = decoded(path)
    csv.field_size_limit(MOST)  # of the whole process; 128 kB are less than a long text
    header = next(_rows(path, csv.reader(io.StringIO(content, newline=""), delimiter=sign), faults), None)
    if header is None:
        raise DataError(f"{path}: not a CSV (it is empty)")
    if not any("\n" in name for name in header):  # as after a quote that is never closed
        _refuse_other_sign(
            path, [name.strip() for name in header], [name.strip() for name in wanted.values()], sign=sign
        )
    is_spaced = any(name.startswith(" ") for name in header[1:])  # `text, label`: the spaces belong to the commas
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=sign, strict=True, skipinitialspace=is_spaced)
    table = _rows(path, reader, faults)
    header = [name.strip() for name in next(table)]
    places = {name: _place(path, header, name=name, column=column.strip()) for name, column in wanted.items()}
    rows: dict[int, list[str]] = {}
    slipped: dict[int, list[str]] = {}
    for number, row in enumerate(table, 1):
        if len(row) != len(header):
            slipped[number] = row
        elif [field.strip() for field in row] == header:
            faults.add(number, Unusable("it repeats the header; leave it out", "repeat the header; leave them out"))
        else:
            rows[number] = row
    _add_slipped(slipped, header, faults, sign=sign)
    _add_unnamed(header, rows, faults)
    if not slipped:  # beside which a quote may be wrong for another reason
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
        faults.refuse()  # a row before may be the reason
        why = {
            "unexpected end of data": "it opens a quote that is never closed",
            f"field larger than field limit ({MOST})": f"a field is longer than {MOST:,} characters, which no text is",
        }.get(str(error), str(error))
        if "expected after" in why:
            why = "text follows a closing quote; double every quote inside a quoted text"
        where = f"row {count}" if count else "the header"
        raise DataError(f"{path}: not a CSV ({where}, from line {line}: {why})") from None


def _refuse_other_sign(path: Path, header: Sequence[str], columns: Sequence[str], *, sign: str) -> None:
    """Refuses a header that another sign divides into the wanted columns, or that is a single column."""
    missing = set(columns) - set(header)
    if not missing:
        return
    line = sign.join(header)
    others = {name: other for name, other in DELIMITERS.items() if other != sign}
    divided = {name: [part.strip().strip('"') for part in line.split(other)] for name, other in others.items()}
    found = {name: len(set(columns) & set(parts)) for name, parts in divided.items()}
    best = max(found, key=lambda name: (found[name], len(divided[name])))
    start = f"{path}: no column {min(missing, key=columns.index)!r}; it has {_listed(header)}"
    if found[best] > len(set(columns) & set(header)) or (len(header) == 1 and len(divided[best]) > 1):
        raise DataError(f"{start}. Its header is separated by {best}s; set data.delimiter={best}")
    if len(header) == 1:
        what = "what separates its columns (comma, tab, semicolon or pipe)"
        raise DataError(f"{start}. Set data.delimiter to {what}, or data.text_column=NAME")


def _place(path: Path, header: Sequence[str], *, name: str, column: str) -> int:
    """Returns where a column stands."""
    found = [place for place, known in enumerate(header) if known == column]
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(f"{path}: it has the column {column!r} {len(found)} times; give each a name of its own")
    raise DataError(f"{path}: no column {column!r}; it has {_listed(header)}. Set data.{name}_column=NAME")


def _listed(names: Sequence[str]) -> str:
    """Returns names for a reader, the first ones where there are many."""
    shown = ", ".join(name if len(name) <= 40 else f"{name[:39]}…" for name in names[:10])
    return shown if len(names) <= 10 else f"{shown}, … ({len(names):,} in all)"


def _add_slipped(rows: Mapping[int, Sequence[str]], header: Sequence[str], faults: Faults, *, sign: str) -> None:
    """Counts rows with more or fewer fields than the header, both as one fault each."""
    for is_more in (True, False):
        found = {number: row for number, row in rows.items() if (len(row) > len(header)) == is_more}
        least, most = (of(map(len, found.values()), default=0) for of in (min, max))
        what = f"the header has {len(header)} ({_listed(header)})"
        many = f"have {least if least == most else f'{least} to {most}'} field{'s' * (most != 1)}, {what}"
        fix = _fix_of_slipped(list(found.values()), header, sign=sign)
        for number, row in found.items():
            faults.add(number, Unusable(f"it has {len(row)} field{'s' * (len(row) != 1)}, {what}", many, fix=fix))


def _fix_of_slipped(rows: Sequence[Sequence[str]], header: Sequence[str], *, sign: str) -> str:
    """Returns what to do with rows that all have more fields than the header, or all fewer."""
    name = next(name for name, known in DELIMITERS.items() if known == sign)
    if all(len(row) == len(header) + 1 and not row[-1] for row in rows):
        return f"Leave out the {name} at {{its}} end"
    if rows and len(rows[0]) > len(header):
        return f"Put a text that holds {name}s or line breaks between quotes"
    for other, known in DELIMITERS.items():
        if known != sign and all(sign.join(row).count(known) == len(header) - 1 for row in rows) and len(header) > 1:
            return f"{other.capitalize()}s separate {{its}} fields, and {name}s the header's; write {{it}} alike"
    return "Give {it} a field for each column"


def _add_unnamed(header: Sequence[str], rows: Mapping[int, Sequence[str]], faults: Faults) -> None:
    """Counts content in a column without a name, where a text with commas puts its rest.

    Row numbers that pandas wrote may stand in the first column.
    """
    for place in (place for place, name in enumerate(header) if not name):
        what = "and the header has no name for it; name all columns"
        for number, row in rows.items():
            if (got := row[place].strip()) and not (place == 0 and got.isdecimal()):
                one, many = f"field {place + 1} is {got[:40]!r}, {what}", f"have something in field {place + 1}, {what}"
                faults.add(number, Unusable(one, many, example=repr(got[:40])))


def _add_swallowed(
    header: Sequence[str],
    rows: Mapping[int, Sequence[str]],
    faults: Faults,
    *,
    label: int,
    sign: str,
) -> None:
    """Counts quoted fields whose lines look like rows, up to a known class: their first quote was no opening one."""
    classes = {row[label] for row in rows.values() if "\n" not in row[label]}

    def is_row(fields: Sequence[str]) -> bool:
        return len(fields) == len(header) and fields[label] in classes

    for number, row in rows.items():
        for place, field in enumerate(row):
            if "\n" not in field and "\r" not in field:
                continue
            first, *others = ([*csv.reader([line], delimiter=sign), [""]][0] for line in field.splitlines())
            is_first = label > place and is_row([*row[:place], *first])
            if is_first or any(is_row(fields) for fields in others):
                lines, fix = len(others) + 1, "Close the quote in {its} first line, or double it"
                one = f"the column {header[place]!r} holds {lines} lines, and some look like rows of their own"
                many = f"hold several lines in the column {header[place]!r}, and some look like rows of their own"
                faults.add(number, Unusable(one, many, fix=fix))


def _jsonl(path: Path, wanted: Mapping[str, str], faults: Faults) -> Parsed:
    lines = (line for line in decoded(path).split("\n") if line.strip())  # splitlines would also split inside a text
    rows: dict[int, dict[str, Any]] = {}
    for number, line in enumerate(lines, 1):
        try:
            rows[number] = _json_object(allowed_length(line, f"{path}, row {number}"))
        except Unusable as fault:
            faults.add(number, fault)
    known = list(dict.fromkeys(itertools.chain.from_iterable(rows.values())))
    for name, column in wanted.items():
        if rows:
            _place(path, known, name=name, column=column)
    return list(rows), {name: [row.get(column) for row in rows.values()] for name, column in wanted.items()}


def _json_object(line: str) -> dict[str, Any]:
    """Returns a line of JSONL, its numbers digit for digit."""
    try:
        row = json.loads(
            line, parse_int=_Number, parse_float=_Number, parse_constant=_constant, object_pairs_hook=_object
        )
    except json.JSONDecodeError as error:
        raise Unusable(f"not JSON ({error})", "are not JSON") from None
    except RecursionError:
        what = "lie too deep in one another; a row is one flat object"
        raise Unusable(f"its lists or objects {what}", f"have lists or objects that {what}") from None
    if not isinstance(row, dict):
        one = f"got {line[:40]!r}; every row must be a JSON object"
        raise Unusable(one, "are no JSON objects; every row must be one")
    return row


def _constant(text: str) -> Any:
    return None if text == "NaN" else _Number(text)


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise Unusable(f"the key {twice[:40]!r} occurs twice; keep one", "have a key twice", fix="Keep one of each")
    return found


def _parquet(path: Path, wanted: Mapping[str, str], faults: Faults) -> Parsed:
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
    return list(range(1, table.num_rows + 1)), found


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
                raise DataError(
                    f"{path}, row {row}: the column {column!r} cannot be read ({first_line(error)})"
                ) from None
        raise


def _is_empty(value: Any) -> bool:
    """Returns whether a value is no text at all: nothing, an empty list, or white space."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or value == [] or (isinstance(value, float) and math.isnan(value))


def _text(value: Any, column: str) -> Text:
    """Returns a text, or a list of words exactly as given.

    Raises:
      Unusable: it is none.
    """
    if _is_empty(value):
        one = f"the column {column!r} is empty"
        raise Unusable(one, f"are empty in the column {column!r}", fix="Set data.drop_empty=true to leave {it} out")
    if isinstance(value, str) and not isinstance(value, _Number):
        if len(value) > MOST:
            one = f"it has {len(value):,} characters; allowed for one text: up to {MOST:,}"
            raise Unusable(one, f"have a text of more than {MOST:,} characters", fix="Divide {it}")
        return value
    if not isinstance(value, list):
        raise _held(column, value, allowed="a text, or a list of words")
    for place, word in enumerate(value, 1):
        if not isinstance(word, str) or isinstance(word, _Number):
            raise Unusable(
                f"the column {column!r} holds a list with {_kind(word, with_value=True)} in place {place}",
                f"hold a list with something else than words in the column {column!r}",
                fix="Allowed: a text, or a list of words",
            )
        if not word.strip():
            one = f"the column {column!r} holds a list with an empty word in place {place}"
            raise Unusable(one, f"hold a list with an empty word in the column {column!r}", fix="Leave out empty words")
    return value


def _add_mixed(rows: Sequence[int], texts: Sequence[Text], faults: Faults) -> None:
    """Counts texts beside lists of words, and lists beside texts: what the first row is not."""
    for row, text in zip(rows, texts, strict=False):  # fewer where some cannot be used
        if isinstance(text, list) != isinstance(texts[0], list):
            kinds = ("a list of words", "a text") if isinstance(text, list) else ("a text", "a list of words")
            where = f"row {rows[0]} {kinds[1]}; write all rows alike"
            faults.add(row, Unusable(f"it holds {kinds[0]}, and {where}", f"hold {kinds[0]}, and {where}"))


def _add_abbreviated(rows: Sequence[int], texts: Sequence[Text], faults: Faults) -> None:
    """Counts texts that are NumPy's print of arrays, which leaves out all but six words of a long one."""
    if not all(isinstance(text, str) and text.startswith("[") and text.endswith("]") for text in texts):
        return
    for row, text in zip(rows, texts, strict=False):
        if isinstance(text, str) and "..." in text.split():
            what = "as NumPy prints it, with ... for what it leaves out; save lists of words"
            faults.add(row, Unusable(f"the text is an array {what}", f"hold an array {what}"))


def _name(value: Any, column: str) -> str:
    """Returns a class, a split or a group as the file writes it.

    Raises:
      Unusable: it is empty, or no name.
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
        raise _held(column, value, allowed="a text, a number, or true and false")
    return str(value)


def _held(column: str, value: Any, *, allowed: str) -> Unusable:
    """Returns the fault of a value of the wrong kind."""
    one = f"the column {column!r} holds {_kind(value, with_value=True)}"
    example = str(value)[:40] if "number" in _kind(value) else ""
    return Unusable(one, f"hold {_kind(value)} in the column {column!r}", example=example, fix=f"Allowed: {allowed}")


def _kind(value: Any, *, with_value: bool = False) -> str:
    """Returns what a value is, in words, and the value itself of a number."""
    if isinstance(value, _Number) or (
        isinstance(value, int | float | np.floating | decimal.Decimal) and not isinstance(value, bool)
    ):
        return f"a number ({str(value)[:40]})" if with_value else "a number"
    return _NAMES.get(type(value), f"a value of type {type(value).__name__}")
