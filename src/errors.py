"""How an error is said in one line, and whether it will come again."""

from __future__ import annotations

import re

from src.visible import shortened

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
LOST = ("InterfaceError", "DisconnectionError", "PendingRollbackError", "ResourceClosedError", "TimeoutError")  # SQLAlchemy's
NO_ENTRY = re.compile(
    r"authentication failed|no password supplied|(?:role|database) \"[^\"]*\" does not exist|Access denied|Unknown database"
)


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
