"""Texts from a file or a pipe, one per line, yielded as soon as they arrive; few are in memory at a time."""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from src.data.files import MAX_CHARACTERS, DataError, encoding_of

SIZE = 1 << 20  # bytes per read of a file; a pipe gives what it has
STANDARD_INPUT = "-"


class Line(NamedTuple):
    """A text, and why it cannot be used; None if it can."""

    text: str
    fault: str | None = None


def opened(name: str) -> io.RawIOBase:
    """Returns an unbuffered stream of a file's bytes, or of standard input for `-`.

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
    """Yields the lines that each read has completed, in order, without waiting for the next read.

    A line ends with a line feed; a carriage return before it is removed. The encoding is UTF-8, or the one of the
    byte-order mark.

    Args:
      stream: from `opened`.
      name: the file's name, for errors.

    Raises:
      DataError: the file cannot be read, or is not text.
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
            pending = pending[: MAX_CHARACTERS + 1]  # enough to recognise a line that is too long
            start = stream.read(SIZE) or b""
        if pending := pending + decoder.decode(b"", final=True):
            yield [checked(pending.removesuffix("\r"))]
    except OSError as error:
        raise DataError(f"{name}: {error.strerror}") from None
    except UnicodeDecodeError:
        fault = f"its byte-order mark is that of {encoding.upper()}, but its bytes are not"
        raise DataError(f"{name}: {fault}; convert the file to UTF-8") from None


def checked(text: str) -> Line:
    """Returns a text, with the fault that makes it unusable."""
    if len(text) > MAX_CHARACTERS:
        return Line(text[:MAX_CHARACTERS], f"it has more than {MAX_CHARACTERS:,} characters; split it")
    if "\0" in text:
        fault = "it contains a zero byte, as UTF-16 without a byte-order mark does"
        return Line(text, f"{fault}; convert the file to UTF-8")
    if not text.isascii() and (escape := next((sign for sign in text if "\udc80" <= sign <= "\udcff"), None)):
        return Line(text, f"byte {ord(escape) - 0xDC00:#04x} is not UTF-8; convert the file to UTF-8")
    return Line(text) if text.strip() else Line(text, "it is blank")
