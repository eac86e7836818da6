from __future__ import annotations

import copy
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from src import registry
from src.config.settings import checked
from src.spec.metric import Metric
from src.study import presented
from src.study.planning import study
from src.tracking import links
from src.tracking.journal import FAILED, FINISHED
from src.tracking.outcome import Outcome

QUESTION = {"plan": {"question": "Does [masking](http://x) pay?"}}


def rows_of(labels, seeds=(0, 1)):
    for label in labels:
        for seed in seeds:
            trial = SimpleNamespace(identity=f"{label} {seed}")
            yield SimpleNamespace(label=label, seed=seed, trial=trial, is_reference=label == labels[0])


def ended(accuracy, status=FINISHED):
    return Outcome(
        "a", status, metrics={"test/accuracy": accuracy} if status == FINISHED else {}, tags={"ablation.health": "ok"}
    )


def page(known, scores, remarks=()):
    asked = study({}, {"masking": [True, False], "cell": ["lstm", "gru"]}, compose=lambda _: checked(QUESTION))
    return presented.page(
        asked, list(rows_of(["masking=true", "masking=false"])), known, scores=scores, remarks=remarks
    )


WHOLE = {
    "masking=true 0": ended(0.8),
    "masking=true 1": ended(0.9),
    "masking=false 0": ended(0.9),
    "masking=false 1": ended(0.95),
}


def test_the_page_has_question_toggles_table_and_the_number_of_finished_trials():
    found = page(WHOLE, {0: 0.7, 1: 0.6}, remarks=["changed nothing: x"])

    assert "**Does &#91;masking&#93;&#40;http&#58;//x&#41; pay&#63;**" in found["description"]
    assert "| masking=true &#40;reference&#41; | 2 | 0.8500 |" in found["description"]
    assert (
        "masking&#58; true, false&#59; cell&#58; lstm, gru" in found["description"]
        and "changed nothing" in found["description"]
    )
    assert found["tags"]["ablation.varied"] == "masking, cell" and found["tags"]["ablation.finished"] == "4 of 4"
    assert (found["metrics"]["study/trials"], found["metrics"]["study/finished"]) == (4, 4)
    assert links.VIEW_TAG in found["experiment"]


def test_the_best_variant_has_the_highest_validation_and_not_the_highest_test_accuracy():
    found = page(WHOLE, {0: 0.7, 1: 0.6})

    assert found["tags"]["ablation.best_variant"] == "masking=true"
    assert found["metrics"]["study/best_val_accuracy"] == 0.7
    assert found["metrics"]["study/best_test_accuracy"] == pytest.approx(0.85)


def test_on_ties_the_first_variant_is_the_best():
    assert page(WHOLE, {0: 0.7, 1: 0.7})["tags"]["ablation.best_variant"] == "masking=true"


def test_there_is_no_table_and_no_best_variant_before_all_seeds_of_a_variant_finished():
    found = page({"masking=true 0": ended(0.0, FAILED)}, {})

    assert found["tags"]["ablation.best_variant"] == "none yet" and "|" not in found["description"]
    assert set(found["metrics"]) == {"study/trials", "study/finished"}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"experiment": 3, "description": "", "tags": {}, "metrics": {}}'])
def test_a_file_that_is_not_a_page_is_ignored(tmp_path, content):
    (tmp_path / presented.FILE).write_text(content, encoding="utf-8")

    assert presented.read(tmp_path) is None


def test_a_written_page_is_read_back(tmp_path):
    assert presented.read(tmp_path) is None
    found = page(WHOLE, {0: 0.7})

    (tmp_path / presented.FILE).write_text(json.dumps(found), encoding="utf-8")

    assert presented.read(tmp_path) == found


def test_if_lower_is_better_the_best_variant_has_the_lowest_validation_value(monkeypatch):
    task = copy.copy(registry.task("sentiment"))
    task.metrics = (Metric("perplexity", "lower", digits=1),)
    monkeypatch.setattr(registry, "task", lambda name: task)
    known = {name: replace(outcome, metrics={"test/perplexity": 90.0}) for name, outcome in WHOLE.items()}

    found = page(known, {0: 70.0, 1: 60.0})

    assert found["tags"]["ablation.best_variant"] == "masking=false"
    assert (
        found["metrics"]["study/best_val_perplexity"] == 60.0 and found["metrics"]["study/best_test_perplexity"] == 90.0
    )
    assert "| test perplexity |" in found["description"]
    assert json.loads(json.loads(found["experiment"][links.VIEW_TAG])["state"])["orderByAsc"] is True
