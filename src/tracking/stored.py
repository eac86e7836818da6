"""What every MLflow store takes, whatever database is behind it.

SQLite takes anything. PostgreSQL and MySQL have columns of so many characters, SQL Server of so many bytes; no other than SQLite takes a
zero byte, and none a character that UTF-8 has no bytes for, as in the name of a file that is not UTF-8.
"""

from __future__ import annotations

from src.files import digest

NAME = 250  # bytes of a run's name
VALUE = 5_000  # bytes of a tag or a param
ADDRESS = 200  # characters of the address of a run's files


def fitting(text: str, limit: int, *, gap: str = "…") -> str:
    """Returns a text of at most so many bytes of UTF-8, different for different texts.

    What is too long loses its middle, in place of which stands a hash of the whole: of a trial's name its seed stays, which is at the end.

    Args:
      text: to be stored.
      limit: bytes, 64 or more.
      gap: stands on both sides of the hash.
    """
    safe = text.replace("\0", "\\x00").encode(errors="backslashreplace")
    if len(safe) <= limit:
        return safe.decode()
    mark = f"{gap}{digest(text)}{gap}"
    left = limit - len(mark.encode())
    tail = left // 3
    return safe[: left - tail].decode(errors="ignore") + mark + safe[-tail:].decode(errors="ignore")
