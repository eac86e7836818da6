"""Files of data: where they are, and their bytes as text."""

from __future__ import annotations

import codecs
from pathlib import Path

from src.spec.section import SettingsError

# The longest mark first: UTF-32 begins with that of UTF-16.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}

_OTHERS = {  # formats that are no text, by their first bytes
    b"\x1f\x8b": "it is compressed (gzip); unpack it, with `gunzip` or another program",
    b"PK\x03\x04": "it is a zip archive, as Excel's .xlsx files are; unpack it, or save the sheet as CSV UTF-8",
    b"PAR1": "it is Parquet; give it a name that ends in .parquet",
    b"\xd0\xcf\x11\xe0": "it is a file of an old Excel; save the sheet as CSV UTF-8",
}
MOST = 10_000_000  # characters of a text, about two million words: what is longer is a file that slipped into another


class DataError(SettingsError):
    """The data cannot be used. The text names the file and, where there is one, the row."""


def decoded(path: Path) -> str:
    """Returns a file's text: UTF-8, or what its byte-order mark says; the mark is no part of the text.

    Raises:
      DataError: the file cannot be read, or its bytes are not such a text; the line is named.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    encoding = encoding_of(content, str(path))
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8-sig":
            raise DataError(
                f"{path}: its byte-order mark says {encoding.upper()}, but it is not; convert the file to UTF-8"
            ) from None
        found = error.object[error.start]  # the mark is not part of it
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: byte {found:#04x} is not UTF-8; convert the file to UTF-8") from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise DataError(
            f"{path}, line {line}: it holds a zero byte, as UTF-16 without a byte-order mark does; convert the file to UTF-8"
        )
    return text


def encoding_of(start: bytes, name: str) -> str:
    """Returns how the bytes of a file are read: as its byte-order mark says, or UTF-8 without one.

    Args:
      start: the file's first four bytes, and more.
      name: of the file, for the error.

    Raises:
      DataError: the file is of a known format that is no text.
    """
    if other := next((what for first, what in _OTHERS.items() if start.startswith(first)), None):
        raise DataError(f"{name}: {other}")
    return next((encoding for mark, encoding in _MARKS.items() if start.startswith(mark)), "utf-8-sig")


def expanded(path: str) -> Path:
    """Returns a path with `~` written out."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise DataError(f"{path}: there is no such user; write the whole path") from None


def existing(path: Path) -> Path:
    """Returns the path of a file that is there."""
    try:
        if path.is_file():
            return path
        what = "this is a folder; give a file" if path.is_dir() else "no such file"
    except OSError as error:  # a name that is too long, or a folder that may not be entered
        what = f"cannot be read ({error.strerror})"
    raise DataError(f"{path}: {what}")


def allowed_length(text: str, where: str) -> str:
    """Returns a text that is not too long to be one."""
    if len(text) > MOST:
        raise DataError(f"{where}: it has {len(text):,} characters; allowed for one text: up to {MOST:,}. Divide it")
    return text
