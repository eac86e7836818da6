"""Texts that a language model writes after each epoch."""

from __future__ import annotations

import pandas as pd
import pytest

from src.artifacts import Artifacts
from src.config.settings import edited
from src.data.tokens import START
from src.spec.record import EPOCH_SAMPLES, EVALUATION
from src.spec.task import Trial
from src.tasks.language_model import generating, samples, trained, vocabulary
from src.tasks.language_model.generating import Options, Prompt
from src.tasks.language_model.task import TASK
from tests.tasks.test_language_model import file, of_file

__all__ = ["file"]  # a fixture

# Everything that draws random numbers in training.
RANDOM = {"dropout": 0.2, "weight_drop": 0.2, "dropout_embedding": 0.1, "softmax": "sampled", "softmax_samples": 5}
LEARNING = {"length": 8, "units": 16, "embedding_dim": 16, "batch_size": 8, "epochs": 3, "learning_rate": 0.02}


def trial_of(file, folder, *, pictures=True, **changes):
    settings, data = of_file(file, **LEARNING | changes)
    folder.mkdir()
    settings = edited(settings, {"tracking.histograms": False, "tracking.pictures": pictures})
    return Trial(settings, data, folder, "t", True, "a", "i")


def told(records):
    return [record for record in records if record.kind == EPOCH_SAMPLES]


def generated(trial, strategy, **given):
    """Returns the text and the log-probability per word of what the command `generate` writes with a trained model."""
    Artifacts(trial.folder).write_settings(trial.settings)
    model = trained.load(trial.folder)
    texts = generating.generate(
        Options(strategy, "", samples.LENGTH["words"], False, given), Prompt([START], []), model, model.stepper()
    )
    return [(model.vocabulary.text(text.words) + " …" * (not text.has_ended), text.per_word) for text in texts]


@pytest.mark.training
def test_the_texts_of_an_epoch_are_those_of_generate_and_change_no_step(file, tmp_path, monkeypatch):
    monkeypatch.setitem(samples.LENGTH, "words", 4)
    trial = trial_of(file, tmp_path / "shown", **RANDOM)
    shown = list(TASK.records(trial))
    hidden = list(TASK.records(trial_of(file, tmp_path / "hidden", pictures=False, **RANDOM)))

    assert shown[-1].detail["tags"]["ablation.weights"] == hidden[-1].detail["tags"]["ablation.weights"]
    assert [record.metrics["val/loss"] for record in shown if record.kind == EVALUATION] == [
        record.metrics["val/loss"] for record in hidden if record.kind == EVALUATION
    ]
    assert told(hidden) == []
    assert [record.step for record in told(shown)] == [record.step for record in shown if record.kind == EVALUATION]
    best = int(shown[-1].detail["tags"]["ablation.best_epoch"].split()[0])
    found = told(shown)[best - 1].detail["samples"]
    expected = generated(trial, "greedy") + generated(trial, "sample", samples=2)
    assert [one["strategy"] for one in found] == ["greedy", "sample", "sample"]
    assert [one["text"] for one in found] == [text for text, _ in expected]
    assert any(one["text"].endswith(" …") for one in found)
    values = [one["log-probability per word"] for one in found]
    assert values == pytest.approx([value for _, value in expected], rel=1e-5)
    table = pd.read_csv(trial.folder / "samples_by_epoch.csv", keep_default_na=False)
    assert table["epoch"].tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3] and table["text"].nunique() > 3


@pytest.mark.training
@pytest.mark.parametrize(
    "changes",
    [{"tokens": "character"}, {"vocab_size": 5}, {"encoding": "onehot", "tie_weights": False, "vocab_size": 6}],
    ids=str,
)
def test_a_model_of_characters_or_of_a_tiny_vocabulary_writes(file, tmp_path, caplog, changes):
    records = list(TASK.records(trial_of(file, tmp_path / "trial", **{**changes, "epochs": 1})))

    (record,) = told(records)
    assert len(record.detail["samples"]) == 3 and "missing" not in caplog.text
    for sample in record.detail["samples"]:
        (value,) = [value for name, value in sample.items() if name.startswith("log-probability per ")]
        assert value < 0


@pytest.mark.training
def test_a_model_that_cannot_write_trains_on(file, tmp_path, monkeypatch, caplog):
    def broken(*arguments):
        raise ValueError("no text today")

    monkeypatch.setattr(samples, "generate", broken)

    records = list(TASK.records(trial_of(file, tmp_path / "trial")))

    assert records[-1].detail["status"] == "FINISHED" and told(records) == []
    assert "the samples of this epoch are missing" in caplog.text


def test_each_unit_has_a_length():
    assert set(samples.LENGTH) == {vocabulary.Vocabulary([], tokens).unit for tokens in ("word", "character")}
