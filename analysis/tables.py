"""What a study found as tables to read: Markdown, LaTeX (booktabs) and HTML. CSV has the frames' full precision."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from analysis.effects import LEVEL, better
from analysis.findings import FACTORIAL, Findings, caution
from src.settings import as_typed

NOTHING = "–"
NAMES = {
    "test/accuracy": "test accuracy",
    "test/loss": "test loss",
    "val/accuracy": "validation accuracy",
    "val/loss": "validation loss",
    "time/batch_ms_median": "ms per batch",
    "time/epoch_s": "s per epoch",
    "memory/peak_mb": "peak memory (MB)",
    "model/parameters": "parameters",
    "data/padding_fraction": "padded steps",
}
DIGITS = {
    "time/batch_ms_median": 1, "time/epoch_s": 2, "memory/peak_mb": 0, "model/parameters": 0, "data/padding_fraction": 3,
}  # fmt: skip
IN_LATEX = {"✓": r"\checkmark", "✗": r"$\times$", "×": r"$\times$", "–": "--", "−": "$-$", "…": r"\dots{}", "’": "'"}


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
    """

    headings: list[str]
    rows: list[list[Cell]]
    bold: frozenset[tuple[int, int]]
    caption: str

    def markdown(self) -> str:
        """Returns the table for GitHub's Markdown."""
        lines = [self.headings, ["---"] * len(self.headings)]
        for place, row in enumerate(self.rows):
            lines.append([f"**{cell.text}**" if (place, column) in self.bold else cell.text for column, cell in enumerate(row)])
        return "\n".join("| " + " | ".join(text.replace("|", r"\|").replace("\n", " ") for text in line) + " |" for line in lines) + "\n"

    def latex(self, label: str) -> str:
        r"""Returns a `table` that wants `\usepackage{booktabs,amssymb}`."""
        numbers = [
            all(row[column].value is not None or row[column].text in ("", NOTHING) for row in self.rows) for column in range(self.width)
        ]
        frame = pd.DataFrame([[cell.text for cell in row] for row in self.rows], columns=self.headings)
        bold = pd.DataFrame("", index=frame.index, columns=frame.columns)
        for row, column in self.bold:
            bold.iloc[row, column] = "font-weight: bold"
        styled = frame.style.hide(axis="index").format(escape="latex").format_index(axis="columns", escape="latex")
        text = styled.apply(lambda _: bold, axis=None).to_latex(
            hrules=True, convert_css=True, position_float="centering", column_format="".join("r" if number else "l" for number in numbers),
            caption=_latex(self.caption), label=f"tab:{label}",
        )  # fmt: skip
        for sign, command in IN_LATEX.items():
            text = text.replace(sign, command)
        text = re.sub(r"(?<=[\s\[(])-(?=\d)", "$-$", text)
        return "% \\usepackage{booktabs,amssymb}\n" + text

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.headings)


def ablation(found: Findings) -> Table:
    """Returns one row a variant: its toggles, n, the metric, its change with verdict, and what it costs. The best mean is bold."""
    study, summary, metric = found.study, found.summary, found.metric
    is_rough = " (rough)" if caution(found.rows) else ""
    has_label = study.plan["design"] not in FACTORIAL or not study.toggles
    has_within = bool((summary["within"] != "").any()) and not summary["within"].str.startswith("step ").any()
    columns: dict[str, list[Cell]] = {}
    if has_within:
        columns["with"] = [Cell(text) for text in summary["within"]]
    if has_label or has_within:
        columns["variant"] = [Cell(text) for text in summary["label"]]
    if not has_within:
        columns |= {toggle: [_setting(value) for value in summary[toggle]] for toggle in study.toggles}
    columns["n"] = [
        Cell(str(row["n"]) if row["n"] == row["pairs"] else f"{row['n']}/{row['pairs']}", row["n"]) for row in _records(summary)
    ]
    columns[title(metric)] = [_number(value, digits(metric)) for value in summary["mean"]]
    columns["change [95 %]"] = [_change(row, digits(metric)) for row in _records(summary)]
    columns["p (Holm)"] = [_p(value) for value in summary["p_holm"]]
    columns["p (sign flip)"] = [_p(math.nan if row["is_reference"] or row["is_same"] else row["p_sign_flip"]) for row in _records(summary)]
    columns["verdict"] = [Cell(verdict(row)) for row in _records(summary)]
    if metric != "test/accuracy":
        columns |= _means(summary, "test/accuracy", "")
    columns |= _means(summary, "time/batch_ms_median", is_rough)
    columns[f"time ratio{is_rough}"] = [_ratio(row) for row in _records(summary)]
    columns |= _means(summary, "time/epoch_s", is_rough)
    columns |= _means(summary, "model/parameters", "") | _means(summary, "data/padding_fraction", "")
    if metric != study.steps_to:
        columns[title(study.steps_to)] = [_steps(row) for row in _records(summary)]
    text = f"Study {study.name}: {title(metric)}, change paired by seed"
    return _table(columns, text, best=_best(summary, list(columns).index(title(metric)), metric))


def factorial(found: Findings) -> Table:
    """Returns one row an effect of `Findings.factorial`: change with interval, p, share of variance, verdict.

    Raises:
      ValueError: the study has no such effects.
    """
    effects = found.factorial
    if effects is None:
        raise ValueError(f"{found.study.name} has no main effects and interactions: {found.no_factorial or 'its design is not factorial'}")
    rows = _records(effects)
    columns = {
        "effect": [Cell(row["effect"]) for row in rows],
        "kind": [Cell(row["kind"]) for row in rows],
        f"change in {title(found.metric)} [95 %]": [
            _interval(row["change"], row["low"], row["high"], digits(found.metric)) for row in rows
        ],
        "p (Holm)": [_p(row["p_holm"]) for row in rows],
        "share of variance": [Cell(f"{row['share']:.1%}", row["share"]) if not math.isnan(row["share"]) else Cell(NOTHING) for row in rows],
        "verdict": [Cell(row["verdict"]) for row in rows],
    }
    return _table(columns, f"Study {found.study.name}: main effects and two-way interactions over {rows[0]['n']} trials", best=frozenset())


def effects(found: Findings) -> Table:
    """Returns one row a comparison with everything that was computed of it."""
    rows = [row for row in _records(found.compared) if not row["is_reference"]]
    many = digits(found.metric) + 1
    columns = {
        "comparison": [Cell(" | ".join(filter(None, (row["within"], row["label"])))) for row in rows],
        "n": [Cell(str(row["n"]), row["n"]) for row in rows],
        "unfinished": [Cell(str(row["unfinished"]), row["unfinished"]) for row in rows],
        "change [95 %]": [_interval(row["change"], row["low"], row["high"], many) for row in rows],
        "p": [_p(row["p"]) for row in rows],
        "p (Holm)": [_p(row["p_holm"]) for row in rows],
        "p (sign flip)": [_p(row["p_sign_flip"]) for row in rows],
        "correlation": [_number(row["correlation"], 2) for row in rows],
        "standardised": [_number(row["effect_size"], 2) for row in rows],
        "verdict": [Cell(verdict(row)) for row in rows],
    }
    return _table(columns, f"Study {found.study.name}: every comparison", best=frozenset())


def comparison(over_seeds: pd.Series, over_examples: pd.DataFrame, one: str, other: str, *, metric: str) -> str:
    """Returns what `reviews.variants` found, in words: each test with the question that it answers."""
    row = dict(over_seeds)
    lines = [f"Would {other} differ from {one} again with other seeds, on this test set? (paired t over seeds)"]
    change = _interval(row["change"], row["low"], row["high"], digits(metric)).text
    lines.append(f"  n = {row['n']}, change in {title(metric)} {change}, p {_p(row['p']).text or NOTHING}: {verdict(row)}")
    if row["n"] < 2:
        lines.append("  With one seed nothing can be concluded: another may turn the difference around.")
    lines.append("Do the two trained models of a seed err on different test examples? (McNemar, exact; says nothing of other seeds)")
    if over_examples.empty:
        return "\n".join([*lines, "  no pair of trials has kept its test probabilities"])
    shown = {
        "seed": [Cell(str(seed)) for seed in over_examples["seed"]],
        f"accuracy {other}": [_number(value, 4) for value in over_examples["accuracy"]],
        f"accuracy {one}": [_number(value, 4) for value in over_examples["other_accuracy"]],
        f"only {other} right": [_number(value, 0) for value in over_examples["only_ours"]],
        f"only {one} right": [_number(value, 0) for value in over_examples["only_theirs"]],
        "p": [_p(value) for value in over_examples["p"]],
    }
    differ = int((over_examples["p"] < LEVEL).sum())
    lines += ["", _table(shown, "", best=frozenset()).markdown()]
    return "\n".join(
        [*lines, f"In {differ} of {len(over_examples)} seeds the two models differ at 5 % (not adjusted for the number of seeds)."]
    )


def plain(frame: pd.DataFrame) -> str:
    """Returns a frame of few columns as Markdown, as it is."""
    columns = {str(name): [Cell(str(value)) for value in frame[name]] for name in frame.columns}
    return _table(columns, "", best=frozenset()).markdown()


def title(metric: str) -> str:
    """Returns a metric's name as a reader wants it."""
    if metric.startswith("steps_to/"):
        return f"steps to {metric.rsplit('_', 1)[1]} validation accuracy"
    return NAMES.get(metric, metric)


def digits(metric: str) -> int:
    """Returns how many decimals of a metric are shown."""
    return DIGITS.get(metric, 1 if metric.startswith(("steps_to/", "time/", "memory/")) else 3)


def verdict(row: Any) -> str:
    """Returns a verdict with the number of seeds that would tell, where these do not."""
    more = row["further_seeds"]
    return f"{row['verdict']}; {more:.0f} more seed{'s' * (more != 1)} would" if not math.isnan(more) else str(row["verdict"])


def _table(columns: dict[str, list[Cell]], caption: str, *, best: frozenset[tuple[int, int]]) -> Table:
    """Returns the columns that say something as a table; `best` counts the columns as they were given."""
    shown = [name for name, cells in columns.items() if any(cell.text for cell in cells) or not cells]
    places = {list(columns).index(name): place for place, name in enumerate(shown)}
    rows = [list(row) for row in zip(*(columns[name] for name in shown), strict=True)]
    return Table(shown, rows, frozenset((row, places[column]) for row, column in best), caption)


def _records(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    return frame.to_dict("records")


def _best(summary: pd.DataFrame, column: int, metric: str) -> frozenset[tuple[int, int]]:
    """Returns where the best mean stands; no mean of survivors is the best."""
    whole = summary["mean"].where((summary["n"] == summary["pairs"]) & summary["mean"].notna())
    if len(summary) < 2 or whole.isna().all():
        return frozenset()
    best = (whole * better(metric)).max()
    return frozenset((int(row), column) for row in whole.index[whole * better(metric) == best])


def _means(summary: pd.DataFrame, metric: str, suffix: str) -> dict[str, list[Cell]]:
    name = f"mean {metric}"
    return {title(metric) + suffix: [_number(value, digits(metric)) for value in summary[name]]} if name in summary else {}


def _setting(value: Any) -> Cell:
    if isinstance(value, bool):
        return Cell("✓" if value else "✗", float(value))
    return Cell(as_typed(value), float(value) if isinstance(value, int | float) else None)


def _number(value: float, decimals: int) -> Cell:
    return Cell(NOTHING) if math.isnan(value) else Cell(f"{value:,.{decimals}f}", float(value))


def _change(row: dict[Any, Any], decimals: int) -> Cell:
    return Cell("") if row["is_reference"] else _interval(row["change"], row["low"], row["high"], decimals)


def _interval(change: float, low: float, high: float, decimals: int) -> Cell:
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


def _steps(row: dict[Any, Any]) -> Cell:
    never = f"{row['steps_to_never']:.0f} never" if row["steps_to_never"] else ""
    if math.isnan(row["steps_to"]):
        return Cell("never" if never else NOTHING, math.inf)
    return Cell(f"{row['steps_to']:,.0f}" + (f" ({never})" if never else ""), row["steps_to"])


def _p(value: float) -> Cell:
    return Cell("") if math.isnan(value) else Cell("< 0.001" if value < 0.001 else f"{value:.3f}", value)


def _latex(text: str) -> str:
    return re.sub(r"([&%$#_{}])", r"\\\1", text)
