from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.identity import ADDED, NOT_IN_IDENTITY, digest, identity
from src.settings import Settings, edited

CHANGES = {
    "padding": "equal",
    "bucketing": False,
    "padding_side": "pre",
    "truncation": "post",
    "max_length": 7,
    "vocab_size": 7,
    "encoding": "onehot",
    "masking": False,
    "cell": "gru",
    "depth": 2,
    "bidirectional": True,
    "units": 7,
    "embedding_dim": 7,
    "readout": "max_state",
    "head": "softmax",
    "initial_state": "learned",
    "optimizer": "sgd",
    "learning_rate": 0.5,
    "batch_size": 7,
    "epochs": 7,
    "dropout": 0.5,
    "clip_norm": 1.0,
    "jit_compile": True,
    "seed": 7,
    "evaluate_every": 7,
    "max_steps": 7,
    "parameters": 7,
    "implementation": "graph_loop",
    "forget_bias": 0.0,
    "bptt_steps": 7,
    "task": {"name": "integration"},
    "kernel_initializer": "he_normal",
    "recurrent_initializer": "identity",
    "accumulate": 7,
    "drop_remainder": True,
    "retracing": "relaxed",
    "tokens": "character",
}


@pytest.mark.parametrize("key", CHANGES)
def test_every_key_that_decides_the_result_changes_the_identity(key):
    assert identity(edited(Settings(), {key: CHANGES[key]}), data_digest="d") != identity(Settings(), data_digest="d")


def test_every_key_is_either_in_the_identity_or_named_as_left_out():
    assert set(Settings.model_fields) == set(CHANGES) | NOT_IN_IDENTITY


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("study", "x"),
        ("tracking.every_n_batches", 9),
        ("tracking.histograms", False),
        ("tracking.projector", True),
        ("tracking.profile", 5),
        ("rerun", True),
        ("plan_only", True),
        ("retry_failed", True),
        ("fail_fast", True),
        ("checkpoint", "none"),
        ("plan.levels", {"cell": ["lstm", "gru"]}),
        ("plan.threshold", 0.5),
    ],
)
def test_what_only_names_or_records_keeps_the_identity(key, value):
    assert identity(edited(Settings(), {key: value}), data_digest="d") == identity(Settings(), data_digest="d")


def test_a_toggle_that_is_added_later_and_null_at_first_leaves_old_identities_as_they_are(monkeypatch):
    before = identity(Settings(), data_digest="d")
    monkeypatch.setattr(Settings, "model_dump", lambda self, dump=Settings.model_dump: {**dump(self), "later": None})
    assert identity(Settings(), data_digest="d") == before
    monkeypatch.setattr(Settings, "model_dump", lambda self, dump=Settings.model_dump: {**dump(self), "later": 1})
    assert identity(Settings(), data_digest="d") != before


def test_other_data_are_another_trial():
    assert identity(Settings(), data_digest="d") != identity(Settings(), data_digest="e")


@given(st.dictionaries(st.text(), st.one_of(st.integers(), st.booleans(), st.text(), st.none())))
def test_a_digest_does_not_depend_on_the_order_of_keys(values):
    assert digest(values) == digest(dict(reversed(values.items())))


def test_a_toggle_that_came_later_leaves_old_identities_as_they_were():
    assert set(ADDED) < set(CHANGES)
    # what version 0.1 gave the default trial, before these toggles were there
    assert identity(Settings(), data_digest="d") == "5bff8939cfea8e0e"
