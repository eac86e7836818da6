"""Data files: their paths, and their bytes as text."""

from __future__ import annotations

import codecs
from pathlib import Path

from src.spec.section import SettingsError

# The longest mark first: the mark of UTF-32 begins with that of UTF-16.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}

_NOT_TEXT = {  # formats other than text, by their first bytes
    b"\x1f\x8b": "it is compressed (gzip); unpack it with `gunzip` or another program",
    b"PK\x03\x04": "it is a zip archive, as Excel's .xlsx files are; unpack it, or save the sheet as CSV UTF-8",
    b"PAR1": "it is Parquet; give it a name that ends in .parquet",
    b"\xd0\xcf\x11\xe0": "it is an old Excel file (.xls); save the sheet as CSV UTF-8",
}
MAX_CHARACTERS = 10_000_000  # of a text, about two million words: a longer text is a mistake, such as a whole file


class DataError(SettingsError):
    """The data cannot be used. The text names the file and, if possible, the row."""


def decoded(path: Path) -> str:
    """Returns a file's text without its byte-order mark. The encoding is UTF-8, or the one of the mark.

    Raises:
      DataError: the file cannot be read, or its bytes are not in this encoding; the text names the line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    return text_of(content, str(path))


def text_of(content: bytes, path: str) -> str:
    """Returns the bytes of a file as text, as `decoded` does; `path` is the file's name for errors."""
    encoding = encoding_of(content, path)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8-sig":
            fault = f"its byte-order mark is that of {encoding.upper()}, but its bytes are not"
            raise DataError(f"{path}: {fault}; convert the file to UTF-8") from None
        byte = error.object[error.start]  # of the bytes after the mark
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: byte {byte:#04x} is not UTF-8; convert the file to UTF-8") from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        fault = "it contains a zero byte, as UTF-16 without a byte-order mark does"
        raise DataError(f"{path}, line {line}: {fault}; convert the file to UTF-8")
    return text


def encoding_of(start: bytes, name: str) -> str:
    """Returns the encoding of a file: the one of its byte-order mark, or UTF-8 without a mark.

    Args:
      start: the file's first four bytes, or more.
      name: the file's name, for the error.

    Raises:
      DataError: the file has a known format other than text.
    """
    if fault := next((fault for first, fault in _NOT_TEXT.items() if start.startswith(first)), None):
        raise DataError(f"{name}: {fault}")
    return next((encoding for mark, encoding in _MARKS.items() if start.startswith(mark)), "utf-8-sig")


def expanded(path: str) -> Path:
    """Returns a path with `~` expanded."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise DataError(f"{path}: there is no such user; write the whole path") from None


def existing(path: Path) -> Path:
    """Returns the path if it is a file that exists; raises `DataError` otherwise."""
    try:
        if path.is_file():
            return path
        fault = "this is a folder; give a file" if path.is_dir() else "no such file"
    except OSError as error:  # a name that is too long, or a folder that may not be entered
        fault = f"cannot be read ({error.strerror})"
    raise DataError(f"{path}: {fault}")


def allowed_length(text: str, where: str) -> str:
    """Returns the text unless it is too long; raises `DataError` otherwise."""
    if len(text) > MAX_CHARACTERS:
        allowed = f"allowed for one text: up to {MAX_CHARACTERS:,}"
        raise DataError(f"{where}: it has {len(text):,} characters; {allowed}. Split it")
    return text
