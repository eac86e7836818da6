"""How an error is said in one line, what was meant, whether it will come again, and whether it is the disk's."""

from __future__ import annotations

import difflib
import errno
import os
import re
from collections.abc import Sequence

from src.terminal.visible import shortened

PREFACE = re.compile(r"(?:[A-Z_]+: )?\(raised as a result of ")  # SQLAlchemy's, and a tracking server's code before it
# What MLflow answers to a request that it would refuse again, for want of a right, a driver or room for a value.
REFUSED = {
    "BAD_REQUEST",
    "CUSTOMER_UNAUTHORIZED",
    "ENDPOINT_NOT_FOUND",
    "FEATURE_DISABLED",
    "INVALID_PARAMETER_VALUE",
    "INVALID_STATE",
    "MALFORMED_REQUEST",
    "NOT_FOUND",
    "NOT_IMPLEMENTED",
    "PERMISSION_DENIED",
    "RESOURCE_DOES_NOT_EXIST",
    "UNAUTHENTICATED",
}
LOST = (
    "InterfaceError",
    "DisconnectionError",
    "PendingRollbackError",
    "ResourceClosedError",
    "TimeoutError",
)  # SQLAlchemy's
NO_ENTRY = re.compile(
    r"authentication failed|no password supplied|(?:role|database) \"[^\"]*\" does not exist|Access denied|Unknown database"
)

FULL = "the disk is full"
INSIDE, FEW = 3, 3  # letters from which on a part of a name is a hint; names that may hold it
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def first_line(error: BaseException, *, limit: int = 300) -> str:
    """Returns the first line of an error's text that says something, or its kind if it has no text.

    A line that ends with a colon is taken with the next one. A line that is too long loses its middle: causes stand at the end.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not PREFACE.match(line.strip())]
    lines = lines or [type(error).__name__]
    said = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    return shortened(said, limit)


def comes_again(error: BaseException) -> bool:
    """Returns whether a store that raised this would raise it again: it refuses what it got, as against a server that is away."""
    code, cause = getattr(error, "error_code", None), error.__cause__
    if isinstance(error, ImportError) or NO_ENTRY.search(str(error)):
        return True
    if type(cause).__name__ in LOST:
        return False
    return code in REFUSED or isinstance(cause, ValueError | TypeError)


def is_full(error: BaseException) -> bool:
    """Returns whether an error, or one that led to it, says that a disk has no room, or that its user may have no more of it.

    Libraries that write by code of their own, as TensorFlow does, raise errors that have the text of the system's, and no number.
    """
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) and cause not in chain:
        chain.append(cause)
    return any(
        getattr(one, "errno", None) in NO_ROOM or any(os.strerror(number) in str(one) for number in NO_ROOM)
        for one in chain
    )


def nearest(typed: str, options: Sequence[str]) -> str | None:
    """Returns the option that somebody may have meant: equal but for case and underscores, those that contain it, or the most alike."""
    plain = {plain_name(option): option for option in reversed(options)}
    wanted = plain_name(typed)
    if wanted in plain:
        return plain[wanted]
    inside = [option for option in options if len(wanted) >= INSIDE and wanted in plain_name(option)]
    if 0 < len(inside) <= FEW:
        return " or ".join(inside)
    near = difflib.get_close_matches(wanted, plain, n=1)
    return plain[near[0]] if near else None


def plain_name(name: str) -> str:
    """Returns a name in small letters, without underscores and hyphens."""
    return name.casefold().replace("_", "").replace("-", "")
