from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from src.tracking.stored import NAME, fitting

texts = st.text(st.characters(), max_size=400)  # surrogates and zero bytes among them


@given(texts)
def test_a_stored_text_fits_and_every_store_accepts_it(text):
    stored = fitting(text, NAME)

    assert len(stored.encode()) <= NAME and "\0" not in stored


@given(st.text(max_size=80).filter(lambda text: "\0" not in text).map(lambda text: text[:60]))
def test_a_short_text_is_stored_unchanged(text):
    assert fitting(text, NAME) == text


@given(st.integers(0, 299), st.integers(0, 299))
def test_two_long_names_that_differ_anywhere_stay_different(one, other):
    names = ["x" * at + "y" + "x" * (299 - at) for at in (one, other)]

    assert (fitting(names[0], NAME) == fitting(names[1], NAME)) == (one == other)


def test_names_that_differ_in_invalid_characters_stay_different():
    assert len({fitting(name, NAME) for name in ("a\udcff", "a\udcfe", "a\0", "a")}) == 4


def test_a_long_name_keeps_its_beginning_and_its_seed():
    stored = fitting("data=table data.path=" + "é" * 300 + " cell=gru seed=4294967295", NAME)

    assert stored.startswith("data=table data.path=é") and stored.endswith(" cell=gru seed=4294967295")
