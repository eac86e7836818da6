"""Metrics of classifiers against plain NumPy, class weights, decision thresholds and warnings about unequal classes."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from src.config.settings import edited
from src.parts.classes import figures, measures, scores, toggles
from src.parts.classes.probabilities import decided
from src.tasks.integration.settings import Settings as Integration
from src.tasks.sentiment.settings import Settings
from src.tasks.sentiment.task import TASK
from tests.conftest import assert_nothing_is_cut_off

rng = np.random.default_rng(0)


def drawn(count, classes):
    """Returns probabilities float32[N, K] with a little truth in them, and labels."""
    labels = rng.integers(0, classes, count)
    logits = rng.normal(size=(count, classes)) + 1.5 * (labels[:, None] == np.arange(classes))
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return shares.astype(np.float32), labels


def auc(values, is_class):
    """The share of pairs that are in order; a tie counts half."""
    pairs = values[is_class][:, None] - values[~is_class][None]
    return float(((pairs > 0) + 0.5 * (pairs == 0)).mean())


def precision_at_hits(values, is_class):
    order = np.argsort(-values)
    hits = is_class[order]
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())


@pytest.mark.parametrize("classes", [2, 4])
def test_every_metric_is_what_its_definition_says(classes):
    shares, labels = drawn(200, classes)

    found = scores.of_predictions(shares, labels)

    best = shares.argmax(1)
    counted = range(classes) if classes > 2 else (1,)
    recalls = [(best[labels == k] == k).mean() for k in range(classes)]
    precisions = [(labels[best == k] == k).mean() for k in range(classes)]
    bins = np.ceil(shares.max(1) * 15).astype(int)
    gaps = [
        abs((best == labels)[bins == b].mean() - shares.max(1)[bins == b].mean()) * (bins == b).mean()
        for b in set(bins)
    ]
    expected = {
        "macro_f1": np.mean([2 * p * r / (p + r) for p, r in zip(precisions, recalls, strict=True)]),
        "balanced_accuracy": np.mean(recalls),
        "roc_auc": np.mean([auc(shares[:, k], labels == k) for k in counted]),
        "average_precision": np.mean([precision_at_hits(shares[:, k], labels == k) for k in counted]),
        "log_loss": -np.log(shares[np.arange(200), labels]).mean(),
        "calibration_error": sum(gaps),
    }
    assert set(found) == {metric.name for metric in toggles.OF_CLASSES}
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-6), name


def test_a_split_of_one_class_has_no_area_and_a_missing_class_is_left_out():
    shares, labels = drawn(50, 3)

    of_one = scores.of_predictions(shares, np.zeros(50, int))
    of_two = scores.of_predictions(shares, np.minimum(labels, 1))

    assert math.isnan(of_one["roc_auc"]) and math.isnan(of_one["average_precision"]) and of_one["log_loss"] > 0
    both = [auc(shares[:, k], np.minimum(labels, 1) == k) for k in (0, 1)]
    assert of_two["roc_auc"] == pytest.approx(np.mean(both), abs=1e-6)
    recalls = [(shares.argmax(1)[np.minimum(labels, 1) == k] == k).mean() for k in (0, 1)]
    assert of_two["balanced_accuracy"] == pytest.approx(np.mean(recalls))


def test_a_bin_has_the_predictions_up_to_its_upper_end():
    bins = scores.reliability_of(np.array([[0.45, 0.55], [0.0, 1.0]]), np.array([0, 1]))

    assert np.flatnonzero(bins[:, 0]).tolist() == [8, 14]  # above 8/15 and up to 9/15, and the last one
    np.testing.assert_allclose(bins[[8, 14]], [[1, 0.55, 0], [1, 1, 1]])


def test_predictions_that_are_not_finite_or_no_probabilities_have_no_value():
    shares, labels = drawn(20, 2)
    of_sums = scores.of_phase(lambda _: labels, are_probabilities=False)("test", {"probability": shares[:, 1:]})

    assert all(map(math.isnan, scores.of_predictions(np.full((20, 2), np.nan), labels).values()))
    assert math.isnan(of_sums["log_loss"]) and math.isnan(of_sums["calibration_error"])
    assert of_sums["roc_auc"] == pytest.approx(auc(shares[:, 1], labels == 1), abs=1e-6)


def test_the_threshold_has_the_highest_balanced_accuracy_of_all():
    shares, labels = drawn(300, 2)
    shares[:, 1] *= 0.4  # too careful with class 1
    shares[:, 0] = 1 - shares[:, 1]

    threshold = scores.threshold_of(shares, labels)

    def balanced(at):
        chosen = shares[:, 1] >= at
        return chosen[labels == 1].mean() + (~chosen)[labels == 0].mean()

    assert threshold < 0.45 and balanced(threshold) == pytest.approx(max(map(balanced, shares[:, 1])))
    np.testing.assert_array_equal(decided(shares, threshold), shares[:, 1] >= threshold)
    assert scores.threshold_of(shares, np.zeros(300, int)) == 0.5
    assert scores.threshold_of(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1])) == 0.5  # half is as good


def test_the_table_of_classes_has_a_row_for_each(tmp_path):
    shares, labels = drawn(100, 3)

    name = scores.write(tmp_path, shares, labels, ["a", "b", "c"])

    table = pd.read_csv(tmp_path / name)
    best = shares.argmax(1)
    assert table["class"].tolist() == ["a", "b", "c"] and table["examples"].tolist() == np.bincount(labels).tolist()
    assert table["predicted"].tolist() == np.bincount(best, minlength=3).tolist()
    np.testing.assert_allclose(table["recall"], [(best[labels == k] == k).mean() for k in range(3)])
    np.testing.assert_allclose(table["roc_auc"], [auc(shares[:, k], labels == k) for k in range(3)], atol=1e-6)


def test_balanced_weights_are_scikit_learns():
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.array([0] * 90 + [1] * 9 + [2])

    weights = measures.weights_of(labels, 3)

    np.testing.assert_allclose(weights, compute_class_weight("balanced", classes=np.arange(3), y=labels))
    assert np.mean(weights[labels]) == pytest.approx(1) and measures.weights_of(labels, 4)[3] == 1


@pytest.mark.training
def test_a_weight_multiplies_the_loss_of_its_class_alone():
    import tensorflow as tf

    outputs, classes = tf.constant(rng.normal(size=(6, 2)), tf.float32), tf.constant([0, 1, 1, 0, 1, 0])
    plain = measures.measure_softmax(outputs, classes)

    found = measures.weighted(measures.measure_softmax, np.array([0.5, 3.0]))(outputs, classes)

    np.testing.assert_allclose(found["loss"][0], plain["loss"][0] * np.array([0.5, 3, 3, 0.5, 3, 0.5]), rtol=1e-6)
    np.testing.assert_array_equal(found["loss"][1], np.ones(6))
    np.testing.assert_array_equal(found["accuracy"][0], plain["accuracy"][0])


EVEN, SKEWED = {"train": [50, 50], "test": [10, 10]}, {"train": [90, 10], "test": [9, 0]}


def test_unequal_classes_get_a_warning_with_the_metric_that_suits():
    def warned(counts, **changes):
        return toggles.warnings(edited(Settings(), changes), counts=counts, classes=["bad", "good"])

    assert warned(EVEN) == []
    unequal, alone = warned(SKEWED)
    assert unequal.startswith("91% of the examples are 'bad', so the accuracy") and "test/balanced_accuracy" in unequal
    assert alone == "the test split has only 'bad', so its ROC AUC and average precision are undefined"
    assert warned(SKEWED, **{"plan.metric": "test/macro_f1"}) == [alone]


@pytest.mark.parametrize(
    ("metric", "tested", "lacks", "message"),
    [
        ("test/roc_auc", [9, 0], "", "needs two classes in the test split, which has only 'bad'"),
        ("test/roc_auc", [9, 1], "", None),
        ("test/log_loss", None, "target=integral", "needs probabilities, which target=integral has not"),
        ("test/roc_auc", None, "target=integral", None),
        ("test/log_loss", [9, 0], "", None),
        (None, [9, 0], "target=integral", None),
    ],
)
def test_a_study_cannot_compare_by_a_metric_that_has_no_value(metric, tested, lacks, message):
    settings = edited(Integration(), {"plan.metric": metric})

    counts = {"test": tested, "validation": [5, 5]}.__getitem__ if tested else None
    reasons = toggles.refusals(settings, counts=counts, classes=["bad", "good"], lacks=lacks)

    assert len(reasons) == (message is not None)
    assert message is None or (message in reasons[0] and reasons[0].startswith(f"plan.metric={metric} "))


@pytest.mark.parametrize(
    ("select", "lacks", "message"),
    [
        ("roc_auc", "", "select=roc_auc needs two classes in the validation split, which has only 'good'"),
        ("log_loss", "target=integral", "select=log_loss needs probabilities, which target=integral has not"),
        ("macro_f1", "target=integral", None),
    ],
)
def test_epochs_cannot_be_chosen_by_a_metric_that_has_no_value(select, lacks, message):
    counts = {"test": [9, 9], "validation": [0, 5]}.__getitem__
    reasons = toggles.refusals(
        edited(Integration(), {"select": select}), counts=counts, classes=["bad", "good"], lacks=lacks
    )

    assert len(reasons) == (message is not None) and (message is None or reasons[0].startswith(message))


def test_only_two_classes_have_a_threshold():
    changes = toggles.head_of(edited(Settings(), {"decision_threshold": "validation"}), 3)

    assert [(change.key, change.used) for change in changes] == [("head", "softmax"), ("decision_threshold", "half")]
    assert toggles.head_of(edited(Settings(), {"decision_threshold": "validation"}), 2) == []


def test_every_metric_has_a_direction_and_a_margin():
    assert all(metric.sign and metric.margin and metric.of_corpus for metric in toggles.OF_CLASSES)
    assert set(toggles.OF_CLASSES) < set(TASK.metrics)


class Store:
    def __init__(self, folder):
        self.folder = folder

    def artifact(self, run_id, name):
        return path if (path := self.folder / run_id / name).is_file() else None


def study_of(folder, labels, classes, *, each=lambda label, seed: drawn(100, 3)):
    """Writes the test predictions of trials of two seeds; returns what the figures read of their study."""
    rows = []
    for place, label in enumerate(labels):
        for seed in (0, 1):
            shares, own = each(label, seed)
            run = f"{place}{seed}"
            (folder / run).mkdir()
            columns = {f"probability_{k}": shares[:, k] for k in range(shares.shape[1])}
            pd.DataFrame({"label": own, **columns}).to_parquet(folder / run / "test_probabilities.parquet")
            (folder / run / "preprocessing.json").write_text(json.dumps({"classes": classes}))
            rows.append({"run_id": run, "label": label, "is_reference": place == 0, "seed": seed})
    return SimpleNamespace(store=Store(folder), finished=pd.DataFrame(rows))


def test_the_figures_show_confusions_and_reliability_of_each_variant(tmp_path):
    study = study_of(tmp_path, ["a", "b"], ["x", "y", "z"])

    of_classes, _ = figures.confusion(study)
    calibration, caption = figures.reliability(study)

    assert [axes.get_title() for axes in of_classes.axes] == ["a (n = 2)", "b (n = 2)"]
    assert [text.get_text() for text in of_classes.axes[0].get_xticklabels()] == ["x", "y", "z"]
    (axes,) = calibration.axes
    frames = [pd.read_parquet(tmp_path / f"0{seed}" / "test_probabilities.parquet") for seed in (0, 1)]
    both = pd.concat(frames)
    bins = scores.reliability_of(both.drop(columns="label").to_numpy(), both["label"].to_numpy())
    np.testing.assert_allclose(axes.lines[1].get_ydata(), bins[bins[:, 0] > 0, 2])
    assert axes.lines[1].get_label().startswith("a (error 0.") and "diagonal" in caption
    with pytest.raises(LookupError, match="no finished trial has test_probabilities"):
        figures.reliability(SimpleNamespace(store=Store(tmp_path / "x"), finished=study.finished))


LONG = [
    f"class_weights_of_loss={weights} decision_threshold_of_test={threshold}"
    for weights in ("none", "balanced")
    for threshold in ("half", "validation")
]


@pytest.mark.parametrize("classes", [["negative", "positive"], [f"a class with a long name {k}" for k in range(10)]])
def test_long_names_of_variants_and_classes_stay_inside_the_figures_and_apart(tmp_path, classes):
    study = study_of(tmp_path, LONG, classes, each=lambda *_: drawn(100, len(classes)))

    confusions, calibration = (draw(study)[0] for draw in (figures.confusion, figures.reliability))

    for figure in (confusions, calibration):
        figure.savefig(tmp_path / "x.png", facecolor="white")  # a warning of matplotlib is an error
        assert_nothing_is_cut_off(tmp_path / "x.png")
    left, right = (axes.title.get_window_extent() for axes in confusions.axes[:2])
    assert left.x1 <= right.x0
    titles = [axes.get_title().replace("\n", " ") for axes in confusions.axes]
    assert titles == [f"{label} (n = 2)" for label in LONG]


def test_lines_of_equal_reliability_are_all_visible_beside_the_legend(tmp_path):
    sure = np.array([[0.01, 0.99], [0.99, 0.01], [0.4, 0.6]] * 20), np.array([1, 0, 1] * 20)
    figure, _ = figures.reliability(study_of(tmp_path, LONG, ["a", "b"], each=lambda *_: sure))

    figure.draw_without_rendering()
    (axes,), (legend,) = figure.axes, figure.legends
    lines = axes.lines[1:]
    assert axes.get_legend() is None and not legend.get_window_extent().overlaps(axes.get_window_extent())
    assert len({line.get_marker() for line in lines}) == len({line.get_linestyle() for line in lines}) == 4
    widths = [line.get_linewidth() for line in lines]
    assert widths == sorted(widths, reverse=True) and len(set(widths)) == 4  # the first is drawn below the others
    assert all(line.get_ydata()[-1] == 1 for line in lines) and axes.get_ylim()[1] > 1 and axes.get_xlim()[1] > 1
