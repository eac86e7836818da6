from __future__ import annotations

import html

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.terminal.visible import echoed, in_markdown, one_line, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\rb\x08\x00\x7f\x9b", r"a\rb\x08\x00\x7f\x9b"),
        ("abc\u202etxt.exe", r"abc\u202etxt.exe"),
        ("\udcff", r"\udcff"),
        ("a\u2028b", r"a\u2028b"),
        ("a\nb\tc", "a\nb\tc"),
        ("naïve – ✓ می\u200cخواهم 👩\u200d🔬 \u00a0", "naïve – ✓ می\u200cخواهم 👩\u200d🔬 \u00a0"),
    ],
)
def test_control_characters_are_escaped_and_letters_of_all_scripts_stay(text, shown):
    assert visible(text) == shown


def test_line_breaks_of_every_kind_become_one_line():
    assert one_line("a\nb\tc\x0bd\x85e\u2029f") == r"a\nb\tc\x0bd\x85e\u2029f"


def test_a_long_text_is_echoed_with_its_beginning_and_its_end():
    assert echoed("a" * 100_000 + "\x1b" * 300 + "z").startswith("aaa") and echoed("a" * 100_000 + "z").endswith("z")
    assert max(len(echoed(sign * 100_000)) for sign in "a\x1b\ud800") <= 200


@given(st.text(max_size=40))
def test_no_character_of_an_escaped_text_is_markup_in_markdown(text):
    shown = in_markdown(text)

    assert not set(shown) & set("*_`|<>[]()\\\n\t\"'!~+-:") and html.unescape(shown) == one_line(text)
