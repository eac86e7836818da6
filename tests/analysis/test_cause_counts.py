"""Causes counted by variant: the confusion matrix of a study of faults."""

from __future__ import annotations

import pandas as pd
import pytest
from typer.testing import CliRunner

from analysis import causes, figures, findings, load, report, store
from analysis.__main__ import app
from benchmarks import generated
from tests.analysis.conftest import usual

CELLS = {"lstm": None, "gru": "dead units: 9", "simple_rnn": "too few steps: 8"}


def trial(label, seed, diagnosis=None, status="FINISHED", health="ok"):
    return {"label": label, "seed": seed, "status": status, "health": health, "diagnosis": diagnosis}


def test_seeds_are_counted_by_the_cause_before_the_colon_in_the_order_of_the_plan():
    rows = pd.DataFrame(
        [
            *(trial("none", seed) for seed in range(3)),
            trial("none", 3, status="not run", health=None),
            trial("a", 0, "z first: 1; do"),
            trial("a", 1, "z first: 2; do"),
            trial("a", 2),
            trial("b", 0, "a second: 1; do", status="FAILED", health="diverged"),
            trial("b", 1, "z first: 3; do"),
            trial("b", 2, status="FAILED", health=None),
        ]
    )

    found = causes.counts(rows)

    assert list(found.columns) == ["none", "z first", "a second"]
    assert found.to_dict("index") == {
        "none": {"none": 3, "z first": 0, "a second": 0},
        "a": {"none": 1, "z first": 2, "a second": 0},
        "b": {"none": 0, "z first": 1, "a second": 1},
    }


@pytest.fixture
def uri(own):
    def faulty(values, seed):
        cause = CELLS[values["cell"]]
        return {**usual(values, seed), "tags": {"health": "ok", **({"diagnosis": cause} if cause else {})}}

    generated.study(own, "faulty", {"cell": list(CELLS)}, faulty, seeds=[0, 1], steps=3)
    generated.study(own, "sound", {"cell": list(CELLS)}, usual, seeds=[0, 1], steps=3)
    return f"sqlite:///{own}"


def test_a_study_has_the_causes_as_a_table_a_figure_and_remarks_where_there_are_any(uri, tmp_path):
    faulty, sound = (findings.find(load.study(name, store.connect(uri))) for name in ("faulty", "sound"))
    for name in ("faulty", "sound"):
        done = CliRunner().invoke(app, ["table", name, "--uri", uri, "--out", str(tmp_path / name)])
        assert done.exit_code == 0, done.output

    found = pd.read_csv(tmp_path / "faulty" / "causes.csv")
    assert list(found.columns) == ["variant", "none", "dead units", "too few steps"]
    assert found.iloc[:, 1:].to_numpy().tolist() == [[2, 0, 0], [0, 2, 0], [0, 0, 2]]
    axes = figures.one(faulty, "causes").figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["2", "", "", "", "2", "", "", "", "2"]
    assert "ok (dead units: 9): cell=gru seed=0, 1" in dict(report.remarks(faulty))["Unhealthy"]
    assert not list((tmp_path / "sound").glob("causes*")) and figures.one(sound, "causes") is None
