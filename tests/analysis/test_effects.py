from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import contrasts, differences, effects, inference
from src.inference import student
from src.spec.metric import IMPLIED, meaning
from tests.analysis.conftest import ACCURACY

RNG = np.random.default_rng(7)
BASE = RNG.normal(0.8, 0.01, 8)
HELPS = BASE + 0.03 + RNG.normal(0, 0.004, 8)
NOTHING = BASE + RNG.normal(0, 0.001, 8)
NOISE = BASE + RNG.normal(0.01, 0.03, 8)


def frame(**variants):
    """One row per variant and seed; the first variant is the reference."""
    rows = []
    for place, (label, values) in enumerate(variants.items()):
        for seed, value in enumerate(values):
            rows.append({
                "label": label, "is_reference": place == 0, "seed": seed, "identity": f"{label} {seed}",
                "status": "FINISHED", "test/accuracy": value,
                "time/batch_ms_median": (10.0 + place) * (1 + 0.01 * seed),
            })  # fmt: skip
    return pd.DataFrame(rows)


def paired(rows, metric="test/accuracy", **changes):
    return effects.paired(rows, metric=meaning(metric, IMPLIED), **{"margin": 0.005, **changes}).set_index("label")


def test_change_interval_and_p_are_those_of_the_paired_t_test():
    found = paired(frame(reference=BASE, a=HELPS)).loc["a"]

    test = stats.ttest_rel(HELPS, BASE)
    interval = test.confidence_interval(0.95)
    assert found["n"] == 8
    assert found["change"] == pytest.approx((HELPS - BASE).mean(), abs=1e-12)
    assert (found["low"], found["high"]) == pytest.approx((interval.low, interval.high), abs=1e-9)
    assert found["p"] == pytest.approx(test.pvalue, abs=1e-12)
    assert found["correlation"] == pytest.approx(pd.Series(HELPS).corr(pd.Series(BASE)))
    assert found["effect_size"] == pytest.approx((HELPS - BASE).mean() / pd.Series(HELPS - BASE).std())


def test_holm_is_over_all_comparisons_and_never_below_the_p_before_it():
    found = paired(frame(reference=BASE, a=HELPS, b=NOTHING, c=NOISE))
    p = sorted((found.loc[name, "p"], name) for name in "abc")

    expected, so_far = {}, 0.0
    for place, (value, name) in enumerate(p):
        so_far = max(so_far, min(1.0, (3 - place) * value))
        expected[name] = so_far
    assert {name: found.loc[name, "p_holm"] for name in "abc"} == pytest.approx(expected)


def test_verdicts_say_what_the_numbers_do():
    found = paired(frame(reference=BASE, better=HELPS, worse=BASE - (HELPS - BASE), same=NOTHING, noisy=NOISE))

    assert list(found["verdict"]) == ["reference", "helps", "hurts", "no difference", "cannot tell"]
    assert found.loc["noisy", "seeds_needed_high"] > found.loc["noisy", "seeds_needed"] > 8
    assert math.isnan(found.loc["better", "seeds_needed"])


def test_times_are_a_ratio_of_geometric_means():
    rows = frame(reference=BASE, a=HELPS)
    rows["time/batch_ms_median"] *= 1 + 0.02 * RNG.random(16)
    found = paired(rows).loc["a"]
    times = rows.pivot(index="seed", columns="label", values="time/batch_ms_median")
    interval = stats.ttest_1samp(np.log(times["a"] / times["reference"]), 0).confidence_interval(0.95)

    assert found["time_ratio"] == pytest.approx(stats.gmean(times["a"]) / stats.gmean(times["reference"]))
    assert (found["time_low"], found["time_high"]) == pytest.approx((np.exp(interval.low), np.exp(interval.high)))


def test_an_unfinished_seed_prevents_the_verdict():
    rows = frame(reference=BASE, a=HELPS)
    rows.loc[rows.index[-1], ["status", "test/accuracy"]] = ["FAILED", math.nan]
    found = paired(rows).loc["a"]

    assert (found["n"], found["unfinished"]) == (7, 1)
    assert found["verdict"] == "no verdict: 1 of 8 seeds did not finish"


def test_one_seed_has_no_interval_and_no_verdict():
    found = paired(frame(reference=BASE[:1], a=HELPS[:1])).loc["a"]
    assert math.isnan(found["low"]) and found["verdict"] == "single seed: no interval"


def test_without_a_reference_there_is_nothing_to_compare_with():
    rows = frame(reference=BASE, a=HELPS)
    found = paired(rows[~rows["is_reference"]])

    assert found.loc["a", "verdict"] == "no verdict: no seed in common with the reference"


@pytest.mark.parametrize("margin", [None, 0.01])
def test_equal_weights_in_every_seed_changed_nothing_regardless_of_the_margin(margin):
    rows = frame(reference=BASE, a=BASE, b=HELPS).assign(
        weights=[f"w{seed}" for seed in range(8)] * 2 + [f"b{seed}" for seed in range(8)]
    )
    found = paired(rows, margin=margin)

    assert found["verdict"].tolist() == ["reference", "changed nothing", "helps"]
    assert found.loc["b", "p_holm"] == found.loc["b", "p"]


def test_equal_weights_do_not_affect_the_comparison_of_times():
    rows = frame(reference=[10.0, 11.0, 12.0, 13.0], a=[5.0, 5.4, 6.1, 6.6]).rename(
        columns={"test/accuracy": "time/epoch_s"}
    )
    rows = rows.assign(weights=[f"w{seed}" for seed in range(4)] * 2)

    assert paired(rows, metric="time/epoch_s", margin=None).loc["a", "verdict"] == "helps"


@pytest.mark.parametrize("seeds", [2, 3, 8])
def test_values_that_are_equal_are_no_proof_where_a_metric_is_coarse(seeds):
    coarse = [0.80, 0.85, 0.90, 0.80, 0.85, 0.80, 0.90, 0.85][:seeds]  # of 20 examples
    found = frame(reference=coarse, a=coarse)

    assert paired(found, margin=0.01).loc["a", "verdict"] == "cannot tell"
    assert paired(found, margin=None).loc["a", "verdict"] == "cannot tell"


def test_two_seeds_of_two_values_are_no_proof():
    assert paired(frame(reference=[0.80, 0.81], a=[0.80, 0.81]), margin=0.01).loc["a", "verdict"] == "cannot tell"


def test_values_on_a_fine_grid_that_are_equal_are_within_a_margin():
    fine = [0.8012, 0.8016, 0.8100, 0.7984]  # of 2,500 examples
    assert paired(frame(reference=fine, a=fine), margin=0.01).loc["a", "verdict"] == "no difference"


def test_equal_values_of_a_deterministic_metric_prove_equality():
    rows = frame(reference=[1_000.0] * 3, a=[1_000.0] * 3, b=[900.0] * 3).rename(
        columns={"test/accuracy": "model/parameters"}
    )
    assert paired(rows, metric="model/parameters", margin=None)["verdict"].tolist() == [
        "reference",
        "changed nothing",
        "cannot tell",
    ]


@pytest.mark.parametrize("shift", [0.00002, 0.00002 * (1 + 1e-6)])
@pytest.mark.parametrize("precision", [np.float64, np.float32])
def test_differences_that_vary_by_rounding_alone_have_the_p_of_their_signs(shift, precision):
    base = np.array([0.87012, 0.82738, 0.80222], precision)
    found = paired(frame(reference=base, a=base + precision(shift)), margin=None).loc["a"]

    assert (found["verdict"], found["p"]) == ("cannot tell", 0.25) and math.isnan(found["low"])


def test_two_variants_of_equal_weights_are_one_comparison():
    rows = frame(reference=BASE, a=HELPS, twin=HELPS, b=NOISE)
    rows["weights"] = [f"{name} {seed}" for name in ("r", "a", "a", "b") for seed in range(8)]
    found, alone = paired(rows), paired(frame(reference=BASE, a=HELPS, b=NOISE))

    assert found.loc["a", "p_holm"] == found.loc["twin", "p_holm"] == alone.loc["a", "p_holm"]
    assert found.loc["b", "p_holm"] == alone.loc["b", "p_holm"] and found.loc["a", "comparisons"] == 2
    assert found["verdict"].tolist() == ["reference", "helps", "helps", found.loc["b", "verdict"]]


def test_a_ratio_of_times_is_adjusted_for_the_number_of_ratios():
    rng = np.random.default_rng(11)
    rows = frame(reference=BASE, a=HELPS, b=NOISE, c=NOTHING)
    rows["time/batch_ms_median"] = np.exp(rng.normal(0, 0.05, len(rows)))
    found = paired(rows)
    times = np.log(rows.pivot(index="seed", columns="label", values="time/batch_ms_median"))
    p = pd.Series({name: stats.ttest_rel(times[name], times["reference"]).pvalue for name in "abc"}).sort_values()

    expected = (p * np.arange(3, 0, -1)).cummax().clip(upper=1)
    assert found.loc[list(p.index), "time_holm"].to_dict() == pytest.approx(expected.to_dict())


def test_a_seed_that_failed_alone_is_named():
    failed = HELPS.copy()
    failed[3] = 0.5
    found = paired(frame(reference=BASE, a=failed, b=NOISE, c=HELPS))

    assert found.loc["a", "outlier"] == 3 and found.loc[["b", "c"], "outlier"].isna().all()


def test_outliers_are_rarely_reported_where_there_are_none():
    rng = np.random.default_rng(4)
    named = [differences.outlier(rng.normal(0, 1, 8), np.arange(8), grid=1e-9) for _ in range(3_000)]
    assert np.mean(np.isfinite(named)) <= 0.055


def test_without_a_margin_nothing_is_called_no_difference():
    found = paired(frame(reference=BASE, same=NOTHING), margin=None)
    assert found.loc["same", "verdict"] in ("cannot tell", "helps", "hurts")


@pytest.mark.parametrize(
    ("metric", "verdict"), [("test/loss", "hurts"), ("time/epoch_s", "hurts"), ("time/tokens_per_s", "helps")]
)
def test_what_is_better_depends_on_the_metric(metric, verdict):
    rows = frame(reference=BASE, a=HELPS).rename(columns={"test/accuracy": metric})
    assert paired(rows, metric=metric).loc["a", "verdict"] == verdict


def test_a_cumulative_step_is_compared_with_the_one_before():
    rows = frame(**{"reference": BASE, "+ a": HELPS, "+ b": HELPS})
    found = effects.paired(contrasts.stepwise(rows, ["reference", "+ a", "+ b"]), metric=ACCURACY, margin=0.005)

    assert found[["within", "label", "verdict"]].to_numpy().tolist() == [
        ["step 1", "reference", "reference"],
        ["step 1", "+ a", "helps"],
        ["step 2", "+ a", "reference"],
        ["step 2", "+ b", "no difference"],
    ]


def test_trials_without_a_time_per_batch_are_still_compared():
    assert paired(frame(reference=BASE, a=HELPS).drop(columns="time/batch_ms_median")).loc["a", "verdict"] == "helps"


def test_a_variant_that_is_the_same_trial_is_no_comparison():
    rows = frame(reference=BASE, a=HELPS, same=BASE)
    rows.loc[rows["label"] == "same", "identity"] = rows.loc[rows["label"] == "reference", "identity"].to_numpy()
    found = paired(rows)

    assert found.loc["same", "verdict"] == "the same trial"
    assert found.loc["a", "p_holm"] == found.loc["a", "p"]


def steps(reference, *, interval=None, before=None, last=1_000.0, **variants):
    """Steps to a target; the validation before is `interval` earlier, or given for each variant."""
    rows = frame(reference=reference, **variants).rename(columns={"test/accuracy": "steps_to/val_accuracy_0.80"})
    rows["step_before"] = (
        rows["steps_to/val_accuracy_0.80"] - interval if interval else rows["label"].map(before or {}).fillna(0.0)
    )
    return rows.assign(last_step=last)


def to_target(rows, margin=None):
    return paired(rows, metric="steps_to/val_accuracy_0.80", margin=margin)


def test_seeds_that_never_reach_the_target_are_censored_not_missing():
    found = to_target(steps([100.0] * 8, a=[math.nan] * 8, b=[50.0] * 7 + [math.nan], interval=10))

    assert (found.loc["a", "never"], found.loc["a", "verdict"]) == (8, "hurts")
    assert math.isnan(found.loc["a", "change"])
    assert found.loc["a", "p"] == pytest.approx(2 / 2**8)
    assert found.loc["b", "p"] == pytest.approx(stats.binomtest(1, 8).pvalue)


@pytest.mark.parametrize("seeds", [2, 3, 8])
def test_targets_that_are_reached_in_the_same_epoch_are_no_proof_of_equality(seeds):
    found = to_target(steps([200.0] * seeds, a=[200.0] * seeds, interval=100)).loc["a"]
    assert (found["verdict"], found["p"], found["n"]) == ("cannot tell", 1.0, seeds)


@pytest.mark.parametrize("seeds", [6, 8])
def test_the_first_epochs_of_two_variants_with_unequal_numbers_of_batches_are_not_earlier_and_later(seeds):
    found = to_target(steps([277.0] * seeds, a=[274.0] * seeds)).loc["a"]

    assert (found["verdict"], found["p"], found["change"]) == ("cannot tell", 1.0, -3.0)
    assert (found["low"], found["high"]) == (-277.0, 274.0)


def test_a_seed_counts_as_later_where_two_validations_lie_apart():
    rows = steps([277.0] * 8, a=[548.0] * 8, before={"a": 274.0})
    assert to_target(rows).loc["a", "p"] == 1.0  # from 274 to 548 overlaps with up to 277
    rows.loc[rows["label"] == "a", "step_before"] = 277.0
    assert (to_target(rows).loc["a", "p"], to_target(rows).loc["a", "verdict"]) == (2 / 2**8, "hurts")


def test_steps_are_equal_if_the_range_between_validations_is_within_the_margin():
    rows = steps([200.0, 210.0, 190.0, 200.0], a=[200.0, 200.0, 190.0, 210.0], interval=10)

    assert to_target(rows, margin=50).loc["a", "verdict"] == "no difference"
    assert to_target(rows, margin=15).loc["a", "verdict"] == "cannot tell"


def test_if_neither_side_reached_the_target_there_is_no_evidence():
    found = to_target(steps([math.nan] * 5, a=[math.nan] * 5)).loc["a"]
    assert (found["n"], found["pairs"], found["verdict"]) == (0, 5, "cannot tell")


def test_two_trials_of_one_seed_are_an_error():
    rows = pd.concat([frame(reference=BASE, a=HELPS), frame(reference=BASE).assign(label="a", is_reference=False)])
    with pytest.raises(ValueError, match="two trials of one seed"):
        paired(rows)


def test_a_toggle_is_compared_within_the_others():
    rows = frame(**{"p": BASE, "q": HELPS, "r": NOTHING, "s": HELPS})
    rows["masking"] = [label in "pr" for label in rows["label"]]
    rows["side"] = ["post" if label in "pq" else "pre" for label in rows["label"]]

    found = effects.paired(contrasts.within_toggle(rows, "masking", ["masking", "side"]), metric=ACCURACY, margin=0.005)

    assert list(found["within"]) == ["side=post", "side=post", "side=pre", "side=pre"]
    assert list(found["label"]) == ["masking=true", "masking=false"] * 2
    assert found["change"].tolist()[1::2] == pytest.approx([(HELPS - BASE).mean(), (HELPS - NOTHING).mean()])


def test_a_diverged_seed_is_an_outcome_and_prevents_the_verdict():
    rows = frame(reference=BASE, a=HELPS).assign(health="ok")
    rows.loc[rows.index[-1], ["status", "test/accuracy", "health"]] = ["FAILED", math.nan, "diverged"]

    assert paired(rows).loc["a", "verdict"] == "no verdict: 1 of 8 seeds diverged"


def test_a_published_paired_comparison_comes_out_as_published():
    """Hours of sleep gained by ten patients with two drugs: Student, "The Probable Error of a Mean", 1908."""
    one = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    other = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    found = paired(frame(one=one, other=other)).loc["other"]

    assert found["change"] == pytest.approx(1.58)
    assert found["change"] / found["error"] == pytest.approx(4.0621, abs=1e-4)
    assert found["p"] == pytest.approx(0.002833, abs=1e-6)
    assert (found["low"], found["high"]) == pytest.approx((0.70, 2.46), abs=0.005)


def test_single_differences_are_those_of_the_pairs_that_finished():
    rows = frame(reference=BASE, a=HELPS, b=NOISE)
    rows.loc[(rows["label"] == "a") & (rows["seed"] == 3), "status"] = "FAILED"
    found = effects.single(rows, ACCURACY)

    assert found.loc[found["label"] == "a", "seed"].tolist() == [0, 1, 2, 4, 5, 6, 7]
    np.testing.assert_allclose(found.loc[found["label"] == "b", "difference"], NOISE - BASE)


def test_equal_weights_in_different_trials_changed_nothing():
    rows = frame(reference=BASE, a=BASE, b=BASE).assign(weights=[f"w{seed}" for seed in range(8)] * 3)
    rows.loc[rows.index[-1], "weights"] = "other"

    assert effects.equal_weights(rows) == {"a": True}


def test_equal_weights_with_other_values_have_the_verdict_of_their_values():
    weights = [f"w{seed}" for seed in range(8)]
    rows = frame(reference=BASE, a=HELPS, b=HELPS, c=BASE, d=BASE * (1 + 1e-7)).assign(weights=weights * 5)
    found = paired(rows, margin=0.01)

    assert effects.equal_weights(rows) == {"a": False, "b": False, "c": True, "d": True}
    assert found.loc["a", "verdict"] == found.loc["b", "verdict"] == "helps"
    assert found.loc["c", "verdict"] == found.loc["d", "verdict"] == "changed nothing"  # d differs by rounding
    assert found.loc["a", "p_holm"] == found.loc["a", "p"]  # a and b are alike, so there is one comparison


def test_variants_of_equal_weights_are_different_comparisons_where_their_values_differ():
    rows = frame(reference=BASE, a=HELPS, b=NOISE).assign(weights=[*range(8), *["w"] * 16])
    found = paired(rows, margin=None)

    assert found.loc["a", "p_holm"] == pytest.approx(2 * found.loc["a", "p"])
    assert found.loc["b", "p_holm"] != found.loc["a", "p_holm"]


def test_a_target_that_the_other_side_reached_after_our_last_validation_is_no_evidence():
    rows = steps([100.0] * 8, a=[math.nan] * 8, last=[200] * 8 + [90] * 8)
    found = to_target(rows).loc["a"]

    assert (found["n"], found["never"], found["verdict"]) == (0, 8, "cannot tell")


def test_a_metric_that_trials_lack_is_missing_and_not_infinite():
    found = paired(frame(reference=BASE, a=[math.nan, *HELPS[1:]])).loc["a"]
    assert found["verdict"] == "no verdict: 1 of 8 seeds have no finite value"


def test_failures_of_the_reference_are_not_attributed_to_the_variant():
    rows = frame(reference=BASE, a=HELPS).assign(health="ok")
    rows.loc[2, ["status", "test/accuracy", "health"]] = ["FAILED", math.nan, "diverged"]

    assert paired(rows).loc["a", "verdict"] == "no verdict: 1 of 8 seeds of the reference diverged"


def test_two_names_of_the_same_trials_are_one_comparison():
    rows = frame(reference=BASE, a=HELPS, b=NOISE, twin=HELPS)
    rows.loc[rows["label"] == "twin", "identity"] = rows.loc[rows["label"] == "a", "identity"].to_numpy()
    found, alone = paired(rows), paired(frame(reference=BASE, a=HELPS, b=NOISE))

    assert found.loc["twin", "verdict"] == "the same trials as a"
    assert found.loc["a", "p_holm"] == alone.loc["a", "p_holm"] and found.loc["a", "comparisons"] == 2


def test_the_same_pairs_of_trials_are_one_comparison_regardless_of_their_rows():
    once = frame(reference=BASE, a=HELPS)
    twice = paired(
        pd.concat(
            [
                once.assign(within="padding=dataset bucketing=false"),
                once.assign(within="padding=dataset bucketing=true"),
            ]
        )
    )

    assert twice["comparisons"].tolist() == [1] * 4
    assert twice["verdict"].iloc[-1] == "the same trials as padding=dataset bucketing=false | a"


@pytest.mark.parametrize("metric", ["data/traces", "gradient"])
def test_without_a_direction_the_verdict_is_higher_or_lower(metric):
    rows = frame(reference=BASE, a=HELPS, b=BASE - (HELPS - BASE)).rename(columns={"test/accuracy": metric})
    assert paired(rows, metric=metric)["verdict"].tolist() == ["reference", "higher", "lower"]


def test_the_named_number_of_seeds_decides_80_of_100_studies_if_the_spread_is_as_estimated():
    differences = np.array([0.012, -0.004, 0.009, 0.002, -0.006, 0.011])
    found = paired(frame(reference=BASE[:6], a=BASE[:6] + differences), margin=None).loc["a"]
    rng = np.random.default_rng(0)
    told = [
        student.interval(rng.normal(found["change"], found["spread"], int(found["seeds_needed"]))).p < 0.05
        for _ in range(2_000)
    ]

    assert np.mean(told) == pytest.approx(0.8, abs=0.04)


def test_the_larger_number_of_seeds_is_that_of_the_upper_80_percent_bound_of_the_spread():
    rng = np.random.default_rng(2)
    bounds = []
    for _ in range(2_000):
        differences = rng.normal(0.0, 1.0, 5)
        bounds.append(differences.std(ddof=1) * math.sqrt(4 / stats.chi2.ppf(0.2, 4)))
    assert np.mean(np.array(bounds) >= 1.0) == pytest.approx(0.8, abs=0.03)

    differences = np.array([0.012, -0.004, 0.009, 0.002, -0.006])
    found = paired(frame(reference=BASE[:5], a=BASE[:5] + differences), margin=None).loc["a"]
    wider = found["change"] + (differences - found["change"]) * math.sqrt(4 / stats.chi2.ppf(0.2, 4))
    again = paired(frame(reference=BASE[:5], a=BASE[:5] + wider), margin=None).loc["a"]
    assert found["seeds_needed_high"] == again["seeds_needed"] > found["seeds_needed"]


@pytest.mark.parametrize("least", [3, 4, 34, 35, 36, 997, 998, 1_000, 1_001])
@pytest.mark.parametrize("low", [3, 990, 1_000, 1_001])
def test_the_least_number_is_found_without_all_being_tried(least, low):
    tried = []

    def holds(numbers):
        tried.extend(numbers)
        return numbers >= least

    expected = [number for number in range(low, 1_001) if number >= least]
    np.testing.assert_equal(inference.smallest(holds, low, 1_000), expected[0] if expected else math.nan)
    assert len(tried) <= 66


def test_values_missing_on_both_sides_are_not_equal():
    rows = pd.DataFrame({
        "label": ["a", "b"], "is_reference": [True, False], "seed": 0,
        "status": ["FINISHED"] * 2, "test/accuracy": [0.5, 0.5],
        "identity": pd.Series([None, None], dtype=object), "weights": pd.Series([None, None], dtype=object),
    })  # fmt: skip

    assert list(effects.paired(rows, metric=ACCURACY, margin=None)["verdict"]) == [
        "reference",
        "single seed: no interval",
    ]
    assert effects.equal_weights(rows) == {}


def test_variants_with_interleaved_rows_are_separated_and_keep_their_order():
    rows = pd.DataFrame(
        [
            {"within": within, "label": label, "is_reference": label == "a", "seed": seed,
             "identity": f"{within}{label}{seed}", "status": "FINISHED", "weights": None,
             "test/accuracy": 0.5 + 0.01 * seed + {"a": 0.0, "b": 0.1, "c": 0.2}[label] * int(within)}
            for seed in range(3) for label in "acb" for within in ("2", "1")
        ]
    )  # fmt: skip

    found = effects.paired(rows, metric=ACCURACY, margin=None)

    assert list(zip(found["within"], found["label"], strict=True)) == [
        (within, label) for within in "21" for label in "acb"
    ]
    np.testing.assert_allclose(found["change"], [0, 0.4, 0.2, 0, 0.2, 0.1], atol=1e-12)
