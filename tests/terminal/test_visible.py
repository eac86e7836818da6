from __future__ import annotations

import html

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.terminal.visible import echoed, in_markdown, one_line, visible, wrapped


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\ufffeb", r"a\ufffeb"),  # no character
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


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("short", ["short"]),
        ("weights=balanced threshold=half", ["weights=balanced", "threshold=half"]),
        ("weights_of_all_classes=balanced", ["weights_of_all_", "classes=balanced"]),
        ("x" * 30, ["x" * 20, "x" * 10]),
        ("a\nb\x1b", [r"a\nb\x1b"]),
    ],
)
def test_a_name_is_broken_at_spaces_or_else_between_its_parts(text, lines):
    assert wrapped(text, 20).split("\n") == lines


@given(st.text(), st.integers(3, 30), st.integers(1, 4))
def test_a_name_has_no_more_and_no_longer_lines_than_allowed(text, width, lines):
    found = wrapped(text, width, lines=lines).split("\n")

    assert len(found) <= lines and all(len(line) <= width for line in found)


def test_a_name_that_is_too_long_keeps_its_beginning_and_its_end():
    found = wrapped("first " + "and " * 50 + "last", 20, lines=2)

    assert found.startswith("first") and found.endswith("last") and "…" in found
