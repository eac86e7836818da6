"""The corpora of sentence pairs: the files of each, and how they become pairs in three splits."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from src.data import dates, libreoffice_help
from src.data.faults import Faults, Unusable
from src.data.files import DataError, decoded, existing, expanded, text_of
from src.data.pair_options import MAX_WORDS, Multi30k, Pairs
from src.data.pairs import (
    Corpus,
    Pair,
    by_source,
    is_longer,
    kept,
    longer_than,
    refuse_equal_languages,
    without_leaks,
    word_count,
)
from src.data.splits import TEST, TRAIN, VALIDATION
from src.terminal.visible import shortened

READING = 1  # part of the cache key: increment it when the same files give other pairs
SAME = 0.5  # share of pairs with two equal sides from which a file has one language
MULTI30K = {  # split → names of its files without language, as the data set and its readers have them
    TRAIN: ("train",),
    VALIDATION: ("val", "valid", "validation"),
    TEST: ("test_2016_flickr", "test2016", "test_2016", "flickr2016", "test"),
}


class Reader(NamedTuple):
    """How a corpus is read: `files` lists all files that it depends on, `read` returns its pairs."""

    files: Callable[[Any], list[Path]]
    read: Callable[[Any], Corpus]
    version: int


def pairs_files(options: Pairs) -> list[Path]:
    """Returns the file."""
    return [existing(expanded(options.path or ""))]


def read_pairs(options: Pairs) -> Corpus:
    """Returns the pairs of a tab-separated file.

    Raises:
      DataError: a line has one column, more than three, an empty side or a long one, or the sides are equal.
    """
    (path,) = pairs_files(options)
    faults, found, empty = Faults(path), [], 0
    for number, line in enumerate(decoded(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            pair = _pair_of(line.removesuffix("\r"), options)
        except Unusable as fault:
            faults.add(number, fault)
            continue
        empty += pair is None
        found += [pair] if pair is not None else []
    faults.refuse()
    if not found:
        raise DataError(f"{path}: no pairs; a line has a source, a tab and a target")
    _refuse_one_language(path, found)
    short, dropped = kept(found, max_words=options.max_words)
    return Corpus(by_source(short, origin=str(path)), {**dropped, "with an empty side": empty})


def _pair_of(line: str, options: Pairs) -> Pair | None:
    """Returns the pair of a line; None if a side is empty and such lines are dropped.

    Tatoeba's exports of pairs have the number of a sentence before each.
    """
    columns = line.split("\t")
    if len(columns) == 4 and columns[0].strip().isdecimal() and columns[2].strip().isdecimal():
        columns = columns[1::2]
    if len(columns) not in (2, 3):
        count = f"{len(columns)} column{'s' * (len(columns) > 1)}"
        fix = "A line has a source, a tab, a target, and perhaps a tab and an attribution"
        raise Unusable(f"{count} separated by tabs", f"have {count} separated by tabs", fix=fix)
    pair = Pair(columns[0].strip(), columns[1].strip())
    for side, text in zip(("first", "second"), pair[:2], strict=True):
        if not text and options.drop_empty:
            return None
        if not text:
            fault = f"the {side} column is empty"
            raise Unusable(fault, "have an empty column", fix="Set data.drop_empty=true to drop {it}")
        if options.max_words is None:
            _refuse_long(text, side)
    return pair if options.direction == "forward" else Pair(pair.target, pair.source)


def _refuse_long(text: str, side: str) -> None:
    if (count := word_count(text)) > MAX_WORDS:
        several = f"have a column of more than {MAX_WORDS} words"
        fix = "Divide {it} into sentences, or set data.max_words=100 to leave longer pairs out"
        raise Unusable(f"the {side} column has {count:,} words; allowed: up to {MAX_WORDS}", several, fix=fix)


def _refuse_one_language(path: Path, pairs: Sequence[Pair]) -> None:
    equal = sum(pair.source == pair.target for pair in pairs)
    if equal > SAME * len(pairs):
        share = f"both columns are equal in {equal:,} of {len(pairs):,} lines"
        raise DataError(f"{path}: {share}; the columns must have two languages")


def multi30k_files(options: Multi30k) -> list[Path]:
    """Returns two files for each split: source and target.

    Raises:
      DataError: both languages are the same, or a file is missing.
    """
    refuse_equal_languages(options.source, options.target, name="multi30k")
    folder = expanded(options.path or "")
    return [
        _parallel_file(folder, names, language)
        for names in MULTI30K.values()
        for language in (options.source, options.target)
    ]


def _parallel_file(folder: Path, names: Sequence[str], language: str) -> Path:
    places = [folder / f"{name}.{language}{packed}" for name in names for packed in ("", ".gz")]
    if (found := next((place for place in places if place.is_file()), None)) is None:
        raise DataError(f"{folder}: no file {' or '.join(f'{name}.{language}' for name in names)}, plain or gzip (.gz)")
    return found


def read_multi30k(options: Multi30k) -> Corpus:
    """Returns the pairs of the official splits, without training pairs whose source is in validation or test.

    Raises:
      DataError: two files have different numbers of lines, or a line is empty.
    """
    files = multi30k_files(options)
    whole = {name: list(_parallel(*sides)) for name, *sides in zip(MULTI30K, files[::2], files[1::2], strict=True)}
    splits, limit = whole, options.max_words
    if limit is not None:
        splits = {name: [pair for pair in part if not is_longer(pair, limit)] for name, part in whole.items()}
    longer = sum(len(whole[name]) - len(splits[name]) for name in whole)
    splits, leaked = without_leaks(splits)
    return Corpus(splits, {longer_than(limit): longer, "with a source of a later split": leaked})


def _parallel(source: Path, target: Path) -> Iterator[Pair]:
    """Yields the pairs of lines of two files."""
    sides = [_lines(path) for path in (source, target)]
    if len(sides[0]) != len(sides[1]):
        counts = f"{len(sides[0]):,} lines, {target.name} has {len(sides[1]):,}"
        raise DataError(f"{source}: {counts}; line n of one must be the translation of line n of the other")
    for number, (left, right) in enumerate(zip(*sides, strict=True), 1):
        for path, text in ((source, left), (target, right)):
            if not text:
                raise DataError(f"{path}, line {number}: the line is empty")
            if (count := word_count(text)) > MAX_WORDS:
                raise DataError(f"{path}, line {number}: {count:,} words; allowed: up to {MAX_WORDS}")
        yield Pair(left, right)


def _lines(path: Path) -> list[str]:
    """Returns the stripped lines of a file, plain or gzip."""
    if path.suffix != ".gz":
        return [line.strip() for line in decoded(path).rstrip().split("\n")]
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not a complete gzip file ({shortened(str(error), 100)})") from None
    return [line.strip() for line in text_of(content, str(path)).rstrip().split("\n")]


READERS = {
    "dates": Reader(dates.files, dates.read, dates.GENERATION),
    "pairs": Reader(pairs_files, read_pairs, READING),
    "libreoffice_help": Reader(libreoffice_help.files, libreoffice_help.read, libreoffice_help.READING),
    "multi30k": Reader(multi30k_files, read_multi30k, READING),
}
