"""The command of the benchmarks: each runs in its own process, and its record has every measurement."""

from __future__ import annotations

import importlib
import json

import pytest

from benchmarks import __main__ as command
from benchmarks import inside
from benchmarks.inside import Options
from benchmarks.registry import BENCHMARKS
from benchmarks.result import Result


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_has_a_module_that_measures(name):
    assert callable(importlib.import_module(f"benchmarks.{name}").measure)


def test_a_quick_run_writes_its_record_its_table_and_its_figure(tmp_path, capfd):
    code = command.main(["scheduling", "--quick", "--out", str(tmp_path)])
    record = json.loads((tmp_path / "scheduling.json").read_text(encoding="utf-8"))
    printed = capfd.readouterr().out

    assert code == 0
    tables = {"goals.md", *(f"{name}.md" for name in BENCHMARKS)}
    assert {path.name for path in tmp_path.iterdir()} == {*tables, "scheduling.json", "scheduling.png"}
    assert {"processor", "cores", "memory_gb", "versions", "commit", "busy_before"} <= record["machine"].keys()
    assert record["is_quick"] and record["error"] is None and len(record["results"]) == 3
    assert "- scheduling/longest_first: " in printed
    assert "| trials per hour of two workers against one | at least 1.80 × | not measured yet | |" in printed


def test_a_quick_run_leaves_the_committed_results_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(command.report, "FOLDER", tmp_path)

    assert command.main(["scheduling", "--quick"]) == 0
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_benchmark_is_refused(capsys):
    assert command.main(["speed"]) == 2
    assert "error: no benchmark 'speed'; there are start, step, " in capsys.readouterr().err


def test_an_error_keeps_the_results_before_it(monkeypatch, capsys):
    def measure(options):
        yield Result("scheduling/one", "one", 1.0)
        raise RuntimeError("the disk is full")

    monkeypatch.setattr("benchmarks.scheduling.measure", measure)

    record = inside.run("scheduling", Options(is_quick=True))

    assert [result["name"] for result in record["results"]] == ["scheduling/one"]
    assert record["error"].endswith("RuntimeError: the disk is full\n")
    assert "the disk is full" in capsys.readouterr().err
