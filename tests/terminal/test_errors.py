from __future__ import annotations

import pytest

from src.terminal.errors import first_line, is_permanent

LONG = "(psycopg2.errors.StringDataRightTruncation) value too long for type character varying(250)"


class Answer(Exception):
    """Like MLflow's exception: a text and an error code."""

    def __init__(self, text="", code="INTERNAL_ERROR"):
        super().__init__(text)
        self.error_code = code


class DataError(Exception):
    """Like SQLAlchemy's exception."""


class InterfaceError(Exception):
    """Like SQLAlchemy's exception."""


@pytest.mark.parametrize(
    "preface", ["(raised as a result of ", "BAD_REQUEST: (raised as a result of ", "\n  (raised as a result of "]
)
def test_the_cause_of_a_database_error_is_shown_with_and_without_a_server(preface):
    hint = "Query-invoked autoflush; consider using a session.no_autoflush block)"

    assert first_line(Answer(f"{preface}{hint}\n{LONG}\n\n[SQL: INSERT INTO runs …]")) == LONG


def test_a_line_that_ends_with_a_colon_is_joined_with_the_next_line():
    assert first_line(ValueError("it cannot be opened:\n  no such file\nmore")) == "it cannot be opened: no such file"


def test_a_long_line_keeps_its_end_where_the_cause_is():
    text = "API request to http://server failed " + "x" * 500 + " (Caused by: Connection refused)"

    line = first_line(OSError(text))

    assert len(line) <= 300 and line.startswith("API request") and line.endswith("Connection refused)")


def test_an_error_without_text_is_shown_as_its_class():
    assert first_line(KeyError()) == "KeyError" and first_line(OSError("\n \n")) == "OSError"


def raised(error, cause=None):
    try:
        raise error from cause
    except Exception as caught:
        return caught


@pytest.mark.parametrize(
    "error",
    [
        raised(Answer(LONG, "BAD_REQUEST"), DataError()),
        raised(Answer("Invalid parameter", "INVALID_PARAMETER_VALUE")),
        raised(Answer("not yours", "PERMISSION_DENIED")),
        raised(Answer("A string literal cannot contain NUL (0x00) characters."), ValueError()),
        raised(ModuleNotFoundError("No module named 'psycopg'")),
        raised(Answer('FATAL:  password authentication failed for user "x"', "TEMPORARILY_UNAVAILABLE")),
        raised(Answer('FATAL:  database "x" does not exist', "TEMPORARILY_UNAVAILABLE")),
    ],
)
def test_a_request_that_a_store_refuses_is_a_permanent_error(error):
    assert is_permanent(error)


@pytest.mark.parametrize(
    "error",
    [
        raised(Answer("API request to http://127.0.0.1:9 failed with exception: Connection refused")),
        raised(Answer("connection to server failed", "TEMPORARILY_UNAVAILABLE")),
        raised(Answer("connection already closed", "BAD_REQUEST"), InterfaceError()),
        raised(Answer("too many requests", "REQUEST_LIMIT_EXCEEDED")),
        OSError(28, "No space left on device"),
        TimeoutError(),
    ],
)
def test_a_server_that_cannot_be_reached_is_a_temporary_error(error):
    assert not is_permanent(error)
