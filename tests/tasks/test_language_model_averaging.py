"""`averaging=nt_asgd` in whole trials; tests/models/test_nt_asgd.py has the optimizer alone."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from src.config.settings import edited
from src.models import nt_asgd
from src.spec.record import EVALUATION, STEP
from src.spec.task import Trial
from src.tasks.language_model.task import TASK, LanguageModel
from src.training import model_file
from src.training.evaluation import evaluators
from src.training.phase import Learner
from tests.tasks.test_language_model import file, of_file

__all__ = ["file"]  # a fixture

pytestmark = pytest.mark.training
EPOCHS, STALLED = 4, 2  # averaging begins at the end of the second epoch
PLAIN = {"optimizer": "sgd", "learning_rate": 4.0, "epochs": EPOCHS, "length": 8, "batch_size": 8}
AVERAGED = {**PLAIN, "averaging": "nt_asgd", "averaging_interval": 1}


@pytest.fixture(autouse=True)
def received(monkeypatch):
    """Lets validation stall after the second epoch; returns the values that were judged."""
    values = []

    def stalled(of_epochs, interval):
        values.append((list(of_epochs), interval))
        return len(of_epochs) == STALLED

    monkeypatch.setattr(nt_asgd, "has_stalled", stalled)
    return values


@pytest.fixture
def models(monkeypatch):
    """Returns the models that are built; the first one of a trial is trained."""
    built, model = [], LanguageModel.model

    def building(self, settings, data):
        built.append(model(self, settings, data))
        return built[-1]

    monkeypatch.setattr(LanguageModel, "model", building)
    return built


def trial_of(file, folder, **changes):
    settings, data = of_file(file, **changes)
    settings = edited(settings, {"tracking.histograms": False, "tracking.pictures": False})
    folder.mkdir(exist_ok=True)
    return Trial(settings, data, folder, "t", True, "a", "i")


def validations(records):
    return [record.metrics["val/perplexity"] for record in records if record.kind == EVALUATION]


def trained(trial, models):
    """Trains; returns the validations, and the model's weights after each step."""
    models.clear()
    records, weights = [], []
    for record in TASK.records(trial):
        records.append(record)
        weights += [models[0].get_weights()] if record.kind == STEP else []
    return validations(records), weights


@pytest.mark.parametrize("changes", [{}, {"batch_size": 4, "accumulate": 2}], ids=str)
def test_the_model_is_the_average_of_all_weights_since_validation_stalled(file, tmp_path, models, received, changes):
    values, weights = trained(trial_of(file, tmp_path / "averaged", **{**AVERAGED, **changes}), models)
    plain, of_plain = trained(trial_of(file, tmp_path / "plain", **{**PLAIN, **changes}), models)

    for step, (ours, theirs) in enumerate(zip(weights, of_plain, strict=True), 1):  # averaging changes no step
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True)), step
    assert values[:STALLED] == plain[:STALLED] and min(values) == values[-1] != plain[-1]
    assert received == [(values[:epoch], 1) for epoch in range(1, STALLED + 1)]
    per_epoch = len(weights) // EPOCHS
    since = weights[STALLED * per_epoch - 1 :]
    means = [np.mean(steps, axis=0, dtype=np.float64) for steps in zip(*since, strict=True)]
    for weight, expected in zip(model_file.load(tmp_path / "averaged").get_weights(), means, strict=True):
        np.testing.assert_allclose(weight, expected, rtol=1e-5, atol=1e-6)


def test_validation_and_test_are_those_of_the_average(file, tmp_path):
    trial = trial_of(file, tmp_path / "trial", **AVERAGED)

    *records, last = TASK.records(trial)

    phase = TASK.phase(trial.settings, trial.data)
    begin = STALLED * phase.batches_per_epoch
    assert last.detail["tags"]["ablation.averaging"] == f"from step {begin} on"
    learner = Learner(model_file.load(trial.folder), phase, TASK.metrics, trial.settings)
    for split, found in (("validation", validations(records)[-1]), ("test", last.metrics["test/perplexity"])):
        expected = evaluators(learner)[split]().recorded(TASK.metrics, prefix="")["perplexity"]
        assert found == pytest.approx(expected, rel=1e-6)


def test_a_trial_says_that_averaging_never_began(file, tmp_path, monkeypatch):
    monkeypatch.setattr(nt_asgd, "has_stalled", lambda values, interval: False)

    *_, last = TASK.records(trial_of(file, tmp_path / "trial", **AVERAGED))
    *_, plain = TASK.records(trial_of(file, tmp_path / "plain", **PLAIN))

    assert last.detail["tags"]["ablation.averaging"] == "never began"
    assert "ablation.averaging" not in plain.detail["tags"]
    assert last.detail["tags"]["ablation.weights"] == plain.detail["tags"]["ablation.weights"]


@pytest.mark.parametrize("execution", ["graph_epoch", "eager", pytest.param("xla", marks=pytest.mark.slow)])
def test_every_execution_has_the_same_averages(file, tmp_path, execution):
    changes = {"graph": {}, "other": {"execution": execution}}
    records = {
        name: list(TASK.records(trial_of(file, tmp_path / name, **AVERAGED, **changes[name]))) for name in changes
    }

    np.testing.assert_allclose(*map(validations, records.values()), rtol=1e-4)
    for ours, theirs in zip(*(model_file.load(tmp_path / name).get_weights() for name in changes), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def test_a_trial_resumed_after_any_epoch_equals_an_uninterrupted_one(file, tmp_path):
    kept = {}

    def keep(epoch, *, variables, best, peak_mb):
        values = [np.asarray(variable) for variable in variables]
        kept[epoch] = {"variables": values, "best": list(best), "peak_mb": peak_mb}

    trial = trial_of(file, tmp_path / "trial", **AVERAGED)
    whole = list(TASK.records(dataclasses.replace(trial, keep=keep)))
    places = [place for place, record in enumerate(whole) if record.kind == EVALUATION]
    for epoch in range(STALLED, EPOCHS + 1):
        earlier = SimpleNamespace(records=whole[1 : places[epoch - 1] + 1], epochs=[epoch], **kept[epoch])

        later = list(TASK.records(dataclasses.replace(trial, earlier=earlier)))

        assert validations(later) == validations(whole)[epoch:]
        for tag in ("ablation.weights", "ablation.best_epoch", "ablation.averaging"):
            assert later[-1].detail["tags"][tag] == whole[-1].detail["tags"][tag]
        assert later[-1].metrics["test/perplexity"] == whole[-1].metrics["test/perplexity"]
