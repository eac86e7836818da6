import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

from analysis import load, tables, times
from analysis.findings import find
from analysis.store import connect
from src.inference.student import interval
from src.study.timing import FILE, Pass, Timed

MACHINE = dict.fromkeys(("processor", "environment", "versions", "git_commit", "git_dirty"), "known") | {"threads": "1"}


def drawn(rng, *, blocks, variants, drift=0.0, noise=0.02, is_shuffled=True):
    """Times of variants that are all the same, on a machine that slows down by `drift` with every trial."""
    order = [rng.permutation(variants) if is_shuffled else np.arange(variants) for _ in range(blocks)]
    positions = np.concatenate([[at + block * variants] for block, at in enumerate(order)]).astype(float)
    return times.Blocks(np.exp(drift * positions + rng.normal(0, noise, positions.shape)), positions)


def as_frame(blocks):
    block, variant = np.meshgrid(*map(range, blocks.times.shape), indexing="ij")
    return pd.DataFrame(
        {
            "log": blocks.logs.ravel(), "position": blocks.positions.ravel(),
            "block": block.ravel(), "variant": variant.ravel(),
        }
    ).dropna()  # fmt: skip


@pytest.mark.parametrize("gaps", [0, 5])
def test_the_slope_is_that_of_least_squares_with_blocks_and_variants(gaps):
    rng = np.random.default_rng(3)
    blocks = drawn(rng, blocks=8, variants=5, drift=0.01)
    blocks.times.ravel()[rng.choice(40, gaps, replace=False)] = math.nan
    fit = smf.ols("log ~ C(block) + C(variant) + position", as_frame(blocks)).fit()
    assert blocks.slope == pytest.approx((fit.params["position"], fit.bse["position"]), rel=1e-6)


def test_a_ratio_is_that_of_least_squares_and_its_interval_is_of_the_pairs():
    blocks = drawn(np.random.default_rng(4), blocks=8, variants=5, drift=0.01)
    fit = smf.ols("log ~ C(block) + C(variant) + position", as_frame(blocks)).fit()
    found = blocks.log_ratio(2, 0)
    assert found.mean == pytest.approx(fit.params["C(variant)[T.2]"], abs=1e-9)
    pairs = blocks.logs[:, 2] - blocks.logs[:, 0]
    later = blocks.positions[:, 2] - blocks.positions[:, 0]
    error = np.std(pairs - blocks.slope[0] * later, ddof=1) / math.sqrt(8)
    assert found.error == pytest.approx(math.hypot(error, blocks.slope[1] * later.mean()))


def test_without_known_positions_a_ratio_is_that_of_the_pairs():
    blocks = drawn(np.random.default_rng(5), blocks=8, variants=5)
    blocks = times.Blocks(blocks.times, np.full_like(blocks.times, math.nan))
    assert blocks.slope == (0.0, 0.0)
    assert blocks.log_ratio(1, 0) == interval(blocks.logs[:, 1] - blocks.logs[:, 0], scale=1.0)


def test_an_order_that_is_the_same_in_every_block_gives_no_slope():
    assert drawn(np.random.default_rng(6), blocks=8, variants=5, drift=0.01, is_shuffled=False).slope == (0.0, 0.0)


def test_a_few_trials_give_no_slope():
    assert drawn(np.random.default_rng(7), blocks=3, variants=2, drift=0.01).slope == (0.0, 0.0)


@pytest.mark.parametrize("drift", [0.0, 0.01])
def test_intervals_cover_the_truth_on_a_machine_that_slows_down(drift):
    """Statistics of 1,000 studies of 8 seeds and 6 variants; 0.93 to 0.97 is 3 standard errors around 0.95."""
    rng, ratios = np.random.default_rng(8), []
    for _ in range(1_000):
        ratios.append(drawn(rng, blocks=8, variants=6, drift=drift).log_ratio(5, 0))
    covers = np.mean([one.low <= 0 <= one.high for one in ratios])
    assert 0.93 < covers < 0.97
    assert abs(np.mean([one.mean for one in ratios])) < 0.001
    assert np.mean([one.high - one.low for one in ratios]) / 2 < 0.025  # the paired interval alone: 0.031 with drift


def test_the_ratios_of_a_study_use_the_recorded_positions():
    rng = np.random.default_rng(9)
    blocks = drawn(rng, blocks=8, variants=4, drift=0.02)
    rows = as_frame(blocks).assign(
        status="FINISHED", time=lambda rows: np.exp(rows["log"]), label=lambda rows: rows["variant"].astype(str)
    )
    rows = rows.assign(seed=rows["block"], is_reference=rows["variant"] == 0, position=rows["position"].astype(str))
    found = times.while_training(rows, "time")
    assert found["", "3"].mean == pytest.approx(blocks.log_ratio(3, 0).mean)
    assert found["", "0"].mean == 0.0


def a_pass(study, *, slower=1.25, rounds=20, **changes):
    """A pass in which every variant but the reference takes `slower` times as long, with some noise."""
    rng, firsts = np.random.default_rng(0), study.rows[study.rows["seed"] == 0]
    timed = [
        Timed(row["label"], row["identity"], median=10.0, steps_per_epoch=50)
        for row in firsts.sort_values("is_reference", ascending=False).to_dict("records")
    ]
    again = replace(timed[0])
    for place, one in enumerate((*timed, again), 1):
        factor = 1.0 if one.identity == timed[0].identity else slower
        one.turns = (10 * factor * np.exp(rng.normal(0, 0.01, rounds))).tolist()
        one.places = [place] * rounds
    values = {
        "study": study.name, "begun": "2026-11-26T20:00:00+00:00", "rounds": rounds, "steps": 10, "machine": MACHINE,
        "busy_before": 0.0, "busy_during": 0.05, "variants": timed, "again": again, "left_out": {},
    }  # fmt: skip
    return Pass(**{**values, **changes})


def with_pass(study, found):
    return replace(study, timing=found)


@pytest.fixture(scope="module")
def whole(database):
    return load.study("whole", connect(f"sqlite:///{database}"))


def test_tables_prefer_the_times_of_a_pass(whole):
    found = find(with_pass(whole, a_pass(whole)))
    ratios = found.compared.set_index("label")["time_ratio"]
    assert (
        ratios[ratios.index != found.study.rows.loc[found.study.rows["is_reference"], "label"].iloc[0]]
        .between(1.23, 1.27)
        .all()
    )
    table = tables.ablation(found)
    assert "ratio of ms per batch (timing pass)" in table.headings
    assert {entry[table.headings.index("ms per batch (timing pass)")].text for entry in table.rows} == {"10.0"}
    assert "Timing pass, 1 thread: 20 rounds" in tables.explanation(found)
    assert "The reference against itself: 1.0" in tables.explanation(found)


def test_epochs_of_different_lengths_multiply_the_ratio_of_their_steps(whole):
    timed = a_pass(whole)
    timed.variants[1].steps_per_epoch = 100
    label = timed.variants[1].label
    step, epoch = (times.in_pass(whole.rows, timed, of_epochs=wanted)["", label] for wanted in (False, True))
    assert epoch.mean - step.mean == pytest.approx(math.log(2))
    assert epoch.high - epoch.low == pytest.approx(step.high - step.low)


def test_a_pass_of_other_variants_is_not_used(whole):
    timed = a_pass(whole)
    for one in timed.variants:
        one.identity = f"old {one.identity}"
    found = find(with_pass(whole, timed))
    assert found.timing is None
    assert "ratio of ms per batch" in tables.ablation(found).headings


def test_a_variant_that_the_pass_left_out_has_no_ratio(whole):
    timed = a_pass(whole)
    label = timed.variants.pop().label
    row = find(with_pass(whole, timed)).compared.set_index("label").loc[label]
    assert math.isnan(row["time_ratio"])


def test_a_disturbed_pass_is_rough_and_a_skewed_one_says_so(whole):
    assert "Times are rough: other programs used 0.6 cores" in times.check(a_pass(whole, busy_during=0.6))
    skewed = a_pass(whole)
    skewed.again.turns = [1.05 * turn for turn in skewed.again.turns]
    assert "its interval leaves out 1" in times.check(skewed)
    assert "rough" not in times.check(a_pass(whole))


def test_a_broken_file_of_a_pass_is_noted(whole, monkeypatch, tmp_path):
    (tmp_path / FILE).write_text("{", encoding="utf-8")
    monkeypatch.setattr(type(whole.store), "artifact", lambda self, run_id, name: tmp_path / name)
    timing, notes = load._timing("run", whole.store)
    assert timing is None
    assert "not the record of a timing pass" in notes[0]
