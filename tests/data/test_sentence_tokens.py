from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.data.files import DataError
from src.data.sentence_tokens import Characters, Subwords, Words, learn, normalised

TEXTS = [
    "“Hello, world!” she said...",
    "C'est l’été, à 3.5 km (environ).",
    "2015-03-03/2016-05-04",
    "snake_case and $4.50 — 50%?!",
    "¿Qué? ¡Sí! «Aceptar»",
    "नमस्ते दुनिया।",
    "a - b",
]


def texts(division, text):
    return [token.text for token in division.split(text)]


def test_punctuation_is_separated_and_knows_where_no_space_stands():
    assert texts(Words(), "l'an 2015-03 (no) - a...") == [
        *["l", "￭'￭", "an", "2015", "￭-￭", "03", "(￭", "no", "￭)", "-", "a", "￭..."]
    ]


@pytest.fixture(scope="module")
def subwords():
    return Subwords(learn([normalised(text, lowercase=True) for text in TEXTS * 3], 120))


@pytest.mark.parametrize("name", ["word", "character", "subword"])
@pytest.mark.parametrize("text", TEXTS)
def test_a_normalised_text_is_its_tokens_joined(name, text, subwords):
    division = {"word": Words(), "character": Characters(), "subword": subwords}[name]
    plain = normalised(text, lowercase=True)

    assert division.join(texts(division, plain)) == plain


@given(st.text(max_size=40))
def test_every_text_is_its_words_or_characters_joined(text):
    plain = normalised(text, lowercase=False)

    assert Words().join(texts(Words(), plain)) == plain
    assert Characters().join(texts(Characters(), plain)) == plain


@given(st.text(max_size=40))
def test_every_text_is_its_subwords_joined(subwords, text):
    plain = normalised(text, lowercase=True)

    assert subwords.join(texts(subwords, plain)) == plain


@pytest.mark.parametrize("name", ["word", "character", "subword"])
def test_a_token_knows_its_characters(name, subwords):
    division = {"word": Words(), "character": Characters(), "subword": subwords}[name]
    text = "2015-03, the été... of ￭2"
    text = normalised(text, lowercase=True)

    for token in division.split(text):
        assert text[token.start : token.end] == token.text.strip("￭▁")
    assert sorted({i for token in division.split(text) for i in range(token.start, token.end)} | blanks(text)) == [
        *range(len(text))
    ]


def blanks(text):
    return {i for i, sign in enumerate(text) if sign == " "}


def test_texts_are_normalised():
    assert normalised("  e\u0301t\u00adE\u00a0\n x\u200by ", lowercase=True) == "éte x y"
    assert normalised("ÉTÉ", lowercase=False) == "ÉTÉ"


def test_frequent_words_are_subwords_and_rare_ones_are_divided():
    learnt = Subwords(learn(["low lower lowest newest"] * 10, 20))

    assert texts(learnt, "low")[0].startswith("▁lo")
    assert len(texts(learnt, "owen")) > 1


def test_merges_never_cross_the_end_of_a_word_or_a_punctuation_mark():
    learnt = Subwords(learn(["on 2015-03-03, then"] * 20, 60))

    assert texts(learnt, "on 2015-03-03, then") == [*["▁on", "▁2015", "▁￭-￭", "▁03", "▁￭-￭", "▁03", "▁￭,", "▁then"]]


def test_a_vocabulary_that_is_smaller_than_the_alphabet_is_refused():
    with pytest.raises(DataError, match="vocab_size=10: the training texts have 27 different characters"):
        learn(["abcdefghijklmnopqrstuvwxyz"], 10)
    learn(["abcdefghijklmnopqrstuvwxyz"], 31)
