from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.anova import AnovaRM, anova_lm

from analysis import factorial
from src.spec.metric import IMPLIED, meaning
from src.study import designs
from tests.analysis.conftest import ACCURACY

LEVELS = {"cell": ["lstm", "gru", "simple_rnn"], "masking": [True, False]}


def grid(levels=LEVELS, *, seeds=3, value=lambda row, rng: rng.normal(0.8, 0.02)):
    rng = np.random.default_rng(5)
    rows = []
    for seed in range(seeds):
        for values in itertools.product(*levels.values()):
            row = {
                **dict(zip(levels, values, strict=True)),
                "seed": seed,
                "status": "FINISHED",
                "identity": f"{values} {seed}",
            }
            rows.append({**row, "test/accuracy": value(row, rng)})
    return pd.DataFrame(rows)


def fit(rows, levels=LEVELS, metric="test/accuracy", **changes):
    metric = meaning(metric, IMPLIED)
    return factorial.fit(rows, levels, metric=metric, **{"margin": None, **changes}).set_index("effect")


def test_effects_are_differences_of_marginal_means():
    rows = grid()
    found = fit(rows)
    mean = rows.groupby("cell")["test/accuracy"].mean()
    cells = rows.groupby(["cell", "masking"])["test/accuracy"].mean()

    assert found.loc["cell=gru", "change"] == pytest.approx(mean["gru"] - mean["lstm"], abs=1e-12)
    both = (cells["simple_rnn", False] - cells["lstm", False]) - (cells["simple_rnn", True] - cells["lstm", True])
    assert found.loc["cell=simple_rnn × masking=false", "change"] == pytest.approx(both, abs=1e-12)


def test_estimates_are_those_of_least_squares_and_p_of_a_repeated_measures_analysis():
    rows = grid(seeds=5)
    found = fit(rows)
    named = rows.rename(columns={"test/accuracy": "y"})
    model = smf.ols("y ~ C(seed, Sum) + C(cell, Sum) * C(masking, Sum)", named).fit()
    repeated = AnovaRM(named, "y", "seed", within=["cell", "masking"]).fit().anova_table

    [name] = [name for name in model.params.index if name.startswith("C(masking, Sum)")]
    assert abs(found.loc["masking=false", "change"]) == pytest.approx(2 * abs(model.params[name]))
    assert found.loc["masking=false", "p"] == pytest.approx(
        repeated.loc["masking", "Pr > F"], abs=1e-12
    )  # of two levels: F is t squared
    by_seed = rows.pivot_table(index="seed", columns="cell", values="test/accuracy")
    paired = stats.ttest_rel(by_seed["gru"], by_seed["lstm"])
    low, high = paired.confidence_interval()
    assert found.loc["cell=gru", ["p", "low", "high"]].tolist() == pytest.approx([paired.pvalue, low, high])


def one_that_varies(row, rng):
    """Every seed changes the effect of each toggle separately; the reference is worse."""
    of_seed = np.random.default_rng(row["seed"]).normal(0, 0.01, 3)
    cell = ["lstm", "gru", "simple_rnn"].index(row["cell"])
    return 0.8 + 0.03 * cell + of_seed[0] + of_seed[1] * cell + of_seed[2] * row["masking"] + rng.normal(0, 0.005)


def test_shares_are_omega_squared_of_a_repeated_measures_analysis():
    rows = grid(seeds=5, value=one_that_varies)
    named = rows.rename(columns={"test/accuracy": "y"})
    model = smf.ols("y ~ C(seed) * (C(cell) + C(masking)) + C(cell):C(masking)", named).fit()
    table = anova_lm(model, typ=1)[["df", "sum_sq"]]  # balanced: all types agree
    repeated = AnovaRM(named, "y", "seed", within=["cell", "masking"]).fit().anova_table["F Value"]
    table = table.rename(index={"Residual": "C(seed):C(cell):C(masking)"})
    noise = table.loc[[name for name in table.index if name.startswith("C(seed):")]].sum()
    total = table["sum_sq"].sum() - table.loc["C(seed)", "sum_sq"]
    found = fit(rows)

    for effect, term in (
        ("cell=gru", "C(cell)"),
        ("masking=false", "C(masking)"),
        ("cell=gru × masking=false", "C(cell):C(masking)"),
    ):
        df, explained = table.loc[term]
        error = table.loc[f"C(seed):{term}", "sum_sq"] / table.loc[f"C(seed):{term}", "df"]
        assert explained / df / error == pytest.approx(repeated[term.replace("C(", "").replace(")", "")])
        omega = (explained - df * error) / (total + 5 * noise["sum_sq"] / noise["df"])
        assert found.loc[effect, "share"] == pytest.approx(max(0.0, omega), abs=1e-12)


def test_the_share_of_a_toggle_alone_is_the_textbooks_partial_omega_squared():
    """df (MS - MS_error) / (SS + (N - df) MS_error): Keppel, "Design and Analysis", Prentice Hall 1991, chapter 16."""
    y = np.random.default_rng(3).normal(0, 1, (6, 4)) + np.arange(4)
    model = factorial.model_of([(str(value),) for value in range(4)], {"a": [str(value) for value in range(4)]})
    explained = 6 * np.sum((y.mean(axis=0) - y.mean()) ** 2)
    error = np.sum((y - y.mean(axis=0) - y.mean(axis=1, keepdims=True) + y.mean()) ** 2) / 15

    assert factorial._omega_squared(y, model) == {
        "a": pytest.approx((explained - 3 * error) / (explained + 21 * error))
    }


@pytest.mark.parametrize("missing", [0, 1])
def test_shares_are_zero_on_average_where_nothing_matters(missing):
    rng = np.random.default_rng(6)
    cells = list(itertools.product("01", "012", "01"))[missing:]
    model = factorial.model_of(cells, {"a": ["0", "1"], "b": ["0", "1", "2"], "c": ["0", "1"]})
    found = [
        factorial._omega_squared(rng.normal(0, 1, (3, 1)) + rng.normal(0, 1, (3, len(cells))), model)
        for _ in range(2_000)
    ]
    mean = pd.DataFrame(found).mean()

    assert (
        len(mean) == 6 and (mean.abs() < 0.01).all() and abs(mean.sum()) < 0.03
    )  # of eta squared 1 in 3 of what is left for errors


def test_shares_are_those_of_the_means_where_there_are_many_seeds():
    rng = np.random.default_rng(7)
    rows = grid({"a": [0, 1], "b": [0, 1]}, seeds=400, value=lambda row, _: 0.1 * row["a"] + rng.normal(0, 0.05))
    found = fit(rows, {"a": [0, 1], "b": [0, 1]})["share"]

    assert found["a=1"] == pytest.approx(
        0.05**2 / (0.05**2 + 0.05**2), abs=0.03
    )  # of the variance of means and of trials around them
    assert found["b=1"] < 0.01 and found["a=1 × b=1"] < 0.01


def test_nothing_has_a_share_where_nothing_varies():
    found = fit(grid(value=lambda row, rng: 0.8 + 0.01 * row["seed"]))

    assert found["share"].isna().all() and (found["change"] == 0).all()


def test_a_seed_without_all_cells_counts_in_no_number():
    rows = grid(seeds=4)

    assert fit(rows.drop(index=[3]))["change"].tolist() == pytest.approx(fit(rows[rows["seed"] > 0])["change"].tolist())
    assert (fit(rows.drop(index=[3]))["seeds"] == 3).all()


def test_a_published_experiment_with_all_cells_in_every_subject_comes_out_as_published():
    """Ten people's reaction times (ms) at three angles, without and with noise.

    Source: Maxwell and Delaney, "Designing Experiments and Analyzing Data", Erlbaum 2004, table 12.1. For noise they
    have F(1, 9) = 33.77 and p below 0.001; the fit of all 60 values would have 62.
    """
    times = [
        [420, 420, 480, 480, 600, 780], [420, 480, 480, 360, 480, 600],
        [480, 480, 540, 660, 780, 780], [420, 540, 540, 480, 780, 900],
        [540, 660, 540, 480, 660, 720], [360, 420, 360, 360, 480, 540],
        [480, 480, 600, 540, 720, 840], [480, 600, 660, 540, 720, 900],
        [540, 600, 540, 480, 720, 780], [480, 420, 540, 540, 660, 780],
    ]  # fmt: skip
    cells = list(itertools.product([False, True], [0, 4, 8]))
    rows = [
        {
            "noise": noise,
            "angle": angle,
            "seed": who,
            "status": "FINISHED",
            "identity": f"{noise}{angle}{who}",
            "test/accuracy": time,
        }
        for who, row in enumerate(times)
        for (noise, angle), time in zip(cells, row, strict=True)
    ]
    found = fit(pd.DataFrame(rows), {"noise": [False, True], "angle": [0, 4, 8]}).loc["noise=true"]

    assert found["change"] == pytest.approx(138)
    assert ((found["change"] / found["error"]) ** 2, found["freedom"]) == (pytest.approx(33.77, abs=0.005), 9)
    assert found["p"] < 0.001


def test_a_published_factorial_comes_out_as_published():
    """A pilot plant's yield in 2^3 runs, each twice.

    Source: Box, Hunter and Hunter, "Statistics for Experimenters", Wiley 1978, chapter 10. Printed there: temperature
    23, concentration -5, catalyst 1.5, temperature by catalyst 10. Our interaction is twice theirs (a difference of
    differences). The errors are not compared, as their runs have no blocks.
    """
    pairs = [(59, 61), (74, 70), (50, 58), (69, 67), (50, 54), (81, 85), (46, 44), (79, 81)]
    runs = itertools.product(
        ["A", "B"], [20, 40], [160, 180]
    )  # catalyst, concentration, temperature: the last changes fastest
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
    both = found.loc[
        ["temperature=180 × concentration=40", "temperature=180 × catalyst=B", "concentration=40 × catalyst=B"],
        "change",
    ]
    assert (both / 2).tolist() == pytest.approx([1.5, 10, 0])


def test_an_interaction_is_distinguished_from_parallel_lines():
    parallel = fit(
        grid(value=lambda row, rng: 0.8 + 0.05 * (row["cell"] == "gru") - 0.02 * row["masking"] + rng.normal(0, 0.002))
    )
    crossed = fit(
        grid(value=lambda row, rng: 0.8 + 0.05 * (row["cell"] == "gru") * row["masking"] + rng.normal(0, 0.002))
    )

    assert parallel.loc["cell=gru", "verdict"] == "helps" and parallel.loc["masking=false", "verdict"] == "helps"
    assert parallel.loc["cell=gru × masking=false", "verdict"] == "cannot tell"
    assert crossed.loc["cell=gru × masking=false", "verdict"] == "they interact"


def test_aliased_effects_of_a_fraction_are_named_and_get_no_verdict():
    levels = {key: [0, 1] for key in "abcd"}
    rows = grid(levels, value=lambda row, rng: 0.8 + 0.1 * row["c"] * row["d"] + rng.normal(0, 0.001))
    half = rows[(rows["a"] + rows["b"] + rows["c"] + rows["d"]) % 2 == 0]
    found = fit(half, levels)

    assert (
        found.loc[["a=1", "b=1", "c=1", "d=1"], "aliased"] == ""
    ).all()  # resolution IV: main effects are clear of pairs
    assert found.loc["d=1", ["verdict", "condition"]].tolist() == ["helps", "if no three toggles act together"]
    assert found.loc["a=1 × b=1", ["condition", "three_way"]].tolist() == [
        "",
        "",
    ]  # a verdict that does not decide has no condition
    assert found.loc["a=1 × b=1", "verdict"] == "aliased with c:d"  # which is where the effect comes from
    assert found.loc["c=1 × d=1", "verdict"] == "aliased with a:b" and math.isnan(found.loc["c=1 × d=1", "change"])


def test_a_main_effect_aliased_by_an_empty_cell_gets_no_verdict():
    levels = {"bucketing": [False, True], "padding": ["dataset", "batch"]}
    rows = grid(
        levels,
        value=lambda row, rng: 0.8 + 0.1 * (row["bucketing"] and row["padding"] == "batch") + rng.normal(0, 0.001),
    )
    found = fit(rows[~(rows["bucketing"] & (rows["padding"] == "dataset"))], levels)

    assert found["verdict"].tolist() == [
        "aliased with bucketing:padding",
        "aliased with bucketing:padding",
        "aliased with bucketing, padding",
    ]


def test_a_trial_that_serves_two_cells_counts_in_both_means():
    levels = {"bucketing": [False, True], "padding": ["dataset", "batch"]}
    rows = grid(
        levels,
        seeds=4,
        value=lambda row, rng: 0.8 + 0.1 * (row["bucketing"] and row["padding"] == "batch") + rng.normal(0, 0.01),
    )
    one, other = (rows["padding"] == "dataset") & ~rows["bucketing"], (rows["padding"] == "dataset") & rows["bucketing"]
    for column in ("identity", "test/accuracy"):
        rows.loc[other, column] = rows.loc[one, column].to_numpy()
    found = fit(rows, levels)

    assert found.loc["bucketing=true × padding=batch", "aliased"] == "" and (found["n"] == 12).all()
    of = rows.pivot(index="seed", columns=["padding", "bucketing"], values="test/accuracy")["batch"]
    halved = (of[True] - of[False]) / 2  # with padding=dataset the change is zero
    assert found.loc["bucketing=true", ["change", "error"]].tolist() == pytest.approx([halved.mean(), halved.std() / 2])


def test_two_names_of_one_effect_count_once_for_holm():
    levels = {"readout": ["last", "mean_state", "mean_logit"], "masking": [True, False]}
    rows = grid(levels, seeds=6)
    rows = rows.sort_values(["masking", "seed", "readout"]).reset_index(drop=True)
    one, other = rows["readout"] == "mean_state", rows["readout"] == "mean_logit"
    rows.loc[other, ["identity", "test/accuracy"]] = rows.loc[one, ["identity", "test/accuracy"]].to_numpy()
    alone = {**levels, "readout": levels["readout"][:2]}
    found, expected = fit(rows, levels), fit(rows[~other], alone)

    assert found.loc["readout=mean_logit", "verdict"] == "the same trials as readout=mean_state"
    assert (
        found.loc["readout=mean_logit × masking=false", "verdict"]
        == "the same trials as readout=mean_state × masking=false"
    )
    assert found["p_holm"].notna().sum() == len(expected) == 3
    for name in ("readout=mean_state", "readout=mean_state × masking=false"):
        assert found.loc[name, "p"] == pytest.approx(expected.loc[name, "p"])
        assert found.loc[name, "verdict"] == expected.loc[name, "verdict"]


def test_missing_trials_prevent_all_verdicts():
    rows = grid()
    rows.loc[3, "status"] = "FAILED"
    assert set(fit(rows)["verdict"]) == {"no verdict: 1 of 18 trials are missing"}


def test_a_level_that_is_null_is_a_level():
    levels = {"max_length": [200, 100, None], "masking": [True, False]}
    rows = grid(levels)
    values = [value for _ in range(3) for value, _ in itertools.product(*levels.values())]
    rows["max_length"] = pd.Series(values, dtype=object)  # as a study's rows have it: pandas would make nan of None

    assert fit(rows, levels).loc["max_length=null", "change"] == pytest.approx(
        rows.loc[rows["max_length"].isna(), "test/accuracy"].mean()
        - rows.loc[rows["max_length"] == 200, "test/accuracy"].mean()
    )


@pytest.mark.parametrize(
    ("rows", "levels", "message"),
    [
        (grid(), {"cell": LEVELS["cell"], "masking": [True]}, "fewer than two toggles vary"),
        (grid(seeds=1), LEVELS, "a single seed has no interval; add seeds"),
        (
            grid(value=lambda row, rng: math.nan if row["seed"] else 0.8),
            LEVELS,
            "12 of 18 trials have no finite test/accuracy",
        ),
        (
            grid(seeds=2)[lambda rows: rows["masking"] == (rows["seed"] == 0)],
            LEVELS,
            "0 of 2 seeds have all 6 cells, and 2 are needed",
        ),
    ],
)
def test_the_reason_is_given_if_the_trials_do_not_allow_the_model(rows, levels, message):
    with pytest.raises(factorial.NotEnough, match=message):
        factorial.fit(rows, levels, metric=ACCURACY, margin=None)


def every(sizes):
    return list(itertools.product(*(range(size) for size in sizes)))


def fraction(factors, resolution):
    reference = dict.fromkeys("abcdefg"[:factors], 0)
    return [
        tuple(one.values())
        for one in designs.fractional(reference, {key: [0, 1] for key in reference}, resolution=resolution)
    ]


def sampled(sizes, count, seed=0):
    levels = {str(place): list(range(size)) for place, size in enumerate(sizes)}
    return [tuple(one.values()) for one in designs.random(dict.fromkeys(levels, 0), levels, sample=count, seed=seed)]


DESIGNS = {
    "full": ((2, 3, 2), every((2, 3, 2))),
    "2^(4-1)": ((2,) * 4, fraction(4, 4)),
    "2^(5-1)": ((2,) * 5, fraction(5, 5)),
    "2^(5-2)": ((2,) * 5, fraction(5, 3)),
    "2^(7-4)": ((2,) * 7, fraction(7, 3)),
    "random of two values": ((2,) * 5, sampled((2,) * 5, 20)),
    "random of few": ((2,) * 5, sampled((2,) * 5, 9)),
    "random of three values": ((3, 2, 3, 2), sampled((3, 2, 3, 2), 26, seed=1)),
    "one cell empty": ((2, 2, 2), every((2, 2, 2))[:-1]),
    "two cells empty": ((3, 2, 3), [cell for cell in every((3, 2, 3)) if cell not in ((2, 1, 2), (2, 1, 1))]),
    "a value with one other alone": ((3, 2, 2, 2), [cell for cell in every((3, 2, 2, 2)) if cell[:2] != (2, 1)]),
}


def changes(sizes, cells, mean, *, spread=0.0):
    """The effects of a design whose cells have these means, with a negligible spread between seeds."""
    keys, rng = "abcdefg"[: len(sizes)], np.random.default_rng(8)
    rows = [
        {**dict(zip(keys, cell, strict=True)), "seed": seed, "status": "FINISHED", "identity": f"{cell} {seed}",
         "test/accuracy": mean(cell) + spread * rng.normal()}
        for seed in range(3)
        for cell in cells
    ]  # fmt: skip
    return fit(pd.DataFrame(rows), {key: list(range(size)) for key, size in zip(keys, sizes, strict=True)})


def acting_together(sizes, places, seed=9):
    """A random function of several toggles without lower-order effects: its mean over any one toggle is zero."""
    found = np.random.default_rng(seed).normal(0, 1, [sizes[place] for place in places])
    for axis in range(len(places)):
        found = found - found.mean(axis=axis, keepdims=True)
    return lambda cell: found[tuple(cell[place] for place in places)]


@pytest.mark.parametrize("name", DESIGNS)
def test_the_three_way_interactions_that_are_listed_are_those_that_move_the_estimate(name):
    sizes, cells = DESIGNS[name]
    before = changes(sizes, cells, lambda cell: 0.0, spread=1e-3)
    listed = {effect: set(filter(None, text.split(", "))) for effect, text in before["three_way"].items()}
    for places in itertools.combinations(range(len(sizes)), 3):
        after = changes(sizes, cells, acting_together(sizes, places), spread=1e-3)
        term = ":".join("abcdefg"[place] for place in places)
        moved = (after["change"] - before["change"]).abs() > 1e-6
        assert {effect for effect in before.index if term in listed[effect]} == set(before.index[moved])


@pytest.mark.parametrize("name", DESIGNS)
def test_the_terms_that_are_called_aliased_are_those_that_move_the_estimate(name):
    sizes, cells = DESIGNS[name]
    before = changes(sizes, cells, lambda cell: 0.0, spread=1e-3)
    dropped = set(before["term"][before["change"].isna()])
    for size in (1, 2):
        for places in itertools.combinations(range(len(sizes)), size):
            term = ":".join("abcdefg"[place] for place in places)
            after = changes(sizes, cells, acting_together(sizes, places), spread=1e-3)
            moved = (after["change"] - before["change"]).abs() > 1e-6
            others = set(before.index[moved & (before["term"] != term)])
            listed = {name for name in before.index if term in before.loc[name, "aliased"].split(", ")}
            assert others == {name for name in listed if before["term"][name] not in dropped}


@given(sizes=st.lists(st.integers(2, 3), min_size=2, max_size=4), share=st.floats(0.4, 1), seed=st.integers(0, 1_000))
@settings(max_examples=60, deadline=None)
def test_an_effect_without_a_condition_is_the_difference_of_means_over_the_full_grid_whatever_acts_together(
    sizes, share, seed
):
    whole, rng = every(sizes), np.random.default_rng(seed)
    cells = [whole[0], *(cell for cell in whole[1:] if rng.random() < share)]
    values = rng.normal(0, 1, sizes)
    try:
        found = changes(sizes, cells, lambda cell: values[cell], spread=1e-9)
    except factorial.NotEnough:  # a toggle was left with one value
        return
    present = {key: sorted({cell[place] for cell in cells}) for place, key in enumerate("abcd"[: len(sizes)])}
    assume(all(len(present[key]) == size for key, size in zip("abcd", sizes, strict=False)))
    for effect, row in found[found["verdict"].isin(factorial.DECIDED)].iterrows():
        true = values
        chosen = dict(part.split("=") for part in effect.split(" × "))
        for axis in reversed(range(len(sizes))):
            key = "abcd"[axis]
            true = true.take(int(chosen[key]), axis) - true.take(0, axis) if key in chosen else true.mean(axis=axis)
        assert (row["condition"] == "") == (abs(row["change"] - true) < 1e-6)


def test_the_effect_of_three_toggles_that_act_together_is_no_verdict_on_a_fourth():
    sizes, cells = DESIGNS["2^(4-1)"]
    found = changes(sizes, cells, lambda cell: 0.8 + 0.05 * math.prod(2 * value - 1 for value in cell[:3]), spread=1e-4)

    assert abs(found.loc["d=1", "change"]) == pytest.approx(0.1, abs=1e-3)
    assert found.loc["d=1", ["three_way", "condition"]].tolist() == ["a:b:c", "if no three toggles act together"]


def test_a_fraction_of_high_resolution_depends_on_four_toggles_alone():
    sizes, cells = DESIGNS["2^(5-1)"]
    found = changes(sizes, cells, lambda cell: cell[0] + cell[1] * cell[2], spread=1e-4)

    assert found.loc["a=1", ["verdict", "condition"]].tolist() == ["helps", "if no four toggles act together"]
    assert found.loc["b=1 × c=1", ["verdict", "condition"]].tolist() == [
        "they interact",
        "if no three toggles act together",
    ]


def test_a_full_grid_has_no_condition():
    sizes, cells = DESIGNS["full"]
    found = changes(sizes, cells, lambda cell: float(cell[0]), spread=1e-4)

    assert (
        found.loc["a=1", "verdict"] == "helps" and (found["condition"] == "").all() and (found["three_way"] == "").all()
    )


def test_means_of_a_full_grid_are_means_over_all_else():
    rows = grid(seeds=4)
    found = factorial.means(rows, LEVELS, toggle="masking", by="cell", metric=ACCURACY)

    assert len(found) == 6
    for row in found.to_dict("records"):
        values = rows.loc[(rows["cell"] == row["cell"]) & (rows["masking"] == row["masking"]), "test/accuracy"]
        low, high = stats.t.interval(0.95, 3, values.mean(), stats.sem(values))
        assert [row["mean"], row["low"], row["high"]] == pytest.approx([values.mean(), low, high])


@given(sizes=st.lists(st.integers(2, 3), min_size=3, max_size=4), seed=st.integers(0, 1_000))
@settings(max_examples=30, deadline=None)
def test_means_are_those_of_the_full_grid_where_cells_are_missing_and_no_three_act_together(sizes, seed):
    whole, rng = every(sizes), np.random.default_rng(seed)
    cells = [whole[0], *(cell for cell in whole[1:] if rng.random() < 0.85)]
    keys = "abcd"[: len(sizes)]
    values = sum(rng.normal(0, 1, [size if place in pair else 1 for place, size in enumerate(sizes)])
                 for pair in itertools.combinations(range(len(sizes)), 2))  # fmt: skip
    rows = pd.DataFrame([
        {**dict(zip(keys, cell, strict=True)), "seed": s, "status": "FINISHED", "identity": f"{cell} {s}",
         "test/accuracy": values[cell]}
        for s in range(2)
        for cell in cells
    ])  # fmt: skip
    levels = {key: list(range(size)) for key, size in zip(keys, sizes, strict=True)}
    assume(all(rows[key].nunique() == len(levels[key]) for key in keys))
    assume((fit(rows, levels)["aliased"] == "").all())
    found = factorial.means(rows, levels, toggle="b", by="a", metric=ACCURACY)

    for row in found.to_dict("records"):
        assert row["mean"] == pytest.approx(values[row["a"], row["b"]].mean(), abs=1e-8)


def test_many_aliases_are_all_kept_and_few_are_named_in_the_verdict():
    sizes = (2,) * 7
    found = changes(sizes, sampled(sizes, 12), lambda cell: 0.0, spread=1e-3)
    row = found.loc["a=1"]

    assert len(row["aliased"].split(", ")) > 4
    assert (
        row["verdict"]
        == f"aliased with {', '.join(row['aliased'].split(', ')[:3])} and {len(row['aliased'].split(', ')) - 3} more"
    )


def test_effects_that_two_cells_cannot_estimate_are_marked():
    found = changes((2, 2), [(0, 0), (1, 1)], lambda cell: 0.1 * cell[0], spread=1e-3)

    assert found["verdict"].tolist() == ["aliased with b", "aliased with a", "cannot be estimated from these cells"]


@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize("change", [0.00002, 0.003])
def test_differences_that_vary_by_the_rounding_of_the_values_alone_are_no_evidence_of_small_spread(kind, change):
    values = [0.47012, 0.82738, 1.10222]  # in single precision numbers of different size have different gaps
    rows = grid({"a": [0, 1], "b": [0, 1]}, value=lambda row, rng: float(kind(values[row["seed"]] + change * row["a"])))
    found = fit(rows, {"a": [0, 1], "b": [0, 1]})

    assert found.loc["a=1", "p"] == 0.25 and found.loc["a=1", "verdict"] == "cannot tell"
    assert found.loc["a=1", "change"] == pytest.approx(change, abs=1e-7)
    assert found.loc[["b=1", "a=1 × b=1"], "change"].tolist() == [0, 0]


def test_counts_that_differ_by_one_in_ten_million_differ():
    rows = grid({"a": [0, 1], "b": [0, 1]}, value=lambda row, rng: 10_000_000 + row["a"]).rename(
        columns={"test/accuracy": "model/parameters"}
    )

    assert fit(rows, {"a": [0, 1], "b": [0, 1]}, metric="model/parameters").loc["a=1", "change"] == pytest.approx(1)


def test_steps_to_a_target_have_no_main_effects():
    rows = grid({"a": [0, 1], "b": [0, 1]}, value=lambda row, rng: 200.0 + 3 * row["a"]).rename(
        columns={"test/accuracy": "steps_to/val_accuracy_0.80"}
    )
    with pytest.raises(factorial.NotEnough, match="known to within two validations only"):
        fit(rows, {"a": [0, 1], "b": [0, 1]}, metric="steps_to/val_accuracy_0.80", margin=10)


def test_effects_that_are_zero_in_every_seed_are_no_proof_where_a_metric_is_coarse():
    rows = grid({"a": [0, 1], "b": [0, 1]}, value=lambda row, rng: 0.80 + 0.05 * (row["seed"] % 2))
    found = fit(rows, {"a": [0, 1], "b": [0, 1]}, margin=0.01)

    assert set(found["verdict"]) == {"cannot tell"}


def test_two_trials_of_one_cell_and_seed_are_refused():
    rows = grid()
    with pytest.raises(
        factorial.NotEnough, match="1 cells have two trials of one seed; one of them must be superseded"
    ):
        fit(pd.concat([rows, rows.iloc[[0]].assign(identity="other")]))


def test_a_reference_value_without_trials_is_not_replaced_by_another():
    rows = grid()
    with pytest.raises(factorial.NotEnough, match="no trial has cell=lstm, which is what the others are compared with"):
        fit(rows[rows["cell"] != "lstm"])


def test_a_value_that_no_trial_has_is_left_out():
    rows = grid()
    found = fit(rows[rows["cell"] != "gru"])

    assert found.index.tolist() == ["cell=simple_rnn", "masking=false", "cell=simple_rnn × masking=false"]
