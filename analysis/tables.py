"""What a study found as tables to read: Markdown, LaTeX (booktabs) and HTML. CSV has the frames' full precision."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.effects import MOST, OF_WEIGHTS, better, mostly_idle
from analysis.factorial import few
from analysis.findings import FACTORIAL, USUAL_TRACES, Findings, caution, different_code
from analysis.inference import LEVEL, failures_not_excluded
from analysis.load import PER_BATCH, PER_EPOCH, STEADY_EPOCH
from analysis.store import StoreError, nearest
from src.config.settings import label
from src.spec.section import as_typed
from src.terminal.visible import no_formula, one_line, visible

NOTHING = "–"
IN_A_COLUMN = 62  # characters of small print in one column of a paper
CONVENIENCE = ("settings_added", "combinations_ruled_out", "traces", "peak_memory")  # what an improvement costs beside time
NOT_IN_PAPERS = (
    "diverged", "p_sign_flip", "correlation", "ms_per_batch", "s_per_epoch", "s_per_steady_epoch", "peak_memory", "padded_steps", "traces",
    "s_of_steps_that_traced", "steps_to",
)  # fmt: skip
NAMES = {
    "test/accuracy": "test accuracy",
    "test/loss": "test loss",
    "val/accuracy": "validation accuracy",
    "val/loss": "validation loss",
    "time/batch_ms_median": "ms per batch",
    "time/epoch_s": "s per epoch",
    "time/steady_epoch_s": "s per steady epoch",
    "time/trace_s": "s of steps that traced",
    "data/traces": "traces",
    "memory/peak_mb": "peak memory (MB)",
    "model/parameters": "parameters",
    "data/padding_fraction": "padded steps",
}
DIGITS = {
    "time/batch_ms_median": 1, "time/epoch_s": 2, "time/steady_epoch_s": 2, "time/trace_s": 1, "data/traces": 0,
    "memory/peak_mb": 0, "model/parameters": 0, "data/padding_fraction": 3,
}  # fmt: skip
MARKUP = re.compile(  # of GitHub's Markdown, where a backslash takes its meaning away
    r"[\\`*|]|<(?=[A-Za-z/!?])|(?<!\w)_|_(?!\w)|~(?=~)|(?<=~)~|\](?=[(\[:])|&(?=#?\w+;)"  # signs, tags, links and images, entities
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


class Cell(NamedTuple):
    """A text, and the number that it is sorted by."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Table:
    """A table as it is read.

    Attributes:
      headings: of the columns.
      rows: one list of cells a row.
      bold: (row, column) of the best values.
      caption: what the table shows.
      notes: sentences that a reader of the numbers must know, wherever the table goes.
    """

    headings: list[str]
    rows: list[list[Cell]]
    bold: frozenset[tuple[int, int]]
    caption: str
    notes: tuple[str, ...] = ()

    def markdown(self) -> str:
        """Returns the table for GitHub's Markdown, its notes below."""
        lines = [[_in_markdown(name) for name in self.headings], ["---"] * len(self.headings)]
        for place, row in enumerate(self.rows):
            texts = [_in_markdown(cell.text) for cell in row]
            lines.append([f"**{text}**" if (place, column) in self.bold else text for column, text in enumerate(texts)])
        notes = "".join(f"\n{_in_markdown(note)}\n" for note in self.notes)
        return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n" + notes

    def latex(self, label: str) -> str:
        r"""Returns a table that wants `\usepackage{booktabs,amssymb,graphicx}`, in small print, for a paper of two columns.

        It is a `table` where its text fits one column of a page, and a `table*` over both where it does not. What is wider still is scaled
        down.
        """
        frame = pd.DataFrame([[one_line(cell.text) for cell in row] for row in self.rows], columns=range(self.width))
        bold = pd.DataFrame("", index=frame.index, columns=frame.columns)
        for row, column in self.bold:
            bold.iloc[row, column] = "font-weight: bold"
        headings = self._stacked()
        styled = frame.style.hide(axis="index").format(escape="latex").format_index(lambda place: headings[int(str(place))], axis="columns")
        text = styled.apply(lambda _: bold, axis=None).to_latex(
            hrules=True, convert_css=True, position_float="centering",
            column_format="".join("r" if number else "l" for number in self.are_numbers),
            caption=_latex(self.caption), label=re.sub(r"[^\w:.-]", "-", f"tab:{label}"),
        )  # fmt: skip
        text = _signs(text)
        text = re.sub(r"(?<=[\s\[(])-(?=\d)", "$-$", text)
        text = re.sub(r"(?m)^(?=[\[*])", "{}", text)  # after a line's end they would be its options
        text = "".join(sign if ord(sign) < 0x250 else f"U+{ord(sign):04X}" for sign in text)  # pdfLaTeX knows no others
        fit = "\\footnotesize\n\\setlength{\\tabcolsep}{4pt}\n\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%\n"
        text = text.replace("\\begin{tabular}", f"{fit}\\begin{{tabular}}")
        notes = "".join(f"\n\\par\\smallskip\\parbox{{\\linewidth}}{{\\footnotesize {_signs(_latex(note))}}}" for note in self.notes)
        text = text.replace("\\end{tabular}", "\\end{tabular}}" + notes)
        if self._characters() > IN_A_COLUMN:
            text = text.replace("\\begin{table}", "\\begin{table*}").replace("\\end{table}", "\\end{table*}")
        return "% \\usepackage{booktabs,amssymb,graphicx}\n" + text

    def _stacked(self) -> list[str]:
        """Returns the headings for LaTeX, those that are longer than their cells in two lines."""
        found = []
        for column, name in enumerate(map(one_line, self.headings)):
            first, second = _halves(name)
            widest = max((len(row[column].text) for row in self.rows), default=0)
            side = "r" if self.are_numbers[column] else "l"
            is_long = second and len(name) > max(widest, 8)
            found.append(rf"\shortstack[{side}]{{{_latex(first)}\\{_latex(second)}}}" if is_long else _latex(name))
        return found

    def _characters(self) -> int:
        """Returns about how many characters a line has, the spaces between columns included."""
        widest = [max((len(row[column].text) for row in self.rows), default=0) for column in range(self.width)]
        return sum(max(most, *map(len, _halves(name))) + 2 for most, name in zip(widest, self.headings, strict=True))

    def html(self) -> str:
        """Returns the table as an HTML element, whatever users wrote in it escaped; `data-value` is what a cell is sorted by."""
        lines = ["<table>", f"<caption>{escape(visible(self.caption))}</caption>"]
        lines.append("<thead><tr>" + "".join(f'<th scope="col">{escape(visible(name))}</th>' for name in self.headings) + "</tr></thead>")
        lines.append("<tbody>")
        for place, row in enumerate(self.rows):
            cells = []
            for column, (written, value) in enumerate(row):
                text = visible(written)
                inner = f"<b>{escape(text)}</b>" if (place, column) in self.bold else escape(text)
                cells.append(f"<td>{inner}</td>" if value is None else f'<td class="number" data-value="{escape(str(value))}">{inner}</td>')
            lines.append("<tr>" + "".join(cells) + "</tr>")
        notes = [f'<tr><td colspan="{self.width}">{escape(visible(note))}</td></tr>' for note in self.notes]
        foot = ["<tfoot>", *notes, "</tfoot>"] if notes else []
        return "\n".join([*lines, "</tbody>", *foot, "</table>"]) + "\n"

    def csv(self) -> str:
        """Returns the table as CSV: what is shown, numbers in full."""
        rows = [[cell.text if cell.value is None or "[" in cell.text else cell.value for cell in row] for row in self.rows]
        return csv(pd.DataFrame(rows, columns=self.headings))

    def only(self, names: Sequence[str]) -> Table:
        """Returns the table with the columns that are named (`column_name`), in that order.

        Raises:
          StoreError: there is no such column, or it is named twice.
        """
        known = {column_name(heading): place for place, heading in enumerate(self.headings)}
        for name in names:
            if name not in known:
                raise StoreError(f"--columns: no column {name!r}; {nearest(name, list(known))}")
            if names.count(name) > 1:
                raise StoreError(f"--columns: {name!r} is there twice; name each column once")
        places = [known[name] for name in names]
        bold = frozenset((row, places.index(column)) for row, column in self.bold if column in places)
        rows = [[row[place] for place in places] for row in self.rows]
        return replace(self, headings=[self.headings[place] for place in places], rows=rows, bold=bold)

    def without(self, *headings: str) -> Table:
        """Returns the table without some of its columns, where they are in it."""
        left = [column for column, name in enumerate(self.headings) if name not in headings]
        bold = frozenset((row, left.index(column)) for row, column in self.bold if column in left)
        rows = [[row[column] for column in left] for row in self.rows]
        return replace(self, headings=[self.headings[column] for column in left], rows=rows, bold=bold)

    @property
    def are_numbers(self) -> list[bool]:
        """Whether each column holds numbers alone."""
        places = range(self.width)
        return [all(row[column].value is not None or row[column].text in ("", NOTHING) for row in self.rows) for column in places]

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.headings)


def column_name(heading: str) -> str:
    """Returns a column's name as one types it: `change` for `change [95 %]`, `ratio` for the ratio of times, `p_holm` for `p (Holm)`."""
    if heading.startswith(("ratio of ", "steps to ")):
        return "ratio" if heading.startswith("ratio") else "steps_to"
    text = re.sub(r"\[95 %\]|\(rough\)|\(median\)|\(MB\)|\(ω²\)", "", heading).strip()
    return re.sub(r"[^\w.]+", "_", text.lower()).strip("_") if " " in text or "(" in text else text


def compact(found: Findings, *, places: int | None = None) -> Table:
    """Returns what of `ablation` a paper has room for: the variant, the metric with its change and verdict, and the costs that differ."""
    table = named(ablation(found, places=places), found)
    kept = [name for name in map(column_name, table.headings) if name not in NOT_IN_PAPERS]
    table = table.only(kept)
    column, counts = kept.index("verdict"), {row["n"] for row in _records(found.summary)}
    rows = [[*row[:column], Cell(re.split(r"[;(]", row[column].text)[0].strip()), *row[column + 1 :]] for row in table.rows]
    has_none = any(cell.text == "no difference" for row in rows for cell in row)
    level = (f"No difference: within ±{found.margin:g}, each at 5 %, not adjusted.",) if has_none else ()
    table = replace(table, rows=rows, notes=(*table.notes, *level))
    is_same = len(counts) == 1 and "n" in table.headings
    over = f", {number_of(int(next(iter(counts))), 'seed')}" if is_same else ""
    return replace(table.without("n") if is_same else table, caption=f"{table.caption}{over}")


def with_convenience(table: Table, found: Findings) -> Table:
    """Returns the table of `ablation` with what a variant costs beside time (`ablation(every=True)` has these columns at its end)."""
    known = ablation(found, every=True)
    new = known.only([name for name in map(column_name, known.headings) if name in CONVENIENCE])
    lacking = [place for place, heading in enumerate(new.headings) if heading not in table.headings]
    rows = [[*row, *(more[place] for place in lacking)] for row, more in zip(table.rows, new.rows, strict=True)]
    return replace(table, headings=[*table.headings, *(new.headings[place] for place in lacking)], rows=rows)


def _convenience(found: Findings) -> dict[str, list[Cell]]:
    """Returns which settings each variant adds to the reference's, and how many of the plan's combinations with them do not run as asked.

    A combination is ruled out where the plan dropped it (it cannot run), or normalised it (a setting has no effect there). A combination
    that holds several changed settings counts for each of them.
    """
    study = found.study
    cells = study.rows.drop_duplicates("label")
    is_out = (cells["dropped"].notna() | cells["normalised"].map(bool)).to_numpy()
    added, ruled_out = [], []
    for row in _records(found.summary):
        reference = study.plan["reference"]
        changed = {key: row[key] for key in study.toggles if key in reference and as_typed(row[key]) != as_typed(reference[key])}
        has_them = np.ones(len(cells), bool)
        for key, value in changed.items():
            has_them &= (cells[key].map(as_typed) == as_typed(value)).to_numpy()
        count = int((has_them & is_out).sum()) if changed else 0
        added.append(Cell(label(changed) or "none"))
        ruled_out.append(Cell(f"{count} of {int(has_them.sum())}" if changed else "", float(count)))
    return {"settings added": added, "combinations ruled out": ruled_out}


def ablation(found: Findings, *, every: bool = False, places: int | None = None) -> Table:
    """Returns one row a variant: its toggles, n, the metric, its change with verdict, and what it costs. The best mean is bold.

    Args:
      found: what the study found.
      every: show all costs, those too that say nothing.
      places: decimals of the metric; default: its usual ones.
    """
    study, summary, metric = found.study, found.summary, found.metric
    rows, places = _records(summary), digits(metric) if places is None else places
    is_rough = " (rough)" if caution(found.rows) else ""
    has_within = bool((summary["within"] != "").any()) and not found.is_stepwise
    columns: dict[str, list[Cell]] = {}
    if has_within:
        columns["with"] = [Cell(row["within"]) for row in rows]
    if has_within or study.plan["design"] not in FACTORIAL or not study.toggles:
        columns["variant"] = [Cell(row["label"]) for row in rows]
    if not has_within:
        columns |= {toggle: [_setting(value) for value in summary[toggle]] for toggle in study.toggles}
    columns["n"] = [Cell(str(row["n"]) if row["n"] == row["pairs"] else f"{row['n']}/{row['pairs']}", row["n"]) for row in rows]
    columns["diverged"] = [Cell(str(row["diverged"]) if row["diverged"] else "", row["diverged"]) for row in rows]
    is_steps = metric == study.steps_to
    heading = f"{title(metric)} (median)" if is_steps else title(metric)
    columns[heading] = [_steps(row) if is_steps else _number(row["mean"], places) for row in rows]
    columns["change [95 %]"] = [Cell("") if row["is_reference"] else _interval(row, places) for row in rows]
    columns["p (Holm)"] = [_p(row["p_holm"]) for row in rows]
    columns["p (sign flip)"] = [_p(row["p_sign_flip"] if row["p_holm"] == row["p_holm"] else math.nan) for row in rows]
    columns["correlation"] = [Cell("") if row["is_reference"] or row["is_same"] else _number(row["correlation"], 2) for row in rows]
    columns["verdict"] = [Cell(verdict(row)) for row in rows]
    if metric != "test/accuracy":
        columns |= _means(summary, "test/accuracy", "")
    columns |= _means(summary, PER_BATCH, is_rough) if metric != PER_BATCH else {}
    columns[f"ratio of {title(found.time)}{is_rough}"] = [_ratio(row) for row in rows]
    for epoch in (PER_EPOCH, STEADY_EPOCH):
        columns |= _means(summary, epoch, is_rough) if metric != epoch else {}
    for cost in ("memory/peak_mb", "model/parameters", "data/padding_fraction"):
        columns |= _means(summary, cost, "") if every or _differs(summary, cost) else {}
    if every or (summary.get("mean data/traces", pd.Series(dtype=float)) > USUAL_TRACES).any():
        columns |= _means(summary, "data/traces", "")
        columns |= _means(summary, "time/trace_s", is_rough) if metric != "time/trace_s" else {}
    if not is_steps:
        columns[f"{title(study.steps_to)} (median)"] = [_steps(row) for row in rows]
    columns |= _convenience(found) if every and not has_within else {}
    text = f"Study {study.name}: {title(metric)}, change paired by seed"
    return _table(columns, text, best=_best(found, list(columns).index(heading)), notes=notes(found))


def named(table: Table, found: Findings) -> Table:
    """Returns the table of `ablation` without the toggles, where each variant is named by them; the caption says the reference's values."""
    toggles = found.study.toggles
    if "variant" not in table.headings or not toggles:
        return table
    first = found.summary.loc[found.summary["is_reference"], toggles]
    reference = f"; reference: {label({key: first[key].iloc[0] for key in toggles})}" if len(first) else ""
    return replace(table.without(*toggles), caption=f"{table.caption}{reference}")


def factorial(found: Findings, *, places: int | None = None) -> Table:
    """Returns one row an effect of `Findings.factorial`: change with interval, p, share of variance, verdict.

    Args:
      found: what the study found.
      places: decimals of the metric; default: its usual ones.

    Raises:
      ValueError: the study has no such effects.
    """
    if found.factorial is None:
        raise ValueError(f"{found.study.name} has no main effects and interactions: {found.no_factorial or 'its design is not factorial'}")
    rows = _records(found.factorial)
    columns = {
        "effect": [Cell(row["effect"]) for row in rows],
        "kind": [Cell(row["kind"]) for row in rows],
        f"change in {title(found.metric)} [95 %]": [_interval(row, digits(found.metric) if places is None else places) for row in rows],
        "p (Holm)": [_p(row["p_holm"]) for row in rows],
        "share of variance (ω²)": [
            Cell(NOTHING) if math.isnan(row["share"]) else Cell(f"{row['share']:.1%}", row["share"]) for row in rows
        ],
        "verdict": [Cell(", ".join(filter(None, (verdict(row), row["condition"])))) for row in rows],
        "mixed with": [Cell(few(row["three_way"]) if row["condition"] else "") for row in rows],
    }
    trials = f"{rows[0]['n']} trials" if rows[0]["n"] == rows[0]["asked"] else f"{rows[0]['n']} of {rows[0]['asked']} trials"
    text = f"Study {found.study.name}: main effects and two-way interactions over {trials}"
    text += f" of {rows[0]['seeds']} seeds"
    if found.study.rows["identity"].dropna().duplicated().any():
        text += "; a trial that serves several cells, as a toggle has no effect there, stands in each of their means"
    return _table(columns, text, notes=notes(found))


def effects(found: Findings) -> Table:
    """Returns one row a comparison with everything that was computed of it."""
    rows = [row for row in _records(found.compared) if not row["is_reference"]]
    many = digits(found.metric) + 1
    columns = {
        "comparison": [Cell(" | ".join(filter(None, (row["within"], row["label"])))) for row in rows],
        "n": [Cell(str(row["n"]), row["n"]) for row in rows],
        "unfinished": [Cell(str(row["unfinished"]), row["unfinished"]) for row in rows],
        "diverged": [Cell(str(row["diverged"]), row["diverged"]) for row in rows],
        "failure rate (upper bound)": [_not_excluded(row) for row in rows],
        "outlier": [Cell("" if math.isnan(row["outlier"]) else f"seed {row['outlier']:.0f}") for row in rows],
        "never reached": [Cell(str(row["never"]) if row["never"] else "", row["never"]) for row in rows],
        "change [95 %]": [_interval(row, many) for row in rows],
        "p": [_p(row["p"]) for row in rows],
        "p (Holm)": [_p(row["p_holm"]) for row in rows],
        "p (sign flip)": [_p(row["p_sign_flip"]) for row in rows],
        "correlation": [_number(row["correlation"], 2) for row in rows],
        "change / sd of the differences": [_number(row["effect_size"], 2) for row in rows],
        "verdict": [Cell(verdict(row)) for row in rows],
    }
    return _table(columns, f"Study {found.study.name}: every comparison", notes=notes(found))


def notes(found: Findings) -> tuple[str, ...]:
    """Returns what the reader of any of a study's tables must know of the trials in it."""
    return tuple(filter(None, (different_code(found.rows),)))


def over_examples(found: Mapping[str, pd.DataFrame]) -> Table:
    """Returns one row a variant: how its trained models differ from the reference's on the test examples (McNemar), over its seeds."""
    rows = [(name, frame) for name, frame in found.items() if len(frame)]
    columns = {
        "variant": [Cell(name) for name, _ in rows],
        "seeds": [Cell(str(len(frame)), len(frame)) for _, frame in rows],
        "only the variant right": [_number(frame["only_ours"].mean(), 0) for _, frame in rows],
        "only the reference right": [_number(frame["only_theirs"].mean(), 0) for _, frame in rows],
        "test examples": [_number(frame["examples"].mean(), 0) for _, frame in rows],
        "seeds with p < 0.05 for the variant": [_counted(frame, "only_ours", "only_theirs") for _, frame in rows],
        "for the reference": [_counted(frame, "only_theirs", "only_ours") for _, frame in rows],
    }
    return _table(columns, "The two models of a seed on the same test examples: counts are means over seeds")


def comparison(over_seeds: pd.Series, over_examples: pd.DataFrame, one: str, other: str, *, metric: str) -> str:
    """Returns what `reviews.variants` found, in words: each test with the question that it answers."""
    row = dict(over_seeds)
    lines = [f"Does {other} differ from {one} over seeds, on this test set? (paired t test)"]
    change = _interval(row, digits(metric)).text
    p = f"p {_p(row['p']).text or NOTHING} (one comparison, not adjusted for others)"
    lines.append(f"  n = {row['n']}, change in {title(metric)} {change}, {p}: {verdict(row)}")
    if row["pairs"] == 1:
        lines.append("  Single seed: no interval. Another seed may reverse the difference.")
    lines.append(
        "For each seed: is one of the two trained models right more often on these test examples? "
        "(exact McNemar test; says nothing about other seeds)"
    )
    if over_examples.empty:
        return visible("\n".join([*lines, "  no pair of trials has kept its test probabilities"]))
    shown = {
        "seed": [Cell(str(seed)) for seed in over_examples["seed"]],
        f"accuracy {other}": [_number(value, 4) for value in over_examples["accuracy"]],
        f"accuracy {one}": [_number(value, 4) for value in over_examples["other_accuracy"]],
        f"only {other} right": [_number(value, 0) for value in over_examples["only_ours"]],
        f"only {one} right": [_number(value, 0) for value in over_examples["only_theirs"]],
        "p": [_p(value) for value in over_examples["p"]],
    }
    lines += ["", _table(shown, "").markdown()]
    differ = over_examples[over_examples["p"] < LEVEL]
    ahead = int((differ["only_ours"] > differ["only_theirs"]).sum())
    counts = f"{other} in {ahead}, {one} in {len(differ) - ahead}" if len(differ) else "neither in any"
    what = f"Right more often at 5 % (not adjusted for the number of seeds), of {len(over_examples)} seeds: {counts}."
    return visible("\n".join([*lines, what]))


def fewer(table: Table, *, width: int) -> str:
    """Returns which columns to ask for where a table is wider than a terminal of so many characters; empty if it fits."""
    if max(map(len, table.markdown().split("\n\n")[0].splitlines())) <= width:
        return ""
    names = [column_name(heading) for heading in table.headings]
    variant = names[: names.index("n")] if "n" in names else names[:1]
    wanted = [*variant, *(name for name in ("change", "verdict") if name in names)]
    if len(wanted) >= len(names):
        return ""
    return f"The table is wider than this terminal: `--columns {','.join(wanted)}` prints fewer columns, and the report shows all."


def plain(frame: pd.DataFrame) -> str:
    """Returns a frame of few columns as Markdown, as it is."""
    columns = {str(name): [Cell(str(value)) for value in frame[name]] for name in frame.columns}
    return _table(columns, "").markdown()


def title(metric: str) -> str:
    """Returns a metric's name as a reader wants it."""
    if metric.startswith("steps_to/"):
        return f"steps to {metric.rsplit('_', 1)[1]} validation accuracy"
    return NAMES.get(metric, metric)


def number_of(count: int, what: str) -> str:
    """Returns a number with its noun: `1 seed`, `8 seeds`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def digits(metric: str) -> int:
    """Returns how many decimals of a metric are shown."""
    return DIGITS.get(metric, 1 if metric.startswith(("steps_to/", "time/", "memory/")) else 3)


def verdict(row: Any) -> str:
    """Returns a verdict with what a reader must know of it: at which level it was found, or how many seeds a study needs to tell."""
    if row["verdict"] == "no difference":
        return "no difference (each at 5 %, not adjusted)"
    few, many = row.get("seeds_needed", math.nan), row.get("seeds_needed_high", math.nan)  # of main effects nobody has computed any
    if math.isnan(few):
        return str(row["verdict"])
    return f"{row['verdict']}; a study of {few:.0f} {'seeds or more' if math.isnan(many) else f'to {many:.0f} seeds'} may"


def _table(
    columns: dict[str, list[Cell]], caption: str, *, best: frozenset[tuple[int, int]] = frozenset(), notes: tuple[str, ...] = ()
) -> Table:
    """Returns the columns that say something as a table; `best` counts the columns as they were given."""
    shown = [name for name, cells in columns.items() if any(cell.text not in ("", NOTHING) for cell in cells) or not cells]
    places = {list(columns).index(name): place for place, name in enumerate(shown)}
    rows = [list(row) for row in zip(*(columns[name] for name in shown), strict=True)]
    return Table(shown, rows, frozenset((row, places[column]) for row, column in best), caption, notes)


def _halves(text: str) -> tuple[str, str]:
    """Returns a text in two lines, broken at the space nearest to its middle; the second is empty where there is none."""
    spaces = [place for place, sign in enumerate(text) if sign == " "]
    if not spaces:
        return text, ""
    place = min(spaces, key=lambda one: abs(2 * one - len(text)))
    return text[:place], text[place + 1 :]


def _records(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    return frame.to_dict("records")


def _best(found: Findings, column: int) -> frozenset[tuple[int, int]]:
    """Returns where the best mean stands; no mean of survivors is the best, and none where most trials learnt nothing."""
    summary, metric = found.summary, found.metric
    values = summary["steps_to"] if metric.startswith("steps_to/") else summary["mean"]
    signed = better(metric) * values.where((summary["unfinished"] + summary["missing"] == 0) & np.isfinite(values))
    is_chance = metric.startswith(OF_WEIGHTS) and mostly_idle(found.rows)
    if len(summary) < 2 or signed.isna().all() or not better(metric) or is_chance:
        return frozenset()
    best = signed.index[signed == signed.max()]
    has_learnt = (summary["idle"] <= MOST * summary["pairs"]).to_numpy()
    return frozenset((int(row), column) for row in best if has_learnt[row])


def _means(summary: pd.DataFrame, metric: str, suffix: str) -> dict[str, list[Cell]]:
    name = f"mean {metric}"
    return {title(metric) + suffix: [_number(value, digits(metric)) for value in summary[name]]} if name in summary else {}


def _differs(summary: pd.DataFrame, metric: str) -> bool:
    """Whether a cost says something: it differs between variants, memory by a tenth; or there is only one."""
    least = 1.1 if metric.startswith("memory/") else 1.02
    values = summary.get(f"mean {metric}", pd.Series(dtype=float)).dropna()
    return len(summary) == 1 or bool(len(values) and values.max() > least * values.min())


def _setting(value: Any) -> Cell:
    if isinstance(value, bool):
        return Cell("✓" if value else "✗", float(value))
    return Cell(as_typed(value), float(value) if isinstance(value, int | float) else None)


def _number(value: float, decimals: int) -> Cell:
    return Cell(NOTHING) if math.isnan(value) else Cell(f"{value:,.{decimals}f}", float(value))


def _interval(row: Mapping[Any, Any], decimals: int) -> Cell:
    change, low, high = row["change"], row["low"], row["high"]
    if math.isnan(change):
        return Cell(NOTHING)
    text = f"{change:+.{decimals}f}"
    return Cell(text if math.isnan(low) else f"{text} [{low:+.{decimals}f}, {high:+.{decimals}f}]", change)


def _ratio(row: dict[Any, Any]) -> Cell:
    if row["is_reference"]:
        return Cell("1", 1.0)
    ratio, low, high = row["time_ratio"], row["time_low"], row["time_high"]
    if math.isnan(ratio):
        return Cell(NOTHING)
    return Cell(f"{ratio:.2f}" if math.isnan(low) else f"{ratio:.2f} [{low:.2f}, {high:.2f}]", ratio)


def _not_excluded(row: dict[Any, Any]) -> Cell:
    """The share of failing seeds that the seeds of a variant, none of which failed, still allow."""
    if row["unfinished"] or not row["pairs"]:
        return Cell("")
    bound = failures_not_excluded(row["pairs"])
    return Cell(f"up to {bound:.0%}", bound)


def _counted(frame: pd.DataFrame, more: str, less: str) -> Cell:
    """The seeds in which one of two models is right more often than the other, at 5 %."""
    count = int(((frame["p"] < LEVEL) & (frame[more] > frame[less])).sum())
    return Cell(str(count), float(count))


def _steps(row: dict[Any, Any]) -> Cell:
    """The median over seeds, a target that was never reached being later than any."""
    if math.isnan(row["steps_to"]):
        return Cell(NOTHING)
    if math.isinf(row["steps_to"]):
        return Cell(f"never in {row['steps_to_never']:.0f} of {row['pairs'] - row['unfinished']}", math.inf)
    return Cell(f"{row['steps_to']:,.0f}" + (f" ({row['steps_to_never']:.0f} never)" if row["steps_to_never"] else ""), row["steps_to"])


def _p(value: float) -> Cell:
    if math.isnan(value):
        return Cell("")
    text = f"{value:.3f}"
    return Cell("< 0.001" if value < 0.001 else f"{value:.4f}" if text == f"{LEVEL:.3f}" else text, value)


def csv(frame: pd.DataFrame) -> str:
    """Returns a frame as CSV that a spreadsheet shows and never computes.

    A text that a spreadsheet takes for a formula, as it begins with = + - or @ (wide ones too), a tab or a line end, gets an apostrophe
    before it, in headings too; numbers stay, also where they are texts. Programs that read the file find the apostrophe; Parquet has none.
    """
    kinds = frame.dtypes.map(lambda kind: pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_datetime64_any_dtype(kind))
    texts = {str(name): frame[name].astype(object).map(_no_formula) for name, is_number in kinds.items() if not is_number}
    return str(frame.assign(**texts).rename(columns=_no_formula).to_csv(index=False))


def _no_formula(value: Any) -> Any:
    return no_formula(value) if isinstance(value, str) else value


def _in_markdown(text: str) -> str:
    r"""Returns a text that stays as it is in a cell: nothing a user wrote is markup, a link, an image, a tag or an entity."""
    text = visible(re.sub(r"\s+", " ", text))
    return MARKUP.sub(lambda found: "\\" + found[0], text)


def _signs(text: str) -> str:
    """Returns LaTeX in which the signs that its usual fonts lack are commands."""
    return "".join(IN_LATEX.get(sign, sign) for sign in text)


def _latex(text: str) -> str:
    return re.sub(r"[&%$#_{}\\^~]", lambda found: SPELT_IN_LATEX.get(found[0], "\\" + found[0]), one_line(text))
