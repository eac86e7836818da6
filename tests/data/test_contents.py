from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from src.data import contents
from src.data.corpora import Examples
from src.data.splits import SPLITS
from src.data.tokens import words_of


def found(train, validation, test, *, classes=("a", "b"), tokens="word"):
    """Contents of splits that are given as (text, class)."""
    examples = {
        name: Examples([text for text, _ in split], np.array([classes.index(label) for _, label in split], np.int32))
        for name, split in zip(SPLITS, (train, validation, test), strict=True)
    }
    divided = {name: [words_of(text, tokens=tokens) for text in part.texts] for name, part in examples.items()}
    known = {word for text in divided["train"] for word in text}
    return contents.of(examples, divided, vocabulary=known, classes=classes, tokens=tokens)


def said(of, classes=("a", "b")):
    return "\n".join(of.lines("table t.csv", classes))


def test_texts_in_two_splits_are_counted_to_the_letter_and_by_their_words():
    of = found(
        [("Good film.", "a"), ("bad", "b"), ("bad!", "b")],
        [("good film", "a"), ("bad", "b"), ("new", "b")],
        [("GOOD, film", "a"), ("new", "b"), ("newer", "b"), ("newest", "a")],
    )

    assert of.leaked == {"validation": 2, "test": 2} and of.leaked_exactly == {"validation": 1, "test": 1}
    assert of.leaked_share("test") == 0.5
    lines = [line.split() for line in said(of).splitlines()]
    assert [*"also in an earlier split".split(), "2", "2"] in lines and [
        *"identical to the letter".split(),
        "1",
        "1",
    ] in lines
    assert [*"duplicates within the split".split(), "1", "0", "0"] in lines
    assert "warning: 50% of the test texts occur in an earlier split, so the test accuracy is too high" in said(of)


@given(
    st.lists(st.tuples(st.sampled_from("pqrst"), st.sampled_from("ab")), min_size=3, max_size=30),
    st.integers(0, 9),
    st.integers(0, 9),
)
def test_what_leaks_is_what_a_plain_loop_finds(rows, first, second):
    cut = sorted((1 + first % (len(rows) - 2), 2 + second % (len(rows) - 2)))
    train, validation, test = rows[: cut[0]], rows[cut[0] : cut[1]] or rows[:1], rows[cut[1] :] or rows[:1]

    of = found(train, validation, test)

    assert of.leaked["validation"] == sum(text in [other for other, _ in train] for text, _ in validation)
    assert of.leaked["test"] == sum(text in [other for other, _ in [*train, *validation]] for text, _ in test)
    assert of.contradicting == sum(
        {("p q r s t"[i], "a"), ("p q r s t"[i], "b")} <= set(train + validation + test) for i in range(0, 9, 2)
    )


def test_rows_classes_and_words_are_said():
    of = found([("p q", "a"), ("q r", "b")], [("p x", "a"), ("q y", "b")], [("z", "a"), ("w", "b")])

    assert of.lines("table t.csv", ["a", "b"], [("more", ["1%", "2%", "3%"])]) == [
        "data table t.csv: 2 classes, 3 different words in training",
        "                                              train validation       test",
        "  texts                                           2          2          2",
        "    a                                             1          1          1",
        "    b                                             1          1          1",
        "  duplicates within the split                     0          0          0",
        "  also in an earlier split                                   0          0",
        "  more                                           1%         2%         3%",
        "  warning: 50% of the validation words do not occur in training; use more texts, or tokens=character",
    ]


def test_of_forty_classes_the_largest_and_smallest_are_said():
    classes = [f"class {number:02d} {'of a long name ' * 4}" for number in range(40)]
    split = [(f"text {number} {row}", name) for number, name in enumerate(classes) for row in range(1 + number)]

    lines = said(found(split, split, split, classes=classes), classes).splitlines()[2:]

    assert [line.split()[1] for line in lines[1:4]] == ["39", "38", "37"] and lines[1].endswith(
        "…           40         40         40"
    )
    assert lines[4] == "    … 34 classes between them in size"
    assert [line.split()[1] for line in lines[5:8]] == ["02", "01", "00"] and max(map(len, lines[:8])) <= 76


@pytest.mark.parametrize(
    ("train", "warning"),
    [
        ([("p", "a"), ("P!", "b")], "1 text has more than one class"),
        ([("p", "a"), ("?!", "b")], "1 of 2 train texts have no words (no letter and no digit)"),
        (
            [("很好看的电影", "a"), ("太差了", "b")],
            "2 of 2 training texts are in Chinese or Japanese, which has no spaces between words",
        ),
        ([("หนังดีมาก", "a"), ("film", "b")], "1 of 2 training texts are in Thai, which has no spaces between words"),
    ],
)
def test_what_may_be_wrong_is_a_warning(train, warning):
    held_out = [("p", "a"), ("film", "b")]

    assert f"warning: {warning}" in said(found(train, held_out, held_out))


def test_classes_that_differ_in_case_alone_are_a_warning():
    split = [("p", "True"), ("q", "true")]

    assert "the classes 'True' and 'true' differ only in upper and lower case" in said(
        found(split, split, split, classes=("True", "true")), ("True", "true")
    )


def test_characters_and_lists_need_no_spaces():
    split = [("很好看的电影", "a"), ("太差了", "b")]

    assert found(split, split, split, tokens="character").unspaced == {}
    assert found(*[[(["很好看的电影"], "a"), (["太差了"], "b")]] * 3).unspaced == {}
    assert "9 different characters in training" in said(found(split, split, split, tokens="character"))


def test_names_of_wide_letters_keep_the_columns():
    split = [("p", "正面的评论"), ("q", "b")]

    lines = said(found(split, split, split, classes=("正面的评论", "b")), ("正面的评论", "b")).splitlines()
    assert [cell_len(line) for line in lines[2:5]] == [73, 73, 73]
