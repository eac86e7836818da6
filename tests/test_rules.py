from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src import rules
from src.rules import normalise, refusals, required_mb
from src.settings import Settings, Table, checked, edited
from src.trial import prepare

NOISE = {"name": "integration"}
TEXT_TOGGLES = {
    "padding": ["dataset", "batch", "equal"],
    "bucketing": [True, False],
    "padding_side": ["pre", "post"],
    "truncation": ["pre", "post", "remove"],
    "max_length": [None, 50, 200],
    "vocab_size": [100, 10_000],
    "tokens": ["word", "character"],
    "encoding": ["embedding", "onehot", "onehot_projected"],
    "masking": [True, False],
}


@pytest.mark.parametrize(
    ("changes", "key", "used"),
    [
        ({"padding": "dataset"}, "bucketing", False),
        ({"padding": "equal"}, "bucketing", False),
        ({"padding": "equal", "padding_side": "pre"}, "padding_side", "post"),
        ({"bucketing": False, "batch_size": 1, "padding_side": "pre"}, "padding_side", "post"),
        ({"padding": "equal"}, "masking", False),
        ({"bucketing": False, "batch_size": 1}, "masking", False),
        ({"max_length": None, "truncation": "remove"}, "truncation", "pre"),
        ({"encoding": "onehot", "embedding_dim": 8}, "embedding_dim", 64),
        ({"readout": "mean_logit"}, "readout", "mean_state"),
        ({"implementation": "packed_loop", "masking": False}, "implementation", "graph_loop"),
        ({"forget_bias": 0.0, "cell": "gru"}, "forget_bias", None),
        ({"forget_bias": 1.0}, "forget_bias", None),
        ({"implementation": "graph_loop", "bptt_steps": 200}, "bptt_steps", None),
        ({"implementation": "eager_loop", "retracing": "per_shape"}, "retracing", "signature"),
        ({"batch_size": 1, "drop_remainder": True}, "drop_remainder", False),
        ({"task": NOISE, "masking": False}, "masking", True),
        ({"task": NOISE, "padding": "dataset"}, "padding", "batch"),
        ({"task": NOISE, "vocab_size": 99}, "vocab_size", 10_000),
        ({"task": NOISE, "implementation": "packed_loop"}, "implementation", "graph_loop"),
        ({"task": NOISE, "implementation": "graph_loop", "bptt_steps": 25}, "bptt_steps", None),
        ({"task": NOISE, "drop_remainder": True}, "drop_remainder", False),
        ({"task": {**NOISE, "target": "integral"}, "head": "softmax"}, "head", "sigmoid"),
    ],
)
def test_a_toggle_without_effect_is_normalised_and_says_why(changes, key, used):
    settings, reasons = normalise(edited(Settings(), changes))

    assert getattr(settings, key) == used
    assert [change.key for change in reasons].count(key) == 1
    assert all(change.reason in str(change) for change in reasons)


def test_the_end_that_is_cut_is_no_matter_where_nothing_is_cut():
    settings = edited(Settings(), {"truncation": "post", "max_length": 30})

    used, (change,) = normalise(settings, longest=29)
    assert used.truncation == "pre" and "the longest sequence has 29 steps" in str(change)
    assert normalise(settings, longest=30)[0] == normalise(settings)[0] == settings  # longer ones may have been cut to 30


@given(values=st.fixed_dictionaries({}, optional={key: st.sampled_from(toggles) for key, toggles in TEXT_TOGGLES.items()}))
def test_a_toggle_of_texts_alone_is_nothing_to_the_integration_task(values):
    noise = edited(Settings(), {"task": NOISE})

    used, reasons = normalise(edited(noise, values))

    assert used == normalise(noise)[0]
    assert {change.key for change in reasons} == {key for key, value in values.items() if value != getattr(noise, key)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"name": "table", "path": "x.csv"}}, "task=integration generates its examples and reads no data; remove data=…"),
        ({"data.limit": 9}, "task=integration generates its examples and reads no data; remove data=…"),
        ({"task": {**NOISE, "target": "integral"}, "readout": "mean_probability"}, "a sum has no probability"),
    ],
)
def test_the_integration_task_refuses_what_it_cannot_have(changes, message):
    assert message in refusals(edited(edited(Settings(), {"task": NOISE}), changes))[0]


def test_the_length_of_noise_decides_its_memory():
    assert refusals(edited(Settings(), {"task": {**NOISE, "sequence_length": 100_000}}), available_mb=2_000) != []
    assert refusals(edited(Settings(), {"task": NOISE}), available_mb=2_000) == []


def test_what_has_an_effect_is_left_alone():
    assert normalise(Settings()) == (Settings(), [])


def test_normalising_twice_changes_nothing_more():
    once, _ = normalise(edited(Settings(), {"padding": "dataset", "encoding": "onehot", "embedding_dim": 3}))

    assert normalise(once) == (once, [])


def test_the_data_say_how_long_a_sequence_is():
    cut = edited(Settings(), {"implementation": "graph_loop", "bptt_steps": 50, "max_length": None})

    assert normalise(cut)[0].bptt_steps == normalise(cut, longest=51)[0].bptt_steps == 50
    assert normalise(cut, longest=50)[0].bptt_steps is None


def test_a_smaller_batch_of_noise_can_be_left_out():
    noise = edited(Settings(), {"task": {**NOISE, "num_samples": 100}})

    assert normalise(edited(noise, {"drop_remainder": True}))[0].drop_remainder


def test_more_than_two_classes_get_one_unit_each():
    settings, reasons = normalise(Settings(), classes=3)

    assert settings.head == "softmax"
    assert "head=softmax is used: the data have 3 classes" in str(reasons[0])


def test_a_onehot_batch_larger_than_memory_is_refused_with_its_megabytes():
    reasons = refusals(edited(Settings(), {"encoding": "onehot"}), available_mb=1_000)

    assert len(reasons) == 1
    assert "needs about" in reasons[0]
    assert "MB of memory; this machine has 1,000 MB; set encoding=embedding" in reasons[0]


def test_the_default_trial_fits_a_laptop():
    assert refusals(Settings(), available_mb=2_000) == []


def test_the_data_know_the_length_where_the_settings_do_not():
    unlimited = edited(Settings(), {"max_length": None, "encoding": "onehot"})

    assert refusals(unlimited, available_mb=2_000) == []
    assert refusals(unlimited, longest=2_474, available_mb=2_000) != []


def test_required_memory_grows_with_what_is_kept():
    assert required_mb(Settings(), steps=200) < required_mb(edited(Settings(), {"depth": 3}), steps=200)
    assert 1_500 < required_mb(edited(Settings(), {"encoding": "onehot"}), steps=200) < 2_500  # measured: 1.9 GB


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"name": "table"}}, "data=table needs a path; add data.path="),
        ({"data": {"name": "aclimdb"}}, "data=aclimdb needs a path"),
        (
            {"bptt_steps": 10},
            "bptt_steps does not work with implementation=keras; set implementation=graph_loop",
        ),
        ({"implementation": "cell_loop", "bptt_steps": 10}, "bptt_steps does not work with implementation=cell_loop"),
        (
            {"implementation": "eager_loop", "jit_compile": True},
            "implementation=eager_loop, which compiles nothing; set implementation=graph_loop",
        ),
        ({"implementation": "packed_loop", "jit_compile": True}, "shrinks its batch over time"),
        ({"tracking": {"name": "offline", "uri": "x"}}, "tracking=offline uses no tracking store"),
    ],
)
def test_what_is_missing_is_said(changes, message):
    assert message in refusals(Settings.model_validate(changes))[0]


@pytest.mark.parametrize(("cell", "depth", "bidirectional"), [("gru", 1, False), ("simple_rnn", 2, True), ("lstm", 2, True)])
def test_units_are_chosen_so_that_no_other_width_comes_nearer_to_the_parameters_asked_for(cell, depth, bidirectional):
    asked = edited(Settings(), {"cell": cell, "depth": depth, "bidirectional": bidirectional, "parameters": 673_089})
    used, changes = normalise(asked)

    distance = [abs(rules.parameters(edited(used, {"units": used.units + more})) - 673_089) for more in (-1, 0, 1)]
    assert min(distance) == distance[1] and used.parameters is None
    assert str(changes[-1]) == (
        f"units={used.units} is used: the model then has {rules.parameters(used):,} parameters, which is closest to parameters=673089"
    )


def test_short_texts_of_a_users_own_are_not_refused_for_the_length_they_might_have():
    own = edited(Settings(data=Table(path="mine.csv")), {"max_length": 100_000, "encoding": "onehot"})

    assert refusals(own, available_mb=8_000) == []
    assert "with 100000 steps needs about" in refusals(own, longest=100_000, available_mb=8_000)[0]
    assert refusals(edited(Settings(), {"max_length": 100_000, "encoding": "onehot"}), available_mb=8_000) != []


def test_what_is_normalised_away_refuses_nothing(table):
    settings = checked({"data": {"name": "table", "path": str(table)}, "padding": "equal", "implementation": "packed_loop"})

    assert prepare(edited(settings, {"jit_compile": True})).settings.implementation == "graph_loop"
