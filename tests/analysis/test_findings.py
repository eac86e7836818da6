"""A study's numbers, computed a second time with pandas and scipy alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import answer, findings, load, provenance, rows, store
from analysis.store import StoreError
from benchmarks import generated
from tests.analysis.conftest import GRID, SEEDS, accuracy, usual


def find(name, uri, **options):
    return findings.find(load.study(name, store.connect(uri)), **options)


def test_effect_interval_p_and_holm_equal_a_separate_computation(uri):
    compared = find("whole", uri).compared.set_index("label")
    values = {
        f"masking={str(masking).lower()} cell={cell}": np.array(
            [accuracy({"masking": masking, "cell": cell}, seed) for seed in SEEDS]
        )
        for masking in (True, False)
        for cell in ("lstm", "gru")
    }
    reference = values.pop("masking=true cell=lstm")
    p = pd.Series({name: stats.ttest_rel(ours, reference).pvalue for name, ours in values.items()}).sort_values()
    adjusted = (p * np.arange(len(p), 0, -1)).cummax().clip(upper=1)

    for name, ours in values.items():
        interval = stats.ttest_rel(ours, reference).confidence_interval(0.95)
        row = compared.loc[name]
        expected = [(ours - reference).mean(), interval.low, interval.high, p[name], adjusted[name]]
        np.testing.assert_allclose(row[["change", "low", "high", "p", "p_holm"]].astype(float), expected, atol=1e-9)


def test_costs_are_means_over_the_finished_seeds_and_times_geometric_ones(uri):
    found = find("whole", uri).summary.set_index("label").loc["masking=false cell=lstm"]

    assert found["mean time/batch_ms_median"] == pytest.approx(
        stats.gmean([40 * (1 + 0.01 * (seed % 4) + 0.002 * (seed % 3)) for seed in SEEDS])
    )
    assert (
        found["time_ratio"] == pytest.approx(0.8, abs=0.002)
        and found["time_low"] < found["time_ratio"] < found["time_high"]
    )
    assert found["mean model/parameters"] == 1_000


def test_a_grid_has_main_effects_and_an_interaction(uri):
    effects = find("whole", uri).factorial.set_index("effect")

    assert effects.loc["cell=gru", "change"] == pytest.approx(0.05 - 0.015, abs=0.002)  # 0.05 with a mask, 0.02 without
    assert effects.loc["masking=false × cell=gru", "change"] == pytest.approx(-0.03, abs=0.004)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("one_seed", "a single seed has no interval"),
        ("slow_learners", "steps to a target are known to within two validations only"),
        ("left_out", None),
    ],
)
def test_the_reason_is_given_if_there_are_no_main_effects(name, why, uri):
    found = find(name, uri)
    assert found.factorial is None
    assert (why in found.no_factorial) if why else found.no_factorial is None


def test_a_cumulative_study_shows_every_step_once_against_the_one_before(uri):
    summary = find("steps", uri).summary

    assert summary["label"].tolist() == ["reference", "+ padding=batch", "+ cell=gru"]
    assert summary["reference_mean"].iloc[2] == pytest.approx(summary["mean"].iloc[1])


def test_a_path_shows_the_flips_that_it_kept(uri):
    assert find("way", uri).summary["label"].tolist() == ["reference", "cell=gru", "masking=false cell=gru"]


def test_one_toggle_is_compared_within_the_others(uri):
    found = find("whole", uri, toggle="cell")
    assert found.summary["within"].tolist() == ["masking=true", "masking=true", "masking=false", "masking=false"]
    assert found.summary["change"].round(2).tolist()[1::2] == [0.05, 0.02]


def test_variants_are_compared_at_each_value_of_the_toggles_that_are_not_in_question(uri):
    found = find("whole", uri, within=["masking"])

    assert found.summary["within"].tolist() == ["masking=true", "masking=true", "masking=false", "masking=false"]
    assert found.summary["label"].tolist() == ["reference", "cell=gru"] * 2
    assert found.summary["change"].tolist()[1::2] == find("whole", uri, toggle="cell").summary["change"].tolist()[1::2]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("waiting", {}, r"has no finished trial yet \(32 not run\); run its command again"),
        ("whole", {"metric": "foo"}, "no trial of whole has the metric 'foo'; there are data/batches_per_epoch"),
        ("whole", {"metric": "label"}, "no trial of whole has the metric 'label'"),
        ("whole", {"metric": "status"}, "no trial of whole has the metric 'status'"),
        ("whole", {"metric": "seed"}, "no trial of whole has the metric 'seed'"),
        ("whole", {"toggle": "depth"}, "'depth' was not varied in whole; varied: masking, cell"),
        ("whole", {"within": ["depth"]}, "'depth' was not varied in whole; varied: masking, cell"),
        ("whole", {"within": ["masking", "cell"]}, "--within masking,cell leaves no toggle to compare"),
        ("whole", {"within": ["masking"], "toggle": "cell"}, "so --within adds nothing; leave one of them out"),
        ("steps", {"within": ["cell"]}, "the design cumulative compares every step with the one before"),
    ],
)
def test_a_wrong_option_is_an_error_that_lists_the_valid_values(name, options, message, uri):
    with pytest.raises(StoreError, match=message):
        find(name, uri, **options)


def test_a_plan_says_at_which_values_its_variants_are_compared(own):
    generated.study(own, "s", GRID, usual, within=["masking"])
    found = find("s", f"sqlite:///{own}")

    assert found.within == ["masking"] and found.summary["within"].unique().tolist() == [
        "masking=true",
        "masking=false",
    ]
    assert "Against the reference's other values at the same masking, cell=gru with masking=" in " ".join(
        answer.sentences(found)
    )
    assert find("s", f"sqlite:///{own}", within=[]).summary["within"].unique().tolist() == [""]
    assert find("s", f"sqlite:///{own}", toggle="cell").within == []


def test_variants_that_share_no_value_cannot_be_compared_within_it(own):
    variants = [{"masking": False, "cell": "gru"}]
    generated.study(own, "apart", GRID, usual, design="listed", variants=variants, seeds=[0, 1, 2])

    with pytest.raises(StoreError, match="no two variants of apart with the same cell differ"):
        find("apart", f"sqlite:///{own}", within=["cell"])


def test_steps_of_more_batches_are_compared_by_the_epoch(own):
    def outcome(values, seed):
        return {
            "test/accuracy": 0.8 + 0.01 * seed,
            "time/batch_ms_median": 50.0 * values["accumulate"],
            "time/epoch_s": 2.0,
        }

    generated.study(own, "s", {"accumulate": [1, 4]}, outcome, seeds=[0, 1, 2])
    found = find("s", f"sqlite:///{own}")

    assert found.time == load.PER_EPOCH
    assert found.compared["time_ratio"].tolist() == pytest.approx([1, 1])


def test_a_fitted_variant_does_not_decide_by_which_time_the_others_are_compared(own):
    def outcome(values, seed):
        fitted = {"data/batches_per_epoch": 1.0, **dict.fromkeys(("time/batch_ms_median", "time/epoch_s"), np.nan)}
        trained = {
            "data/batches_per_epoch": 50.0,
            "time/batch_ms_median": 4.0,
            "time/epoch_s": 0.2,
            "time/train_s": 0.4,
        }
        return {"test/accuracy": 0.8 + 0.01 * seed, **(fitted if values["cell"] == "gru" else trained)}

    generated.study(own, "s", {"cell": ["lstm", "simple_rnn", "gru"]}, outcome, seeds=[0, 1, 2])

    assert find("s", f"sqlite:///{own}").time == rows.PER_BATCH


def test_the_margin_applies_only_to_the_studys_own_metric(uri):
    assert find("whole", uri).margin == 0.005
    assert find("whole", uri, metric="time/epoch_s").margin is None
    assert find("slow_learners", uri).margin == find("slow_learners", uri, metric="steps_to").margin == 5.0


def test_times_that_cannot_be_compared_are_called_rough(uri):
    assert provenance.caution(find("whole", uri).rows) == ""
    assert provenance.caution(find("troubled", uri).rows) == "Times are rough: 2 trials ran side by side."


@pytest.mark.parametrize(("seeds", "what"), [([1], "1 trial was"), ([1, 2], "2 trials were")])
def test_a_resumed_trial_makes_times_rough_but_does_not_change_the_compared_time(own, seeds, what):
    def outcome(values, seed):
        is_resumed = values["cell"] == "gru" and seed in seeds
        tags = {"resumed": "after epoch 2 of 3"} if is_resumed else {}
        return {"test/accuracy": 0.8 + 0.01 * seed, "data/traces": 4.0 if is_resumed else 2.0, "tags": tags}

    generated.study(own, "s", {"cell": ["lstm", "gru"]}, outcome, seeds=[0, 1, 2])
    found = find("s", f"sqlite:///{own}")

    assert provenance.caution(found.rows) == f"Times are rough: {what} interrupted and resumed in another process."
    assert found.time == rows.PER_BATCH


@pytest.mark.parametrize(
    ("name", "sentences"),
    [
        (
            "whole",
            [
                "Against the reference (test accuracy 0.809), masking=true cell=gru (+0.050",
                "masking × cell: they interact",
            ],
        ),
        (
            "whole",
            [
                "masking=false cell=lstm (-0.020",
                "Time per batch, without tracing, as a multiple of the reference's: masking=false cell=lstm 0.80",
            ],
        ),
        (
            "whole",
            [
                "No difference within ±0.005 (each at 5 %, not adjusted)",
                "0 of 8 seeds failed, which allows a failure rate of up to 31%",
            ],
        ),
        ("way", ["the first step's gain is optimistic, and those of later steps are pessimistic"]),
        (
            "troubled",
            ["no verdict on masking=true cell=gru and masking=false cell=lstm, where trials are missing or diverged"],
        ),
        ("one_seed", ["Single seed: no interval, and so no verdict", "seed='range(0,8)'` for intervals and verdicts"]),
        ("three_seeds", ["With 3 seeds the exact sign-flip p cannot be below 0.25"]),
        ("alone", ["One variant: test accuracy 0.801. There is nothing to compare it with."]),
        ("slow_learners", ["masking=false cell=lstm (8 of 8 seeds never reached it)"]),
        ("steps", ["Against the step before, + cell=gru (+0.050"]),
    ],
)
def test_the_answer_is_made_from_the_numbers(name, sentences, uri):
    text = " ".join(answer.sentences(find(name, uri)))
    assert [sentence for sentence in sentences if sentence not in text] == [], text
