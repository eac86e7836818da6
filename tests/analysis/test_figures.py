from __future__ import annotations

import dataclasses
import itertools
import math
import shutil
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy import stats
from statsmodels.stats.power import TTestPower

from analysis import answer, drawing, figures, findings, groups, load, store, tables
from analysis.looks import MAX_VARIANTS, looks, save
from benchmarks import generated
from src.spec.metric import IMPLIED, meaning
from tests.analysis.conftest import SEEDS, accuracy, usual
from tests.conftest import assert_nothing_is_cut_off


def find(name, uri, **options):
    return findings.find(load.study(name, store.connect(uri)), **options)


def drawn(name, figure, uri, **options):
    return figures.one(find(name, uri, **options), figure)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("whole", ["forest", "interaction", "pareto", "curves", "times"]),
        ("numbers", ["forest", "heatmap", "pareto", "curves", "times", "padding"]),
        ("steps", ["forest", "waterfall", "pareto", "curves", "times", "padding"]),
        ("way", ["forest", "waterfall", "pareto", "curves", "times"]),
        ("one_seed", ["forest", "pareto", "curves", "times"]),
        ("alone", ["curves", "times"]),
        ("troubled", ["forest", "interaction", "pareto", "curves", "times"]),
    ],
)
def test_the_varied_toggles_determine_which_figures_are_drawn(name, expected, uri):
    assert [one.name for one in figures.draw(find(name, uri))] == expected


@pytest.mark.parametrize("name", ["whole", "numbers", "steps"])
def test_every_figure_has_named_axes_and_a_caption(name, uri):
    for one in figures.draw(find(name, uri)):
        assert one.caption.endswith(".")
        for axes in one.figure.axes:
            assert axes.get_xlabel() or axes.get_ylabel()


@pytest.mark.parametrize("metric", ["test/accuracy", "time/epoch_s", "steps_to"])
def test_the_labels_of_axes_stay_in_the_figure_and_apart_whatever_variants_are_called(own, metric):
    def outcome(values, seed):
        return {**usual(values, seed), "time/epoch_s": 9.0 + seed + 5 * (values["padding"] == "batch")}

    levels = {"padding": ["dataset", "batch"], "bucketing": [False, True], "max_length": [200, 500]}
    generated.study(own, "s", levels, outcome, steps=20, metric=metric)

    for one in figures.draw(find("s", f"sqlite:///{own}")):
        one.figure.draw_without_rendering()
        boxes = [axes.xaxis.label.get_window_extent() for axes in one.figure.axes if axes.get_xlabel()]
        assert all(box.x0 >= 0 and box.x1 <= one.figure.bbox.x1 for box in boxes), one.name
        assert all(box.x1 <= right.x0 for box, right in itertools.pairwise(boxes)), one.name


def of_long_names(values, seed):
    changed = sum(value in ("balanced", "validation", "late") for value in values.values())
    causes = ["a cause that takes many words to be named as it should be: 3", "batches of one class: 0.9", "none: x"]
    found = 0.8 + 0.02 * changed + 0.002 * math.sin(7 * seed + 3 * changed)
    tags = {"diagnosis": causes[(seed + changed) % 3]}
    return {**usual({}, seed), "test/accuracy": found, "time/batch_ms_median": 50.0 + 5 * changed, "tags": tags}


@pytest.mark.parametrize(
    ("more", "options", "expected"),
    [
        ({}, {}, ["forest", "interaction", "pareto", "curves", "times", "causes"]),
        ({"a_third_toggle_with_a_long_name": ["early", "late"]}, {}, ["interaction"]),
        ({}, {"design": "cumulative"}, ["waterfall"]),
        ({}, {"design": "one_at_a_time", "max_seeds": 4}, ["looks", "seeds", "power"]),
    ],
)
def test_names_of_sixty_characters_stay_whole_and_inside_every_figure(more, options, expected, own, tmp_path):
    levels = {
        "class_weights_of_loss": ["none", "balanced"],
        "decision_threshold_of_test": ["half", "validation"],
        **more,
    }
    generated.study(own, "s", levels, of_long_names, seeds=range(4), steps=20, **options)
    found = find("s", f"sqlite:///{own}")

    for name in expected:
        figure = figures.one(found, name).figure
        save(figure, tmp_path / name)  # a warning of matplotlib is an error
        assert_nothing_is_cut_off(tmp_path / f"{name}.png")
        shown = [text.get_text().replace("\n", " ") for text in figure.findobj(mpl.text.Text)]
        if name in ("times", "causes") and not more and not options:
            assert "class_weights_of_loss=balanced decision_threshold_of_test=validation" in shown, name


def test_causes_of_two_variants_with_long_descriptions_fit_into_a_figure(own, tmp_path):
    generated.study(own, "s", {"a": [0, 1]}, of_long_names, steps=3)

    one = figures.one(find("s", f"sqlite:///{own}"), "causes")
    save(one.figure, tmp_path / "causes")

    assert_nothing_is_cut_off(tmp_path / "causes.png")
    (axes,) = one.figure.axes
    names = [text.get_window_extent() for text in axes.get_xticklabels()]
    assert all(box.y0 >= 0 for box in names) and [text.get_rotation() for text in axes.get_yticklabels()] == [0, 0]
    assert all(one.x1 <= right.x0 for one, right in itertools.pairwise(names))


def test_numbers_that_always_changed_together_have_no_heat_map(uri):
    found = find("numbers", uri)
    assert figures.one(found, "heatmap") is not None

    rows = found.study.rows
    on_diagonal = rows[rows["max_length"] == rows["vocab_size"].map({100: 50, 200: 100})]
    found = dataclasses.replace(found, study=dataclasses.replace(found.study, rows=on_diagonal))
    assert figures.one(found, "heatmap") is None


@pytest.fixture(scope="module")
def searched(empty, tmp_path_factory):
    """A random search over a rate and a cell, whose accuracy depends on the logarithm of the rate."""
    path = Path(shutil.copy(empty, tmp_path_factory.mktemp("searched") / "mlflow.db"))

    def outcome(values, seed):
        return {"test/accuracy": 0.9 + 0.02 * math.log10(values["learning_rate"]) + 0.001 * seed}

    generated.study(
        path,
        "searched",
        {"cell": ["lstm", "gru"], "learning_rate": [0.001]},
        outcome,
        design="random",
        intervals={"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True, "integer": False}},
        sample=21,
    )
    return f"sqlite:///{path}"


def test_a_random_search_has_a_figure_of_each_toggle_with_means_over_neighbouring_variants(searched):
    found = find("searched", searched)
    assert found.factorial is None and found.no_factorial is None
    assert [one.name for one in figures.draw(found)] == ["forest", "pareto", "curves", "ranges"]
    of_cell, of_rate = figures.one(found, "ranges").figure.axes

    rates = np.sort(found.study.rows.loc[~found.study.rows["is_reference"], "learning_rate"].astype(float).unique())
    values = 0.9 + 0.02 * np.log10(rates) + 0.001  # the mean of three seeds
    assert of_rate.get_xscale() == "log" and len(rates) == 20
    bars = [line for line in of_rate.lines if "variants)" in str(line.get_gid())]
    assert [len(part) for part in np.split(rates, 5)] == [4] * 5 and len(bars) == 5
    for bar, part, mine in zip(bars, np.split(rates, 5), np.split(values, 5), strict=True):
        assert list(bar.get_xdata()) == [part.min(), part.max()]
        np.testing.assert_allclose(bar.get_ydata(), mine.mean())
    first, half = np.split(values, 5)[0], stats.t.ppf(0.975, 3) * np.split(values, 5)[0].std(ddof=1) / 2
    ends = [list(line.get_ydata()) for line in of_rate.lines if len(set(line.get_xdata())) == 1 < len(line.get_ydata())]
    np.testing.assert_allclose(ends[0], [first.mean() - half, first.mean() + half])
    assert [label.get_text() for label in of_cell.get_xticklabels()] == ["lstm", "gru"]


@pytest.mark.parametrize(
    ("bounds", "labels"),
    [
        ({"low": 3e-4, "high": 3e-3, "log": True}, ["0.0005", "0.001", "0.002"]),
        ({"low": 1e-5, "high": 1e-2, "log": True}, ["1e-05", "0.0001", "0.001", "0.01"]),
        ({"low": 0.0, "high": 0.5, "log": False}, ["0.0", "0.2", "0.4"]),
    ],
)
def test_the_axis_of_a_range_shows_the_whole_interval_with_labels(bounds, labels):
    axes = Figure().subplots()
    points = pd.DataFrame({"label": ["a", "b"], "rate": [0.001, 0.002], "value": 0.5, "is_reference": [True, False]})
    drawing.range_of(axes, points, "rate", bounds, levels=[0.001, 0.002], metric=meaning("test/loss", IMPLIED))
    axes.figure.draw_without_rendering()

    low, high = axes.get_xlim()
    shown = zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
    assert [text.get_text() for tick, text in shown if low <= tick <= high] == labels
    assert low < bounds["low"] < bounds["high"] < high


def test_levels_beside_ranges_stand_in_the_order_of_the_plan_not_of_the_draws():
    axes = Figure().subplots()
    points = pd.DataFrame({"label": ["a", "b"], "cell": ["lstm", "rnn"], "value": 0.5, "is_reference": [True, False]})
    drawing.range_of(axes, points, "cell", None, levels=["rnn", "gru", "lstm"], metric=meaning("test/loss", IMPLIED))

    assert [text.get_text() for text in axes.get_xticklabels()] == ["rnn", "lstm"]


def test_a_grid_of_linked_toggles_has_effects_of_the_first_of_them_only(own):
    levels = {"cell": ["lstm", "gru"], "learning_rate": [0.001, 0.01], "masking": [True, False]}
    linked = {"linked": [["cell", "learning_rate"]]}
    generated.study(own, "s", levels, usual, seeds=SEEDS, exclude=[], **linked)
    found = find("s", f"sqlite:///{own}")

    assert sorted(set(found.factorial["term"])) == ["cell", "cell:masking", "masking"]
    assert (found.factorial["aliased"] == "").all() and len(found.compared) == 4
    with pytest.raises(store.StoreError, match="--toggle learning_rate: it changes together with cell"):
        find("s", f"sqlite:///{own}", toggle="learning_rate")


ONE = {"validation": [0.8]}


def test_a_study_without_two_validations_has_curves_of_training_at_200_steps_or_fewer(own):
    generated.study(own, "s", {"cell": ["lstm", "gru"]}, lambda values, seed: usual(values, seed) | ONE, steps=501)

    drawing_ = drawn("s", "curves", f"sqlite:///{own}")
    axes = drawing_.figure.axes[0]

    assert axes.get_ylabel() == "training accuracy" and drawing_.caption.startswith("Training accuracy by step")
    assert [len(line.get_xdata()) for line in axes.lines if line.get_label() == "cell=gru"] == [167]


def test_the_forest_has_a_point_a_seed_and_the_interval_of_the_table(uri):
    found = find("whole", uri)
    axes, _ = drawn("whole", "forest", uri).figure.axes
    row = found.compared[found.compared["label"] == "masking=false cell=lstm"].iloc[0]
    dots = [line.get_xdata()[0] for line in axes.lines if str(line.get_gid()).startswith("hover: seed ")]
    bars = [list(line.get_xdata()) for line in axes.lines]

    assert len(dots) == 3 * len(SEEDS)
    difference = [
        accuracy({"masking": False, "cell": "lstm"}, seed) - accuracy({"masking": True, "cell": "lstm"}, seed)
        for seed in SEEDS
    ]
    np.testing.assert_allclose(dots[len(SEEDS) : 2 * len(SEEDS)], difference)
    assert [row["low"], row["high"]] in bars


def test_curves_have_the_mean_and_students_interval_over_seeds(uri):
    [by_step] = drawn("three_seeds", "curves", uri).figure.axes  # of three steps no time of the validations is known
    line = next(line for line in by_step.lines if line.get_label() == "cell=gru")
    values = [accuracy({"cell": "gru"}, seed) for seed in range(3)]

    assert line.get_xdata().tolist() == [40, 80, 120]
    assert line.get_ydata()[1] == pytest.approx(np.mean(values))
    band = by_step.collections[1].get_paths()[0].vertices[:, 1]
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert band.min() == pytest.approx(low - 0.1) and np.isclose(band, high).any()
    assert [axes.get_xlabel() for axes in drawn("whole", "curves", uri).figure.axes] == [
        "optimizer steps",
        "training time (s)",
    ]


def test_the_front_holds_what_no_other_variant_beats():
    points = pd.DataFrame({"label": list("abcd"), "time": [1.0, 2.0, 3.0, 2.0], "value": [0.5, 0.9, 0.8, 0.7]})

    assert groups.front(points, 1)["label"].tolist() == ["a", "b"]
    assert groups.front(points, -1)["label"].tolist() == ["a"]


def test_padding_is_drawn_in_rising_order():
    axes = Figure().subplots()
    steps = pd.DataFrame({"group": "g", "batch": [10, 10, 5], "length": [4, 10, 10], "tokens": [20, 90, 50]})
    drawing.padding_by_batch(axes, steps, looks(["g"]))

    np.testing.assert_allclose(axes.lines[0].get_ydata(), [0, 0.1, 0.5], atol=1e-12)


def test_the_distribution_of_times_has_its_median_and_percentiles():
    axes = Figure().subplots()
    values = np.arange(1, 101, dtype=float)
    drawing.time_per_batch(axes, pd.DataFrame({"group": "g", "time/batch_ms": values}), looks(["g"]))

    assert axes.lines[0].get_xdata().tolist() == np.percentile(values, [5, 95]).tolist()
    assert axes.lines[1].get_xdata().tolist() == [50.5]


def test_cells_of_a_heat_map_are_means_with_half_their_interval(uri):
    found = find("numbers", uri).study.finished
    axes = drawn("numbers", "heatmap", uri).figure.axes[0]
    cell = found.loc[(found["vocab_size"] == 100) & (found["max_length"] == 50), "test/accuracy"]
    half = stats.t.ppf(0.975, len(cell) - 1) * stats.sem(cell)

    assert axes.texts[0].get_text() == f"{cell.mean():.3f}\n± {half:.3f}"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("max_length", "vocab_size")


def test_seeds_that_lack_a_cell_are_in_no_mean_of_an_interaction(uri):
    found = find("troubled", uri).study.finished
    one = drawn("troubled", "interaction", uri)
    whole = found[~found["seed"].isin([1, 2])]
    means = whole.groupby(["masking", "cell"])["test/accuracy"].mean()

    assert one.caption.endswith("2 of 8 seeds lack a variant that others finished and are left out.")
    shown = [float(y) for line in one.figure.axes[0].lines for y in line.get_ydata()]
    assert all(any(value == pytest.approx(y, abs=1e-12) for y in shown) for value in means)


def test_a_cell_that_no_seed_finished_takes_no_seed_out_of_an_interaction(own):
    def outcome(values, seed):
        if values == {"cell": "simple_rnn", "masking": False}:
            return {"test/accuracy": math.nan, "status": "FAILED"}
        return {"test/accuracy": accuracy(values, seed)}

    generated.study(own, "s", {"cell": ["lstm", "gru", "simple_rnn"], "masking": [True, False]}, outcome, seeds=SEEDS)
    found = findings.find(load.study("s", store.connect(f"sqlite:///{own}")))
    rows, left_out = groups.whole_seeds(found.study)

    assert rows["seed"].nunique() == len(SEEDS) and not left_out
    assert len(list(figures.draw(found))) >= 2


def fraction(own, **changes):
    """Half of a grid, with an interaction of three toggles, and one of two others."""
    levels = {
        "cell": ["lstm", "gru"],
        "masking": [True, False],
        "units": [4, 8],
        "padding": ["dataset", "batch"],
        "dropout": [0.0, 0.5],
    }

    def outcome(values, seed):
        cell, masking, units = values["cell"] == "gru", values["masking"] is False, values["units"] == 8
        both = 0.02 * (cell and values["padding"] == "batch")
        noise = np.random.default_rng([seed, *map(ord, str(values))]).normal(0, 0.0003)
        return {"test/accuracy": 0.7 + 0.05 * (cell ^ masking ^ units) + both + noise}

    generated.study(own, "s", levels, outcome, seeds=SEEDS, **{"design": "fractional", **changes})
    return findings.find(load.study("s", store.connect(f"sqlite:///{own}")))


def test_the_condition_that_no_three_toggles_act_together_is_stated(own):
    found = fraction(own, resolution=5)
    one = figures.one(found, "interaction")

    assert "lines that are not parallel interact, if no three toggles act together." in one.caption
    table = tables.factorial(found)
    rows = {row[0].text: [cell.text for cell in row] for row in table.rows}
    assert rows["padding=batch × dropout=0.5"][-2:] == [
        "they interact, if no three toggles act together",
        "cell:masking:units",
    ]
    assert rows["cell=gru"][-2:] == ["helps, if no four toggles act together", ""]
    assert answer.sentences(found)[0].endswith(": they interact, if no three toggles act together.")


def test_a_full_grid_has_no_condition_in_its_captions(own):
    found = fraction(own, design="grid")

    assert " if no " not in figures.one(found, "interaction").caption + answer.sentences(found)[0]
    assert "mixed with" not in tables.factorial(found).headings


def test_lines_are_parallel_where_a_cell_is_missing_and_nothing_interacts(own):
    levels = {"cell": ["lstm", "gru"], "masking": [True, False], "units": [4, 8]}

    def outcome(values, seed):
        if values == {"cell": "gru", "masking": False, "units": 8}:
            return None
        added = 0.1 * (values["units"] == 8) + 0.02 * (values["cell"] == "gru") + 0.01 * (values["masking"] is False)
        return {"test/accuracy": 0.7 + added + 0.0001 * seed + 1e-5 * (seed % 3) * (values["units"] == 8)}

    generated.study(own, "s", levels, outcome, seeds=SEEDS)
    found = findings.find(load.study("s", store.connect(f"sqlite:///{own}")))
    for axes in figures.one(found, "interaction").figure.axes:
        one, other = (drawn[0].get_ydata() for drawn in axes.containers)
        np.testing.assert_allclose(np.diff(one), np.diff(other), atol=1e-9)


def test_the_caption_names_other_toggles_in_which_groups_differ():
    rows = pd.DataFrame({"a": [0, 0, 1], "b": [0, 1, 0], "c": [1, 1, 1]})

    assert (
        groups.differs_too(rows, ["a"], ["a", "b", "c"])
        == " They differ in b too, as not all combinations were trained."
    )
    assert not groups.differs_too(rows.iloc[[0, 2]], ["a"], ["a", "b", "c"])
    assert not groups.differs_too(rows, ["a", "b"], ["a", "b", "c"])


def test_a_waterfall_begins_each_bar_where_the_step_before_ended(uri):
    found = find("steps", uri).summary
    [axes] = drawn("steps", "waterfall", uri).figure.axes

    bars = [(bar.get_y(), bar.get_height()) for bar in axes.patches]
    assert bars[1] == pytest.approx((found["mean"].iloc[1], found["mean"].iloc[2] - found["mean"].iloc[1]))


def test_many_variants_are_grouped_by_the_toggle_that_matters_most(own):
    levels = {"units": [1, 2, 3, 4], "cell": ["lstm", "gru", "simple_rnn"]}
    generated.study(
        own,
        "s",
        levels,
        lambda values, seed: {"test/accuracy": 0.8 - 0.1 * (values["cell"] == "gru") + 0.001 * seed},
        steps=3,
    )
    study = load.study("s", store.connect(f"sqlite:///{own}"))
    rows, text = groups.grouped(findings.find(study))

    assert set(rows["group"]) == {"cell=lstm", "cell=gru", "cell=simple_rnn"} and text == "by cell, over all else"


def test_numbers_stand_in_their_order_on_an_axis_and_words_in_that_of_the_plan():
    assert drawing.in_order([0.001, 0.0003, 0.01, 0.001]) == [0.0003, 0.001, 0.01]
    assert drawing.in_order(["lstm", "gru"]) == ["lstm", "gru"] and drawing.in_order([True, False]) == [True, False]


@pytest.fixture
def path(own):
    """A path that tries eleven variants and keeps five."""

    def outcome(values, seed):
        gain = 0.03 * values["bidirectional"] - 0.01 * (values["padding"] == "batch")
        known = usual(values, seed)
        return {
            **known,
            "test/accuracy": known["test/accuracy"] + gain,
            "validation": [one + gain for one in known["validation"]],
        }

    levels = {
        "masking": [False, True],
        "cell": ["lstm", "gru"],
        "bidirectional": [False, True],
        "padding": ["dataset", "batch"],
    }
    generated.study(own, "long", levels, outcome, design="path", steps=20)
    return find("long", f"sqlite:///{own}")


def test_the_steps_of_a_path_have_the_same_colour_in_every_figure_regardless_of_rejected_flips(path):
    steps = path.summary["label"]
    finished = path.study.finished
    assert finished["label"].nunique() > MAX_VARIANTS >= len(steps)

    expected = looks(steps)  # of the forest
    backwards = steps[::-1]
    rows = finished[finished["label"].isin(steps)].assign(group=lambda rows: rows["label"])
    for look in (groups.looks_of(path), groups.looks_of(path, backwards), groups.looks_of(path, rows)):
        assert {name: look[name] for name in steps} == expected


def test_curves_and_times_of_a_long_path_are_of_its_steps(path):
    for name in ("curves", "times"):
        assert "by variant, without those that the path did not keep" in figures.one(path, name).caption


def test_a_variant_has_the_same_colour_and_mark_in_every_figure(uri):
    found = find("whole", uri)
    seen: dict[str, set] = {}
    for name in ("pareto", "curves"):
        for axes in figures.one(found, name).figure.axes:
            for line in axes.lines:
                if line.get_label() in set(found.study.rows["label"]):
                    seen.setdefault(line.get_label(), set()).add(
                        (mpl.colors.to_hex(line.get_color()), line.get_marker())
                    )
    for axes in figures.one(found, "forest").figure.axes:
        for line in axes.lines:
            label, _, _ = str(line.get_gid()).removeprefix("hover: ").partition(": ")
            if label in seen and line.get_marker() != "None":
                seen[label].add((mpl.colors.to_hex(line.get_color()), line.get_marker()))

    assert len(seen) == 4 and all(len(looks) == 1 for looks in seen.values())
    assert len({next(iter(looks)) for looks in seen.values()}) == 4


def test_effect_and_cost_stand_side_by_side(uri):
    found = find("whole", uri)
    effect, cost = drawn("whole", "forest", uri).figure.axes
    row = found.compared[found.compared["label"] == "masking=false cell=lstm"].iloc[0]

    assert [row["time_low"], row["time_high"]] in [list(line.get_xdata()) for line in cost.lines]
    assert effect.get_ylim() == cost.get_ylim() and cost.get_xlabel() == "ratio of ms per batch (lower is faster)"


@pytest.mark.parametrize("name", ["whole", "numbers", "steps", "one_seed"])
def test_figures_have_one_height_but_for_the_forest(name, uri):
    assert {one.figure.get_figheight() for one in figures.draw(find(name, uri)) if one.name != "forest"} == {
        figures.HEIGHT
    }


def test_captions_of_one_seed_promise_no_interval_and_no_mean(uri):
    captions = [one.caption for one in figures.draw(find("one_seed", uri))]

    assert sum("single seed, no intervals" in caption for caption in captions) == 3
    assert not [caption for caption in captions if "95 %" in caption or "mean" in caption or "over seeds" in caption]


def test_captions_say_over_how_many_seeds(uri):
    captions = {one.name: one.caption for one in figures.draw(find("troubled", uri))}

    assert "over 7 to 8 seeds" in captions["forest"] and "7 to 8 seeds" in captions["curves"]
    assert (
        groups.seeds([1]) == "1 seed"
        and groups.seeds([3, 8, 5]) == "3 to 8 seeds"
        and groups.seeds([4, 4]) == "4 seeds"
    )


def banded(own, validation):
    generated.study(
        own,
        "s",
        {"cell": ["lstm", "gru"]},
        lambda values, seed: {"test/accuracy": 0.8, "validation": validation(seed)},
        seeds=[0, 1],
        steps=3,
    )
    found = findings.find(load.study("s", store.connect(f"sqlite:///{own}")))
    return [band.get_paths()[0].vertices[:, 1] for band in figures.one(found, "curves").figure.axes[0].collections]


def test_a_band_does_not_vanish_where_all_seeds_have_one_value(own):
    bands = banded(own, lambda seed: [0.5, 0.6 + 0.01 * seed, 0.7])

    assert len(bands) == 2
    for band in bands:
        assert np.isfinite(band).all() and band[band > 0.65].max() > 0.7


def test_a_band_stays_within_the_range_of_an_accuracy(own):
    for band in banded(own, lambda seed: [0.02 + 0.02 * seed, 0.5, 0.9 + 0.09 * seed]):
        assert band.min() == 0 and band.max() == 1


def test_marks_have_tooltips_with_their_names_and_numbers(uri, tmp_path):
    svg = save(drawn("whole", "forest", uri).figure, tmp_path / "forest").read_text(encoding="utf-8")

    assert "<title>masking=true cell=gru: +0.050 [" in svg and "<title>seed 3: " in svg
    assert "<title>masking=false cell=lstm: ms per batch × 0.80 [" in svg and "hover" not in svg


def test_ticks_of_ratios_stand_apart_with_one_among_them():
    for ticks in ([0.9, 1, 1.1], drawing.RATIOS, [0.2, 0.5, 0.8, 0.9, 1, 1.1, 1.2, 2]):
        gaps = np.diff(np.log(drawing.around_one(ticks)))
        assert 1 in drawing.around_one(ticks) and gaps.min() >= np.log(ticks[-1] / ticks[0]) / 7


def test_padding_is_drawn_for_the_toggles_that_change_it_all_else_being_equal(own):
    levels = {"cell": ["lstm", "gru"], "padding": ["batch", "dataset"], "masking": [True, False]}

    def outcome(values, seed):
        return {
            "test/accuracy": 0.8 + 0.01 * seed,
            "data/padding_fraction": 0.3 if values["padding"] == "dataset" else 0.1,
        }

    generated.study(own, "s", levels, outcome, design="one_at_a_time", steps=3)
    axes = drawn("s", "padding", f"sqlite:///{own}").figure.axes[0]

    assert [line.get_label() for line in axes.lines] == ["padding=batch", "padding=dataset"]


def sized(values, seed):
    ratio = {"graph": 1.0, "eager": 8.0 / values["units"] ** 0.5, "xla": 0.5}[values["execution"]]
    noise = {0: 1.0, 1: 1.1, 2: 0.9}[seed] if values["execution"] != "graph" else 1.0
    return {
        "test/accuracy": 0.7,
        "model/parameters": 100.0 * values["units"],
        "time/batch_ms_median": 2 * ratio * noise,
    }


def test_ratios_of_times_are_drawn_by_the_parameters_of_the_model(own):
    levels = {"execution": ["graph", "eager", "xla"], "units": [1, 4, 16]}
    generated.study(own, "s", levels, sized, steps=20)

    one = drawn("s", "ratio_by_parameters", f"sqlite:///{own}")

    lines = {line.get_label(): line for line in one.figure.axes[0].lines if "execution" in str(line.get_label())}
    noise = stats.gmean([1.0, 1.1, 0.9])
    np.testing.assert_allclose(lines["execution=eager"].get_xdata(), [100, 400, 1_600], rtol=0.05)  # one beside another
    np.testing.assert_allclose(lines["execution=eager"].get_ydata(), [8 * noise, 4 * noise, 2 * noise])
    np.testing.assert_allclose(lines["execution=xla"].get_ydata(), 0.5 * noise)
    half = stats.t.ppf(0.975, 2) * stats.sem(np.log([1.0, 1.1, 0.9]))
    bars = [line.get_ydata() for line in one.figure.axes[0].lines if np.allclose(line.get_xdata(), 400, rtol=0.05)]
    np.testing.assert_allclose(
        next(bar for bar in bars if len(bar) == 2), [4 * noise * np.exp(-half), 4 * noise * np.exp(half)]
    )
    assert "as a multiple of that with execution=graph" in one.caption


@pytest.mark.parametrize("units", [[1, 4], [1, 4, 16]])
def test_ratios_by_parameters_need_three_sizes_and_a_toggle_that_leaves_them(own, units):
    generated.study(own, "few", {"execution": ["graph", "eager"], "units": units}, sized)
    generated.study(own, "alone", {"units": units}, lambda values, seed: sized({**values, "execution": "graph"}, seed))

    assert (drawn("few", "ratio_by_parameters", f"sqlite:///{own}") is not None) == (len(units) == 3)
    assert drawn("alone", "ratio_by_parameters", f"sqlite:///{own}") is None


def test_a_study_with_fixed_seeds_that_cannot_tell_shows_what_more_seeds_would_find(own):
    changes = [0.03, -0.02, 0.01, -0.01, 0.02, -0.02]
    generated.study(
        own, "s", {"cell": ["lstm", "gru"]},
        lambda values, seed: {"test/accuracy": 0.8 + changes[seed] * (values["cell"] == "gru")},
        seeds=range(6), steps=3,
    )  # fmt: skip
    picture = drawn("s", "power", f"sqlite:///{own}")
    assert picture is not None
    curves = {line.get_label(): line for line in picture.figure.axes[0].get_lines() if line.get_label()[0] != "_"}

    assert list(curves) == ["6 seeds", "12 seeds", "24 seeds"]
    change, chance = curves["12 seeds"].get_xdata()[9], curves["12 seeds"].get_ydata()[9]
    exact = TTestPower().power(change / np.std(changes, ddof=1), 12, 0.05)
    assert chance == pytest.approx(exact, abs=1e-3) and 0.2 < exact < 0.95
