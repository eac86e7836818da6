from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src import registry
from src.config.settings import edited
from src.paths import REPOSITORY
from src.spec.settings import Settings as Core
from src.tasks.images.settings import Settings as Images
from src.tasks.integration.settings import Settings as Integration
from src.tasks.language_model.settings import Settings as LanguageModel
from src.tasks.pretraining.settings import Settings as Pretraining
from src.tasks.sentiment.settings import Settings
from src.tasks.translation.settings import Settings as Translation
from src.tasks.word_vectors.settings import Settings as WordVectors
from src.trial.identity import NOT_IN_IDENTITY, digest
from src.trial.identity import identity as identity_of
from src.trial.prepare import prepare


def identity(settings, *, data_digest):
    return identity_of(settings, registry.task(settings.task), data_digest=data_digest)


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
    "execution": "xla",
    "seed": 7,
    "evaluate_every": 7,
    "max_steps": 7,
    "parameters": 7,
    "implementation": "graph_loop",
    "forget_bias": 0.0,
    "bptt_steps": 7,
    "kernel_initializer": "he_normal",
    "recurrent_initializer": "identity",
    "accumulate": 7,
    "drop_remainder": True,
    "retracing": "relaxed",
    "tokens": "character",
    "momentum": 0.9,
    "schedule": "cosine",
    "warmup": 0.5,
    "patience": 7,
    "averaging": "ema",
    "ema_momentum": 0.5,
    "embedding_from": "0123456789abcdef",
    "embedding_trainable": False,
}
OF_TEXTS = {
    **{"encoder": "bag", "heads": 7, "positions": "none", "kernel_size": 7, "branches": 7},
    **{"labels": 7, "label_seed": 7},
    **{"pretext": "language_model", "pretext_trainable": False, "pretext_epochs": 7, "pretext_learning_rate": 0.5},
}
OF_OWN_MODELS = {"model": "tests.own.my_module:build"}
OF_CLASSES = OF_OWN_MODELS | {"class_weights": "balanced", "decision_threshold": "validation", "select": "macro_f1"}


OF_NOISE = {"sequence_length": 7, "num_samples": 700, "threshold": 0.5, "target": "integral"}
OF_IMAGES = {
    **{
        "normalise": "standard",
        "augment": "flip",
        "pipeline": "batch_shuffle_repeat",
        "shuffle_buffer": 7,
        "prefetch": 7,
        "network": "cnn",
        "width": 7,
        "depth": 3,
        "activation": "tanh",
        "initializer": "he",
    },
    **{
        "batch_norm": True,
        "dropout": 0.5,
        "kernel_size": 5,
        "pooling": "stride",
        "growth_rate": 7,
        "blocks": 2,
        "bottleneck": False,
    },
    **{"compression": 1.0, "parameters": 7, "head": "sigmoid", "fault": "labels_shuffled"},
}
OF_LANGUAGE_MODELS = {
    **{"text_mode": "documents", "length": 7, "stateful": True, "bptt_random": True, "tie_weights": False},
    **{"dropout_locked": True, "dropout_embedding": 0.5, "weight_drop": 0.5},
    **{"softmax": "full", "softmax_samples": 7, "averaging": "nt_asgd", "averaging_interval": 7},
    **{"activation_penalty": 2.0, "temporal_penalty": 1.0, "implementation": "keras", "clip_norm": 0.25},
}
OF_TRANSLATION = {
    "clip_norm": 2.0,
    "lowercase": False,
    "share_vocabulary": True,
    "reverse_source": True,
    "attention": "dot",
    "mask_attention": False,
    "input_feeding": False,
    "initial_state": "last",
    "teacher_forcing": 0.5,
    "mask_loss": False,
    "label_smoothing": 0.1,
    "tie_weights": True,
    "decode": "sample",
    "max_output_length": 7,
    "bidirectional": False,
}
OF_WORD_VECTORS = {
    **{"across_lines": False, "min_count": 7, "sample": 0.5, "window": 7, "shrink_windows": False, "pad_pairs": True},
    **{"architecture": "cbow", "vector_size": 7, "cbow_mean": False, "loss": "full", "negative": 7, "noise": "uniform"},
    **{"ns_exponent": 0.5, "negatives": "fixed", "hits": "resample", "combine": "sum", "select": "wordsim"},
    **{"optimizer": "adam", "learning_rate_end": 0.5, "execution": "graph"},
}
OF_PRETRAINING = {
    **{"pretext": "simclr", "encoder": "mlp", "width": 7, "depth": 3, "code_size": 7, "kernel_size": 5},
    **{"activation": "tanh", "initializer": "he", "batch_norm": True, "dropout": 0.5, "decoder": "upsample"},
    **{"reconstruction": "relu_mse", "corruption": 0.1, "hole": 7, "hole_loss": "hole", "temperature": 0.1},
    **{"pretext_epochs": 7, "pretext_learning_rate": 0.5, "pretext_batch_size": 7, "unlabelled": 70, "labels": 7},
    **{"label_seed": 7, "tune": "all", "tuned_layers": 2, "steps_per_epoch": 7, "head": "sigmoid"},
}
OF_EVERY_TASK = {key: value for key, value in CHANGES.items() if key in Core.model_fields}
KINDS = [
    (Settings, CHANGES | OF_TEXTS | OF_CLASSES),
    (
        Integration,
        {key: value for key, value in CHANGES.items() if key in Integration.model_fields} | OF_CLASSES | OF_NOISE,
    ),
    (Images, OF_EVERY_TASK | OF_CLASSES | OF_IMAGES),
    (Pretraining, OF_EVERY_TASK | {key: OF_CLASSES[key] for key in OF_CLASSES if key != "model"} | OF_PRETRAINING),
    (
        Translation,
        {key: value for key, value in CHANGES.items() if key in Translation.model_fields} | OF_TRANSLATION,
    ),
    (
        WordVectors,
        {key: value for key, value in CHANGES.items() if key in WordVectors.model_fields} | OF_WORD_VECTORS,
    ),
    (
        LanguageModel,
        {key: value for key, value in CHANGES.items() if key in LanguageModel.model_fields} | OF_LANGUAGE_MODELS,
    ),
]


@pytest.mark.parametrize(
    ("kind", "key", "value"), [(kind, *change) for kind, changes in KINDS for change in changes.items()]
)
def test_every_key_that_decides_the_result_changes_the_identity(kind, key, value):
    assert identity(edited(kind(), {key: value}), data_digest="d") != identity(kind(), data_digest="d")


@pytest.mark.parametrize(("kind", "changes"), KINDS)
def test_every_key_is_either_in_the_identity_or_named_as_left_out(kind, changes):
    assert set(kind.model_fields) - {"data"} == set(changes) | {"task"} | NOT_IN_IDENTITY - {"data"}


def test_another_task_has_another_identity():
    values = {"task": "noise", "cell": "gru"}
    hashed = {task: registry.task(task).hashed({**values, **OF_NOISE}) for task in ("sentiment", "integration")}

    assert digest(hashed["sentiment"]) != digest(hashed["integration"])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("study", "x"),
        ("tracking.every_n_batches", 9),
        ("tracking.histograms", False),
        ("tracking.pictures", False),
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
def test_keys_that_only_name_or_record_keep_the_identity(key, value):
    assert identity(edited(Settings(), {key: value}), data_digest="d") == identity(Settings(), data_digest="d")


def test_a_toggle_that_was_added_later_and_is_null_keeps_old_identities(monkeypatch):
    before = identity(Settings(), data_digest="d")
    monkeypatch.setattr(Settings, "model_dump", lambda self, dump=Settings.model_dump: {**dump(self), "later": None})
    assert identity(Settings(), data_digest="d") == before
    monkeypatch.setattr(Settings, "model_dump", lambda self, dump=Settings.model_dump: {**dump(self), "later": 1})
    assert identity(Settings(), data_digest="d") != before


def test_other_data_have_another_identity():
    assert identity(Settings(), data_digest="d") != identity(Settings(), data_digest="e")


@given(st.dictionaries(st.text(), st.one_of(st.integers(), st.booleans(), st.text(), st.none())))
def test_a_digest_does_not_depend_on_the_order_of_keys(values):
    assert digest(values) == digest(dict(reversed(values.items())))


def test_a_toggle_that_was_added_later_keeps_old_identities():
    assert set(Settings.added()) < set(CHANGES | OF_TEXTS | OF_CLASSES)
    # identity of the default trial in version 0.1, before these toggles were added
    assert identity(Settings(), data_digest="d") == "5bff8939cfea8e0e"


# Identities from before tasks had separate settings.
@pytest.mark.parametrize(
    ("changes", "golden"),
    [
        ({"padding": "equal", "masking": True}, "3c0714e1d2016f2c"),
        ({"encoding": "onehot", "embedding_dim": 8, "vocab_size": 100}, "857121a53b2bd3fd"),
        ({"tokens": "character", "head": "softmax", "readout": "mean_logit"}, "5e673bd6ae08edf1"),
        ({"cell": "gru", "forget_bias": 0.5, "seed": 9}, "acce3e0627becd13"),
        ({"parameters": 100_000}, "febbd66ca5a5ed8d"),
        ({"implementation": "packed_loop", "masking": False}, "761651e0da978d01"),
        ({"truncation": "remove", "max_length": None}, "b37fd9caea08c5d0"),
        ({"accumulate": 2, "batch_size": 1, "drop_remainder": True}, "0fe67013e1420be5"),
        ({"data.limit": 300}, "5bff8939cfea8e0e"),
    ],
)
def test_settings_of_sentiment_keep_their_identities(changes, golden):
    assert identity(edited(Settings(), changes), data_digest="d") == golden


# Identities of version 0.1, in which `execution` was `jit_compile`.
@pytest.mark.parametrize(
    ("kind", "execution", "golden"),
    [
        (Settings, "graph", "5bff8939cfea8e0e"),
        (Settings, "xla", "2f65701782c0d898"),
        (Integration, "graph", "a0ae111e9ed7f8d7"),
        (Integration, "xla", "61eaaca17c4f1dea"),
        (Images, "graph", "5a79ef83a6be4581"),
        (Images, "xla", "2f84cc7fd3e88b48"),
    ],
)
def test_the_executions_that_were_jit_compile_keep_their_identities(kind, execution, golden):
    assert identity(edited(kind(), {"execution": execution}), data_digest="d") == golden


@pytest.mark.parametrize("kind", [Settings, Integration, Images])
def test_every_execution_has_its_own_identity(kind):
    executions = ("eager", "graph", "graph_epoch", "xla")
    assert len({identity(edited(kind(), {"execution": each}), data_digest="d") for each in executions}) == 4


@pytest.mark.parametrize(
    ("changes", "as_typed", "resolved"),
    [
        ({}, "a0ae111e9ed7f8d7", "ea6c0cb926c3afce"),
        ({"num_samples": 200}, "32a5e9a1214be0ce", "bd965852f85d6b4f"),
        ({"sequence_length": 200, "cell": "gru", "seed": 3}, "385a9ab12d9c77b9", "5781d44bc08da219"),
        ({"threshold": 1.5, "head": "softmax"}, "e1585e2912c10945", "9dd41234b12c6785"),
        ({"target": "integral", "head": "softmax", "readout": "mean_logit"}, "f08a287ff3109fa9", "3152c81906d9d739"),
        ({"implementation": "packed_loop", "bptt_steps": 5}, "ee10676884d096e0", "63a4de9ce09017d7"),
        ({"implementation": "graph_loop", "bptt_steps": 25}, "4afc735450421f9c", "4f7dadbcbd162159"),
        ({"parameters": 5_000, "depth": 2, "bidirectional": True}, "9fd9dbb931a1878b", "054d6c0db496f47a"),
        ({"drop_remainder": True}, "34dfbeab67bd85a9", "ea6c0cb926c3afce"),
        ({"drop_remainder": True, "num_samples": 100}, "af4dbcdd3ed67612", "ac7a6cf3c8c9dfc7"),
        (
            {"accumulate": 4, "kernel_initializer": "he_normal", "embedding_dim": 8},
            "7a5eb26a4378be32",
            "86f0dd45ab635221",
        ),
        (
            {"cell": "gru", "forget_bias": 0.0, "epochs": 2, "max_steps": 7, "clip_norm": 1.0},
            "61d51a5cec6407d5",
            "ed9cb503df1b1fb1",
        ),
        (
            {"execution": "xla", "evaluate_every": 5, "checkpoint": "none", "study": "x"},
            "2677fb6f238de9d7",
            "d204cc4cbb229882",
        ),
    ],
)
def test_settings_of_integration_keep_their_identities(changes, as_typed, resolved):
    settings = edited(Integration(), changes)

    assert (identity(settings, data_digest="d"), prepare(settings).identity) == (as_typed, resolved)


def test_another_default_of_the_texts_changes_no_identity_of_integration():
    script = (
        "from src.parts.words.toggles import Words\n"
        "for field in Words.model_fields.values():\n"
        "    field.default = None\n"
        "from src import registry\n"
        "from src.tasks.integration.settings import Settings\n"
        "from src.trial.identity import identity\n"
        "print(identity(Settings(), registry.task('integration'), data_digest='d'))\n"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=REPOSITORY)

    assert done.stdout.split() == ["a0ae111e9ed7f8d7"]
