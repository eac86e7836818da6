"""Successive halving: rungs, what they keep, resuming, refusals, and its error; a launcher writes the journals."""

from __future__ import annotations

import io
import json
import re
import time
import uuid

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scipy import stats

from analysis.inference import holm
from src import paths, status
from src.config.settings import edited
from src.spec.metric import Metric, as_records
from src.spec.record import EVALUATION, METRICS, START, Record
from src.spec.section import SettingsError
from src.spec.settings import Interval
from src.study import TrialsFailed, designs, halving, plan, sweep
from src.study.job import Sweep
from src.tracking import provenance
from src.tracking.journal import FAILED, FINISHED, KILLED, Journal, end

UNITS = {"units": [8, 1, 2, 3, 4, 5, 6, 7, 9, 10]}  # the reference is 8; nine candidates
HALVING = {"design": "halving", "rungs": [1, 3]}


class Launcher:
    """Writes the journals of trials without training; `value` gives the validation accuracy of a row."""

    def __init__(self, value=lambda row: row.values["units"] / 100, outcome=lambda row: FINISHED):
        self.value, self.outcome, self.launched = value, outcome, []

    def __call__(self, rows):
        for row in rows:
            if self.sweep.why_stopped(row.trial.folder.parent):
                continue
            self.launched.append((row.values["units"], row.trial.settings.epochs, row.seed))
            ended = self.outcome(row)
            if ended == "power cut":
                raise KeyboardInterrupt
            with Journal(row.trial.folder) as book:
                tags = {"ablation.kind": "trial", "ablation.identity": row.trial.identity, **provenance.tags()}
                detail = {"attempt": f"{row.trial.identity} {time.time_ns()}", "name": row.label, "tags": tags}
                metrics = as_records(row.trial.task.metrics_of(row.trial.settings))
                book.append(Record(START, 0, detail={**detail, "params": {}, "process": "", METRICS: metrics}))
                book.append(Record(EVALUATION, 1, {"val/accuracy": self.value(row)}, {"epoch": 1}))
                of_test = {"test/accuracy": -row.values["units"] / 100, "time/batch_ms_median": 10.0}
                last = {"ablation.health": "ok", "ablation.weights": row.trial.identity}
                error = None if ended == FINISHED else "no memory"
                book.append(end(step=1, status=ended, error=error, metrics=of_test, tags=last))
        return {}

    def at(self, epochs):
        return sorted({units for units, trained, _ in self.launched if trained == epochs})


def planned(base, changes=None, swept=UNITS, **settings):
    values = {"epochs": 9, "plan.design": "halving", "plan.seeds": [0, 1]} | {
        f"plan.{key}": value for key, value in (changes or {}).items()
    }
    return plan.study({}, swept, compose=lambda _: edited(base, values | settings))


def run(base, launcher, changes=None, swept=UNITS, **settings):
    console = Console(record=True, width=400, file=io.StringIO())
    study, failed = planned(base, changes, swept, **settings), False
    try:
        launcher.sweep = Sweep(workers=1, name=uuid.uuid4().hex, parent=0)
        sweep.run(study, launch=launcher, sweep=launcher.sweep, console=console)
    except TrialsFailed:
        failed = True
    return failed, console.export_text()


def records(study="s"):
    return json.loads((paths.study_folder(study) / "plan.json").read_text())


def test_each_rung_keeps_the_best_third_by_validation_and_the_last_has_the_reference_and_all_seeds(base):
    launcher = Launcher()  # larger is better on validation, worse on test
    failed, text = run(base, launcher)

    assert not failed
    assert launcher.at(1) == list(range(1, 11)) and launcher.at(3) == [7, 8, 9, 10] and launcher.at(9) == [8, 10]
    assert {seed for _, epochs, seed in launcher.launched if epochs < 9} == {1_000}
    assert {seed for _, epochs, seed in launcher.launched if epochs == 9} == {0, 1}
    assert "rung 1 of 3 (epochs=1): 3 of 9 candidates go on, by validation accuracy\n  go on: units=10" in text
    assert "units=9: left at rung 2 of 3 (epochs=3), validation accuracy 0.090" in text
    assert "units=3: left at rung 1 of 3 (epochs=1), validation accuracy 0.030" in text


def test_the_plan_says_what_the_rungs_cost_at_most_beside_all_candidates(base):
    _, text = run(base, Launcher(), plan_only=True)

    assert "study s: 10 variants × 1 seed = 10 trials" in text and "design: halving" in text
    assert "rungs: 9 candidates: 9 with epochs=1, 3 with epochs=3, 1 with epochs=9; the best by" in text
    assert "seed 1000 of the first rungs judge nothing; the last rung has 2 seeds and is judged by test accuracy" in text
    assert "at most 18 trials and 58 epochs, each trial from its start; all candidates" in text
    assert "with all seeds: 20 trials and 180 epochs" in text
