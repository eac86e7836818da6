from __future__ import annotations

import pytest

from src.spec.metric import IMPLIED, Metric, as_records
from src.spec.record import EVALUATION, METRICS, START, Record
from src.tracking import outcome
from src.tracking.journal import FAILED, FINISHED, KILLED, Journal, end
from src.tracking.outcome import Outcome

PERPLEXITY = Metric("perplexity", "lower", digits=1)


def of(folder, *validations, name="val/perplexity", metrics=(PERPLEXITY,)):
    meanings = {METRICS: as_records(metrics)} if metrics else {}
    with Journal(folder) as book:
        book.append(Record(START, 0, detail={"attempt": "a", "tags": {}, **meanings}))
        for step, value in enumerate(validations, 1):
            book.append(Record(EVALUATION, step, {name: value, "val/loss": 1.0}, {"epoch": step}))
        book.append(end(step=9, status=FINISHED, metrics={"test/perplexity": 7.0}))
    return outcome.of_journal(folder)


def test_the_best_validation_is_the_lowest_if_lower_is_better(tmp_path):
    outcome = of(tmp_path, 90.0, 40.0, 60.0)

    assert (outcome.first_metric, outcome.best_validation) == ("perplexity", 40.0)


def test_a_journal_without_metrics_has_those_of_the_version_that_wrote_it(tmp_path):
    outcome = of(tmp_path, 0.5, 0.8, 0.7, name=f"val/{IMPLIED[0].name}", metrics=())

    assert (outcome.first_metric, outcome.best_validation) == (IMPLIED[0].name, 0.8)


@pytest.mark.parametrize("metrics", [(PERPLEXITY,), (Metric("perplexity", None),), (Metric("other", "lower"),)])
def test_a_journal_without_a_validation_of_the_first_metric_is_valid(tmp_path, metrics):
    values = (9.0,) if metrics[0].name != "perplexity" or not metrics[0].sign else ()
    outcome = of(tmp_path, *values, metrics=metrics)

    assert (outcome.status, outcome.best_validation) == (FINISHED, None)


@pytest.mark.parametrize(("direction", "best"), [("lower", "good"), ("higher", "better")])
def test_an_unfinished_or_unvalidated_trial_is_never_the_best(direction, best):
    trials = {
        "running": Outcome("a", None, first_metric="m", best_validation=0.0),
        "killed": Outcome("a", KILLED, first_metric="m", best_validation=-9.0),
        "failed": Outcome("a", FAILED, first_metric="m", best_validation=99.0),
        "not validated": Outcome("a", FINISHED, first_metric="m"),
        "other": Outcome("a", FINISHED, first_metric="n", best_validation=100.0),
        "good": Outcome("a", FINISHED, first_metric="m", best_validation=1.0),
        "better": Outcome("a", FINISHED, first_metric="m", best_validation=2.0),
    }

    assert outcome.best_validated(trials, Metric("m", direction)) == best
    assert outcome.best_validated(dict(list(trials.items())[:5]), Metric("m", direction)) is None
