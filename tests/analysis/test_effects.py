from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import effects

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
    found = paired(frame(reference=BASE, a=HELPS)).loc["a"]
    assert (found["time_ratio"], found["time_low"], found["time_high"]) == pytest.approx((1.1, 1.1, 1.1))


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


def test_without_a_margin_nothing_is_called_no_difference():
    found = paired(frame(reference=BASE, same=NOTHING), margin=None)
    assert found.loc["same", "verdict"] in ("cannot tell", "helps", "hurts")


@pytest.mark.parametrize(("metric", "verdict"), [("test/loss", "hurts"), ("time/epoch_s", "hurts"), ("time/tokens_per_s", "helps")])
def test_what_is_better_depends_on_the_metric(metric, verdict):
    rows = frame(reference=BASE, a=HELPS).rename(columns={"test/accuracy": metric})
    assert paired(rows, metric=metric).loc["a", "verdict"] == verdict


def test_a_cumulative_step_is_compared_with_the_one_before():
    rows = frame(**{"reference": BASE, "+ a": HELPS, "+ b": HELPS})
    found = effects.paired(effects.stepwise(rows), metric="test/accuracy", margin=0.005)

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
    found = paired(rows, metric="steps_to/x")

    assert (found.loc["a", "never"], found.loc["a", "verdict"]) == (8, "hurts")
    assert math.isnan(found.loc["a", "change"])
    assert found.loc["a", "p"] == pytest.approx(2 / 2**8)
    assert found.loc["b", "p"] == pytest.approx(stats.binomtest(1, 8).pvalue)


def test_steps_to_a_target_are_known_for_any_threshold():
    rows = pd.DataFrame({"run_id": ["a", "b", None]})
    validation = pd.DataFrame({"run_id": ["a", "a", "a", "b"], "step": [30, 20, 10, 10], "value": [0.9, 0.8, 0.6, 0.6]})

    assert [effects.steps_to(rows, validation, threshold=limit).tolist()[0] for limit in (0.7, 0.8, 0.81)] == [20, 20, 30]
    assert effects.steps_to(rows, validation, threshold=0.7).isna().tolist() == [False, True, True]


def test_two_trials_of_one_seed_are_an_error():
    rows = pd.concat([frame(reference=BASE, a=HELPS), frame(reference=BASE).assign(label="a", is_reference=False)])
    with pytest.raises(ValueError, match="two trials of one seed"):
        paired(rows)


def test_a_toggle_is_compared_within_the_others():
    rows = frame(**{"p": BASE, "q": HELPS, "r": NOTHING, "s": HELPS})
    rows["masking"] = [label in "pr" for label in rows["label"]]
    rows["side"] = ["post" if label in "pq" else "pre" for label in rows["label"]]
    rows.attrs["toggles"] = ["masking", "side"]

    found = effects.paired(effects.compared(rows, "masking"), metric="test/accuracy", margin=0.005)

    assert list(found["within"]) == ["side=post", "side=post", "side=pre", "side=pre"]
    assert list(found["label"]) == ["masking=true", "masking=false"] * 2
    assert found["change"].tolist()[1::2] == pytest.approx([(HELPS - BASE).mean(), (HELPS - NOTHING).mean()])
