from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats
from statsmodels.stats.anova import AnovaRM, anova_lm

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


def test_estimates_and_shares_are_those_of_least_squares_and_p_of_a_repeated_measures_analysis():
    rows = grid(seeds=5)
    found = fit(rows)
    named = rows.rename(columns={"test/accuracy": "y"})
    model = smf.ols("y ~ C(seed, Sum) + C(cell, Sum) * C(masking, Sum)", named).fit()
    table = anova_lm(model, typ=2)
    block = smf.ols("y ~ C(seed, Sum)", named).fit()
    repeated = AnovaRM(named, "y", "seed", within=["cell", "masking"]).fit().anova_table

    assert found.loc["masking=false", "share"] == pytest.approx(table.loc["C(masking, Sum)", "sum_sq"] / block.ssr)
    assert found.loc["cell=gru", "share"] == pytest.approx(table.loc["C(cell, Sum)", "sum_sq"] / block.ssr)
    assert found.loc["cell=gru × masking=false", "share"] == pytest.approx(table.loc["C(cell, Sum):C(masking, Sum)", "sum_sq"] / block.ssr)
    [name] = [name for name in model.params.index if name.startswith("C(masking, Sum)")]
    assert abs(found.loc["masking=false", "change"]) == pytest.approx(2 * abs(model.params[name]))
    assert found.loc["masking=false", "p"] == pytest.approx(repeated.loc["masking", "Pr > F"], abs=1e-12)  # of two levels: F is t squared
    by_seed = rows.pivot_table(index="seed", columns="cell", values="test/accuracy")
    paired = stats.ttest_rel(by_seed["gru"], by_seed["lstm"])
    low, high = paired.confidence_interval()
    assert found.loc["cell=gru", ["p", "low", "high"]].tolist() == pytest.approx([paired.pvalue, low, high])


def test_a_seed_without_all_cells_counts_in_no_number():
    rows = grid(seeds=4)

    assert fit(rows.drop(index=[3]))["change"].tolist() == pytest.approx(fit(rows[rows["seed"] > 0])["change"].tolist())
    assert (fit(rows.drop(index=[3]))["seeds"] == 3).all()


def test_a_published_experiment_with_all_cells_in_every_subject_comes_out_as_published():
    """Ten people's reaction times (ms) at three angles, without and with noise: Maxwell and Delaney, "Designing Experiments and Analyzing
    Data", Erlbaum 2004, table 12.1. For noise they have F(1, 9) = 33.77 and p below 0.001; the fit of all 60 values would have 62.
    """
    times = [
        [420, 420, 480, 480, 600, 780], [420, 480, 480, 360, 480, 600], [480, 480, 540, 660, 780, 780], [420, 540, 540, 480, 780, 900],
        [540, 660, 540, 480, 660, 720], [360, 420, 360, 360, 480, 540], [480, 480, 600, 540, 720, 840], [480, 600, 660, 540, 720, 900],
        [540, 600, 540, 480, 720, 780], [480, 420, 540, 540, 660, 780],
    ]  # fmt: skip
    cells = list(itertools.product([False, True], [0, 4, 8]))
    rows = [
        {"noise": noise, "angle": angle, "seed": who, "status": "FINISHED", "identity": f"{noise}{angle}{who}", "test/accuracy": time}
        for who, row in enumerate(times)
        for (noise, angle), time in zip(cells, row, strict=True)
    ]
    found = fit(pd.DataFrame(rows), {"noise": [False, True], "angle": [0, 4, 8]}).loc["noise=true"]

    assert found["change"] == pytest.approx(138)
    assert ((found["change"] / found["error"]) ** 2, found["freedom"]) == (pytest.approx(33.77, abs=0.005), 9)
    assert found["p"] < 0.001


def test_a_published_factorial_comes_out_as_published():
    """A pilot plant's yield in 2^3 runs, each twice: Box, Hunter and Hunter, "Statistics for Experimenters", Wiley 1978, chapter 10.

    Printed there: temperature 23, concentration -5, catalyst 1.5, temperature by catalyst 10. Ours counts an interaction twice (a
    difference of differences). Their error is not compared: it is that of runs in no blocks.
    """
    pairs = [(59, 61), (74, 70), (50, 58), (69, 67), (50, 54), (81, 85), (46, 44), (79, 81)]
    runs = itertools.product(["A", "B"], [20, 40], [160, 180])  # catalyst, concentration, temperature: the last changes fastest
    rows = [
        {
            "temperature": t,
            "concentration": c,
            "catalyst": k,
            "seed": turn,
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


def test_an_interaction_is_told_from_parallel_lines():
    parallel = fit(grid(value=lambda row, rng: 0.8 + 0.05 * (row["cell"] == "gru") - 0.02 * row["masking"] + rng.normal(0, 0.002)))
    crossed = fit(grid(value=lambda row, rng: 0.8 + 0.05 * (row["cell"] == "gru") * row["masking"] + rng.normal(0, 0.002)))

    assert parallel.loc["cell=gru", "verdict"] == "helps" and parallel.loc["masking=false", "verdict"] == "helps"
    assert parallel.loc["cell=gru × masking=false", "verdict"] == "cannot tell"
    assert crossed.loc["cell=gru × masking=false", "verdict"] == "they interact"


def test_effects_that_a_fraction_mixes_are_named_and_get_no_verdict():
    levels = {key: [0, 1] for key in "abcd"}
    rows = grid(levels, value=lambda row, rng: 0.8 + 0.1 * row["c"] * row["d"] + rng.normal(0, 0.001))
    half = rows[(rows["a"] + rows["b"] + rows["c"] + rows["d"]) % 2 == 0]
    found = fit(half, levels)

    assert (found.loc[["a=1", "b=1", "c=1", "d=1"], "aliased"] == "").all()  # resolution IV: main effects are clear of pairs
    assert found.loc["a=1 × b=1", "verdict"] == "aliased with c:d"  # which is where the effect comes from
    assert found.loc["c=1 × d=1", "verdict"] == "aliased with a:b" and math.isnan(found.loc["c=1 × d=1", "change"])


def test_a_main_effect_that_an_empty_cell_mixes_with_an_interaction_gets_no_verdict():
    levels = {"bucketing": [False, True], "padding": ["dataset", "batch"]}
    rows = grid(levels, value=lambda row, rng: 0.8 + 0.1 * (row["bucketing"] and row["padding"] == "batch") + rng.normal(0, 0.001))
    found = fit(rows[~(rows["bucketing"] & (rows["padding"] == "dataset"))], levels)

    assert found["verdict"].tolist() == [
        "aliased with bucketing:padding",
        "aliased with bucketing:padding",
        "aliased with bucketing, padding",
    ]


def test_a_trial_that_serves_two_cells_counts_in_both_means():
    levels = {"bucketing": [False, True], "padding": ["dataset", "batch"]}
    rows = grid(levels, seeds=4, value=lambda row, rng: 0.8 + 0.1 * (row["bucketing"] and row["padding"] == "batch") + rng.normal(0, 0.01))
    one, other = (rows["padding"] == "dataset") & ~rows["bucketing"], (rows["padding"] == "dataset") & rows["bucketing"]
    for column in ("identity", "test/accuracy"):
        rows.loc[other, column] = rows.loc[one, column].to_numpy()
    found = fit(rows, levels)

    assert found.loc["bucketing=true × padding=batch", "aliased"] == "" and (found["n"] == 12).all()
    of = rows.pivot(index="seed", columns=["padding", "bucketing"], values="test/accuracy")["batch"]
    halved = (of[True] - of[False]) / 2  # with padding=dataset the change is zero
    assert found.loc["bucketing=true", ["change", "error"]].tolist() == pytest.approx([halved.mean(), halved.std() / 2])


def test_effects_of_two_names_of_one_thing_are_one_for_holm():
    levels = {"readout": ["last", "mean_state", "mean_logit"], "masking": [True, False]}
    rows = grid(levels, seeds=6)
    rows = rows.sort_values(["masking", "seed", "readout"]).reset_index(drop=True)
    one, other = rows["readout"] == "mean_state", rows["readout"] == "mean_logit"
    rows.loc[other, ["identity", "test/accuracy"]] = rows.loc[one, ["identity", "test/accuracy"]].to_numpy()
    alone = {**levels, "readout": levels["readout"][:2]}
    found, expected = fit(rows, levels), fit(rows[~other], alone)

    assert found.loc["readout=mean_logit", "verdict"] == "the same trials as readout=mean_state"
    assert found.loc["readout=mean_logit × masking=false", "verdict"] == "the same trials as readout=mean_state × masking=false"
    assert found["p_holm"].notna().sum() == len(expected) == 3
    for name in ("readout=mean_state", "readout=mean_state × masking=false"):
        assert found.loc[name, "p"] == pytest.approx(expected.loc[name, "p"])
        assert found.loc[name, "verdict"] == expected.loc[name, "verdict"]


def test_missing_trials_take_all_verdicts_away():
    rows = grid()
    rows.loc[3, "status"] = "FAILED"
    assert set(fit(rows)["verdict"]) == {"no verdict: 1 of 18 trials are missing"}


def test_a_level_that_is_null_is_a_level():
    levels = {"max_length": [200, 100, None], "masking": [True, False]}
    rows = grid(levels)
    values = [value for _ in range(3) for value, _ in itertools.product(*levels.values())]
    rows["max_length"] = pd.Series(values, dtype=object)  # as a study's rows have it: pandas would make nan of None

    assert fit(rows, levels).loc["max_length=null", "change"] == pytest.approx(
        rows.loc[rows["max_length"].isna(), "test/accuracy"].mean() - rows.loc[rows["max_length"] == 200, "test/accuracy"].mean()
    )


@pytest.mark.parametrize(
    ("rows", "levels", "message"),
    [
        (grid(), {"cell": LEVELS["cell"], "masking": [True]}, "fewer than two toggles vary"),
        (grid(seeds=1), LEVELS, "one seed tells nothing of chance; add seeds"),
        (grid(value=lambda row, rng: math.nan if row["seed"] else 0.8), LEVELS, "12 of 18 trials have no finite test/accuracy"),
        (grid(seeds=2)[lambda rows: rows["masking"] == (rows["seed"] == 0)], LEVELS, "0 of 2 seeds have all 6 cells, and 2 are needed"),
    ],
)
def test_what_the_trials_do_not_allow_is_said(rows, levels, message):
    with pytest.raises(factorial.NotEnough, match=message):
        factorial.fit(rows, levels, metric="test/accuracy", margin=None)
