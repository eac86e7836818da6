from __future__ import annotations

from types import SimpleNamespace

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


def test_a_plan_of_what_is_drawn_says_nothing_of_data(home):
    assert not [line for line in plan_text({"task": {"name": "integration"}}) if "data" in line or "class" in line]
