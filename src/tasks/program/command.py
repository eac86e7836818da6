"""The command of a program: a template that is split into words first and filled afterwards, without a shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from src.spec.section import SettingsError

PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
PLACES = ("metrics", "settings", "artifacts")  # paths that a template may name, beside the seed
RESERVED = ("seed", "name", "step", "epoch", *PLACES)  # names that no toggle can have
OF_A_SHELL = re.compile(r"[|&;<>]+|\d?>{1,2}(&\d)?|<<.*")
EXAMPLE = "command='python train.py --lr {lr} --seed {seed}'"


def words_of(template: str) -> list[str]:
    """Returns the words of a template, whose names in braces are not filled yet.

    Raises:
      SettingsError: there is no word, a quote is open, a brace stands alone, or a word is an operator of a shell.
    """
    try:
        words = shlex.split(template)
    except ValueError as error:
        raise SettingsError(
            f"command: {error} in {template!r}; close the quote, or write \\' for a plain one"
        ) from None
    if not words or not words[0]:
        raise SettingsError(f"command: got {template!r}; write the command of a trial, as in {EXAMPLE}")
    for word in words:
        if OF_A_SHELL.fullmatch(word):
            raise SettingsError(
                f"command: {word!r} is for a shell, but no shell reads the command; "
                "write a script and run it with command='bash script.sh'"
            )
        if alone := next((part[0] for part in PART.finditer(word) if part[0] in ("{", "}")), None):
            raise SettingsError(f"command: {alone!r} stands alone in {word!r}; write {alone * 2} for a plain brace")
    return words


def names_in(words: Sequence[str]) -> list[str]:
    """Returns the names in braces, each once."""
    found = [part[1] for word in words for part in PART.finditer(word) if part[1] is not None]
    return list(dict.fromkeys(found))


def filled(words: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """Returns the words with the values of their names; a value stays in its word, whatever characters it has."""

    def value(part: re.Match[str]) -> str:
        return part[0][0] if part[1] is None else values[part[1]]

    return [PART.sub(value, word) for word in words]
