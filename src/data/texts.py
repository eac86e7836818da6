"""Texts that come a line at a time, of a file or a pipe: each is given as soon as it is there, and few are held."""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from src.data.files import MOST, DataError, encoding_of

SIZE = 1 << 20  # bytes of a file that are read at once; a pipe gives what it has
STANDARD_INPUT = "-"


class Line(NamedTuple):
    """A text, and why it can be none: None where it can."""

    text: str
    fault: str | None = None


def opened(name: str) -> io.RawIOBase:
    """Returns a file's bytes, or those of standard input for `-`, which are there as they come.

    Raises:
      DataError: there is no such file.
    """
    try:
        if name == STANDARD_INPUT:
            return open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)
        return open(Path(name), "rb", buffering=0)
    except (OSError, ValueError) as error:
        raise DataError(f"{name or repr(name)}: {getattr(error, 'strerror', None) or error}") from None


def lines(stream: io.RawIOBase, name: str) -> Iterator[list[Line]]:
    """Yields the lines that each read has completed, in order; the first is given before the second is there.

    A line ends with a line feed, and a carriage return before it is no part of it. Bytes are UTF-8, or what a byte-order
    mark says.

    Args:
      stream: as `opened` gives it.
      name: of the file, for errors.

    Raises:
      DataError: the file cannot be read, or is no text at all.
    """
    try:
        start = b""
        while len(start) < 4 and (chunk := stream.read(SIZE)):  # the longest mark has four bytes
            start += chunk
            if not start.startswith((b"\xff", b"\xfe", b"\0")):
                break
        encoding = encoding_of(start, name)
        decoder = codecs.getincrementaldecoder(encoding)("surrogateescape" if encoding == "utf-8-sig" else "strict")
        pending = ""
        while start:
            *whole, pending = (pending + decoder.decode(start)).split("\n")
            if whole:
                yield [checked(line.removesuffix("\r")) for line in whole]
            pending = pending[: MOST + 1]  # of a line that is too long, enough to know it
            start = stream.read(SIZE) or b""
        if pending := pending + decoder.decode(b"", final=True):
            yield [checked(pending.removesuffix("\r"))]
    except OSError as error:
        raise DataError(f"{name}: {error.strerror}") from None
    except UnicodeDecodeError:
        what = f"its byte-order mark says {encoding.upper()}, but it is not"
        raise DataError(f"{name}: {what}; convert the file to UTF-8") from None


def checked(text: str) -> Line:
    """Returns a text with what keeps it from being one."""
    if len(text) > MOST:
        return Line(text[:MOST], f"it has more than {MOST:,} characters; divide it")
    if "\0" in text:
        return Line(text, "it holds a zero byte, as UTF-16 without a byte-order mark does; convert the file to UTF-8")
    if not text.isascii() and (found := next((sign for sign in text if "\udc80" <= sign <= "\udcff"), None)):
        return Line(text, f"byte {ord(found) - 0xDC00:#04x} is not UTF-8; convert the file to UTF-8")
    return Line(text) if text.strip() else Line(text, "it is blank")
