"""What MLflow gets of a trial besides its curves: description, data, patch, tags, and the best validation value."""

from __future__ import annotations

import json
import sqlite3

import pytest

from src.artifacts import PATCH
from src.config.settings import edited
from src.files import digest
from src.spec.metric import IMPLIED, Metric, as_records, best_name
from src.spec.record import EVALUATION, METRICS, START, STEP, SYSTEM, Record
from src.tasks.sentiment.settings import Settings
from src.tracking import descriptions
from src.tracking.journal import FAILED, FINISHED, Journal, end
from src.tracking.mlflow_replay import Store
from src.tracking.stored import VALUE

DATA = {"name": "reviews", "digest": "5dfbeb7dcafe0123", "source": "/data/reviews.csv", "classes": ["bad", "good"]}
BEST_VALIDATION = best_name(IMPLIED[0])
ROWS = {"train": 140, "validation": 20, "test": 40}


def start(attempt="one", **detail):
    tags = {"ablation.kind": "trial", "ablation.identity": "cafe", **detail.pop("tags", {})}
    return Record(START, 0, detail={"attempt": attempt, "name": "cell=gru", "tags": tags, "params": {}, **detail})


def finish(**metrics):
    return end(step=1, status=FINISHED, metrics=metrics)


@pytest.fixture
def trial(home, blank):
    folder = home / "outputs" / "s" / "cafe"
    folder.mkdir(parents=True)
    return folder


def sent(folder, *records, times=1):
    with Journal(folder) as book:
        for record in records:
            book.append(record)
    store = Store(None, "s")
    for _ in range(times):
        (folder / "mlflow.json").unlink(missing_ok=True)
        store.replay(folder)
    (run,) = store._search("tags.`ablation.kind` = 'trial'")
    return store, run


def test_the_gradient_norm_is_a_metric_of_the_sent_steps(trial):
    steps = [
        Record(STEP, n, {"train/loss": 1.0}, {"is_sent": n % 2 == 0, "gradient_norm": n / 10}) for n in (1, 2, 3, 4)
    ]

    store, run = sent(trial, start(), *steps)

    history = store.client.get_metric_history(run.info.run_id, "train/gradient_norm")
    assert [(point.step, point.value) for point in history] == [(2, 0.2), (4, 0.4)]


def test_system_metrics_are_recorded_independently_of_the_sent_steps(trial):
    _, run = sent(trial, start(), Record(SYSTEM, 3, {"system/cpu_utilization_percentage": 50.0}))

    assert run.data.metrics["system/cpu_utilization_percentage"] == 50.0


def test_the_best_validation_needs_no_history_if_the_trial_recorded_it(trial):
    evaluations = [Record(EVALUATION, n, {"val/accuracy": value}) for n, value in ((1, 0.9), (2, 0.7))]

    store, run = sent(trial, start(), *evaluations, finish(**{BEST_VALIDATION: 0.9}))

    assert (run.data.metrics["val/accuracy"], run.data.metrics[BEST_VALIDATION]) == (0.7, 0.9)
    assert store.outcomes(IMPLIED)["cafe"].best_validation == 0.9


def test_the_best_validation_of_an_older_journal_is_sent_with_it_once(trial):
    evaluations = [Record(EVALUATION, n, {"val/accuracy": value}) for n, value in ((1, 0.9), (2, 0.7))]

    store, run = sent(trial, start(), *evaluations, finish(), times=2)

    assert store.outcomes(IMPLIED)["cafe"].best_validation == store.best_validation(run.info.run_id, IMPLIED[0]) == 0.9
    assert len(store.client.get_metric_history(run.info.run_id, BEST_VALIDATION)) == 1


def test_the_history_gives_the_best_validation_of_an_older_trial(trial):
    store, run = sent(
        trial, start(), Record(EVALUATION, 1, {"val/accuracy": 0.9}), Record(EVALUATION, 2, {"val/accuracy": 0.7})
    )
    store.client.set_terminated(run.info.run_id)

    assert (
        store.outcomes(IMPLIED)["cafe"].best_validation is None
        and store.best_validation(run.info.run_id, IMPLIED[0]) == 0.9
    )


def test_the_data_are_three_datasets_even_if_they_are_sent_twice(trial, home):
    store, run = sent(trial, start(data={**DATA, "rows": ROWS}), times=2)

    inputs = store.client.get_run(run.info.run_id).inputs.dataset_inputs
    found = {
        one.tags[0].value: (one.dataset.name, one.dataset.digest, json.loads(one.dataset.profile)["num_rows"])
        for one in inputs
    }
    assert found == {
        "training": ("reviews", "5dfbeb7dcafe0123-train", 140),
        "validation": ("reviews", "5dfbeb7dcafe0123-validation", 20),
        "test": ("reviews", "5dfbeb7dcafe0123-test", 40),
    }
    assert len(inputs) == 3
    with sqlite3.connect(home / "mlflow.db") as database:
        assert database.execute("SELECT COUNT(*) FROM datasets").fetchone() == (3,)


def test_long_names_and_many_classes_are_stored(trial):
    data = {**DATA, "name": "é" * 3_000, "source": "/" + "x" * 70_000, "classes": ["c" * 500] * 2_000, "rows": ROWS}

    store, run = sent(trial, start(data=data))

    assert len(store.client.get_run(run.info.run_id).inputs.dataset_inputs) == 3


def test_mlflow_shows_the_description_above_the_run(trial):
    _, run = sent(trial, start(description="changes **cell\\=gru**"))

    assert run.data.tags["mlflow.note.content"] == "changes **cell\\=gru**"


@pytest.mark.parametrize("status", [FINISHED, FAILED])
def test_the_patch_of_the_code_is_sent_with_a_trial_of_any_outcome(trial, status):
    (trial / PATCH).write_bytes(b"diff --git a/src/x.py\n+\xff\n")
    tag = digest((trial / PATCH).read_bytes().decode(errors="surrogateescape"))

    store, run = sent(trial, start(tags={"ablation.git_diff": tag}), end(step=1, status=status, error="x"))

    assert [file.path for file in store.client.list_artifacts(run.info.run_id)] == [PATCH]


def test_the_patch_of_a_later_attempt_is_not_sent_for_an_earlier_one(trial):
    (trial / PATCH).write_text("of the second attempt", encoding="utf-8")

    store, run = sent(trial, start(tags={"ablation.git_diff": "0123456789abcdef"}), finish())

    assert store.client.list_artifacts(run.info.run_id) == []


def test_the_description_of_a_trial_has_its_changes_and_its_studys_question():
    settings = edited(
        Settings(), {"cell": "gru", "study": "s", "plan.question": "Does it pay?", "tracking.note": "by hand"}
    )

    lines = descriptions.of_trial(settings).split("\n\n")

    assert lines == [
        "Trial of study **s** with seed 0: changes **cell=gru** of the defaults.",
        "**Does it pay&#63;**",
        "Note: by hand",
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ("masking=false", "changes **masking&#61;false** of the reference."),
        ("", "the reference, to which others are compared."),
    ],
)
def test_a_trial_is_described_relative_to_its_studys_reference(changes, said):
    text = descriptions.of_trial(edited(Settings(), {"cell": "gru", "study": "s"}), changes=changes)

    assert text == f"Trial of study **s** with seed 0: {said}".replace("&#61;", "=")


@pytest.mark.parametrize(
    "text",
    [
        *("[click](http://evil)", "<script>alert(1)</script>", "| a | b |", "# big\n- list"),
        *("*x* _y_ `z`", "www.evil.com", "a@b.c", "![i](x)", "&lt;"),
    ],
)
def test_the_text_of_a_user_is_not_markup(text):
    shown = descriptions.of_trial(edited(Settings(), {"tracking.note": text})).split("Note: ")[1]

    assert "\n" not in shown and "<" not in shown and "@" not in shown
    assert "://" not in shown and "www." not in shown
    for sign in "*_`[]()#|!.":
        assert shown.count(sign) - shown.count("&#") * (sign == "#") == shown.count("\\" + sign)


def test_the_description_of_a_study_has_a_table_that_fits_a_tag():
    plan = {"question": "q" * 5_000, "claim": None, "design": "grid"}
    rows = [[f"cell=gru units={number}", "3", "0.8000"] for number in range(5_000)]

    text = descriptions.of_study(
        plan, levels={"cell": ["gru"]}, headings=["variant", "n", "test accuracy"], rows=rows, remarks=""
    )

    assert len(text.encode()) <= VALUE
    assert "cell=gru units=0" in text and "more variants" in text


PERPLEXITY = Metric("perplexity", "lower", digits=1)


def test_the_lowest_validation_is_sent_as_the_best_if_lower_is_better(trial):
    evaluations = [Record(EVALUATION, n, {"val/perplexity": value}) for n, value in ((1, 40.0), (2, 70.0))]

    store, run = sent(trial, start(**{METRICS: as_records([PERPLEXITY])}), *evaluations, finish())

    assert run.data.metrics["best/val_perplexity"] == 40.0
    assert (
        store.outcomes([PERPLEXITY])["cafe"].best_validation
        == store.best_validation(run.info.run_id, PERPLEXITY)
        == 40.0
    )
    assert store.outcomes([*IMPLIED, PERPLEXITY])["cafe"].first_metric == "perplexity"


def test_a_trial_without_a_validation_is_sent_completely(trial):
    store, run = sent(trial, start(), finish(**{"test/loss": 1.0}))

    assert run.info.status == FINISHED and store.outcomes(IMPLIED)["cafe"].best_validation is None


def test_a_dataset_has_descriptions_as_its_profile_and_columns_as_its_schema(trial):
    data = {"name": "images", "digest": "d", "source": "s", "rows": {"train": 3}, "columns": {"pixels": "float"}}

    store, run = sent(trial, start(data={**data, "classes": ["a"] * 200, "channels": 3}))

    (read,) = store.client.get_run(run.info.run_id).inputs.dataset_inputs
    profile = json.loads(read.dataset.profile)
    assert (profile["num_rows"], profile["num_classes"], len(profile["classes"]), profile["channels"]) == (
        3,
        200,
        100,
        3,
    )
    assert json.loads(read.dataset.schema) == {"mlflow_colspec": [{"type": "float", "name": "pixels"}]}
