"""Texts that users and files wrote, as they are shown: nothing in them moves a cursor, colours a terminal or forges a line."""

from __future__ import annotations

import re
import unicodedata

HIDDEN = {"Cc", "Cs", "Zl", "Zp"}  # control characters, halves of pairs, and the separators of lines and paragraphs
TURNING = set(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)  # what changes the direction of a text
_MEANT = re.compile(r"[!-+\-:-<>-@\[-`{-~]|\.(?!\d)|(?<!\d)\.|^=+")  # signs of Markdown and HTML
_FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?inf")
ECHOED = 200  # characters of a value that an error repeats


def visible(text: str) -> str:
    r"""Returns a text with its control characters spelt out, as in `\x1b`; line ends and tabs stay."""
    if text.isprintable():
        return text
    return "".join(_spelt(sign) if sign not in "\n\t" and is_hidden(sign) else sign for sign in text)


def one_line(text: str) -> str:
    r"""Returns a text with its control characters spelt out, line ends and tabs too."""
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def in_markdown(text: str) -> str:
    """Returns a text as Markdown and HTML show it as it is, in one line: every sign that may mean something is written as its number."""
    return _MEANT.sub(lambda found: "".join(f"&#{ord(sign)};" for sign in found[0]), one_line(text))


def shortened(text: str, limit: int = ECHOED) -> str:
    """Returns a text of at most `limit` characters, its middle left out where it is longer: causes stand at the end."""
    if len(text) <= limit:
        return text
    half = (limit - 1) // 2
    return f"{text[:half]}…{text[-half:]}"


def echoed(text: str) -> str:
    """Returns what somebody wrote as an error repeats it: in one line, and cut where it is long."""
    return shortened(one_line(shortened(text, 4 * ECHOED)))


def no_formula(text: str) -> str:
    """Returns a text that a spreadsheet shows and never computes: what begins like a formula gets an apostrophe before it.

    Numbers stay as they are.
    """
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def is_hidden(sign: str) -> bool:
    """Returns whether a character acts on what is around it instead of being shown."""
    return sign in TURNING or unicodedata.category(sign) in HIDDEN


def counted(count: int, word: str) -> str:
    """Returns a number with its noun: `1 trial`, `2,000 trials`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _spelt(sign: str) -> str:
    return sign.encode("unicode_escape").decode("ascii")
