from __future__ import annotations

import pytest

from src.terminal.errors import comes_again, first_line

LONG = "(psycopg2.errors.StringDataRightTruncation) value too long for type character varying(250)"


class Answer(Exception):
    """As MLflow's: a text and a code."""

    def __init__(self, text="", code="INTERNAL_ERROR"):
        super().__init__(text)
        self.error_code = code


class DataError(Exception):
    """As SQLAlchemy's."""


class InterfaceError(Exception):
    """As SQLAlchemy's."""


@pytest.mark.parametrize(
    "preface", ["(raised as a result of ", "BAD_REQUEST: (raised as a result of ", "\n  (raised as a result of "]
)
def test_the_cause_of_a_databases_refusal_is_said_directly_or_by_a_server(preface):
    text = f"{preface}Query-invoked autoflush; consider using a session.no_autoflush block)\n{LONG}\n\n[SQL: INSERT INTO runs …]"

    assert first_line(Answer(text)) == LONG


def test_a_line_that_announces_another_is_said_with_it():
    assert first_line(ValueError("it cannot be opened:\n  no such file\nmore")) == "it cannot be opened: no such file"


def test_a_long_line_keeps_its_end_where_the_cause_is():
    text = "API request to http://server failed " + "x" * 500 + " (Caused by: Connection refused)"

    said = first_line(OSError(text))

    assert len(said) <= 300 and said.startswith("API request") and said.endswith("Connection refused)")


def test_an_error_without_text_is_its_kind():
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
def test_what_a_store_refuses_comes_again(error):
    assert comes_again(error)


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
def test_a_server_that_is_away_may_come_back(error):
    assert not comes_again(error)
