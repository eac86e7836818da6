from __future__ import annotations

import pydantic
import pytest
from omegaconf import OmegaConf

from src.config.explain import allowed, takes_text, type_of, unknown_key
from src.config.settings import (
    checked,
    core_schema,
    corpus_schemas,
    differences,
    edited,
    from_hydra,
    label,
    of_file,
    task_schema,
    tracking_schemas,
)
from src.data.options import Table
from src.spec.section import SettingsError, as_typed
from src.spec.settings import Plan, Tracking
from src.tasks.integration.settings import Settings as Integration
from src.tasks.sentiment.settings import Settings


def composed(**changes):
    return OmegaConf.create({**Settings().model_dump(), "hydra": {"job": "???"}, **changes})


def test_defaults_pass_through_hydra_unchanged():
    assert from_hydra(composed()) == Settings()


def test_settings_are_immutable():
    with pytest.raises(pydantic.ValidationError):
        Settings().cell = "gru"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cell": "foo"}, "cell: got 'foo'; allowed: one of simple_rnn, gru, lstm"),
        ({"cell": "grv"}, "Did you mean gru?"),
        ({"masking": 1}, "masking: got 1; allowed: true or false. Did you mean true?"),
        ({"masking": "true"}, "masking: got 'true'; allowed: true or false"),
        ({"units": 0}, "units: got 0; allowed: an integer from 1 to 65,536. Did you mean 1?"),
        ({"units": 1.5}, "units: got 1.5; allowed: an integer"),
        ({"units": None}, "units: got None"),
        ({"max_length": 1}, "allowed: an integer from 2 to 100,000 or null"),
        ({"dropout": 1.0}, "dropout: got 1.0; allowed: a number from 0 to below 1"),
        ({"dropout": -5}, "dropout: got -5"),
        ({"learning_rate": float("nan")}, "learning_rate: got nan; allowed: a number above 0 and up to 1,000"),
        ({"learning_rate": 0.0}, "learning_rate: got 0.0"),
        ({"clip_norm": 0}, "clip_norm: got 0; allowed: a number above 0 or null"),
        ({"seed": -1}, "seed: got -1"),
        ({"vocab_size": 4}, "vocab_size: got 4"),
        ({"study": "../../x"}, "study: got '../../x'; allowed: text of a-z, 0-9, _ and -"),
        ({"study": "a/b"}, "study: got 'a/b'"),
        ({"study": "-h"}, "study: got '-h'; allowed: text of a-z, 0-9, _ and - that does not begin with -"),
        ({"study": ".cache"}, "study: got '.cache'"),
        ({"study": "x\n"}, "study: got"),
        ({"maskin": True}, "unknown key 'maskin'; did you mean masking?"),
        ({"data": {"name": "movie_reviews", "limit": None, "path": "x"}}, "unknown key 'data.path'"),
        ({"data": {"name": "movie_reviews", "limit": 0}}, "data.limit: got 0"),
        ({"data": None}, "data is chosen by name"),
        ({"data": "table"}, "data is chosen by name"),
        ({"tracking": {**Settings().tracking.model_dump(), "every_n_batches": 0}}, "tracking.every_n_batches: got 0"),
        (
            {"tracking": {**Settings().tracking.model_dump(), "profile": 0}},
            "tracking.profile: got 0; allowed: true or false or an integer from 1 to 1,000,000 or null",
        ),
        ({"plan": {"threshold": "high"}}, "plan.threshold: got 'high'; allowed: a number or null"),
        ({"task": 3}, "task: got 3; allowed: one of sentiment, integration"),
        (
            {"task": "pictures"},
            "task: got 'pictures'; allowed: sentiment, integration, images, language_model, translation, word_vectors",
        ),
        ({"sequence_length": 3}, "task=sentiment has no sequence_length; task=integration has it"),
    ],
)
def test_an_invalid_value_is_refused_with_the_allowed_values(changes, message):
    with pytest.raises(SettingsError) as caught:
        from_hydra(composed(**changes))

    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2


@pytest.mark.parametrize("key", [*Settings.toggles(), "study", "tracking", "plan"])
def test_a_removed_key_is_refused(key):
    cfg = composed()
    del cfg[key]

    with pytest.raises(SettingsError, match=f"~{key}.* removes a key|{key} is chosen by name"):
        from_hydra(cfg)


def test_an_interpolation_of_an_unknown_key_is_refused():
    with pytest.raises(SettingsError, match="cell: Interpolation key 'nowhere' not found"):
        from_hydra(composed(cell="${nowhere}"))


@pytest.mark.parametrize("values", [[], None, 3, "cell"])
def test_settings_must_be_a_mapping(values):
    with pytest.raises(SettingsError, match=r"settings: got .*; allowed: keys with values"):
        checked(values)


@pytest.mark.parametrize("value", [2024, 1.5, True, 202401])
@pytest.mark.parametrize("key", ["study", "data.path", "data.text_column", "tracking.uri", "plan.question"])
def test_a_value_that_is_not_text_is_refused_with_the_quotes_that_it_needs(key, value):
    with pytest.raises(SettingsError) as caught:
        edited(Settings(data=Table()), {key: value})

    shown = str(value).lower() if isinstance(value, bool) else value
    assert str(caught.value) == f"{key}: got {shown}, which is not text; put it in quotes: '{key}=\"{shown}\"'"


TEXTS = ["study", "data.path", "data.validation_path", "data.test_path", "data.text_column", "data.label_column"]
TEXTS += [
    "data.split_column",
    "data.group_column",
    "tracking.uri",
    "tracking.note",
    "tracking.register",
    "plan.question",
    "plan.claim",
]
TEXTS += ["plan.metric", "plan.spread", "plan.budget_key", "embedding_from", "cell", "model"]


def test_takes_text_selects_exactly_the_text_keys():
    sections = {"plan": Plan, "tracking": Tracking, "data": Table}
    keys = {*Settings.model_fields, *Integration.model_fields}
    keys |= {f"{name}.{key}" for name, kind in sections.items() for key in kind.model_fields}

    assert sorted(filter(takes_text, keys)) == sorted(TEXTS)


def test_a_toggle_has_one_type():
    found = {key: type_of(key) for key in [*Settings.toggles(), *Integration.toggles(), "study"]}

    booleans = {"bucketing", "masking", "bidirectional", "drop_remainder", "embedding_trainable", "pretext_trainable"}
    assert {key for key, kind in found.items() if kind is bool} == booleans
    assert (
        found["clip_norm"]
        is found["max_length"]
        is found["units"]
        is found["learning_rate"]
        is found["threshold"]
        is float
    )
    assert found["cell"] is found["data"] is found["task"] is found["target"] is found["study"] is str
    assert type_of("nothing") is None


def test_a_toggle_of_older_trials_has_the_current_type():
    assert type_of("task.threshold") is float and type_of("task.target") is str


def test_an_edit_changes_the_key_and_nothing_else():
    changed = edited(Settings(), {"cell": "gru", "data.limit": 10})

    assert (changed.cell, changed.data.limit) == ("gru", 10)
    assert changed.model_copy(update={"cell": "lstm", "data": Settings().data}) == Settings()


@pytest.mark.parametrize("key", ["maskin", "data.path", "data.limit.x", "nothing.at.all"])
def test_an_edit_of_an_unknown_key_is_refused(key):
    with pytest.raises(SettingsError, match="unknown key"):
        edited(Settings(), {key: 1})


def test_differences_contain_only_toggles_and_no_seed():
    changed = edited(Settings(), {"cell": "gru", "seed": 3, "study": "x", "data.limit": 5})

    assert differences(changed) == {"cell": "gru", "data.limit": 5}
    assert label(differences(changed)) == "data.limit=5 cell=gru"


def test_differences_list_the_data_then_the_toggles_of_the_task_then_those_of_every_task():
    values = {
        "epochs": 1,
        "dropout": 0.5,
        "max_steps": 3,
        "embedding_dim": 8,
        "head": "softmax",
        "units": 8,
        "readout": "max_state",
    }
    names = ["data.limit", "max_length", "embedding_dim", "units", "readout", "dropout", "head", "epochs", "max_steps"]

    assert list(differences(edited(Settings(), {**values, "max_length": 9, "data.limit": 5}))) == names


def test_a_different_choice_of_a_group_is_labelled_with_its_name():
    other = checked({"data": {"name": "table", "path": "x.csv"}})

    assert label(differences(other)).startswith("data=table")


@pytest.mark.parametrize("kind", [Settings, Integration])
def test_every_setting_is_documented_and_says_what_is_allowed(kind):
    for name, field in kind.model_fields.items():
        assert field.description or name == "task", name
        assert name in ("tracking", "plan") or allowed(name, kind)


@pytest.mark.parametrize("kind", [Settings, Integration])
def test_schemas_hold_every_default(kind):
    task = kind().task
    own = {key: value for key, value in task_schema(task).items() if key != "defaults"}
    corpus = {"data": corpus_schemas()["movie_reviews"]} if kind.corpora() else {}

    assert checked({**core_schema(), "tracking": tracking_schemas()["mlflow"], **corpus, **own}) == kind()


def test_a_task_without_data_refuses_a_corpus():
    with pytest.raises(
        SettingsError,
        match="task=integration has no data; task=sentiment, task=images, task=language_model, task=tr",
    ):
        checked({"task": "integration", "data": {"name": "movie_reviews"}})


def test_the_default_corpus_is_the_first_one_of_a_task_or_none():
    choices = {name: task_schema(name)["defaults"][0] for name in ("sentiment", "integration")}

    assert choices == {"sentiment": {"override /data": "movie_reviews"}, "integration": {"override /data": None}}


def test_settings_in_the_older_layout_are_converted():
    values = {"task": {"name": "integration", "num_samples": 200}, "masking": True, "vocab_size": 10_000, "cell": "gru"}

    assert checked(values) == edited(Integration(), {"num_samples": 200, "cell": "gru"})
    assert checked({"task": {"name": "sentiment"}, "masking": False}) == edited(Settings(), {"masking": False})


def test_values_are_written_as_hydra_reads_them():
    assert [as_typed(value) for value in (None, True, False, 1e-3, "x", 0, 1)] == [
        "null",
        "true",
        "false",
        "0.001",
        "x",
        "0",
        "1",
    ]


def test_a_key_is_proposed_only_if_one_is_near():
    assert "did you mean learning_rate?" in str(unknown_key("learn_rate"))
    assert "--help` lists all keys" in str(unknown_key("zzzz"))


def test_the_file_of_an_earlier_version_is_read_and_the_old_key_is_refused_elsewhere():
    old = {key: value for key, value in Settings().model_dump().items() if key != "execution"}

    assert of_file({**old, "jit_compile": True}) == edited(Settings(), {"execution": "xla"})
    assert of_file({**old, "jit_compile": False}) == Settings()
    with pytest.raises(SettingsError, match="unknown key 'jit_compile'; write execution=xla for true"):
        checked({"jit_compile": True})
