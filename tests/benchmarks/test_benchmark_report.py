"""The tables of the benchmarks come from the records alone."""

from __future__ import annotations

import json

import pytest

from benchmarks import report
from benchmarks.goals import GOALS, for_goal, not_measured
from benchmarks.registry import BENCHMARKS
from benchmarks.result import Estimate, Result

MACHINE = {
    "processor": "a processor",
    "cores": 2,
    "memory_gb": 8.0,
    "versions": "python 3.11",
    "commit": "c" * 40,
    "uncommitted": "false",
    "load_before": 0.0,
    "busy_before": 0.0,
}


def record(*results, name="step", **changes):
    base = {"benchmark": name, "time": "2026-11-27T10:00:00+00:00", "is_quick": False, "machine": MACHINE}
    return {**base, "seconds": 1.0, "error": None, "results": [each.as_json() for each in results], **changes}


def test_the_table_of_goals_has_every_goal_in_order_and_says_what_was_not_measured():
    lines = report.goals_table({}).splitlines()

    assert [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]] == [what for what, _, _ in GOALS.values()]
    assert all("not measured yet" in line for line in lines[2:])


def test_the_table_of_goals_says_what_was_reached():
    fast = for_goal("step/fit", Estimate(1.7, (1.65, 1.75)), n=8)
    slow = for_goal("step/products", Estimate(2.9, None), n=8)

    table = report.goals_table({"step": record(fast, slow, not_measured("step/torch_packed", "no PyTorch"))})

    assert "| at least 1.60 × | 1.70 × [1.65, 1.75] | yes |" in table
    assert "| at most 2.00 × | 2.90 × | **no** |" in table
    assert "| at least 4.00 × | not measured | |" in table


@pytest.mark.parametrize(
    ("changes", "mark"),
    [
        ({"is_quick": True}, "a trial run: the number means nothing"),
        ({"machine": {**MACHINE, "busy_before": 1.5}}, "other programs were running"),
    ],
)
def test_a_number_that_is_not_to_be_believed_is_marked(changes, mark):
    result = for_goal("step/fit", Estimate(1.7, None), n=8)

    assert mark in report.goals_table({"step": record(result, **changes)})
    assert mark in report.page(record(result, **changes))
    assert mark not in report.page(record(result))


def test_a_page_has_the_results_the_machine_and_the_figure(tmp_path):
    curve = {"curve": {"100": 1.0, "1000": 2.0}, "axis": "trials", "label": "load"}
    result = Result("analysis/load", "10,000 trials are loaded", 2.0, "s", (1.9, 2.1), n=3, details=curve)
    (tmp_path / "analysis.json").write_text(json.dumps(record(result, name="analysis")), encoding="utf-8")

    report.write(tmp_path)
    page = (tmp_path / "analysis.md").read_text(encoding="utf-8")

    assert "| 10,000 trials are loaded | 2.00 s [1.90, 2.10] | 3 | | |" in page
    assert "`python -m benchmarks analysis`, 2026-11-27, commit cccccccccc, a processor, 8.0 GB" in page
    assert "(../benchmarks/results/analysis.png)" in page
    assert (tmp_path / "analysis.png").stat().st_size > 1_000


def test_the_committed_tables_are_those_of_the_committed_records():
    known = report.records(report.FOLDER)
    goals = (report.FOLDER / report.GOALS_TABLE).read_text(encoding="utf-8")

    assert goals == report.goals_table(known) + "\n", "run `python -m benchmarks --tables`"
    for name in BENCHMARKS:
        figure = f"../benchmarks/results/{name}.png" if (report.FOLDER / f"{name}.png").is_file() else None
        expected = report.page(known[name], figure) if name in known else report.not_yet(name)

        assert (report.FOLDER / f"{name}.md").read_text(encoding="utf-8") == expected + "\n", "as above"
        assert name not in known or not known[name]["is_quick"], f"{name}: a trial run must not be committed"


def test_every_goal_belongs_to_a_benchmark():
    assert {name.split("/")[0] for name in GOALS} <= set(BENCHMARKS)
