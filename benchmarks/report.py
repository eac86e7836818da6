"""Records of benchmarks → the tables and figures that the documents show.

The folder of results has `NAME.json` for each benchmark that was run. From these files alone come `goals.md`, `NAME.md`
and, where a result has a curve, `NAME.png`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.goals import GOALS
from benchmarks.registry import BENCHMARKS
from benchmarks.result import Goal, Result, shown
from src.paths import REPOSITORY

FOLDER = REPOSITORY / "benchmarks" / "results"
GOALS_TABLE = "goals.md"
WORDS = {True: "yes", False: "**no**", None: ""}


def line(result: Result) -> str:
    """Returns a result as one line of text."""
    goal = "" if result.goal is None else f" (goal: {_goal(result.goal, result.unit)}; met: {_met(result)})"
    why = f" ({result.details['why']})" if result.value is None else ""
    return f"- {result.name}: {result.what}: {_value(result)}{goal}{why}"


def records(folder: Path) -> dict[str, dict[str, Any]]:
    """Returns name of the benchmark → its record, for the records in a folder."""
    paths = ((name, folder / f"{name}.json") for name in BENCHMARKS)
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths if path.is_file()}


def results(record: Mapping[str, Any]) -> list[Result]:
    """Returns the results of a record."""
    return [Result.of_json(values) for values in record["results"]]


def goals_table(of: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns the table of the goals: what was reached, and whether that is enough.

    Args:
      of: name of the benchmark → its record.
    """
    known = {result.name: (result, record) for record in of.values() for result in results(record)}
    rows = []
    for name, (what, unit, goal) in GOALS.items():
        result, record = known.get(name, (None, None))
        mark = _mark(record) if record else ""
        reached = "not measured yet" if result is None else f"{_value(result)}{mark}"
        rows.append((what, _goal(goal, unit), reached, "" if result is None else WORDS[result.met]))
    return "\n".join(_table(("what", "goal", "reached [95 %]", "met"), rows))


def page(record: Mapping[str, Any], figure: str | None = None) -> str:
    """Returns the results of a benchmark as Markdown: a table, the machine, and the address of its figure, if any."""
    rows = [
        (result.what, f"{_value(result)}", str(result.n), _of(result), WORDS[result.met]) for result in results(record)
    ]
    table = _table(("what", "measured [95 %]", "n", "goal", "met"), rows)
    about = record["machine"]
    source = f"`python -m benchmarks {record['benchmark']}`, {record['time'][:10]}, commit {about['commit'][:10]}, "
    source += f"{about['processor']}, {about['memory_gb']} GB, {about['busy_before']} cores busy before{_mark(record)}."
    picture = ["", f"![{BENCHMARKS[record['benchmark']].about}]({figure})"] if figure else []
    return "\n".join([*table, "", source, *picture])


def write(folder: Path) -> None:
    """Writes the tables and figures of all records in a folder."""
    known = records(folder)
    (folder / GOALS_TABLE).write_text(goals_table(known) + "\n", encoding="utf-8")
    for name in BENCHMARKS:
        record = known.get(name)
        has_figure = record is not None and draw(record, folder / f"{name}.png")
        figure = f"../benchmarks/results/{name}.png" if has_figure else None  # as seen from docs/
        text = not_yet(name) if record is None else page(record, figure)
        (folder / f"{name}.md").write_text(text + "\n", encoding="utf-8")


def not_yet(name: str) -> str:
    """Returns what stands in place of the results of a benchmark that has no record."""
    return f"Not measured yet: `python -m benchmarks {name}`."


def draw(record: Mapping[str, Any], path: Path) -> bool:
    """Draws the curves of a record, one panel per axis and unit; returns whether it has any."""
    curves = [result for result in results(record) if "curve" in result.details]
    if not curves:
        return False
    from analysis.looks import looks, style

    with style():
        from matplotlib import pyplot as plt

        panels = list(dict.fromkeys((result.details["axis"], result.unit) for result in curves))
        figure, axes = plt.subplots(
            1, len(panels), figsize=(4.6 * len(panels), 3.6), squeeze=False, layout="constrained"
        )
        for panel, (axis, unit) in zip(axes[0], panels, strict=True):
            drawn = [result for result in curves if (result.details["axis"], result.unit) == (axis, unit)]
            of_names = looks(result.details["label"] for result in drawn)
            for result in drawn:
                look, curve = of_names[result.details["label"]], result.details["curve"]
                x = [float(place) for place in curve]
                options = {"color": look.colour, "marker": look.mark, "linestyle": look.dash}
                panel.plot(x, list(curve.values()), label=result.details["label"], **options)
            panel.set(xscale="log", yscale="log" if unit != "share" else "linear", xlabel=axis, ylabel=unit)
            panel.legend()
        figure.savefig(path, dpi=110, facecolor="white")
        plt.close(figure)
    return True


def _value(result: Result) -> str:
    text = shown(result.value, result.unit)
    if result.interval is None:
        return text
    low, high = (shown(end, result.unit).removesuffix(f" {result.unit}") for end in result.interval)
    return f"{text} [{low}, {high}]"


def _goal(goal: Goal, unit: str) -> str:
    return f"{goal.kind} {shown(goal.bound, unit)}"


def _of(result: Result) -> str:
    return "" if result.goal is None else _goal(result.goal, result.unit)


def _met(result: Result) -> str:
    return {True: "yes", False: "no", None: "not measured"}[result.met]


def _mark(record: Mapping[str, Any]) -> str:
    """Returns a warning for numbers that were not measured on an idle machine with the real sizes."""
    if record["is_quick"]:
        return " (a trial run: the number means nothing)"
    return "" if machine.is_quiet(record["machine"]) else " (other programs were running)"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
    return [re.sub(r"\|  (?=\|)", "| ", text) for text in lines]
