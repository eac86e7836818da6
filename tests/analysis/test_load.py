"""From a study that was run (without training) to rows, and to the table that the command line prints."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from analysis import load
from analysis.__main__ import app
from src import paths
from src.settings import checked
from src.tracking.journal import FAILED, FINISHED
from tests.study.test_sweep import Launcher, run

MANY = {"cell": ["lstm", "gru"], "masking": [True, False], "seed": [0, 1, 2, 3, 4, 5, 6, 7]}


def accuracy(row):
    return 0.8 + 0.01 * row.seed + (0.05 + 0.001 * (row.seed % 2) if row.values["cell"] == "gru" else 0.0)


@pytest.fixture
def store(home, table):
    """A study of four variants with eight seeds, of which one trial failed."""
    base = checked({"data": {"name": "table", "path": str(table)}, "max_length": 20, "study": "s"})
    failing = Launcher(lambda row: FAILED if row.label == "cell=lstm masking=false" and row.seed == 3 else FINISHED, accuracy)
    assert run(base, failing, **MANY)[0]
    return paths.default_tracking_uri(), base


def test_rows_are_those_of_the_plan_with_the_trial_that_serves_each(store):
    uri, base = store
    rows = load.rows("s", uri=uri)

    assert rows.attrs["toggles"] == ["cell", "masking"]
    assert len(rows) == 32 and rows["is_reference"].sum() == 8
    assert rows.loc[rows["status"] == "FAILED", ["label", "seed"]].to_numpy().tolist() == [["cell=lstm masking=false", 3]]
    done = rows[rows["status"] == "FINISHED"]
    assert (done["test/accuracy"] - 0.8 - 0.01 * done["seed"] > 0.04).tolist() == (done["cell"] == "gru").tolist()

    run(base, Launcher(accuracy=lambda row: 0.1), {"rerun": True}, **MANY)
    again = load.rows("s", uri=uri)
    assert set(again["status"]) == {"FINISHED"} and set(again["test/accuracy"]) == {0.1}


def test_a_plan_that_was_not_run_has_rows_all_the_same(store):
    uri, base = store
    run(base, Launcher(lambda row: "unseen" if row.seed else FINISHED, accuracy), cell=["lstm"], seed=[0])

    rows = load.rows("s", uri=uri)
    assert rows["label"].tolist() == ["cell=lstm"] and rows["status"].tolist() == ["FINISHED"]


def invoke(*words):
    return CliRunner().invoke(app, list(words))


def test_the_table_says_what_helps_and_what_did_not_finish(store):
    done = invoke("table", "s")

    assert done.exit_code == 0, done.output
    lines = {line.split("|")[1].strip(): line for line in done.output.splitlines() if line.startswith("| cell")}
    assert "| reference |" in lines["cell=lstm masking=true"]
    assert "+0.051 [+0.050, +0.051] | < 0.001 | helps | 1.00" in lines["cell=gru masking=true"]
    assert "no verdict: 1 of 8 seeds did not finish" in lines["cell=lstm masking=false"]
    assert (paths.home() / "reports" / "s" / "effects.csv").is_file()


def test_one_toggle_is_compared_within_the_others(store):
    done = invoke("table", "s", "--toggle", "cell", "--out", str(paths.home()))

    assert "| masking=true | cell=gru | 8 |" in done.output
    assert (paths.home() / "effects_cell.md").read_text(encoding="utf-8") in done.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nonsense"], "no study 'nonsense'"),
        (["s", "--toggle", "depth"], "'depth' was not varied in s; varied: cell, masking"),
        (["s", "--metric", "foo"], "has the metric 'foo'; there are data/padding_fraction"),
    ],
)
def test_what_was_typed_wrong_is_answered_with_what_there_is(store, words, message):
    done = invoke("table", *words)

    assert done.exit_code == 2
    assert message in " ".join(done.output.replace("│", " ").split())
