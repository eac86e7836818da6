"""The name of a trial has the toggles that its study varies, and is the same everywhere."""

from __future__ import annotations

import urllib.parse

import pytest

from src.config.settings import checked, described, differences, edited
from src.study import job, plan_record, planning
from src.tracking.stored import NAME
from src.trial import run as trial
from tests.conftest import write_table


@pytest.fixture
def base(home, table):
    return edited(checked({"data": {"name": "table", "path": str(table)}}), {"max_length": 20, "epochs": 1})


def study(base, *, plan_keys=None, **swept):
    asked = edited(base, {f"plan.{key}": value for key, value in (plan_keys or {}).items()})
    swept = {key.replace("__", "."): values for key, values in swept.items()}
    return planning.study({"fixed": "fixed=1"}, swept, compose=lambda overrides: asked)


def rows(base, **options):
    planned = study(base, **options)
    return planned.rows(next(planned.rounds()))


def names(base, **options):
    return [row.name for row in rows(base, **options)]


def test_a_trial_is_named_by_what_its_study_varies_and_by_no_fixed_setting(base):
    assert names(base, cell=["lstm", "gru"], seed=[0, 1]) == [
        "cell=lstm seed=0",
        "cell=gru seed=0",
        "cell=lstm seed=1",
        "cell=gru seed=1",
    ]


def test_if_only_the_seed_varies_the_name_is_the_seed(base):
    assert names(base, seed=[3, 4]) == ["seed=3", "seed=4"]


def test_a_single_trial_is_named_by_its_differences_from_the_defaults(base):
    (row,) = rows(base)

    assert row.name == "data=table data.path=table.csv max_length=20 epochs=1 seed=0" == trial._name(base, trial.ALONE)
    assert row.label == described(differences(base))
    assert described(differences(checked({}))) == "defaults"


@pytest.mark.parametrize(
    ("design", "expected"),
    [
        ("leave_one_out", {"reference seed=0", "cell=gru seed=0", "masking=false seed=0"}),
        ("cumulative", {"reference seed=0", "+ cell=gru seed=0", "+ masking=false seed=0"}),
    ],
)
def test_a_design_with_a_reference_names_it_reference_and_the_other_variants_by_their_changes(base, design, expected):
    levels = {"cell": ["lstm", "gru"], "masking": [True, False]}
    if design == "cumulative":
        levels = {key: list(reversed(values)) for key, values in levels.items()}
    found = names(base, plan_keys={"design": design, "levels": levels})

    assert "reference seed=0" in found and len(found) == len(set(found)) == len(expected)
    assert all(name.removeprefix("+ ").count("=") <= 2 for name in found)


def test_variants_that_are_one_trial_have_one_name_with_every_seed(base):
    found = rows(base, cell=["gru", "lstm"], forget_bias=[0.0, 2.0], seed=list(range(6)))
    gru = [row for row in found if row.values["cell"] == "gru"]

    assert {row.name.removesuffix(f" seed={row.seed}") for row in gru} == {"cell=gru forget_bias=0.0"}
    assert {row.label for row in gru} == {"cell=gru forget_bias=0.0", "cell=gru forget_bias=2.0"}


def test_a_name_has_the_last_part_of_a_path_if_that_is_unique(base, table):
    other, same = table.with_name("other.csv"), table.parent / "below" / "table.csv"
    same.parent.mkdir()
    write_table(other, seed=1)
    write_table(same, seed=2)

    assert names(base, data__path=[str(table), str(other)]) == [
        "data.path=table.csv seed=0",
        "data.path=other.csv seed=0",
    ]
    assert names(base, data__path=[str(table), str(same)])[1] == f"data.path={same} seed=0"


def test_a_long_name_fits_and_ends_with_its_seed(base):
    columns = [f"{'é' * 300}{number}" for number in range(2)]
    found = study(base, data__text_column=columns, seed=[2**32 - 1])
    called = [found._row(variant, 0, base).called for variant in next(found.rounds())]

    assert len(set(called)) == 2
    assert all(len(f"{name} seed={2**32 - 1}".encode()) <= NAME for name in called)


@pytest.mark.parametrize("variant", ["cell=gru data.path=a${b}'c\".csv", "", "é 100% √"])
def test_a_job_gets_the_name_of_its_trial_from_the_study(monkeypatch, variant):
    sweep = job.Sweep(workers=2, name="a", parent=0)
    monkeypatch.delenv(job.VARIANT, raising=False)
    assert job._place(sweep).variant is None

    monkeypatch.setenv(job.VARIANT, urllib.parse.quote(variant))

    assert job._place(sweep).variant == variant
    assert trial._name(checked({}), job._place(sweep)) == f"{variant} seed=0".lstrip()


@pytest.mark.parametrize(
    ("asked", "changes"),
    [
        ({"cell": ["gru", "lstm"], "depth": [2, 1]}, ["", "depth=1", "cell=lstm", "cell=lstm depth=1"]),
        (
            {"cell": ["gru", "lstm"], "depth": [2, 1], "plan_keys": {"design": "cumulative"}},
            ["", "cell=lstm", "cell=lstm depth=1"],
        ),
        (
            {"padding": ["dataset", "batch"], "bucketing": [False, True]},
            ["", "", "padding=batch", "padding=batch bucketing=true"],
        ),
        ({"seed": [0]}, [None]),
    ],
    ids=["grid", "cumulative", "a trial of two variants", "no toggle"],
)
def test_a_row_has_the_changes_of_its_trial_against_the_reference(base, asked, changes):
    assert [row.changes for row in rows(base, **asked)] == changes


@pytest.mark.parametrize("changes", ["data.path=a${b}'c\".csv", "", None])
def test_a_job_reads_the_changes_of_its_trial_from_the_environment(monkeypatch, changes):
    monkeypatch.delenv(job.CHANGES, raising=False)
    if changes is not None:
        monkeypatch.setenv(job.CHANGES, urllib.parse.quote(changes))

    assert job._place(job.Sweep(workers=2, name="a", parent=0)).changes == changes


def record(asked):
    return plan_record.of_plan(asked, asked.rows(next(asked.rounds())), command="x", time="now")


def test_the_plan_records_shared_settings_once(base):
    asked = study(base, cell=["lstm", "gru"], max_length=[20, 10])

    assert record(asked)["fixed"] == {"data": "table", "data.path": base.data.path, "epochs": 1}


def test_a_plan_that_was_recorded_without_fixed_settings_is_continued(base):
    new = record(study(base, cell=["lstm", "gru"]))
    old = {key: value for key, value in new.items() if key != "fixed"}

    assert plan_record.is_continued_by(old, new)
