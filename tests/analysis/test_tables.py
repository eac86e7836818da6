from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis import figures, tables

TRIALS = pd.DataFrame(
    {
        "run_id": list("abcd"),
        "cell": ["lstm", "lstm", "gru", "gru"],
        "masking": [True] * 4,
        "seed": [0, 1, 0, 1],
        "test/accuracy": [0.8, 0.9, 0.6, 0.7],
        "time/batch_ms_median": [10.0, 40.0, 5.0, 5.0],
        "time/epoch_s": [1.0, 1.0, 2.0, 2.0],
        "data/padding_fraction": [0.1] * 4,
        "model/parameters": [1_000.0] * 4,
    }
)
VALIDATION = pd.DataFrame({"run_id": list("aabbccdd"), "step": [5, 9] * 4, "value": [0.5, 0.9, 0.7, 0.9, 0.4, 0.9, 0.6, 0.9]})


def test_only_toggles_that_differ_are_shown():
    assert tables.varied(TRIALS) == ["cell"]


def test_a_variant_is_one_row_with_means_over_its_seeds_and_geometric_means_of_times():
    table = tables.variants(TRIALS, VALIDATION)

    assert table["cell"].tolist() == ["lstm", "gru"]
    assert table["n"].tolist() == [2, 2]
    np.testing.assert_allclose(table["test accuracy"], [0.85, 0.65])
    np.testing.assert_allclose(table["ms per batch"], [20.0, 5.0])
    np.testing.assert_allclose(table["validation accuracy after epoch 1"], [0.6, 0.5])


def test_a_duplicated_trial_is_refused_not_averaged():
    with pytest.raises(ValueError, match="two trials have the same variant and seed"):
        tables.variants(pd.concat([TRIALS, TRIALS.iloc[:1]]), VALIDATION)


def test_one_variant_is_one_row():
    assert len(tables.variants(TRIALS.iloc[:2], VALIDATION)) == 1


def test_markdown_has_check_marks_and_rounded_numbers():
    table = pd.DataFrame({"masking": [True, False], "test accuracy": [0.84561, 0.8], "parameters": [673_089.0, 1.0]})

    assert tables.markdown(table) == (
        "| masking | test accuracy | parameters |\n| --- | --- | --- |\n| ✓ | 0.846 | 673,089 |\n| ✗ | 0.800 | 1 |\n"
    )


def test_learning_curves_have_units_and_one_line_a_trial():
    steps = VALIDATION.assign(variant=list("xxxxyyyy"), seconds=VALIDATION["step"] / 2)

    drawn = figures.learning_curves(steps, title="t")

    by_step, by_time = drawn.axes
    assert (by_step.get_xlabel(), by_time.get_xlabel(), by_step.get_ylabel()) == (
        "optimizer steps",
        "training time (s)",
        "validation accuracy",
    )
    assert [sum(len(line.get_xdata()) == 2 for line in axes.lines) for axes in drawn.axes] == [4, 4]
