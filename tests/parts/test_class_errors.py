"""The table of the worst errors, and the command that prints it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from src.parts.classes import errors
from src.parts.classes.errors import Source

SHARES = np.array([[0.9, 0.1], [0.2, 0.8], [0.8, 0.2], [0.6, 0.4], [0.7, 0.3]])
LABELS = np.array([0, 1, 0, 1, 1])


def table(**changes):
    made = errors.table(SHARES, LABELS, ["bad", "good"], threshold=changes.pop("threshold", 0.5))
    made |= errors.places([Source("mine.csv", 10 + row) for row in made["row"]])
    return pd.DataFrame(made | {"text": [f"text {row}" for row in made["row"]]} | changes)


def printed(folder, frame, capsys, count=10):
    frame.to_parquet(folder / errors.FILE, index=False)
    errors.errors(folder, count=count)
    return [line.split("\t") for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(("threshold", "rows", "wrong"), [(0.5, [4, 3, 1, 2, 0], 2), (0.15, [2, 4, 3, 1, 0], 1)])
def test_wrong_examples_by_the_threshold_come_first(threshold, rows, wrong):
    found = table(threshold=threshold)

    assert found["row"].tolist() == rows
    assert found["is_wrong"].tolist() == [True] * wrong + [False] * (5 - wrong)
    decisions = (SHARES[:, 1] >= threshold).astype(int)
    assert found["prediction"].tolist() == [["bad", "good"][decisions[row]] for row in rows]
    assert found["probability"].tolist() == [SHARES[row, decisions[row]] for row in rows]


def test_only_wrong_examples_are_printed_with_their_row_in_the_users_file(tmp_path, capsys):
    _, *lines = printed(tmp_path, table(), capsys)

    assert lines == [
        ["1", "good", "bad", "0.700", "row 14 of mine.csv", "text 4"],
        ["2", "good", "bad", "0.600", "row 13 of mine.csv", "text 3"],
    ]


def test_the_original_text_is_printed_in_one_short_line_that_cannot_move_the_cursor(tmp_path, capsys):
    texts = ["A\x1b[2J\nfilm\t!", "x" * 500, "", "", ""]
    _, first, second = printed(tmp_path, table(original=texts), capsys)

    assert first[-1] == r"A\x1b[2J\nfilm\t!"
    assert second[-1].startswith("xxx") and "…" in second[-1] and len(second[-1]) <= 200


def test_no_more_examples_than_asked_for_are_printed(tmp_path, capsys):
    assert len(printed(tmp_path, table(), capsys, count=1)) == 2


def test_a_model_without_errors_says_so(tmp_path, capsys):
    right = table()[lambda rows: ~rows["is_wrong"]]

    assert printed(tmp_path, right, capsys) == [["no error: each of the 3 worst test examples is right"]]


def test_a_file_of_an_earlier_version_is_read(tmp_path, capsys):
    old = table().drop(columns=["source", "source_row"])

    _, first, _ = printed(tmp_path, old, capsys)

    assert first == ["1", "good", "bad", "0.700", "row 4 of the test split, from 0", "text 4"]


def test_images_are_named_by_their_file_or_their_row(tmp_path, capsys):
    places = errors.places([Source("cat/7.png", None), Source("", 4_001), *[Source("x", 1)] * 3])

    heading, first, second = printed(tmp_path, table(**places).drop(columns="text"), capsys)

    assert heading[-1] == "source"
    assert (first[-1], second[-1]) == ("cat/7.png", "row 4,001 of the data")


@pytest.mark.parametrize(("content", "message"), [(None, "cannot be read"), ({"row": [1]}, "has no column 'class'")])
def test_another_file_is_refused_by_its_name(tmp_path, content, message):
    if content is None:
        (tmp_path / errors.FILE).write_bytes(b"x")
    else:
        pd.DataFrame(content).to_parquet(tmp_path / errors.FILE)

    with pytest.raises(ValueError, match=f"{errors.FILE}: {message}"):
        errors.errors(tmp_path, count=1)
