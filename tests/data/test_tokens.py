from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.data.tokens import FIRST_WORD, START, UNKNOWN, encode, vocabulary, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I DON'T like it.<br /><br />Really!", ["i", "don't", "like", "it", "really"]),
        ("a<br>b<BR/>c", ["a", "b", "c"]),
        ("'quoted' rock'n'roll '", ["quoted", "rock'n'roll"]),
        ("it’s", ["it's"]),
        ("snake_case 10/10 naïve Ünder", ["snake", "case", "10", "10", "naïve", "ünder"]),
        ("", []),
        ("!?…", []),
    ],
)
def test_words_are_lower_case_runs_of_letters_and_digits(text, expected):
    assert words(text) == expected


@given(st.text())
def test_words_of_joined_words_are_the_same_words(text):
    once = words(text)

    assert words(" ".join(once)) == once


def test_the_vocabulary_is_ordered_by_frequency_then_alphabet():
    assert vocabulary([["b", "d", "a", "c"], ["c", "d"], ["c"]]) == ["c", "d", "a", "b"]


def test_texts_become_ids_behind_a_start_id():
    ids, starts = encode([["b", "zzz"], ["a"]], {"a": FIRST_WORD, "b": FIRST_WORD + 1})

    np.testing.assert_array_equal(ids, [START, 5, UNKNOWN, START, 4])
    np.testing.assert_array_equal(starts, [0, 3, 5])
