"""Texts that every MLflow store accepts, with any database.

PostgreSQL and MySQL limit the characters of a column, SQL Server limits its bytes, and SQLite limits neither. Only
SQLite accepts a zero byte. No database accepts a character that UTF-8 cannot encode; the name of a file may have one.
"""

from __future__ import annotations

from src.files import digest

NAME = 250  # bytes of a run's name
VALUE = 5_000  # bytes of a tag or a param
ADDRESS = 200  # characters of the address of a run's files


def fitting(text: str, limit: int, *, gap: str = "…") -> str:
    """Returns a text of at most `limit` bytes of UTF-8, different for different texts.

    If a text is too long, a hash of it replaces its middle. A trial's name thus keeps the seed at its end.

    Args:
      text: the text to store.
      limit: maximum number of bytes, 64 or more.
      gap: stands on both sides of the hash.
    """
    safe = text.replace("\0", "\\x00").encode(errors="backslashreplace")
    if len(safe) <= limit:
        return safe.decode()
    mark = f"{gap}{digest(text)}{gap}"
    left = limit - len(mark.encode())
    tail = left // 3
    return safe[: left - tail].decode(errors="ignore") + mark + safe[-tail:].decode(errors="ignore")
