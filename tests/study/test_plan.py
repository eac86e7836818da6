from __future__ import annotations

from types import SimpleNamespace

import pytest

from src import rules
from src.settings import Settings, SettingsError, checked, edited
from src.study import plan
from src.study.plan import Level


@pytest.fixture
def base(home, table):
    return edited(checked({"data": {"name": "table", "path": str(table)}}), {"max_length": 20})


def levels(**several):
    return {key: [Level(f"{key}={value}", value) for value in values] for key, values in several.items()}


def rows(base, **several):
    composed = []

    def compose(overrides):
        composed.append(overrides)
        return base

    return plan.rows(["fixed=1"], levels(**several), groups=["data"], compose=compose), composed


def test_every_cell_is_a_row_and_hydra_composes_once(base):
    found, composed = rows(base, masking=[True, False], cell=["lstm", "gru"])

    assert [row.label for row in found] == [
        "masking=true cell=lstm",
        "masking=true cell=gru",
        "masking=false cell=lstm",
        "masking=false cell=gru",
    ]
    assert [row.is_reference for row in found] == [True, False, False, False]
    assert found[3].overrides == ["fixed=1", "masking=False", "cell=gru"]
    assert composed == [["fixed=1"]]


def test_a_variant_differs_from_the_reference_in_the_keys_it_names_only(base):
    found, _ = rows(base, cell=["lstm", "gru"], depth=[1, 2])
    reference = found[0].trial.settings.model_dump()

    for row in found[1:]:
        changed = {key for key, value in row.trial.settings.model_dump().items() if reference[key] != value}
        assert changed <= {"cell", "depth"}


def test_two_names_of_one_trial_are_one_identity_with_the_reason(base):
    found, _ = rows(base, padding=["dataset"], bucketing=[False, True])

    assert found[0].trial.identity == found[1].trial.identity
    assert [str(change) for change in found[1].trial.changes] == [
        "bucketing=true has no effect here and counts as false: everything is padded to the longest of the data set"
    ]


def test_a_cell_that_cannot_run_is_kept_with_its_reason(base, monkeypatch):
    monkeypatch.setattr(rules.psutil, "virtual_memory", lambda: SimpleNamespace(available=4 * 2**30))
    found, _ = rows(base, encoding=["embedding", "onehot"], vocab_size=[100, 1_000_000])

    assert [row.trial is None for row in found] == [False, False, False, True]
    assert "MB are free" in found[3].dropped


def test_an_impossible_value_is_an_error_not_a_dropped_cell(base):
    with pytest.raises(SettingsError, match="cell: got 'foo'"):
        rows(base, cell=["lstm", "foo"])


def test_without_levels_the_plan_is_one_row(base):
    found, _ = rows(base)

    assert [(row.label, row.is_reference) for row in found] == [("defaults", True)]


def test_a_plan_is_kept_as_plain_values(base):
    found, _ = rows(base, padding=["dataset"], bucketing=[False, True])

    record = plan.as_record(found, command="x", time="now")

    assert [row["role"] for row in record["rows"]] == ["reference", "variant"]
    assert Settings.model_validate(record["rows"][0]["settings"]) == found[0].trial.settings
    assert [len(row["normalised"]) for row in record["rows"]] == [0, 1]
