from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import effects
from tests.study.test_sweep import TIE

RNG = np.random.default_rng(7)
BASE = RNG.normal(0.8, 0.01, 8)
HELPS = BASE + 0.03 + RNG.normal(0, 0.004, 8)
NOTHING = BASE + RNG.normal(0, 0.001, 8)
NOISE = BASE + RNG.normal(0.01, 0.03, 8)


def frame(**variants):
    """One row a variant and seed; the first is the reference."""
    rows = []
    for place, (label, values) in enumerate(variants.items()):
        for seed, value in enumerate(values):
            rows.append({
                "label": label, "is_reference": place == 0, "seed": seed, "identity": f"{label} {seed}", "status": "FINISHED",
                "test/accuracy": value, "time/batch_ms_median": (10.0 + place) * (1 + 0.01 * seed),
            })  # fmt: skip
    return pd.DataFrame(rows)


def paired(rows, **changes):
    return effects.paired(rows, **{"metric": "test/accuracy", "margin": 0.005, **changes}).set_index("label")


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


def test_the_sign_flip_p_counts_all_signs():
    differences = np.array([0.3, 0.1, 0.2, -0.05])
    signs = np.array([[1 if number >> bit & 1 else -1 for bit in range(4)] for number in range(16)])
    means = np.abs((signs * differences).mean(axis=1))

    assert effects.sign_flip(differences) == pytest.approx((means >= abs(differences.mean()) - 1e-12).mean())
    assert effects.sign_flip(np.ones(8)) == 2 / 2**8


def test_verdicts_say_what_the_numbers_do():
    found = paired(frame(reference=BASE, better=HELPS, worse=BASE - (HELPS - BASE), same=NOTHING, noisy=NOISE))

    assert list(found["verdict"]) == ["reference", "helps", "hurts", "no difference", "cannot tell"]
    assert found.loc["noisy", "further_seeds"] > 0 and math.isnan(found.loc["better", "further_seeds"])


def test_times_are_a_ratio_of_geometric_means():
    rows = frame(reference=BASE, a=HELPS)
    rows["time/batch_ms_median"] *= 1 + 0.02 * RNG.random(16)
    found = paired(rows).loc["a"]
    times = rows.pivot(index="seed", columns="label", values="time/batch_ms_median")
    interval = stats.ttest_1samp(np.log(times["a"] / times["reference"]), 0).confidence_interval(0.95)

    assert found["time_ratio"] == pytest.approx(stats.gmean(times["a"]) / stats.gmean(times["reference"]))
    assert (found["time_low"], found["time_high"]) == pytest.approx((np.exp(interval.low), np.exp(interval.high)))


def test_an_unfinished_seed_takes_the_verdict_away():
    rows = frame(reference=BASE, a=HELPS)
    rows.loc[rows.index[-1], ["status", "test/accuracy"]] = ["FAILED", math.nan]
    found = paired(rows).loc["a"]

    assert (found["n"], found["unfinished"]) == (7, 1)
    assert found["verdict"] == "no verdict: 1 of 8 seeds did not finish"


def test_one_seed_has_no_interval_and_no_verdict():
    found = paired(frame(reference=BASE[:1], a=HELPS[:1])).loc["a"]
    assert math.isnan(found["low"]) and found["verdict"] == "one seed tells nothing"


def test_without_a_reference_there_is_nothing_to_compare_with():
    rows = frame(reference=BASE, a=HELPS)
    found = paired(rows[~rows["is_reference"]])

    assert found.loc["a", "verdict"] == "nothing to compare with"


def test_what_does_not_differ_at_all_is_no_difference_whatever_the_margin():
    assert paired(frame(reference=BASE, a=BASE), margin=None).loc["a", "verdict"] == "no difference"


def test_two_seeds_that_do_not_differ_at_all_are_within_any_margin():
    found = frame(reference=BASE[:2], a=BASE[:2])
    assert paired(found, margin=0.01).loc["a", "verdict"] == "no difference"
    assert paired(found, margin=None).loc["a", "verdict"] == "cannot tell"


def test_without_a_margin_nothing_is_called_no_difference():
    found = paired(frame(reference=BASE, same=NOTHING), margin=None)
    assert found.loc["same", "verdict"] in ("cannot tell", "helps", "hurts")


@pytest.mark.parametrize(("metric", "verdict"), [("test/loss", "hurts"), ("time/epoch_s", "hurts"), ("time/tokens_per_s", "helps")])
def test_what_is_better_depends_on_the_metric(metric, verdict):
    rows = frame(reference=BASE, a=HELPS).rename(columns={"test/accuracy": metric})
    assert paired(rows, metric=metric).loc["a", "verdict"] == verdict


def test_a_cumulative_step_is_compared_with_the_one_before():
    rows = frame(**{"reference": BASE, "+ a": HELPS, "+ b": HELPS})
    found = effects.paired(effects.stepwise(rows, ["reference", "+ a", "+ b"]), metric="test/accuracy", margin=0.005)

    assert found[["within", "label", "verdict"]].to_numpy().tolist() == [
        ["step 1", "reference", "reference"],
        ["step 1", "+ a", "helps"],
        ["step 2", "+ a", "reference"],
        ["step 2", "+ b", "no difference"],
    ]


def test_trials_without_a_time_per_batch_are_compared_all_the_same():
    assert paired(frame(reference=BASE, a=HELPS).drop(columns="time/batch_ms_median")).loc["a", "verdict"] == "helps"


def test_a_variant_that_is_the_same_trial_is_no_comparison():
    rows = frame(reference=BASE, a=HELPS, same=BASE)
    rows.loc[rows["label"] == "same", "identity"] = rows.loc[rows["label"] == "reference", "identity"].to_numpy()
    found = paired(rows)

    assert found.loc["same", "verdict"] == "the same trial"
    assert found.loc["a", "p_holm"] == found.loc["a", "p"]


def test_seeds_that_never_reach_the_target_are_censored_not_missing():
    rows = frame(reference=[100.0] * 8, a=[math.nan] * 8, b=[50.0] * 7 + [math.nan]).rename(columns={"test/accuracy": "steps_to/x"})
    found = paired(rows.assign(last_step=200), metric="steps_to/x")

    assert (found.loc["a", "never"], found.loc["a", "verdict"]) == (8, "hurts")
    assert math.isnan(found.loc["a", "change"])
    assert found.loc["a", "p"] == pytest.approx(2 / 2**8)
    assert found.loc["b", "p"] == pytest.approx(stats.binomtest(1, 8).pvalue)


def test_two_trials_of_one_seed_are_an_error():
    rows = pd.concat([frame(reference=BASE, a=HELPS), frame(reference=BASE).assign(label="a", is_reference=False)])
    with pytest.raises(ValueError, match="two trials of one seed"):
        paired(rows)


def test_a_toggle_is_compared_within_the_others():
    rows = frame(**{"p": BASE, "q": HELPS, "r": NOTHING, "s": HELPS})
    rows["masking"] = [label in "pr" for label in rows["label"]]
    rows["side"] = ["post" if label in "pq" else "pre" for label in rows["label"]]

    found = effects.paired(effects.within_toggle(rows, "masking", ["masking", "side"]), metric="test/accuracy", margin=0.005)

    assert list(found["within"]) == ["side=post", "side=post", "side=pre", "side=pre"]
    assert list(found["label"]) == ["masking=true", "masking=false"] * 2
    assert found["change"].tolist()[1::2] == pytest.approx([(HELPS - BASE).mean(), (HELPS - NOTHING).mean()])


def test_a_diverged_seed_is_an_outcome_and_takes_the_verdict_away():
    rows = frame(reference=BASE, a=HELPS).assign(health="ok")
    rows.loc[rows.index[-1], ["status", "test/accuracy", "health"]] = ["FAILED", math.nan, "diverged"]

    assert paired(rows).loc["a", "verdict"] == "no verdict: 1 of 8 seeds diverged"


def test_a_published_paired_comparison_comes_out_as_published():
    """Hours of sleep gained with two drugs by ten patients: Student, "The Probable Error of a Mean", Biometrika 6(1), 1908."""
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
    found = effects.pairs(rows, "test/accuracy")

    assert found.loc[found["label"] == "a", "seed"].tolist() == [0, 1, 2, 4, 5, 6, 7]
    np.testing.assert_allclose(found.loc[found["label"] == "b", "difference"], NOISE - BASE)


def test_a_path_keeps_of_each_round_the_flip_that_validated_best():
    values = {"reference": (0, 0, 0), "a": (1, 0, 0), "b": (0, 1, 0), "c": (0, 0, 1), "ab": (1, 1, 0), "bc": (0, 1, 1), "abc": (1, 1, 1)}
    score = {"reference": 0.5, "a": 0.6, "b": 0.7, "c": 0.65, "ab": 0.7, "bc": 0.9, "abc": 0.8}
    rows = pd.DataFrame(
        [{"label": name, "x": x, "y": y, "z": z, "val/accuracy": score[name], "status": "FINISHED"} for name, (x, y, z) in values.items()]
    )

    assert effects.chain(rows, "path", ["x", "y", "z"]) == ["reference", "b", "bc", "abc"]
    assert effects.chain(rows[rows["label"] != "abc"], "path", ["x", "y", "z"]) == ["reference", "b", "bc"]
    rows.loc[rows["label"] == "b", "status"] = "FAILED"  # as the sweep, which does not choose a flip that lacks a seed
    assert effects.chain(rows, "path", ["x", "y", "z"]) == ["reference", "c", "bc", "abc"]


def test_of_flips_that_tie_the_path_keeps_the_first_as_the_sweep_does():
    right = {"reference": [1_250] * 8, **TIE, "ab": [2_100] * 8}
    places = {"reference": (0, 0), "a": (1, 0), "b": (0, 1), "ab": (1, 1)}
    rows = pd.DataFrame(
        [
            {"label": name, "x": x, "y": y, "val/accuracy": count / 2_500, "status": "FINISHED"}
            for name, (x, y) in places.items()
            for count in right[name]
        ]
    )

    assert effects.chain(rows, "path", ["x", "y"]) == ["reference", "a", "ab"]


def test_equal_weights_in_different_trials_changed_nothing():
    rows = frame(reference=BASE, a=BASE, b=BASE).assign(weights=[f"w{seed}" for seed in range(8)] * 3)
    rows.loc[rows.index[-1], "weights"] = "other"

    assert effects.changed_nothing(rows) == ["a"]


def test_a_target_that_the_other_reached_after_we_stopped_looking_says_nothing():
    rows = frame(reference=[100.0] * 8, a=[math.nan] * 8).rename(columns={"test/accuracy": "steps_to/x"})
    rows["last_step"] = [200] * 8 + [90] * 8
    found = paired(rows, metric="steps_to/x").loc["a"]

    assert (found["n"], found["never"], found["verdict"]) == (0, 8, "cannot tell")


def test_a_metric_that_trials_lack_is_missing_and_not_endless():
    found = paired(frame(reference=BASE, a=[math.nan, *HELPS[1:]])).loc["a"]
    assert found["verdict"] == "no verdict: 1 of 8 seeds have no finite value"


def test_a_difference_without_spread_has_the_p_of_its_signs_and_no_interval():
    found = effects.interval(np.array([-40.0, -40.0]))

    assert (found.mean, found.p) == (-40.0, 0.5) and math.isnan(found.low)
    assert effects.interval(np.full(8, 0.25)).p == 2 / 2**8


def test_troubles_of_the_reference_are_not_blamed_on_the_variant():
    rows = frame(reference=BASE, a=HELPS).assign(health="ok")
    rows.loc[2, ["status", "test/accuracy", "health"]] = ["FAILED", math.nan, "diverged"]

    assert paired(rows).loc["a", "verdict"] == "no verdict: 1 of 8 seeds of the reference diverged"


def test_two_names_of_the_same_trials_are_one_comparison():
    rows = frame(reference=BASE, a=HELPS, b=NOISE, twin=HELPS)
    rows.loc[rows["label"] == "twin", "identity"] = rows.loc[rows["label"] == "a", "identity"].to_numpy()
    found, alone = paired(rows), paired(frame(reference=BASE, a=HELPS, b=NOISE))

    assert found.loc["twin", "verdict"] == "the same trials as a"
    assert found.loc["a", "p_holm"] == alone.loc["a", "p_holm"] and found.loc["a", "comparisons"] == 2


def test_the_same_trials_against_the_same_are_one_comparison_wherever_they_stand():
    once = frame(reference=BASE, a=HELPS)
    twice = paired(pd.concat([once.assign(within="padding=dataset bucketing=false"), once.assign(within="padding=dataset bucketing=true")]))

    assert twice["comparisons"].tolist() == [1] * 4
    assert twice["verdict"].iloc[-1] == "the same trials as padding=dataset bucketing=false | a"


@pytest.mark.parametrize("metric", ["data/traces", "gradient"])
def test_where_nobody_can_say_what_is_better_the_verdict_is_higher_or_lower(metric):
    rows = frame(reference=BASE, a=HELPS, b=BASE - (HELPS - BASE)).rename(columns={"test/accuracy": metric})
    assert paired(rows, metric=metric)["verdict"].tolist() == ["reference", "higher", "lower"]


def test_the_further_seeds_that_are_named_would_tell_in_80_of_100_studies():
    differences = np.array([0.012, -0.004, 0.009, 0.002, -0.006, 0.011])
    found = paired(frame(reference=BASE[:6], a=BASE[:6] + differences), margin=None).loc["a"]
    total = int(6 + found["further_seeds"])
    rng = np.random.default_rng(0)
    told = [effects.interval(rng.normal(found["change"], found["spread"], total)).p < 0.05 for _ in range(2_000)]

    assert np.mean(told) == pytest.approx(0.8, abs=0.04)


def test_equivalence_is_claimed_in_no_more_than_5_of_100_studies_at_the_margin():
    rng = np.random.default_rng(1)
    claimed = [effects.is_equivalent(effects.interval(rng.normal(0.01, 0.004, 8)), 0.01) for _ in range(4_000)]
    assert np.mean(claimed) <= 0.055
