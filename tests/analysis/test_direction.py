"""Metrics with lower values better are handled everywhere, as the mirror image of metrics with higher values better."""

from __future__ import annotations

import json
import math
import re
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from typer.testing import CliRunner

from analysis import answer, effects, examples, factorial, figures, findings, load, report, store, tables
from analysis.__main__ import app
from analysis.store import StoreError
from benchmarks import generated
from src.spec.metric import LOSS, Metric, meaning
from tests.analysis.conftest import GRID, SEEDS

PERPLEXITY = Metric("perplexity", "lower", margin=1.0, target=100, of="loss", finish="exp", digits=1)
LOWER, HIGHER = (PERPLEXITY, LOSS), (replace(PERPLEXITY, direction="higher", target=-100, finish="mean"), LOSS)
WOBBLE = [0.1, -0.2, 0.3, -0.1, 0.2, -0.3, 0.0, 0.1]


def perplexity(values, seed):
    """GRU lowers the metric by 5, no mask raises it by 3, and both together raise it by another 4."""
    gru, unmasked = values.get("cell") == "gru", values.get("masking") is False
    return 95 - 5 * gru + 3 * unmasked + 4 * gru * unmasked + (seed % 3) + WOBBLE[(seed + 3 * (2 * gru + unmasked)) % 8]


def outcome(values, seed):
    best = perplexity(values, seed)
    time = 50.0 * (0.8 if values.get("masking") is False else 1.0) * (1 + 0.01 * (seed % 4))
    validation = [best + 20, best + 5, best, best + 2]
    return {
        "test/perplexity": best, "test/loss": math.log(best), "test/bleu": 30 - best / 10, "time/batch_ms_median": time,
        "validation": validation,
    }  # fmt: skip


def mirrored(values, seed):
    usual = outcome(values, seed)
    validation = [-value for value in usual["validation"]]
    return {**usual, "test/perplexity": -usual["test/perplexity"], "validation": validation}


def hindered(values, seed):
    """The best variant lacks a seed, and the second best diverges in another one."""
    if values == {"masking": True, "cell": "gru"} and seed == 2:
        return {"test/perplexity": 1.0, "status": "FAILED", "validation": [1.0]}
    if values == {"masking": True, "cell": "lstm"} and seed == 3:
        return {"status": "FAILED", "tags": {"health": "diverged"}, "validation": [math.inf]}
    return outcome(values, seed)


@pytest.fixture(scope="module")
def lower(empty, tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    shutil.copy(empty, path)
    studies = {"low": (outcome, LOWER), "high": (mirrored, HIGHER), "open": (hindered, LOWER)}
    for name, (result, metrics) in studies.items():
        generated.study(path, name, GRID, result, seeds=SEEDS, steps=160, examples=200, metrics=metrics)
        generated.study(path, f"{name}_way", GRID, result, design="path", seeds=SEEDS, metrics=metrics)
    waiting = {"metric": "steps_to"}
    generated.study(path, "steps", GRID, outcome, seeds=SEEDS, metrics=LOWER, record=waiting)
    generated.study(path, "steps_high", GRID, mirrored, seeds=SEEDS, metrics=HIGHER, record=waiting)
    none = (replace(PERPLEXITY, direction=None, target=None), LOSS)
    generated.study(path, "unsaid", GRID, outcome, seeds=SEEDS, metrics=none)
    return f"sqlite:///{path}"


def find(name, uri, **options):
    return findings.find(load.study(name, store.connect(uri)), **options)


def bold(name, uri, **options):
    table = tables.ablation(find(name, uri, **options))
    return [table.rows[row][column].text for row, column in table.bold]


def test_the_validation_of_a_trial_is_its_lowest(lower):
    rows = load.study("low", store.connect(lower)).rows
    assert np.allclose(rows["val/perplexity"], rows["test/perplexity"])


def test_the_metric_target_and_margin_of_a_study_are_those_of_its_task(lower):
    found = find("low", lower)
    assert (found.metric.name, found.margin, found.study.steps_to.name) == (
        "test/perplexity",
        1.0,
        "steps_to/val_perplexity_100",
    )


def test_a_target_is_reached_where_validation_is_at_most_as_high(lower):
    rows = load.study("low", store.connect(lower)).rows.set_index(["masking", "cell", "seed"])
    steps = rows["steps_to/val_perplexity_100"]

    for (masking, cell, seed), found in steps.items():
        validation = outcome({"masking": masking, "cell": cell}, seed)["validation"]
        reached = [40.0 * place for place, value in enumerate(validation, 1) if value <= 100]
        assert found == reached[0] if reached else math.isnan(found)
    assert steps.isna().any()
    assert {0.0, 40.0, 80.0} >= set(rows["step_before"].dropna())


def test_the_lowest_mean_is_bold(lower):
    means = find("low", lower).summary["mean"]
    assert bold("low", lower) == [f"{means.min():.1f}"]
    assert bold("low", lower, metric="loss") == [f"{find('low', lower, metric='loss').summary['mean'].min():.3f}"]


def test_the_mean_of_a_variant_that_lacks_seeds_is_never_bold(lower):
    found = find("open", lower).summary
    whole = found[found["unfinished"] == 0]

    assert found["mean"].idxmin() not in whole.index and len(whole) == 2
    assert bold("open", lower) == [f"{whole['mean'].min():.1f}"]


def test_lower_values_help_and_higher_ones_hurt(lower):
    verdicts = find("low", lower).compared.set_index("label")["verdict"]
    assert verdicts["masking=true cell=gru"] == "helps" and verdicts["masking=false cell=lstm"] == "hurts"
    assert "cell=gru helps (-3.0 [" in answer.sentences(find("low", lower))[0]


def test_a_path_goes_to_the_lowest_mean_validation(lower):
    found = find("low_way", lower)
    assert list(found.summary["label"])[:2] == ["reference", "cell=gru"]
    assert found.summary["verdict"].iloc[1] == "helps"


def test_a_path_never_chooses_a_flip_that_lacks_a_seed(lower):
    assert list(find("open_way", lower).summary["label"])[:2] == ["reference", "masking=false"]


def test_of_flips_that_tie_the_first_is_kept(own):
    def tied(values, seed):
        changed = (values["cell"] == "gru") + (values["masking"] is False)
        return {"test/perplexity": 90.0 - changed, "validation": [90.0 - changed]}

    generated.study(own, "s", GRID, tied, design="path", metrics=LOWER)
    assert list(find("s", f"sqlite:///{own}").summary["label"])[1] == "masking=false"


def test_the_front_holds_the_lowest_values(lower):
    axes = figures.one(find("low", lower), "pareto").figure.axes[0]
    front = next(line for line in axes.lines if line.get_label() == "Pareto front")
    means = find("low", lower).summary.set_index("label")["mean"]

    assert front.get_ydata().tolist() == pytest.approx(
        [means["masking=false cell=gru"], means["masking=true cell=gru"]]
    )
    assert axes.get_ylabel() == "test perplexity"


def test_the_front_leaves_out_variants_that_lack_seeds(lower):
    axes = figures.one(find("open", lower), "pareto").figure.axes[0]
    front = next(line for line in axes.lines if line.get_label() == "Pareto front")
    both = [perplexity({"masking": False, "cell": "gru"}, seed) for seed in SEEDS]

    assert front.get_ydata().tolist() == pytest.approx([np.mean(both)])


def test_axes_and_captions_name_the_metric_and_its_direction(lower):
    drawn = {one.name: one for one in figures.draw(find("low", lower))}

    assert drawn["forest"].figure.axes[0].get_xlabel() == "change in test perplexity (lower is better)"
    assert drawn["curves"].figure.axes[0].get_ylabel() == "validation perplexity"
    assert drawn["curves"].caption.startswith("Validation perplexity by step")
    assert not [one.caption for one in drawn.values() if "accuracy" in one.caption]


def test_an_infinite_perplexity_is_no_value_and_spoils_no_figure(own):
    def exploding(values, seed):
        usual = outcome(values, seed)
        if seed == 1 and values["cell"] == "gru":
            usual |= {"test/perplexity": math.inf, "validation": [math.inf, 90.0]}
        return usual

    generated.study(own, "s", GRID, exploding, seeds=SEEDS, steps=80, metrics=LOWER)
    found = find("s", f"sqlite:///{own}")
    verdicts = found.compared.set_index("label")["verdict"]

    assert verdicts["masking=true cell=gru"] == "no verdict: 1 of 8 seeds have no finite value"
    assert {"forest", "pareto", "curves"} <= {one.name for one in figures.draw(found)}
    assert bold("s", f"sqlite:///{own}") == [f"{found.summary['mean'].iloc[0]:.1f}"]


def test_a_tasks_additional_metric_is_accepted_and_its_short_name_means_the_test_split(lower):
    assert find("low", lower, metric="loss").metric.name == "test/loss"
    assert find("low", lower, metric="perplexity").metric == find("low", lower).metric


def test_an_unknown_metric_is_an_error_that_lists_the_metrics(lower):
    with pytest.raises(
        StoreError,
        match=r"no trial of low has the metric 'test/perplexty'; did you mean 'test/perplexity'\? There are ",
    ):
        find("low", lower, metric="test/perplexty")


def test_without_a_direction_nothing_is_bold_and_no_change_helps(lower):
    found = find("low", lower, metric="test/bleu")
    assert set(found.compared["verdict"]) == {"reference", "higher", "lower"} and not bold(
        "low", lower, metric="test/bleu"
    )


def test_a_first_metric_without_a_direction_counts_no_steps_and_says_why(lower):
    found = find("unsaid", lower)
    assert not tables.ablation(found).bold and not [
        name for name in tables.ablation(found).headings if name.startswith("steps to")
    ]
    with pytest.raises(
        StoreError, match="unsaid counts no steps to a target, as its validation perplexity has no direction"
    ):
        find("unsaid", lower, metric="steps_to")


def test_a_target_of_another_value_is_an_error_that_names_the_studys_target(lower):
    with pytest.raises(
        StoreError, match="the target of low is a validation perplexity of 100: write --metric steps_to"
    ):
        find("low", lower, metric="steps_to/val_perplexity_50")


def test_the_page_names_the_metric_and_no_other(lower):
    found = find("low", lower)
    text = report.page(found, [])

    assert (
        "best validation perplexity" in text
        and "test perplexity" in text
        and "steps to 100 validation perplexity" in text
    )
    assert "accuracy" not in re.sub(r"href=\"[^\"]*\"", "", text).lower()


def test_two_models_are_compared_over_examples_by_the_first_metrics_quantity(lower):
    study = load.study("low", store.connect(lower))
    labels = ("masking=true cell=lstm", "masking=true cell=gru")
    tests = examples.variants(study, *labels, metric=study.first)
    text = tables.comparison(*tests, labels, metric=study.first, first=study.metrics[0])

    assert tests[1]["value"].tolist() == pytest.approx([perplexity({"cell": "gru"}, seed) for seed in SEEDS])
    assert (tests[1]["ahead"] == 1).all() and (tests[1]["only_ours"] == 200).all()
    assert f"Better, by perplexity at 5 % (not adjusted for the number of seeds), of 8 seeds: {labels[1]} in 8" in text


def test_the_table_of_the_command_has_the_short_name(lower, tmp_path):
    done = CliRunner().invoke(app, ["table", "low", "--metric", "perplexity", "--uri", lower, "--out", str(tmp_path)])
    assert done.exit_code == 0 and "| test perplexity |" in done.output


@pytest.mark.parametrize(("low", "high"), [("low", "high"), ("steps", "steps_high"), ("low_way", "high_way")])
def test_a_study_and_its_mirror_image_have_the_same_verdicts(low, high, lower):
    ours, theirs = find(low, lower), find(high, lower)

    assert list(ours.summary["verdict"]) == list(theirs.summary["verdict"])
    assert tables.ablation(ours).bold == tables.ablation(theirs).bold
    if ours.factorial is not None:
        assert list(ours.factorial["verdict"]) == list(theirs.factorial["verdict"])
    if ours.study.plan["design"] == "path":
        assert list(ours.summary["label"]) == list(theirs.summary["label"])


NUMBERS = st.floats(-50, 50, allow_nan=False).map(lambda value: round(value, 3))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS), min_size=2, max_size=8),
    st.sampled_from(["FINISHED", "FAILED"]),
)
def test_negated_values_of_the_other_direction_have_the_same_verdicts(values, last):
    names = [(masking, cell) for masking in (True, False) for cell in ("lstm", "gru")]
    rows = pd.DataFrame([
        {
            "label": f"masking={masking} cell={cell}", "is_reference": place == 0, "seed": seed,
            "identity": f"{place} {seed}", "masking": masking, "cell": cell,
            "test/q": row[place], "time/batch_ms_median": 1.0,
            "status": last if (place, seed) == (3, 0) else "FINISHED",
        }
        for seed, row in enumerate(values)
        for place, (masking, cell) in enumerate(names)
    ])  # fmt: skip
    up, down = (meaning("test/q", (Metric("q", direction, margin=1.0),)) for direction in ("higher", "lower"))
    flipped = rows.assign(**{"test/q": -rows["test/q"]})

    ours, theirs = (effects.paired(frame, metric=metric, margin=1.0) for frame, metric in ((rows, up), (flipped, down)))
    assert list(ours["verdict"]) == list(theirs["verdict"])
    assert ours["seeds_needed"].equals(theirs["seeds_needed"])
    if last == "FINISHED":
        ours, theirs = (
            factorial.fit(frame, GRID, metric=metric, margin=1.0) for frame, metric in ((rows, up), (flipped, down))
        )
        assert list(ours["verdict"]) == list(theirs["verdict"])


def test_a_test_over_weighted_examples_is_the_paired_t_test_where_weights_are_equal():
    rng = np.random.default_rng(3)
    ours, theirs = rng.normal(0, 1, 50), rng.normal(0.3, 1, 50)
    both = [examples.Tested(np.arange(50), values, np.full(50, 4.0)) for values in (ours, theirs)]
    found = examples.compared(*both, LOSS)

    assert found["p"] == pytest.approx(stats.ttest_rel(ours, theirs).pvalue)
    assert found["only_ours"] == (ours < theirs).sum() and found["ahead"] == 1 and not found["are_counted"]


def test_a_test_over_weighted_examples_holds_its_level_where_nothing_differs():
    rng, wrong = np.random.default_rng(5), 0
    for _ in range(400):
        weights = rng.integers(1, 30, 150).astype(float)
        both = [examples.Tested(np.arange(150), weights * rng.normal(2, 1, 150), weights) for _ in range(2)]
        wrong += examples.compared(*both, LOSS)["p"] < 0.05
    assert 0.02 < wrong / 400 < 0.09


@pytest.fixture
def changed(own):
    """A study whose earlier plan had another metric, as if two versions of a task had used one study name."""

    def plan_of(name):
        with sqlite3.connect(own) as connection:
            [address] = connection.execute(
                "SELECT artifact_uri FROM runs JOIN tags USING (run_uuid) JOIN experiments USING (experiment_id) "
                "WHERE tags.key = 'ablation.kind' AND tags.value = 'study' AND experiments.name = ?", (name,)
            ).fetchone()  # fmt: skip
        return Path(address.removeprefix("file://")) / "plan.json"

    generated.study(own, "early", {"cell": ["lstm", "gru"]}, lambda values, seed: {"test/accuracy": 0.8}, seeds=[0, 1])
    generated.study(own, "s", GRID, outcome, seeds=[0, 1, 2], metrics=LOWER)
    plans = [json.loads(plan_of(name).read_text())[0] for name in ("early", "s")]
    plan_of("s").write_text(json.dumps(plans))
    with sqlite3.connect(own) as connection:
        names = dict(connection.execute("SELECT name, experiment_id FROM experiments"))
        connection.execute("UPDATE runs SET experiment_id = ? WHERE experiment_id = ? AND run_uuid NOT IN "
                           "(SELECT run_uuid FROM tags WHERE key = 'ablation.kind' AND value = 'study')",
                           (names["s"], names["early"]))  # fmt: skip
    return f"sqlite:///{own}"


def test_plans_with_other_metrics_are_left_out_with_a_note(changed):
    study = load.study("s", store.connect(changed), every=True)

    assert study.rows["test/perplexity"].notna().all() and len(study.rows) == 12
    assert [note for note in study.notes if "other metrics" in note] == [
        "4 trials belong to plans with other metrics, and are not shown: "
        "those plans measured (accuracy: higher, loss: lower, macro_f1: higher, balanced_accuracy: higher, "
        "roc_auc: higher, average_precision: higher, log_loss: lower, calibration_error: lower), "
        "the latest plan (perplexity: lower, loss: lower); the numbers are not comparable"
    ]
    assert study.of_plans.startswith("trials of the study are shown, of 1 of 2 plans")


ODD = {
    "0.direction: Input should be 'higher' or 'lower'": [{"name": "perplexity", "direction": "sideways"}],
    "0.direction: Field required": [{"name": "perplexity"}],
    "0.name: Input should be a valid string": [{"name": None, "direction": "lower"}],
    "digits=-1 is not allowed": [{"name": "perplexity", "direction": "lower", "digits": -1}],
    "finish=log": [{"name": "perplexity", "direction": "lower", "finish": "log"}],
    "two of its metrics have one name": [{"name": "perplexity", "direction": "lower"}] * 2,
    "it names no metrics": [],
    "Input should be a valid list": "perplexity",
}


@pytest.mark.parametrize(("why", "metrics"), list(ODD.items()))
def test_invalid_metrics_are_refused_and_not_replaced(why, metrics, own):
    generated.study(own, "s", {}, outcome, metrics=LOWER, record={"metrics": metrics})

    with pytest.raises(StoreError, match="cannot be read: ") as raised:
        load.study("s", store.connect(f"sqlite:///{own}"))
    assert why in str(raised.value) and len(str(raised.value).splitlines()) == 1


def test_unknown_fields_of_a_metric_from_a_later_version_are_ignored(own):
    later = [{"name": "perplexity", "direction": "lower", "smoothing": 0.1}]
    generated.study(own, "s", {}, outcome, metrics=LOWER, record={"metrics": later})

    assert load.study("s", store.connect(f"sqlite:///{own}")).metrics == (Metric("perplexity", "lower"),)


def test_the_page_has_no_best_validation_for_a_metric_without_a_direction(lower):
    text = report.page(find("unsaid", lower), [])

    assert "<th>validation perplexity</th>" in text and "best validation perplexity" not in text
