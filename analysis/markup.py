"""Texts that users wrote, as Markdown, LaTeX and CSV show them: nothing in them is markup, a command or a formula."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd
from src.terminal.visible import no_formula, one_line, visible

MARKUP = re.compile(  # of GitHub's Markdown, where a backslash takes its meaning away
    r"[\\`*|]|<(?=[A-Za-z/!?])|(?<!\w)_|_(?!\w)|~(?=~)|(?<=~)~|\](?=[(\[:])"  # signs, tags, links, images
    r"|&(?=#?\w+;)"  # entities
    r"|:(?=//)|(?<=www)\.|(?<=mailto):|(?<=xmpp):|@(?=[\w-])",  # what becomes a link or tells somebody
    re.IGNORECASE,
)
SPELT_IN_LATEX = {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"}
IN_LATEX = {
    "<": "$<$",
    ">": "$>$",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "✓": r"\checkmark",
    "✗": r"$\times$",
    "×": r"$\times$",
    "–": "--",
    "−": "$-$",
    "…": r"\dots{}",
    "’": "'",
}


def in_markdown(text: str) -> str:
    r"""Returns a text that stays as it is in a table: no markup, link, image, tag or entity of a user's."""
    text = visible(re.sub(r"\s+", " ", text))
    return MARKUP.sub(lambda found: "\\" + found[0], text)


def in_latex(text: str) -> str:
    """Returns a text in one line that LaTeX sets as it is; `signs` makes it one that pdfLaTeX's fonts can show."""
    return re.sub(r"[&%$#_{}\\^~]", lambda found: SPELT_IN_LATEX.get(found[0], "\\" + found[0]), one_line(text))


def signs(text: str) -> str:
    """Returns LaTeX in which the signs that its usual fonts lack are commands."""
    return "".join(IN_LATEX.get(sign, sign) for sign in text)


def csv(frame: pd.DataFrame) -> str:
    """Returns a frame as CSV that a spreadsheet shows and never computes.

    A text that a spreadsheet takes for a formula, as it begins with = + - or @ (wide ones too), a tab or a line end,
    gets an apostrophe before it, in headings too; numbers stay, also where they are texts. Programs that read the file
    find the apostrophe; Parquet has none.
    """
    kinds = frame.dtypes.map(
        lambda kind: pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_datetime64_any_dtype(kind)
    )
    texts = {
        str(name): frame[name].astype(object).map(_no_formula) for name, is_number in kinds.items() if not is_number
    }
    return str(frame.assign(**texts).rename(columns=_no_formula).to_csv(index=False))


def _no_formula(value: Any) -> Any:
    return no_formula(value) if isinstance(value, str) else value
