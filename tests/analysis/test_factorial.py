from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from statsmodels.stats.anova import anova_lm

from analysis import factorial

LEVELS = {"cell": ["lstm", "gru", "simple_rnn"], "masking": [True, False]}


def grid(levels=LEVELS, *, seeds=3, value=lambda row, rng: rng.normal(0.8, 0.02)):
    rng = np.random.default_rng(5)
    rows = []
    for seed in range(seeds):
        for values in itertools.product(*levels.values()):
            row = {**dict(zip(levels, values, strict=True)), "seed": seed, "status": "FINISHED", "identity": f"{values} {seed}"}
            rows.append({**row, "test/accuracy": value(row, rng)})
    return pd.DataFrame(rows)


def fit(rows, levels=LEVELS, **changes):
    return factorial.fit(rows, levels, **{"metric": "test/accuracy", "margin": None, **changes}).set_index("effect")


def test_effects_are_differences_of_marginal_means():
    rows = grid()
    found = fit(rows)
    mean = rows.groupby("cell")["test/accuracy"].mean()
    cells = rows.groupby(["cell", "masking"])["test/accuracy"].mean()

    assert found.loc["cell=gru", "change"] == pytest.approx(mean["gru"] - mean["lstm"], abs=1e-12)
    both = (cells["simple_rnn", False] - cells["lstm", False]) - (cells["simple_rnn", True] - cells["lstm", True])
    assert found.loc["cell=simple_rnn × masking=false", "change"] == pytest.approx(both, abs=1e-12)


@pytest.mark.parametrize("missing", [[], [3, 10]])
def test_intervals_p_and_shares_are_those_of_statsmodels_formulas(missing):
    rows = grid().drop(index=missing)
    found = fit(rows)
    model = smf.ols("y ~ C(seed, Sum) + C(cell, Sum) * C(masking, Sum)", rows.rename(columns={"test/accuracy": "y"})).fit()
    table = anova_lm(model, typ=2)
    block = smf.ols("y ~ C(seed, Sum)", rows.rename(columns={"test/accuracy": "y"})).fit()

    assert found.loc["masking=false", "share"] == pytest.approx(table.loc["C(masking, Sum)", "sum_sq"] / block.ssr)
    assert found.loc["cell=gru", "share"] == pytest.approx(table.loc["C(cell, Sum)", "sum_sq"] / block.ssr)
    assert found.loc["cell=gru × masking=false", "share"] == pytest.approx(table.loc["C(cell, Sum):C(masking, Sum)", "sum_sq"] / block.ssr)
    [name] = [name for name in model.params.index if name.startswith("C(masking, Sum)")]
    assert found.loc["masking=false", "p"] == pytest.approx(model.pvalues[name], abs=1e-12)  # of two levels: one coefficient, doubled
    assert found.loc["masking=false", "error"] == pytest.approx(2 * model.bse[name])


def test_a_published_factorial_comes_out_as_published():
    """A pilot plant's yield in 2^3 runs, each twice: Box, Hunter and Hunter, "Statistics for Experimenters", Wiley 1978, chapter 10.

    Printed there: temperature 23, concentration -5, catalyst 1.5, temperature by catalyst 10 with a standard error of 1.4. Ours counts an
    interaction twice (a difference of differences), and its error has what the three-way interaction adds.
    """
    pairs = [(59, 61), (74, 70), (50, 58), (69, 67), (50, 54), (81, 85), (46, 44), (79, 81)]
    runs = itertools.product(["A", "B"], [20, 40], [160, 180])  # catalyst, concentration, temperature: the last changes fastest
    rows = [
        {
            "temperature": t,
            "concentration": c,
            "catalyst": k,
            "seed": 0,
            "status": "FINISHED",
            "identity": f"{t}{c}{k}{turn}",
            "test/accuracy": y,
        }
        for (k, c, t), both in zip(runs, pairs, strict=True)
        for turn, y in enumerate(both)
    ]
    found = fit(pd.DataFrame(rows), {"temperature": [160, 180], "concentration": [20, 40], "catalyst": ["A", "B"]})

    main = found.loc[["temperature=180", "concentration=40", "catalyst=B"], "change"].tolist()
    assert main == pytest.approx([23, -5, 1.5])
    both = found.loc[["temperature=180 × concentration=40", "temperature=180 × catalyst=B", "concentration=40 × catalyst=B"], "change"]
    assert (both / 2).tolist() == pytest.approx([1.5, 10, 0])
    assert found.loc["temperature=180", "error"] == pytest.approx(1.4, abs=0.1)


def test_an_interaction_is_told_from_parallel_lines():
    parallel = fit(grid(value=lambda row, rng: 0.8 + 0.05 * (row["cell"] == "gru") - 0.02 * row["masking"] + rng.normal(0, 0.002)))
    crossed = fit(grid(value=lambda row, rng: 0.8 + 0.05 * (row["cell"] == "gru") * row["masking"] + rng.normal(0, 0.002)))

    assert parallel.loc["cell=gru", "verdict"] == "helps" and parallel.loc["masking=false", "verdict"] == "helps"
    assert parallel.loc["cell=gru × masking=false", "verdict"] == "cannot tell"
    assert crossed.loc["cell=gru × masking=false", "verdict"] == "they interact"


def test_what_a_fraction_cannot_tell_apart_has_no_numbers():
    levels = {key: [0, 1] for key in "abcd"}
    rows = grid(levels)
    half = rows[(rows["a"] + rows["b"] + rows["c"] + rows["d"]) % 2 == 0]
    found = fit(half, levels)

    assert found.loc[["a=1", "b=1", "c=1", "d=1"], "change"].notna().all()
    assert found.loc["a=1 × b=1", "verdict"] != "aliased" and found.loc["c=1 × d=1", "verdict"] == "aliased"
    assert math.isnan(found.loc["c=1 × d=1", "change"])


@pytest.mark.parametrize(
    ("rows", "levels", "message"),
    [
        (grid(), {"cell": LEVELS["cell"], "masking": [True]}, "fewer than two toggles vary"),
        (grid(seeds=1), LEVELS, "6 trials for 6 coefficients leave nothing to tell the error; add seeds"),
        (grid(value=lambda row, rng: math.nan if row["seed"] else 0.8), LEVELS, "12 of 18 trials have no test/accuracy"),
        (grid()[lambda rows: rows["masking"] | (rows["cell"] == "nothing")], LEVELS, "do not tell the main effects apart"),
    ],
)
def test_what_the_trials_do_not_allow_is_said(rows, levels, message):
    with pytest.raises(factorial.NotEnough, match=message):
        factorial.fit(rows, levels, metric="test/accuracy", margin=None)


def test_a_normalised_cell_is_one_observation_not_two():
    rows = grid()
    twin = rows[rows["cell"] == "gru"].assign(cell="lstm2")
    again = pd.concat([rows, twin])

    assert fit(again).loc["cell=gru", "n"] == len(rows)
