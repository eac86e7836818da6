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


def contents_of(train, validation, test, *, classes=("a", "b"), tokens="word"):
    """Returns the contents of splits of (text, class)."""
    examples = {
        name: Examples([text for text, _ in split], np.array([classes.index(label) for _, label in split], np.int32))
        for name, split in zip(SPLITS, (train, validation, test), strict=True)
    }
    tokenised = {name: [words_of(text, tokens=tokens) for text in part.texts] for name, part in examples.items()}
    vocabulary = {word for text in tokenised["train"] for word in text}
    return contents.describe(examples, tokenised, vocabulary=vocabulary, classes=classes, tokens=tokens)


def summary(corpus, classes=("a", "b")):
    return "\n".join(corpus.lines("table t.csv", classes))


def test_texts_in_two_splits_are_counted_by_their_words_and_by_their_characters():
    corpus = contents_of(
        [("Good film.", "a"), ("bad", "b"), ("bad!", "b")],
        [("good film", "a"), ("bad", "b"), ("new", "b")],
        [("GOOD, film", "a"), ("new", "b"), ("newer", "b"), ("newest", "a")],
    )

    assert corpus.leaked == {"validation": 2, "test": 2} and corpus.leaked_exactly == {"validation": 1, "test": 1}
    assert corpus.leaked_share("test") == 0.5
    lines = [line.split() for line in summary(corpus).splitlines()]
    assert [*"also in an earlier split".split(), "2", "2"] in lines and [
        *"identical to the letter".split(),
        "1",
        "1",
    ] in lines
    assert [*"duplicates within the split".split(), "1", "0", "0"] in lines
    assert "warning: 50% of the test texts occur in an earlier split, so the test accuracy is too high" in summary(
        corpus
    )


@given(
    st.lists(st.tuples(st.sampled_from("pqrst"), st.sampled_from("ab")), min_size=3, max_size=30),
    st.integers(0, 9),
    st.integers(0, 9),
)
def test_the_counts_of_leaks_equal_those_of_a_plain_loop(rows, first, second):
    cut = sorted((1 + first % (len(rows) - 2), 2 + second % (len(rows) - 2)))
    train, validation, test = rows[: cut[0]], rows[cut[0] : cut[1]] or rows[:1], rows[cut[1] :] or rows[:1]

    corpus = contents_of(train, validation, test)

    assert corpus.leaked["validation"] == sum(text in [other for other, _ in train] for text, _ in validation)
    assert corpus.leaked["test"] == sum(text in [other for other, _ in [*train, *validation]] for text, _ in test)
    assert corpus.contradicting == sum(
        {("p q r s t"[i], "a"), ("p q r s t"[i], "b")} <= set(train + validation + test) for i in range(0, 9, 2)
    )


def test_the_lines_give_rows_classes_and_words():
    corpus = contents_of([("p q", "a"), ("q r", "b")], [("p x", "a"), ("q y", "b")], [("z", "a"), ("w", "b")])

    assert corpus.lines("table t.csv", ["a", "b"], [("more", ["1%", "2%", "3%"])]) == [
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


def test_the_largest_and_smallest_of_forty_classes_are_shown():
    classes = [f"class {number:02d} {'of a long name ' * 4}" for number in range(40)]
    split = [(f"text {number} {row}", name) for number, name in enumerate(classes) for row in range(1 + number)]

    lines = summary(contents_of(split, split, split, classes=classes), classes).splitlines()[2:]

    assert [line.split()[1] for line in lines[1:4]] == ["39", "38", "37"] and lines[1].endswith(
        "…           40         40         40"
    )
    assert lines[4] == "    … 34 classes of sizes between these"
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
def test_a_warning_names_what_may_be_wrong(train, warning):
    held_out = [("p", "a"), ("film", "b")]

    assert f"warning: {warning}" in summary(contents_of(train, held_out, held_out))


def test_a_warning_names_classes_that_differ_only_in_case():
    split = [("p", "True"), ("q", "true")]

    assert "the classes 'True' and 'true' differ only in upper and lower case" in summary(
        contents_of(split, split, split, classes=("True", "true")), ("True", "true")
    )


def test_no_warning_asks_for_spaces_with_characters_or_lists():
    split = [("很好看的电影", "a"), ("太差了", "b")]

    assert contents_of(split, split, split, tokens="character").unspaced == {}
    assert contents_of(*[[(["很好看的电影"], "a"), (["太差了"], "b")]] * 3).unspaced == {}
    assert "9 different characters in training" in summary(contents_of(split, split, split, tokens="character"))


def test_class_names_of_wide_characters_keep_the_columns_aligned():
    split = [("p", "正面的评论"), ("q", "b")]

    lines = summary(contents_of(split, split, split, classes=("正面的评论", "b")), ("正面的评论", "b")).splitlines()
    assert [cell_len(line) for line in lines[2:5]] == [73, 73, 73]
