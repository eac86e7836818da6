"""Trials of a table with nine texts of one class for one of the other."""

from __future__ import annotations

import csv
import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from analysis import examples
from src.config.settings import checked, edited
from src.parts.classes import errors, figures, scores
from src.parts.classes.toggles import OF_CLASSES
from src.spec.record import EVALUATION
from src.spec.task import Trial
from src.tasks.sentiment.predicting import Answer
from src.tasks.sentiment.task import TASK
from src.trial.prepare import prepare
from tests.conftest import BAD, GOOD, PLAIN

pytestmark = pytest.mark.training


@pytest.fixture(autouse=True)
def eager():
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def trial(home, tmp_path):
    """Returns a function from changes to a trial. A text has a word of its own class, or none."""
    rng = np.random.default_rng(0)
    with (tmp_path / "skewed.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        for number in range(400):
            words = BAD if number % 10 else GOOD
            rows.writerow([" ".join([*rng.choice(PLAIN, 6), *rng.choice([*words, *PLAIN], 2)]), words is GOOD])

    def made(**changes):
        small = {"encoder": "bag", "vocab_size": 40, "embedding_dim": 4, "batch_size": 40, "bucketing": False}
        small |= {"learning_rate": 0.02, "tracking": {"histograms": False}}
        data = {"name": "table", "path": str(tmp_path / "skewed.csv")}
        prepared = prepare(checked({"data": data, **small, **changes}))
        (folder := tmp_path / prepared.identity).mkdir(exist_ok=True)
        return Trial(prepared.settings, prepared.data, folder, "trial", True, "attempt", prepared.identity)

    return made


def ended(made):
    """Returns the probabilities, the labels and the end of a trial, and its other records."""
    *records, end = TASK.records(made)
    rows = pd.read_parquet(made.folder / "test_probabilities.parquet")
    return rows[["probability_0", "probability_1"]].to_numpy(), rows["label"].to_numpy(), end, records


@pytest.mark.parametrize(("select", "best"), [("log_loss", np.argmin), ("accuracy", np.argmax)])
def test_the_chosen_metric_decides_which_epoch_counts(trial, select, best):
    # a rate that makes the probabilities worse while the decisions stay
    *_, end, records = ended(trial(select=select, epochs=4, learning_rate=0.5))

    values = [record.metrics[f"val/{select}"] for record in records if record.kind == EVALUATION]
    assert end.detail["tags"]["ablation.best_epoch"] == f"{best(values) + 1} of 4"


def test_validation_and_test_record_every_metric_and_the_trial_keeps_its_worst_errors(trial):
    made = trial()
    shares, labels, end, records = ended(made)

    expected = scores.of_predictions(shares, labels)
    assert {name: end.metrics[f"test/{name}"] for name in expected} == pytest.approx(expected, abs=1e-6)
    judged = [record for record in records if record.kind == EVALUATION]
    assert all({f"val/{metric.name}" for metric in OF_CLASSES} < set(record.metrics) for record in judged)
    worst = pd.read_parquet(made.folder / "worst_test.parquet")
    order = np.argsort(shares[np.arange(len(labels)), labels], kind="stable")[: len(worst)]
    assert worst["row"].tolist() == order.tolist() and {"worst_test.parquet", "classes_test.csv"} < set(
        end.detail["artifacts"]
    )
    words = made.data.words(40)
    first = made.data.split("test").ids[slice(*made.data.split("test").starts[order[0] : order[0] + 2])]
    assert worst["text"][0] == " ".join(words[number - 4] for number in first if number >= 4)


def test_weights_raise_the_probability_of_the_small_class(trial):
    plain, _, _, _ = ended(trial(epochs=2))
    weighted, labels, end, _ = ended(trial(epochs=2, class_weights="balanced"))

    assert weighted[:, 1].mean() > plain[:, 1].mean() + 0.1
    train = trial().data.split("train").labels
    of_class = len(train) / (2 * np.bincount(train))
    losses = -np.log(weighted[np.arange(len(labels)), labels])
    assert end.metrics["test/loss"] == pytest.approx((of_class[labels] * losses).mean(), rel=1e-4)
    assert end.metrics["test/log_loss"] == pytest.approx(losses.mean(), rel=1e-4)


def test_the_threshold_of_validation_decides_the_test_and_later_predictions(trial):
    made = trial(decision_threshold="validation")
    shares, labels, end, _ = ended(made)
    half = ended(trial())[2]

    threshold = end.metrics["test/decision_threshold"]
    decisions = shares[:, 1] >= threshold
    recalls = [(decisions[labels == k] == k).mean() for k in (0, 1)]
    assert 0 < threshold < 0.5
    assert end.metrics["test/balanced_accuracy"] == pytest.approx(np.mean(recalls))
    assert end.metrics["test/balanced_accuracy"] > half.metrics["test/balanced_accuracy"]
    assert end.metrics["test/accuracy"] == pytest.approx((decisions == labels).mean())
    assert end.metrics["test/roc_auc"] == half.metrics["test/roc_auc"] and "test/decision_threshold" not in half.metrics
    table = pd.read_csv(made.folder / "classes_test.csv")
    assert table["predicted"].tolist() == [(~decisions).sum(), decisions.sum()]
    assert json.loads((made.folder / "preprocessing.json").read_text())["threshold"] == threshold
    assert Answer(1, "", np.array([0.8, 0.2]), None, 0.15).order == [1, 0]
    assert Answer(1, "", np.array([0.8, 0.2]), None).order == [0, 1]


def study_of(made, **columns):
    """Returns what the figures read of a study with this one trial."""
    store = SimpleNamespace(artifact=lambda run_id, name: path if (path := made.folder / name).is_file() else None)
    row = {"run_id": "run", "label": "a", "is_reference": True, "seed": 0, **columns}
    return SimpleNamespace(store=store, finished=pd.DataFrame([row]))


def test_all_files_and_the_figure_of_a_trial_use_its_own_threshold(trial):
    made = trial(decision_threshold="validation")
    shares, labels, end, _ = ended(made)
    decisions = (shares[:, 1] >= end.metrics["test/decision_threshold"]).astype(int)
    assert (decisions != shares.argmax(1)).any()

    figure, _ = figures.confusion(study_of(made))

    expected = [[(decisions[labels == k] == one).mean() for one in (0, 1)] for k in (0, 1)]
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), expected)
    classes, worst = pd.read_csv(made.folder / "classes_test.csv"), pd.read_parquet(made.folder / "worst_test.parquet")
    assert classes["recall"].tolist() == pytest.approx([expected[0][0], expected[1][1]])
    wrong = np.flatnonzero(decisions != labels)
    of_own = shares[np.arange(len(labels)), labels]
    assert len(wrong) > 0 and worst["is_wrong"].tolist() == (decisions != labels)[worst["row"]].tolist()
    assert worst["row"][: len(wrong)].tolist() == sorted(wrong, key=lambda row: (of_own[row], row))[:24]
    assert worst["prediction"].tolist() == [made.data.classes[one] for one in decisions[worst["row"]]]
    frame = pd.read_parquet(made.folder / "test_probabilities.parquet")
    assert frame["prediction"].tolist() == decisions.tolist()
    assert examples.of_classes(frame).mean == pytest.approx(end.metrics["test/accuracy"])

    frame.drop(columns="prediction").to_parquet(made.folder / "test_probabilities.parquet")  # of an earlier version
    earlier = study_of(made, **{"test/decision_threshold": end.metrics["test/decision_threshold"]})
    np.testing.assert_allclose(figures.confusion(earlier)[0].axes[0].images[0].get_array(), expected)


def test_the_worst_errors_lead_to_the_rows_of_the_users_file(trial, tmp_path, capsys):
    made = trial(epochs=1)
    ended(made)
    worst = pd.read_parquet(made.folder / "worst_test.parquet")
    with (tmp_path / "skewed.csv").open(newline="") as file:
        texts = list(csv.DictReader(file))
    capsys.readouterr()

    errors.errors(made.folder, count=2)

    first, *lines = capsys.readouterr().out.splitlines()
    rows = worst[worst["is_wrong"]].head(2).to_dict("records")
    assert first.split("\t") == ["number", "class", "prediction", "probability", "source", "text"]
    assert len(lines) == len(rows) == 2
    for number, (line, row) in enumerate(zip(lines, rows, strict=True), 1):
        source = texts[row["source_row"] - 1]
        assert source["text"] == row["original"] and source["label"] == row["class"] != row["prediction"]
        cells = [str(number), row["class"], row["prediction"], f"{row['probability']:.3f}"]
        assert line.split("\t") == [*cells, f"row {row['source_row']} of skewed.csv", row["original"]]


def test_the_plan_warns_about_the_classes(trial):
    made = trial()

    lines = TASK.summary([made.settings], made.data)

    assert any("90% of the examples are 'False'" in line for line in lines)
    assert not any(
        "so the accuracy" in line for line in TASK.summary([trial(plan={"metric": "test/roc_auc"}).settings], made.data)
    )


def test_a_study_cannot_compare_by_the_area_of_one_class(trial):
    counts = {"train": [5, 5], "validation": [5, 5], "test": [5, 0]}
    made = trial()
    data = dataclasses.replace(made.data, contents=dataclasses.replace(made.data.contents, counts=counts))
    by_area = edited(made.settings, {"plan.metric": "test/roc_auc"})

    (reason,) = TASK.refusals(by_area, data)

    assert reason.startswith("plan.metric=test/roc_auc needs two classes in the test split, which has only 'False'; ")
