"""A table and its output formats: Markdown, LaTeX (booktabs), HTML and CSV."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape

import pandas as pd

from analysis.store import StoreError, nearest
from analysis.texts import NOTHING, Entry, csv, halves, in_latex, in_markdown, signs
from src.terminal.visible import one_line, visible

IN_A_COLUMN = 62  # characters of LaTeX's small font in one column of a paper
OF_ROW = ("with", "variant", "effect", "comparison")  # columns that identify a row


@dataclass(frozen=True, repr=False)
class Table:
    """A table for readers.

    Attributes:
      headings: headings of the columns.
      rows: one list of entries per row.
      bold: (row, column) of the best values.
      caption: text that describes the table.
      notes: sentences that stand below the table in every format.
    """

    headings: list[str]
    rows: list[list[Entry]]
    bold: frozenset[tuple[int, int]]
    caption: str
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Returns the table as a Python prompt shows it."""
        return self.markdown()

    def _repr_html_(self) -> str:
        """Returns the table as a notebook shows it."""
        return self.html()

    def markdown(self) -> str:
        """Returns the table in GitHub's Markdown, with its notes below."""
        lines = [[in_markdown(name) for name in self.headings], ["---"] * len(self.headings)]
        for place, row in enumerate(self.rows):
            texts = [in_markdown(entry.text) for entry in row]
            lines.append([f"**{text}**" if (place, column) in self.bold else text for column, text in enumerate(texts)])
        notes = "".join(f"\n{in_markdown(note)}\n" for note in self.notes)
        return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n" + notes

    def latex(self, label: str) -> str:
        r"""Returns a LaTeX table for a paper of two columns; it needs `\usepackage{booktabs,amssymb,graphicx}`.

        The font is small. It is a `table` if it fits one column of the page, else a `table*` over both columns. A table
        that is still too wide is scaled down.
        """
        frame = pd.DataFrame([[one_line(entry.text) for entry in row] for row in self.rows], columns=range(self.width))
        bold = pd.DataFrame("", index=frame.index, columns=frame.columns)
        for row, column in self.bold:
            bold.iloc[row, column] = "font-weight: bold"
        headings = self._stacked()
        styled = (
            frame.style.hide(axis="index")
            .format(escape="latex")
            .format_index(lambda place: headings[int(str(place))], axis="columns")
        )
        text = styled.apply(lambda _: bold, axis=None).to_latex(
            hrules=True, convert_css=True, position_float="centering",
            column_format="".join("r" if number else "l" for number in self.are_numbers),
            caption=in_latex(self.caption), label=re.sub(r"[^\w:.-]", "-", f"tab:{label}"),
        )  # fmt: skip
        text = signs(text)
        text = re.sub(r"(?<=[\s\[(])-(?=\d)", "$-$", text)
        text = re.sub(r"(?m)^(?=[\[*])", "{}", text)  # after a line's end LaTeX would read them as options
        text = "".join(
            sign if ord(sign) < 0x250 else f"U+{ord(sign):04X}" for sign in text
        )  # pdfLaTeX knows only these
        width = r"\ifdim\width>\linewidth\linewidth\else\width\fi"
        fit = f"\\footnotesize\n\\setlength{{\\tabcolsep}}{{4pt}}\n\\resizebox{{{width}}}{{!}}{{%\n"
        text = text.replace("\\begin{tabular}", f"{fit}\\begin{{tabular}}")
        notes = "".join(
            f"\n\\par\\smallskip\\parbox{{\\linewidth}}{{\\footnotesize {signs(in_latex(note))}}}"
            for note in self.notes
        )
        text = text.replace("\\end{tabular}", "\\end{tabular}}" + notes)
        if self._characters() > IN_A_COLUMN:
            text = text.replace("\\begin{table}", "\\begin{table*}").replace("\\end{table}", "\\end{table*}")
        return "% \\usepackage{booktabs,amssymb,graphicx}\n" + text

    def _stacked(self) -> list[str]:
        """Returns the headings for LaTeX; headings that are longer than their entries have two lines."""
        headings = []
        for column, name in enumerate(map(one_line, self.headings)):
            first, second = halves(name)
            widest = max((len(row[column].text) for row in self.rows), default=0)
            side = "r" if self.are_numbers[column] else "l"
            is_long = second and len(name) > max(widest, 8)
            headings.append(
                rf"\shortstack[{side}]{{{in_latex(first)}\\{in_latex(second)}}}" if is_long else in_latex(name)
            )
        return headings

    def _characters(self) -> int:
        """Returns the approximate number of characters of a line, including the spaces between columns."""
        widest = [max((len(row[column].text) for row in self.rows), default=0) for column in range(self.width)]
        return sum(max(most, *map(len, halves(name))) + 2 for most, name in zip(widest, self.headings, strict=True))

    def html(self) -> str:
        """Returns the table as an HTML element, with users' texts escaped; an entry is sorted by its `data-value`."""
        lines = ["<table>", f"<caption>{escape(visible(self.caption))}</caption>"]
        lines.append(
            "<thead><tr>"
            + "".join(f'<th scope="col">{escape(visible(name))}</th>' for name in self.headings)
            + "</tr></thead>"
        )
        lines.append("<tbody>")
        for place, row in enumerate(self.rows):
            entries = []
            for column, (written, value) in enumerate(row):
                text = visible(written)
                inner = f"<b>{escape(text)}</b>" if (place, column) in self.bold else escape(text)
                entries.append(
                    f"<td>{inner}</td>"
                    if value is None
                    else f'<td class="number" data-value="{escape(str(value))}">{inner}</td>'
                )
            lines.append("<tr>" + "".join(entries) + "</tr>")
        notes = [f'<tr><td colspan="{self.width}">{escape(visible(note))}</td></tr>' for note in self.notes]
        foot = ["<tfoot>", *notes, "</tfoot>"] if notes else []
        return "\n".join([*lines, "</tbody>", *foot, "</table>"]) + "\n"

    def csv(self) -> str:
        """Returns the table as CSV, with numbers in full precision."""
        rows = [
            [entry.text if entry.value is None or "[" in entry.text else entry.value for entry in row]
            for row in self.rows
        ]
        return csv(pd.DataFrame(rows, columns=self.headings))

    @property
    def names(self) -> list[str]:
        """The names of the columns, as `only` takes them."""
        return [column_name(heading) for heading in self.headings]

    def only(self, names: Sequence[str]) -> Table:
        """Returns the table with only the named columns (`column_name`), in that order.

        Raises:
          StoreError: there is no such column, or it is named twice.
        """
        known = {name: place for place, name in enumerate(self.names)}
        for name in names:
            if name not in known:
                raise StoreError(f"--columns: no column {name!r}; {nearest(name, list(known))}")
            if names.count(name) > 1:
                raise StoreError(f"--columns: {name!r} is listed twice; name each column once")
        places = [known[name] for name in names]
        bold = frozenset((row, places.index(column)) for row, column in self.bold if column in places)
        rows = [[row[place] for place in places] for row in self.rows]
        return replace(self, headings=[self.headings[place] for place in places], rows=rows, bold=bold)

    def chosen(self, names: Sequence[str]) -> Table:
        """Returns the table with the named columns, after the columns that identify a row, which are always kept.

        Raises:
          StoreError: there is no such column, or it is named twice.
        """
        of_row = [name for name in map(column_name, self.headings) if name in OF_ROW]
        self.only(names)
        return self.only([*of_row, *(name for name in names if name not in of_row)])

    def without(self, *headings: str) -> Table:
        """Returns the table without the named columns; names of absent columns are ignored."""
        left = [column for column, name in enumerate(self.headings) if name not in headings]
        bold = frozenset((row, left.index(column)) for row, column in self.bold if column in left)
        rows = [[row[column] for column in left] for row in self.rows]
        return replace(self, headings=[self.headings[column] for column in left], rows=rows, bold=bold)

    @property
    def are_numbers(self) -> list[bool]:
        """Whether each column contains only numbers."""
        places = range(self.width)
        return [
            all(row[column].value is not None or row[column].text in ("", NOTHING) for row in self.rows)
            for column in places
        ]

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.headings)


def column_name(heading: str) -> str:
    """Returns a column's name on the command line.

    It is `change` for `change [95 %]`, `ratio` for the ratio of times, `p_holm` for `p (Holm)`.
    """
    if heading.startswith(("ratio of ", "steps to ")):
        return "ratio" if heading.startswith("ratio") else "steps_to"
    text = re.sub(r"\[95 %\]|\(rough\)|\(timing pass\)|\(median\)|\(MB\)|\(ω²\)", "", heading).strip()
    return re.sub(r"[^\w.]+", "_", text.lower()).strip("_") if " " in text or "(" in text else text


def of_columns(
    columns: Mapping[str, Sequence[Entry]],
    caption: str,
    *,
    best: frozenset[tuple[int, int]] = frozenset(),
    notes: tuple[str, ...] = (),
) -> Table:
    """Returns a table of the columns that are not empty; `best` refers to the columns as given."""
    shown = [
        name
        for name, entries in columns.items()
        if any(entry.text not in ("", NOTHING) for entry in entries) or not entries
    ]
    places = {list(columns).index(name): place for place, name in enumerate(shown)}
    rows = [list(row) for row in zip(*(columns[name] for name in shown), strict=True)]
    return Table(shown, rows, frozenset((row, places[column]) for row, column in best), caption, notes)


def of_frame(frame: pd.DataFrame) -> Table:
    """Returns a table with a frame's columns, unchanged."""
    return of_columns({str(name): [Entry(str(value)) for value in frame[name]] for name in frame.columns}, "")
