"""Errors in one line, the nearest option to a typing error, and whether an error is permanent or a full disk."""

from __future__ import annotations

import difflib
import errno
import os
import re
from collections.abc import Sequence

from src.terminal.visible import shortened

PREFACE = re.compile(r"(?:[A-Z_]+: )?\(raised as a result of ")  # SQLAlchemy's, after a tracking server's error code
# MLflow's error codes for requests that it would refuse again: a missing permission, a missing driver, a long value.
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
    r"authentication failed|no password supplied|(?:role|database) \"[^\"]*\" does not exist"
    r"|Access denied|Unknown database"
)

FULL = "the disk is full"
INSIDE, FEW = 3, 3  # letters that a part of a name needs to be a hint; names that may contain it
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def first_line(error: BaseException, *, limit: int = 300) -> str:
    """Returns the first informative line of an error's text, or the name of its class if it has no text.

    A line that ends with a colon is joined with the next one. A long line loses its middle: the end has the cause.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not PREFACE.match(line.strip())]
    lines = lines or [type(error).__name__]
    line = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    return shortened(line, limit)


def is_permanent(error: BaseException) -> bool:
    """Returns whether an MLflow store would raise this error again: it refused the request, or lacks a driver.

    A server that cannot be reached is not a permanent error.
    """
    code, cause = getattr(error, "error_code", None), error.__cause__
    if isinstance(error, ImportError) or NO_ENTRY.search(str(error)):
        return True
    if type(cause).__name__ in LOST:
        return False
    return code in REFUSED or isinstance(cause, ValueError | TypeError)


def is_full(error: BaseException) -> bool:
    """Returns whether an error or one of its causes reports a full disk or an exceeded quota.

    Libraries with their own file access, such as TensorFlow, raise errors with the system's text but no errno.
    """
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) and cause not in chain:
        chain.append(cause)
    return any(
        getattr(link, "errno", None) in NO_ROOM or any(os.strerror(number) in str(link) for number in NO_ROOM)
        for link in chain
    )


def nearest(typed: str, options: Sequence[str]) -> str | None:
    """Returns the probably intended option: equal up to case, _ and -; those that contain it; or the closest."""
    plain = {plain_name(option): option for option in reversed(options)}
    name = plain_name(typed)
    if name in plain:
        return plain[name]
    inside = [option for option in options if len(name) >= INSIDE and name in plain_name(option)]
    if 0 < len(inside) <= FEW:
        return " or ".join(inside)
    near = difflib.get_close_matches(name, plain, n=1)
    return plain[near[0]] if near else None


def plain_name(name: str) -> str:
    """Returns a name in lower case, without underscores and hyphens."""
    return name.casefold().replace("_", "").replace("-", "")
