from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
from pydantic import ValidationError

from src.paths import REPOSITORY
from src.spec.section import SettingsError
from src.tasks.translation import sentences
from src.tasks.translation.settings import Settings, output_limit
from src.tasks.translation.task import Translation


class Untrained(Translation):
    def model(self, settings, data):
        raise NotImplementedError

    def phase(self, settings, data):
        raise NotImplementedError


TASK = Untrained()


def settings_of(**values):
    data = {"name": "dates", "train_pairs": 200, **values.pop("data", {})}
    return Settings.model_validate({"data": data, "batch_size": 16, **values})


@pytest.fixture(scope="module")
def dates(shared_home):
    return TASK.load(settings_of())


@pytest.mark.parametrize(
    "values",
    [
        {"teacher_forcing": 1.1},
        {"teacher_forcing": -0.1},
        {"label_smoothing": 1.0},
        {"dropout": 1.0},
        {"attention": "bahdanau"},
        {"initial_state": "zeros"},
        {"tokens": "list"},
        {"vocab_size": 4},
        {"max_output_length": 0},
        {"data": {"phrases": 0}},
        {"data": {"target": "it"}},
        {"data": {"name": "libreoffice_help", "max_words": 0}},
        {"data": {"path": "x"}},
    ],
)
def test_values_out_of_their_range_are_refused(values):
    with pytest.raises(ValidationError):
        settings_of(**values)


def test_names_of_other_programs_are_known():
    aliases = Settings.aliases()

    assert aliases["teacherforcingratio"] == "teacher_forcing"
    assert aliases["hidden"] == "units"
    assert aliases["inithidden"] == "initial_state"
    assert aliases["tokenizer"] == "tokens"
    assert "seqlen" not in aliases  # the task has no max_length


def applied(settings):
    for rule in Translation.inert:
        if rule.applies(settings):
            settings = settings.model_copy(update={rule.key: rule.value})
    return settings


def test_toggles_of_attention_have_no_effect_without_attention():
    plain = applied(settings_of(attention="none"))

    for key in ("mask_attention", "input_feeding"):
        for value in (True, False):
            assert applied(settings_of(attention="none", **{key: value})) == plain
            assert getattr(applied(settings_of(attention="dot", **{key: value})), key) is value


def test_vocab_size_is_not_larger_than_training_needs(dates):
    settings, (change,) = TASK.resolve(settings_of(), dates)

    sizes = [dates.vocabulary(side, 8_000).size for side in ("source", "target")]
    assert settings.vocab_size == max(sizes)
    assert str(change).startswith(f"vocab_size={max(sizes)} is used: training has no more different tokens")
    assert TASK.resolve(settings, dates) == (settings, [])
    assert TASK.resolve(settings_of(vocab_size=50), dates)[1] == []


def test_a_shared_vocabulary_needs_ids_for_both_sides(place):
    settings = settings_of(share_vocabulary=True)
    data = TASK.load(settings)

    words = data.vocabulary("source", 8_000).words
    assert words == data.vocabulary("target", 8_000).words
    assert TASK.resolve(settings, data)[0].vocab_size == 4 + len(words)


def test_only_what_the_encoding_depends_on_makes_another_source():
    def source(**values):
        return TASK.source(settings_of(**values))

    assert source(vocab_size=60, attention="dot", reverse_source=True) == source()
    assert source(tokens="subword", vocab_size=60) != source(tokens="subword", vocab_size=70)
    for change in ({"tokens": "character"}, {"lowercase": False}, {"share_vocabulary": True}, {"data": {"phrases": 2}}):
        assert source(**change) != source()


def test_batches_depend_only_on_the_seed_and_the_epoch(dates):
    split = sentences.pairs(settings_of(), dates, "train")

    def rows(seed, epoch):
        return [batch.rows.tolist() for batch in sentences.training(settings_of(seed=seed), split)(epoch)]

    assert rows(0, 1) == rows(0, 1)
    assert rows(0, 1) != rows(0, 2)
    assert rows(0, 1) != rows(1, 1)
    assert sorted(itertools.chain(*rows(0, 1))) == list(range(200))


def test_drop_remainder_that_leaves_no_batch_is_refused(dates):
    assert TASK.refusals(settings_of(), dates) == []
    (reason,) = TASK.refusals(settings_of(drop_remainder=True, batch_size=300), dates)
    assert "no 300 training pairs share one; lower batch_size, or set drop_remainder=false" in reason


def test_shares_of_leaked_and_unknown_tokens_are_recorded(dates):
    measures = TASK.measures(settings_of(vocab_size=20), dates)

    flat = dates.side("validation", "target").values
    assert measures["data/leaked_test"] == 0
    assert measures["data/leaked_validation"] == 0
    assert measures["data/unknown_target"] == np.mean([id_ == 2 or id_ >= 20 for id_ in flat.tolist()])
    assert TASK.measures(settings_of(), dates)["data/unknown_source"] < 0.2


def test_a_translation_has_at_most_one_and_a_half_times_the_tokens_of_the_source_and_ten():
    assert output_limit(settings_of(), 7) == 20
    assert output_limit(settings_of(max_output_length=9), 100) == 9


def test_no_batch_is_longer_than_the_longest_text(dates):
    parts = sentences.phase_parts(settings_of(), dates)
    several = [inputs for split in ("validation", "test") for inputs, _, _ in parts["held_out"][split]()]
    several += [inputs for inputs, _, _ in parts["training"](1)]

    found = {side: max(inputs[side].shape[1] for inputs in several) for side in ("source", "target")}
    assert found == sentences.longest(dates)


def test_tensors_are_what_the_signature_says(dates):
    import tensorflow as tf

    parts = sentences.phase_parts(settings_of(), dates)
    several = list(parts["training"](1))

    assert len(several) == parts["batches_per_epoch"]
    for inputs, targets, rows in several:
        for tensor, spec in zip(tf.nest.flatten((inputs, targets)), tf.nest.flatten(parts["signature"]), strict=True):
            assert spec.is_compatible_with(tensor)
        source, read, labels = (inputs[name] for name in ("source", "target", "labels"))
        assert (targets["labels"].numpy() == labels.numpy()).all()
        assert targets["aligned"].shape == (len(rows), read.shape[1], source.shape[1])
        assert parts["shape"](inputs) == (len(rows), source.shape[1] + read.shape[1])
        assert int(parts["real_positions"](inputs)) == int((source.numpy() > 0).sum() + (read.numpy() > 0).sum())
    assert (
        len({tuple(map(tuple, (inputs["source"].shape[1:], inputs["target"].shape[1:]))) for inputs, _, _ in several})
        <= parts["shapes"]
    )
    held = [rows.numpy().tolist() for _, _, rows in parts["held_out"]["test"]()]
    assert sorted(itertools.chain(*held)) == list(range(1_000))


def test_errors_about_the_data_come_before_tensorflow(dates):
    with pytest.raises(SettingsError, match=r"data\.source and data\.target are both en"):
        TASK.load(settings_of(data={"target": "en"}))
    program = (
        "import sys\nfrom tests.tasks.test_translation_data import TASK, settings_of\nTASK.load(settings_of())\n"
        "print([name for name in ('tensorflow', 'keras', 'sacrebleu', 'sentencepiece') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr
