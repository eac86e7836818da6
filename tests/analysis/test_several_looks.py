"""What the analysis makes of several looks: the same decisions as the sweep, and the words for them."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import effects, factorial, plans, texts
from src.inference import sequential
from src.inference.sequential import ALWAYS_VALID, SPENDING, Rule
from src.inference.verdicts import CANNOT_TELL
from src.spec.metric import IMPLIED, meaning
from tests.analysis.test_effects import frame, paired

RULE = Rule(SPENDING, 16, (4, 8, 12, 16))


pytestmark = pytest.mark.usefixtures("fewer_paths")


def noise(seed, count):
    return np.random.default_rng(seed).normal(0, 0.01, count)


def test_a_variant_is_judged_at_the_looks_that_its_seeds_reached():
    base, early, late = 0.8 + noise(0, 16), 0.9 + noise(1, 4), 0.807 + noise(2, 16)
    found = paired(frame(reference=base, early=early, late=late), rule=RULE, margin=None)

    first = stats.ttest_rel(early, base[:4]).pvalue
    assert found.loc["early", ["verdict", "decided_at", "look", "n"]].tolist() == ["helps", 4.0, 1.0, 4]
    assert found.loc["early", "p"] <= first * 4 * 1.01 and found.loc["early", "p"] >= first
    seen = sequential.estimates(np.array([late - base]), RULE.looks)
    q = min(float(RULE.p_value(seen, look)[0]) for look in range(4))
    assert found.loc["late", "p"] == pytest.approx(q)
    assert found.loc["late", "p_holm"] == pytest.approx(max(q, 2 * found.loc["early", "p"]))


def test_the_interval_has_the_level_of_the_latest_look():
    base, other = 0.8 + noise(0, 12), 0.81 + noise(1, 12)
    found = paired(frame(reference=base, a=other), rule=RULE, margin=None).loc["a"]

    wide = stats.ttest_rel(other, base).confidence_interval(1 - RULE.level(2))
    assert (found["low"], found["high"]) == pytest.approx((wide.low, wide.high), abs=1e-9)


def test_a_variant_that_is_set_aside_says_so_and_gets_no_verdict():
    base = 0.8 + noise(0, 8)
    found = paired(frame(reference=base, a=base + np.tile([0.01, -0.01], 4)), rule=RULE, margin=0.001).loc["a"]

    assert found["is_futile"] and found["verdict"] == CANNOT_TELL and found["decided_at"] == 8
    assert texts.verdict(found) == "cannot tell; set aside as futile"
    assert texts.decided_at(found).text == "look 2 (n = 8)"


def test_no_difference_is_found_at_a_look():
    base = 0.8 + noise(0, 4)
    found = paired(frame(reference=base, a=base + np.array([1, -1, 1, -1]) * 1e-4), rule=RULE, margin=0.005).loc["a"]

    assert (found["verdict"], found["decided_at"]) == ("no difference", 4)


def test_a_failed_seed_leaves_no_verdict_and_no_decision():
    rows = frame(reference=0.8 + noise(0, 4), a=0.9 + noise(1, 4))
    rows.loc[rows["label"].eq("a") & rows["seed"].eq(2), ["status", "test/accuracy"]] = ["FAILED", math.nan]

    found = paired(rows, rule=RULE).loc["a"]

    assert found["verdict"] == "no verdict: 1 of 4 seeds did not finish" and math.isnan(found["decided_at"])


def test_without_a_rule_nothing_changes():
    rows = frame(reference=0.8 + noise(0, 8), a=0.805 + noise(1, 8))
    fixed = paired(rows).loc["a"]

    assert fixed["p"] == pytest.approx(stats.ttest_rel(0.805 + noise(1, 8), 0.8 + noise(0, 8)).pvalue)
    assert "decided_at" not in fixed


def test_steps_to_a_target_are_judged_by_signs_at_each_look():
    rows = pd.DataFrame([
        {
            "label": label, "is_reference": label == "reference", "seed": seed, "identity": f"{label} {seed}",
            "status": "FINISHED", "steps_to/val_accuracy_0.80": 300.0 if label == "reference" else 100.0,
            "step_before": 250.0 if label == "reference" else 50.0, "last_step": 400.0, "time/batch_ms_median": 1.0,
        }
        for label in ("reference", "a")
        for seed in range(12)
    ])  # fmt: skip
    found = effects.paired(
        rows, metric=meaning("steps_to/val_accuracy_0.80", IMPLIED), margin=None, rule=RULE
    ).set_index("label")

    assert found.loc["a", ["verdict", "decided_at"]].tolist() == ["helps", 8.0]  # p .0078 at a share of a quarter
    assert found.loc["a", "p"] == pytest.approx(min(4 * 2 * 0.5**8, 4 * 2 * 0.5**12))


def test_effects_of_a_grid_are_judged_at_the_seeds_that_have_every_cell():
    rows = []
    for seed in range(8):
        for gru in (False, True):
            for mask in (False, True):
                if seed >= 4 and gru and mask:
                    continue
                value = 0.8 + 0.1 * gru + float(np.random.default_rng([seed, gru, mask]).normal(0, 0.005))
                rows.append({
                    "label": f"{gru} {mask}", "seed": seed, "identity": f"{gru} {mask} {seed}", "status": "FINISHED",
                    "test/accuracy": value, "gru": gru, "mask": mask,
                })  # fmt: skip
    table = factorial.fit(
        pd.DataFrame(rows), {"gru": [False, True], "mask": [False, True]},
        metric=meaning("test/accuracy", IMPLIED), margin=None, rule=RULE,
    ).set_index("effect")  # fmt: skip

    assert table.loc["gru=true", ["verdict", "decided_at", "seeds"]].tolist() == ["helps", 4.0, 4]
    assert math.isnan(table.loc["mask=true", "decided_at"]) and table.loc["mask=true", "verdict"] == CANNOT_TELL


def plan(seeds, **changes):
    rows = [{"label": "a", "seed": seed, "identity": f"a {seed}"} for seed in range(seeds)]
    same = {"design": "grid", "levels": {"cell": ["lstm", "gru"]}, "reference": {"cell": "lstm"}, "metric": "m"}
    rest = {"max_seeds": None, "looks": [], "stopping": None, "looked": []}
    return {**same, **rest, "seeds": list(range(seeds)), "rows": rows, **changes}


DONE = {f"a {seed}" for seed in range(30)}


def test_a_sequential_plan_is_judged_by_its_looks():
    taken = [{"n": 4}, {"n": 8}]
    rule, looks, notes = plans.looks([plan(16, max_seeds=16, looked=taken)], DONE)

    assert (rule, looks, notes) == (RULE, (4, 8), [])


def test_a_fixed_plan_that_is_alone_is_judged_once():
    assert plans.looks([plan(8)], DONE) == (None, (8,), [])
    assert plans.looks([plan(5, metric="other"), plan(8)], DONE) == (None, (8,), [])
    assert plans.looks([plan(5), plan(8)], {"a 0"}) == (None, (8,), [])  # stopped before there was a table


def test_more_seeds_after_the_table_of_a_fixed_study_are_a_second_look_with_its_cost():
    rule, looks, (note,) = plans.looks([plan(5), plan(8)], DONE)

    assert (rule, looks) == (None, (5, 8))
    assert "judged with 5 and 8 seeds, each time at 5 %" in note and "in up to 8% of such studies" in note


def test_a_sequential_study_that_was_continued_by_hand_is_judged_by_all_of_its_looks():
    raced = plan(16, max_seeds=16, looked=[{"n": 4}, {"n": 8}])
    rule, looks, (note,) = plans.looks([raced, plan(10)], DONE)
    assert (rule, looks) == (Rule(SPENDING, 16, (4, 8, 10)), (4, 8, 10)) and "continued with 10 listed seeds" in note

    rule, looks, (note,) = plans.looks([raced, plan(24)], DONE)
    assert (rule, looks) == (Rule(SPENDING, 16, (4, 8, 16)), (4, 8, 16))
    assert "its seeds beyond 16 decide nothing" in note


def test_seeds_may_be_added_at_any_time_to_an_always_valid_study():
    rule, looks, notes = plans.looks([plan(5, stopping="always_valid"), plan(8, stopping="always_valid")], DONE)

    assert (rule, looks, notes) == (Rule(ALWAYS_VALID, 8, (3, 4, 5, 6, 7, 8)), (5, 8), [])


def test_a_horizon_that_was_declared_after_a_look_is_noted():
    raced = plan(16, max_seeds=16, looked=[{"n": 4}])
    rule, looks, (note,) = plans.looks([plan(5), raced], DONE)

    assert (rule, looks) == (RULE, (4,)) and "judged with 5 seeds before plan.max_seeds=16 was declared" in note


def test_signs_decide_nothing_under_the_mixture_of_t():
    seen = sequential.Estimates(np.ones((1, 4)), np.full((1, 4), math.nan), np.full((1, 4), 1e-6), is_normal=False)
    rule = Rule(ALWAYS_VALID, 16, RULE.looks)

    assert sequential.decide(seen, rule).kind.tolist() == [sequential.UNDECIDED]
