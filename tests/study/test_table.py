from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from src.settings import checked
from src.study import table as tables
from src.study.plan import study


def test_trials_that_learnt_nothing_are_told_by_variant_and_cause():
    causes = {("reference", 0): "too few steps: 8", ("reference", 1): "too few steps: 8", ("cell=gru", 0): "too few steps: 8"}
    causes |= {("reference", 2): "inputs: all the same"}
    rows = [SimpleNamespace(label=label, seed=seed, trial=SimpleNamespace(identity=f"{label} {seed}")) for label, seed in causes]
    rows += [
        SimpleNamespace(label="healthy", seed=0, trial=SimpleNamespace(identity="healthy")),
        SimpleNamespace(label="dropped", trial=None),
    ]
    known = {f"{label} {seed}": SimpleNamespace(tags={"ablation.diagnosis": cause}) for (label, seed), cause in causes.items()}
    known["healthy"] = SimpleNamespace(tags={})

    assert tables.diagnoses(rows, known).splitlines() == [
        "4 trials learnt nothing, and the numbers tell why:",
        "  reference seed=0, 1: too few steps: 8",
        "  cell=gru seed=0: too few steps: 8",
        "  reference seed=2: inputs: all the same",
    ]
    assert tables.diagnoses(rows[-2:], known) == ""


def plan_text(values):
    asked = study({}, {}, compose=lambda _: checked(values))
    rows = asked.rows(next(asked.rounds()))
    return tables.plan_text(asked, rows, {}, todo=rows, seconds=None, workers=1).splitlines()


def test_a_plan_says_what_was_read(home, table):
    lines = plan_text({"data": {"name": "table", "path": str(table)}})

    assert f"  data table {table}: 140 train, 20 validation, 40 test examples in 2 classes" in lines
    assert "    bad 70 / 10 / 20, good 70 / 10 / 20  (train / validation / test)" in lines
    assert "    training has 20 different words and knows 100.0% of the words of validation" in lines


@pytest.mark.parametrize("is_plan_only", [True, False])
def test_a_long_list_is_named_where_it_is_or_will_be(home, is_plan_only):
    asked = study({}, {"units": list(range(1, 30)), "cell": ["lstm", "gru"]}, compose=lambda _: checked({"plan_only": is_plan_only}))
    rows = [SimpleNamespace(label=str(number), trial=None, is_reference=False, dropped="why") for number in range(25)]

    *_, last = tables.plan_text(asked, rows, {}, todo=[], seconds=None, workers=1).splitlines()

    where = f"{home}/outputs/adhoc/plan.json"
    assert last == f"  … and 5 more, {'which the command without plan_only writes to' if is_plan_only else 'all in'} {where}"


def test_a_plan_of_what_is_drawn_says_nothing_of_data(home):
    assert not [line for line in plan_text({"task": {"name": "integration"}}) if "data" in line or "class" in line]


ODD = "data.path=rev[v2].csv [/old] \x1b[31m\r\n\u202e"
SPELT = r"data.path=rev[v2].csv [/old] \x1b[31m\r\n\u202e"


def printed(what, *, is_terminal=False):
    text = io.StringIO()
    Console(file=text, width=200, force_terminal=is_terminal).print(what, markup=False, highlight=False)
    return text.getvalue()


@pytest.mark.parametrize("is_terminal", [False, True])
def test_the_table_shows_names_as_they_are_written(is_terminal):
    rows = [SimpleNamespace(label=ODD, seed=0, is_reference=True, trial=SimpleNamespace(identity="a"))]
    rows += [SimpleNamespace(label=f"{ODD} b", seed=0, is_reference=False, trial=None)]
    ended = SimpleNamespace(status="FINISHED", metrics={"test/accuracy": 0.5}, tags={"ablation.health": "[/x]\x1b"})

    found = printed(tables.outcomes(rows, {"a": ended}), is_terminal=is_terminal)

    assert f"{SPELT} (reference)" in found and f"{SPELT} b" in found and r"[/x]\x1b" in found


def test_lists_of_trials_show_names_in_a_line(tmp_path):
    trial = SimpleNamespace(identity="a", folder=tmp_path)
    row = SimpleNamespace(label=ODD, name=f"{ODD} seed=0", seed=0, trial=trial)
    found = SimpleNamespace(tags={"ablation.diagnosis": "x"})

    for text in (tables.failures([row], {"a": "why"}), tables.diagnoses([row], {"a": found}), tables.unchanged_text([ODD])):
        assert SPELT in text and "\x1b" not in text
