from __future__ import annotations

from types import SimpleNamespace

import pytest

from src import registry
from src.config.settings import checked, edited
from src.data.options import Table
from src.parts import sizes as of_machine
from src.parts.recurrent import sizes
from src.spec.rules import Inert
from src.spec.section import SettingsError
from src.tasks.integration.settings import Settings as Integration
from src.tasks.sentiment.settings import Settings
from src.tasks.sentiment.sizes import parameters
from src.trial.prepare import prepare
from src.trial.rules import without_inert


def texts(*, longest=2_474, classes=2):
    """The attributes of a loaded corpus that a task reads."""
    return SimpleNamespace(
        longest=longest, classes=[f"class {number}" for number in range(classes)], digest="d", rows={}
    )


def resolved(settings, **of_texts):
    """Returns the resolved settings of a trial, and their changes."""
    prepared = prepare(settings, data=texts(**of_texts) if settings.task == "sentiment" else None)
    return prepared.settings, prepared.changes


def refusals(settings, **of_texts):
    """Returns why a trial cannot be prepared; empty if it can."""
    try:
        resolved(settings, **of_texts)
    except SettingsError as error:
        return str(error)
    return ""


@pytest.fixture
def memory(monkeypatch):
    """Sets the memory of this machine, in megabytes."""
    return lambda megabytes: monkeypatch.setattr(of_machine, "memory_mb", lambda: float(megabytes))


@pytest.mark.parametrize(
    ("kind", "changes", "key", "used"),
    [
        (Settings, {"padding": "dataset"}, "bucketing", False),
        (Settings, {"padding": "equal"}, "bucketing", False),
        (Settings, {"padding": "equal", "padding_side": "pre"}, "padding_side", "post"),
        (Settings, {"bucketing": False, "batch_size": 1, "padding_side": "pre"}, "padding_side", "post"),
        (Settings, {"padding": "equal"}, "masking", False),
        (Settings, {"bucketing": False, "batch_size": 1}, "masking", False),
        (Settings, {"max_length": None, "truncation": "remove"}, "truncation", "pre"),
        (Settings, {"encoding": "onehot", "vocab_size": 100, "embedding_dim": 8}, "embedding_dim", 64),
        (Settings, {"readout": "mean_logit"}, "readout", "mean_state"),
        (Settings, {"implementation": "packed_loop", "masking": False}, "implementation", "graph_loop"),
        (Settings, {"forget_bias": 0.0, "cell": "gru"}, "forget_bias", None),
        (Settings, {"forget_bias": 1.0}, "forget_bias", None),
        (Settings, {"implementation": "graph_loop", "bptt_steps": 200}, "bptt_steps", None),
        (Settings, {"implementation": "eager_loop", "retracing": "per_shape"}, "retracing", "signature"),
        (Settings, {"execution": "eager", "retracing": "per_shape"}, "retracing", "signature"),
        (Settings, {"implementation": "eager_loop", "execution": "eager"}, "execution", "graph"),
        (Settings, {"batch_size": 1, "drop_remainder": True}, "drop_remainder", False),
        (Integration, {"implementation": "packed_loop"}, "implementation", "graph_loop"),
        (Integration, {"implementation": "graph_loop", "bptt_steps": 25}, "bptt_steps", None),
        (Integration, {"drop_remainder": True}, "drop_remainder", False),
        (Integration, {"batch_size": 1, "drop_remainder": True}, "drop_remainder", False),
        (Integration, {"target": "integral", "head": "softmax"}, "head", "sigmoid"),
        (Integration, {"readout": "mean_logit"}, "readout", "mean_state"),
        (Integration, {"cell": "gru", "forget_bias": 0.0}, "forget_bias", None),
    ],
)
def test_a_toggle_without_effect_is_set_to_one_value_and_says_why(kind, changes, key, used):
    settings, reasons = resolved(edited(kind(), changes))

    assert getattr(settings, key) == used
    assert [change.key for change in reasons].count(key) == 1
    assert all(change.reason in str(change) for change in reasons)


def test_a_rule_gets_the_settings_that_earlier_rules_changed():
    rules = (Inert("cell", "gru", lambda s: True, "first"), Inert("units", 7, lambda s: s.cell == "gru", "second"))

    used, changes = without_inert(Settings(), rules)

    assert (used.cell, used.units, [change.reason for change in changes]) == ("gru", 7, ["first", "second"])


def test_the_end_that_is_truncated_does_not_matter_where_nothing_is_truncated():
    settings = edited(Settings(), {"truncation": "post", "max_length": 30})

    used, (change,) = resolved(settings, longest=29)
    assert used.truncation == "pre" and "the longest sequence has 29 steps" in str(change)
    assert resolved(settings, longest=30)[0] == settings  # longer texts may have been cut to 30


def test_integration_has_no_toggles_of_texts():
    with pytest.raises(
        SettingsError, match="task=integration has no masking; task=sentiment and task=language_model have it"
    ):
        edited(Integration(), {"masking": False})


def test_a_sum_has_no_probability():
    settings = edited(Integration(), {"target": "integral", "readout": "mean_probability"})

    assert refusals(settings) == (
        "readout=mean_probability does not work with target=integral: a sum has no probability; set readout=mean_state"
    )


def test_the_length_of_noise_decides_its_memory(memory):
    memory(2_000)

    assert "with 100000 steps needs about" in refusals(edited(Integration(), {"sequence_length": 100_000}))
    assert refusals(Integration()) == ""


def test_toggles_with_an_effect_are_not_changed():
    assert resolved(Settings()) == (Settings(), [])
    assert resolved(Integration()) == (Integration(), [])


@pytest.mark.parametrize(
    "settings",
    [
        edited(
            Settings(),
            {"padding": "dataset", "encoding": "onehot", "vocab_size": 100, "embedding_dim": 3, "parameters": 5_000},
        ),
        edited(
            Integration(),
            {"target": "integral", "head": "softmax", "implementation": "packed_loop", "parameters": 5_000},
        ),
    ],
)
def test_resolving_twice_changes_nothing_more(settings):
    once, changes = resolved(settings)

    assert changes and resolved(once) == (once, [])


def test_the_data_determine_the_length_of_sequences():
    cut = edited(Settings(), {"implementation": "graph_loop", "bptt_steps": 50, "max_length": None})

    assert resolved(cut)[0].bptt_steps == resolved(cut, longest=51)[0].bptt_steps == 50
    assert resolved(cut, longest=50)[0].bptt_steps is None


def test_drop_remainder_has_an_effect_with_noise():
    assert resolved(edited(Integration(), {"num_samples": 100, "drop_remainder": True}))[0].drop_remainder


def test_more_than_two_classes_get_one_unit_each():
    settings, reasons = resolved(Settings(), classes=3)

    assert settings.head == "softmax"
    assert "head=softmax is used: the data have 3 classes" in str(reasons[0])


def test_a_onehot_batch_larger_than_memory_is_refused_with_its_megabytes(memory):
    memory(1_000)
    reason = refusals(edited(Settings(), {"encoding": "onehot"}))

    assert "needs about" in reason and "MB of memory; this machine has 1,000 MB; set encoding=embedding" in reason


def test_the_default_trial_fits_a_laptop(memory):
    memory(2_000)

    assert refusals(Settings()) == ""


def test_the_data_give_the_length_if_the_settings_do_not(memory):
    memory(2_000)
    unlimited = edited(Settings(), {"max_length": None, "encoding": "onehot"})

    assert refusals(unlimited, longest=100) == ""
    assert "with 2474 steps needs about" in refusals(unlimited, longest=2_474)


def test_required_memory_grows_with_what_a_step_keeps():
    def needed(settings, width=64):
        return sizes.required_mb(settings, steps=200, width=width, parameters=parameters(settings))

    assert needed(Settings()) < needed(edited(Settings(), {"depth": 3}))
    assert 1_500 < needed(edited(Settings(), {"encoding": "onehot"}), width=10_000) < 2_500  # measured: 1.9 GB


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"bptt_steps": 10},
            "bptt_steps does not work with implementation=keras; set implementation=graph_loop",
        ),
        ({"implementation": "cell_loop", "bptt_steps": 10}, "bptt_steps does not work with implementation=cell_loop"),
        (
            {"implementation": "eager_loop", "execution": "xla"},
            "implementation=eager_loop, which compiles nothing; set implementation=graph_loop",
        ),
        (
            {"implementation": "eager_loop", "execution": "graph_epoch"},
            "execution=graph_epoch does not work with implementation=eager_loop, which compiles nothing",
        ),
        (
            {"execution": "graph_epoch", "accumulate": 2},
            "accumulate=2 does not work with execution=graph_epoch, whose graph takes a step with every batch; "
            "set execution=graph",
        ),
        (
            {"execution": "graph_epoch", "retracing": "relaxed"},
            "has one signature for all batches; set execution=graph",
        ),
        (
            {"execution": "graph_epoch", "tracking": {"profile": 3}},
            "tracking.profile=3 does not work with execution=graph_epoch, whose graph has no single steps to profile",
        ),
        ({"implementation": "packed_loop", "execution": "xla"}, "shrinks its batch over time"),
        ({"tracking": {"name": "offline", "uri": "x"}}, "tracking=offline uses no tracking store"),
    ],
)
def test_a_combination_that_cannot_run_is_refused_with_the_fix(changes, message):
    assert message in refusals(checked(changes))


@pytest.mark.parametrize("profile", [None, False])
def test_a_graph_of_an_epoch_needs_no_profile(profile):
    assert not refusals(checked({"execution": "graph_epoch", "tracking": {"profile": profile}}))


@pytest.mark.parametrize("changes", [{"bptt_steps": 10}, {"implementation": "eager_loop", "execution": "xla"}])
def test_a_combination_that_cannot_run_with_texts_cannot_run_with_noise(changes):
    assert refusals(edited(Integration(), changes)) == refusals(edited(Settings(), changes)) != ""


@pytest.mark.parametrize("name", ["table", "aclimdb"])
def test_a_corpus_without_a_path_is_refused(home, name):
    with pytest.raises(SettingsError, match=f"data={name} needs a path; add data.path="):
        prepare(checked({"data": {"name": name}}))


@pytest.mark.parametrize(
    ("cell", "depth", "bidirectional"), [("gru", 1, False), ("simple_rnn", 2, True), ("lstm", 2, True)]
)
def test_units_are_chosen_with_the_number_of_parameters_closest_to_the_target(cell, depth, bidirectional):
    asked = edited(Settings(), {"cell": cell, "depth": depth, "bidirectional": bidirectional, "parameters": 673_089})
    used, changes = resolved(asked)

    distance = [abs(parameters(edited(used, {"units": used.units + more})) - 673_089) for more in (-1, 0, 1)]
    assert min(distance) == distance[1] and used.parameters is None
    reason = f"the model then has {parameters(used):,} parameters, which is closest to parameters=673089"
    assert str(changes[-1]) == f"units={used.units} is used: {reason}"


def test_memory_is_computed_from_the_length_of_the_texts_and_not_from_the_longest_allowed(memory):
    memory(8_000)
    own = edited(Settings(data=Table(path="mine.csv")), {"max_length": 100_000, "encoding": "onehot"})

    assert refusals(own, longest=100) == ""
    assert "with 100000 steps needs about" in refusals(own, longest=100_000)


def test_toggles_without_effect_refuse_nothing(home, table):
    settings = checked(
        {"data": {"name": "table", "path": str(table)}, "padding": "equal", "implementation": "packed_loop"}
    )

    assert prepare(edited(settings, {"execution": "xla"})).settings.implementation == "graph_loop"


@pytest.mark.parametrize("task", ["sentiment", "integration"])
def test_every_toggle_that_a_rule_names_is_one_of_its_task(task):
    named = registry.task(task)

    assert {rule.key for rule in named.inert} <= set(named.settings.toggles())
