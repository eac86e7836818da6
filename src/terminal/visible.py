"""Safe output of text from users and files: it cannot move the cursor, colour the terminal or forge a line."""

from __future__ import annotations

import io
import itertools
import re
import sys
import textwrap
import unicodedata

HIDDEN = {"Cc", "Cn", "Cs", "Zl", "Zp"}  # control, unassigned, surrogates, line and paragraph separators
TURNING = set(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)  # characters that change the direction of text
_MARKUP = re.compile(r"[!-+\-:-<>-@\[-`{-~]|\.(?!\d)|(?<!\d)\.|^=+")  # characters of Markdown and HTML
_FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?inf")
ECHOED = 200  # characters of a value that an error repeats


def visible(text: str) -> str:
    r"""Returns a text with escaped control characters, as in `\x1b`; line breaks and tabs stay."""
    if text.isprintable():
        return text
    return "".join(_escaped(sign) if sign not in "\n\t" and is_hidden(sign) else sign for sign in text)


def one_line(text: str) -> str:
    r"""Returns a text with escaped control characters, including line breaks and tabs."""
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def in_markdown(text: str) -> str:
    """Returns a text in one line, escaped for Markdown and HTML by numeric character references."""
    return _MARKUP.sub(lambda match: "".join(f"&#{ord(sign)};" for sign in match[0]), one_line(text))


def shortened(text: str, limit: int = ECHOED) -> str:
    """Returns a text of at most `limit` characters; a longer one loses its middle, because the end has the cause."""
    if len(text) <= limit:
        return text
    half = (limit - 1) // 2
    return f"{text[:half]}…{text[-half:]}"


def wrapped(text: str, width: int, *, lines: int = 3) -> str:
    """Returns a text in at most `lines` lines of at most `width` characters; a longer one loses its middle.

    Control characters are escaped. Lines end at spaces; a word that is longer than a line is broken after `=`, `_`, `,`
    or `/`, as in the names of settings, if it has one.
    """
    for limit in range(width * lines, 0, -1):  # a text that is short enough may need more lines, as they are not full
        words = shortened(one_line(text), limit).split(" ")
        pieces = (_InNames(width).wrap(word) if len(word) > width else [word] for word in words)
        broken = textwrap.wrap(" ".join(itertools.chain.from_iterable(pieces)), width, break_on_hyphens=False)
        if len(broken) <= lines:
            return "\n".join(broken)
    return ""


class _InNames(textwrap.TextWrapper):
    """Breaks a word after the signs that separate the parts of names."""

    wordsep_simple_re = re.compile(r"(?<=[=_,/])")

    def __init__(self, width: int) -> None:
        super().__init__(width, break_on_hyphens=False)


def echoed(text: str) -> str:
    """Returns a user's text for an error message: in one line, and shortened."""
    return shortened(one_line(shortened(text, 4 * ECHOED)))


def no_formula(text: str) -> str:
    """Returns a text that a spreadsheet does not evaluate: an apostrophe precedes what looks like a formula.

    Numbers stay unchanged.
    """
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def is_hidden(sign: str) -> bool:
    """Returns whether a character is invisible and affects the text around it."""
    return sign in TURNING or unicodedata.category(sign) in HIDDEN


def counted(count: int, word: str) -> str:
    """Returns a number with its noun: `1 trial`, `2,000 trials`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def replace_what_the_terminal_lacks() -> None:
    """Lets a command print characters that the terminal cannot show."""
    for out in (sys.stdout, sys.stderr):
        if isinstance(out, io.TextIOWrapper):
            out.reconfigure(errors="replace")


def _escaped(sign: str) -> str:
    return sign.encode("unicode_escape").decode("ascii")
