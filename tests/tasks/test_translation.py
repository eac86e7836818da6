"""The task of translation: the model of a trial, what is measured, and one real training."""

from __future__ import annotations

import json

import numpy as np
import pytest

from src import paths, run
from src.config.settings import checked, edited
from src.data.pair_contents import TARGET
from src.models.encoder_decoder import Decoder
from src.spec.section import SettingsError
from src.tasks.translation import learning, sentences
from src.tasks.translation.settings import Settings
from src.tasks.translation.task import TASK
from src.training.evaluation import evaluators
from src.training.phase import Learner
from src.trial.prepare import prepare

pytestmark = pytest.mark.training
SMALL = {"data": {"name": "dates", "limit": 40, "train_pairs": 80}, "units": 8, "embedding_dim": 8, "batch_size": 16}


def settings_of(**changes):
    return edited(Settings(), {**SMALL, **changes})


@pytest.fixture
def dates(home):
    return TASK.load(settings_of())


def evaluated(settings, data):
    model, phase = TASK.model(settings, data), TASK.phase(settings, data)
    return model, evaluators(Learner(model, phase, TASK.metrics, settings))["validation"]()


@pytest.mark.parametrize(
    "changes",
    [
        *({"attention": attention} for attention in ("none", "dot", "general", "concat", "additive", "location")),
        {"input_feeding": False, "initial_state": "last", "bidirectional": False, "cell": "gru"},
        {"reverse_source": True, "tie_weights": True, "depth": 2, "dropout": 0.2},
        {"tokens": "character", "share_vocabulary": True, "decode": "sample"},
    ],
    ids=str,
)
def test_every_design_is_evaluated_by_its_own_translations(home, changes):
    settings = settings_of(**changes)
    data = TASK.load(settings)

    model, found = evaluated(settings, data)

    assert set(found.recorded(TASK.metrics, prefix="val/")) == {
        *("val/loss", "val/bleu", "val/chrf", "val/exact_match", "val/token_accuracy")
    }
    assert found.predictions["translation"].shape[0] == data.rows["validation"]
    decoder = next(layer for layer in model.layers if isinstance(layer, Decoder))
    assert (decoder.attention is None) == (changes.get("attention") == "none")
    assert set(found.positions) == (set() if decoder.attention is None else {"alignment_error", "alignment_mass"})


def test_the_scores_of_references_are_perfect_and_those_of_nothing_are_zero(dates):
    settings = settings_of()
    split = sentences.pairs(settings, dates, "test").target
    ids = np.zeros((len(split.lengths), int(split.lengths.max()) + 3), np.int32)
    for row, (begin, end) in enumerate(zip(split.starts[:-1], split.starts[1:], strict=True)):
        ids[row, : end - begin - 1] = split.values[begin + 1 : end]
    score = learning.scorer(settings, dates)

    right = score("test", {"translation": ids})
    assert right["token_accuracy"] == 1 and right["exact_match"] == pytest.approx(1 - unknown_texts(settings, dates))
    ids[:] = 0
    assert set(score("test", {"translation": ids}).values()) == {0.0}


def unknown_texts(settings, data):
    """Returns the share of test targets with a token that training does not have."""
    vocabulary = data.vocabulary(TARGET, settings.vocab_size)
    texts = data.texts("test", TARGET)
    return np.mean([2 in vocabulary.ids(vocabulary.divided(text)) for text in texts])


def test_the_loss_counts_every_token_of_the_targets_once(dates):
    _, found = evaluated(settings_of(), dates)

    lengths = dates.side("validation", TARGET).lengths
    assert found.weights["loss"].tolist() == (lengths + 1).tolist()  # with the end
    size = dates.vocabulary(TARGET, 8_000).size
    assert found.mean("loss") == pytest.approx(np.log(size), rel=0.05)  # of an untrained model


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"units": 7}, "set units=8, or bidirectional=false"),
        ({"execution": "xla"}, "set execution=graph"),
        ({"attention": "none", "initial_state": "zero"}, "the decoder knows nothing of the source"),
    ],
)
def test_a_design_that_cannot_be_is_refused_with_the_fix(home, changes, message):
    with pytest.raises(SettingsError, match=message):
        prepare(checked({"task": "translation", **SMALL, **changes}))


def test_attention_that_is_not_there_has_no_mask_and_no_feed(home):
    used = prepare(checked({"task": "translation", **SMALL, "attention": "none"})).settings

    assert (used.mask_attention, used.input_feeding) == (True, False)


def test_a_trial_is_trained_tested_and_leaves_its_translations(home, capsys):
    words = ["task=translation", "units=32", "embedding_dim=32", "data.limit=60", "data.train_pairs=200", "epochs=2"]

    assert run.main([*words, "study=small"]) == 0

    out = capsys.readouterr().out
    assert "val_BLEU" in out and "alignment error" in out
    (folder,) = (path.parent for path in paths.study_folder("small").glob("*/journal.jsonl"))
    values = json.loads((folder / "translations.json").read_text(encoding="utf-8"))
    assert len(values["pairs"]) == 60 and set(values["signatures"]) == {"bleu", "chrf"}
    assert (folder / "vocabularies.json").is_file() and (folder / "attention.json").is_file()
    last = json.loads((folder / "journal.jsonl").read_text(encoding="utf-8").splitlines()[-1])["metrics"]
    assert last["test/exact_match"] == np.mean([pair["is_exact"] for pair in values["pairs"]])
    assert {"test/bleu", "test/chrf", "test/token_accuracy", "test/alignment_error"} <= set(last)
    assert 0 <= last["test/alignment_error"] <= 1
    assert last["test/bleu_long"] >= 0 and 0 <= last["test/exact_match_short"] <= 1
    drawn = {
        (record["kind"], record["step"])
        for record in map(json.loads, (folder / "journal.jsonl").read_text(encoding="utf-8").splitlines())
        if record["kind"] == "pictures"
    }
    assert len(drawn) == 2  # the attention after each epoch
