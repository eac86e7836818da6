from __future__ import annotations

from types import SimpleNamespace

from src.study import table


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

    assert table.diagnoses(rows, known).splitlines() == [
        "4 trials learnt nothing, and the numbers tell why:",
        "  reference seed=0, 1: too few steps: 8",
        "  cell=gru seed=0: too few steps: 8",
        "  reference seed=2: inputs: all the same",
    ]
    assert table.diagnoses(rows[-2:], known) == ""
