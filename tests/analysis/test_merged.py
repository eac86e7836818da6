"""The trials of all plans of a study in one table."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from analysis import findings, load, merged, store
from analysis.__main__ import app
from analysis.rows import NOT_RUN
from benchmarks import generated
from src import paths
from src.config.settings import label


def loaded(**options):
    return load.study("s", store.connect(paths.default_tracking_uri()), **options)


def invoke(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def planned(home, blank):
    """Returns a function that makes a study with several plans; each plan lists its rows and what it varied."""

    def make(levels, *plans, seeds=(0, 1, 2), **asked):
        generated.study(
            blank, "s", levels, lambda values, seed: {"test/accuracy": 0.7 + 0.01 * seed}, seeds=seeds, **asked
        )
        [path] = home.glob("mlartifacts/s/*/artifacts/plan.json")
        [record] = json.loads(path.read_text())
        path.write_text(json.dumps([_asked(record, keeps, varied) for keeps, varied in plans]))
        return loaded(every=True)

    return make


def _asked(record, keeps, varied):
    """A plan with these rows and these varied toggles, as a command would write it."""
    rows = [row for row in record["rows"] if keeps({**row["values"], "seed": row["seed"]})]
    first = rows[0]["values"]
    return {
        **record,
        "levels": {key: list(dict.fromkeys(row["values"][key] for row in rows)) for key in varied},
        "rows": [
            {
                **row,
                "values": {key: row["values"][key] for key in varied},
                "label": label({key: row["values"][key] for key in varied}) or "defaults",
                "role": "reference" if row["values"] == first else "variant",
            }
            for row in rows
        ],
    }


GRID = {"cell": ["lstm", "gru"], "masking": [True, False]}
TWO = [
    (lambda row: row["masking"], ["cell"]),
    (lambda row: not row["masking"], ["cell"]),
]  # two commands, each with its own mask


def test_the_latest_plan_says_how_many_trials_it_leaves_out_and_how_to_see_them(planned):
    planned(GRID, *TWO)
    assert loaded().of_plans == (
        "6 trials of this study belong to other plans and are not shown; "
        "`python -m analysis table s --all` shows every trial in one table"
    )


def test_the_note_on_a_single_trial_of_another_plan_is_in_the_singular(planned):
    planned(
        {"cell": ["lstm", "gru"]},
        *[(lambda row, cell=cell: row["cell"] == cell, []) for cell in ("lstm", "gru")],
        seeds=[0],
    )

    assert loaded().of_plans.startswith("1 trial of this study belongs to another plan and is not shown")


def test_rows_of_all_plans_are_named_by_what_differs_between_them(planned):
    rows = planned(GRID, *TWO).rows

    assert sorted(set(rows["label"])) == [
        "cell=gru masking=false", "cell=gru masking=true", "cell=lstm masking=false", "cell=lstm masking=true",
    ]  # fmt: skip
    assert len(rows) == 12 and set(rows["status"]) == {"FINISHED"}


def test_the_reference_is_that_of_the_latest_plan(planned):
    rows = planned(GRID, *TWO).rows

    assert set(rows.loc[rows["is_reference"], "label"]) == {"cell=lstm masking=false"}


def test_plans_that_make_a_grid_together_are_compared_as_one(planned):
    found = findings.find(planned(GRID, *TWO))

    assert found.study.plan["design"] == "grid" and found.factorial is not None
    assert found.summary["n"].tolist() == [3, 3, 3, 3]


def test_seeds_that_a_second_command_added_join_the_first(planned):
    rows = planned(
        GRID,
        *[(lambda row, add=add: (row["seed"] > 2) == add, ["cell", "masking"]) for add in (False, True)],
        seeds=range(5),
    ).rows

    assert rows.groupby("label")["seed"].apply(sorted).tolist() == [[0, 1, 2, 3, 4]] * 4


def test_a_trial_of_two_plans_has_one_row(planned):
    study = planned(GRID, (lambda row: row["masking"], ["cell"]), (lambda row: True, ["cell", "masking"]))

    assert len(study.rows) == 12 and not study.rows["identity"].duplicated().any()
    assert loaded().of_plans == ""


def test_a_normalised_setting_that_a_plan_did_not_vary_is_no_difference():
    """Buckets have no effect if everything is padded to the longest: the plan has true, and the trial has false."""
    plans = [
        plan(entry(f"{n}a", n, role="reference", padding="batch"), entry(f"{n}b", n, padding="dataset"), padding=[])
        for n in (0, 1)
    ]
    trials = {f"{n}{name}": merged.Trial({"bucketing": name == "a"}, "d") for n in (0, 1) for name in "ab"}
    made, _, _ = merged.plan(plans, trials)

    assert list(made["levels"]) == ["padding"]


def test_trials_on_part_of_the_data_differ_from_trials_on_all_data():
    trials = {
        "1": merged.Trial({"data.limit": None, "data.name": "table"}, "d"),
        "2": merged.Trial({"data.limit": 9, "data.name": "table"}, "e"),
    }
    made, _, _ = merged.plan([plan(entry("1")), plan(entry("2", role="reference"))], trials)

    assert [row["label"] for row in made["rows"]] == ["data.limit=9", "data.limit=null"]


def test_files_that_were_moved_are_the_same_data():
    trials = {name: merged.Trial({"data.path": name, "cell": name}, "d") for name in ("1", "2")}
    made, _, _ = merged.plan([plan(entry("1")), plan(entry("2", role="reference"))], trials)

    assert list(made["levels"]) == ["cell"]


def test_designs_that_make_no_grid_are_named_by_what_they_change(planned):
    study = planned(
        GRID, (lambda row: row["masking"], ["cell"]), (lambda row: True, ["cell", "masking"]), design="one_at_a_time"
    )

    assert sorted(set(study.rows["label"])) == ["cell=gru", "masking=false", "reference"]


def entry(identity, seed=0, label="a", role="variant", **values):
    return {
        "identity": identity,
        "seed": seed,
        "label": label,
        "role": role,
        "values": values,
        "normalised": [],
        "dropped": None,
    }


def plan(*rows, **levels):
    return {"design": "grid", "levels": levels, "reference": {}, "commands": [], "rows": list(rows)}


def test_a_trial_of_no_plan_is_named_by_its_settings():
    made, text, _ = merged.plan(
        [plan(entry("1", role="reference", cell="lstm"), cell=["lstm"])],
        {
            "1": merged.Trial({"cell": "lstm", "depth": 1}, "d"),
            "2": merged.Trial({"cell": "gru", "depth": 2, "seed": 5}, "d"),
        },
    )

    assert [(row["label"], row["seed"]) for row in made["rows"]] == [("cell=lstm depth=1", 0), ("cell=gru depth=2", 5)]
    shown = "every trial of the study is shown, of 1 plan and 1 of no plan that is kept"
    assert text == f"{shown}; they are compared with the latest plan's reference"


def test_trials_older_than_a_setting_have_its_default():
    one, other = entry("1", role="reference", cell="lstm"), entry("2", seed=1, cell="lstm")
    trials = {
        "1": merged.Trial({"cell": "lstm"}, "d"),
        "2": merged.Trial({"cell": "lstm", "tokens": "word", "depth": 1}, "d"),
    }
    made, _, _ = merged.plan([plan(one, cell=["lstm"]), plan(other, cell=["lstm"])], trials)

    assert made["levels"] == {} and {row["label"] for row in made["rows"]} == {"defaults"}


def test_old_names_of_settings_in_a_plan_are_translated():
    old = plan(entry("1", role="reference", **{"task.encoding": "one_hot"}), **{"task.encoding": ["one_hot"]})
    trials = {"1": merged.Trial({"task.encoding": "one_hot"}, "d"), "2": merged.Trial({"encoding": "integer"}, "d")}
    made, _, _ = merged.plan([old, plan(entry("2", encoding="integer"), encoding=["integer"])], trials)

    assert made["levels"] == {"encoding": ["one_hot", "integer"]} and len(made["rows"]) == 2


def test_trials_with_equal_settings_and_different_data_are_distinguished_by_their_data():
    trials = {"1": merged.Trial({"cell": "lstm"}, "d1"), "2": merged.Trial({"cell": "lstm"}, "d2")}
    made, _, _ = merged.plan([plan(entry("1", cell="lstm")), plan(entry("2", role="reference", cell="lstm"))], trials)

    assert [row["label"] for row in made["rows"]] == ["data (hash)=d2", "data (hash)=d1"]


def test_indistinguishable_trials_are_counted_and_only_that_of_the_latest_plan_is_kept():
    trials = {"1": merged.Trial({"cell": "lstm"}, "d"), "2": merged.Trial({"cell": "lstm"}, "d")}
    made, _, notes = merged.plan(
        [plan(entry("1", cell="lstm")), plan(entry("2", role="reference", cell="lstm"))], trials
    )

    assert [row["identity"] for row in made["rows"]] == ["2"]
    assert notes == [
        "1 trial equals another in settings, seed and data, and is left out: the one of the latest plan counts"
    ]


def test_params_of_a_trial_without_its_settings_file_are_typed_values():
    text = {
        "masking": "true",
        "bptt_steps": "null",
        "learning_rate": "0.001",
        "cell": "lstm",
        "study": "[1]",
        "epochs": "2",
    }

    assert merged.typed(text) == {
        "masking": True,
        "bptt_steps": None,
        "learning_rate": 0.001,
        "cell": "lstm",
        "study": "[1]",
        "epochs": 2,
    }


def test_a_store_without_settings_files_has_all_trials_too(place):
    [path] = place.glob("mlartifacts/s/*/artifacts/plan.json")
    [record] = json.loads(path.read_text())
    kept = {
        **record,
        "rows": [row for row in record["rows"] if row["values"]["cell"] == "lstm"],
        "levels": {"masking": [True, False]},
    }
    path.write_text(json.dumps([kept]))

    assert "6 trials of this study belong to other plans" in loaded().of_plans
    assert loaded(every=True).rows["label"].nunique() == 4 and len(loaded(every=True).rows) == 12


def test_an_unreadable_earlier_plan_is_reported(place):
    [path] = place.glob("mlartifacts/s/*/artifacts/plan.json")
    path.write_text(json.dumps([{"rows": 3}, *json.loads(path.read_text())]))

    assert any(note.startswith("1 earlier plans of this study cannot be read") for note in loaded().notes)
    assert len(loaded(every=True).rows) == 12


@pytest.fixture
def halved(place):
    """A study whose latest plan contains half of the trials."""
    [path] = place.glob("mlartifacts/s/*/artifacts/plan.json")
    [record] = json.loads(path.read_text())
    path.write_text(
        json.dumps([record, {**record, "rows": [row for row in record["rows"] if row["values"]["masking"]]}])
    )
    return place


@pytest.mark.parametrize("command", ["report", "table"])
def test_the_terminal_says_how_to_see_the_other_trials(halved, command):
    shown = invoke(command, "s").output

    assert (
        "note: 6 trials of this study belong to other plans and are not shown; `python -m analysis table s --all`"
        in shown
    )


def test_with_a_machine_readable_format_the_note_goes_to_stderr(halved):
    done = invoke("table", "s", "--format", "csv")

    assert done.stdout.startswith("within,label") and "6 trials of this study belong to other plans" in done.stderr


def test_the_list_of_studies_counts_them_and_says_how_to_see_them(halved):
    shown = invoke("studies").output

    assert "| s | 12 | 12 | 0 | 6 |" in shown and "`python -m analysis table STUDY --all` shows them all" in shown


def test_the_list_of_studies_has_no_column_for_other_plans_if_there_are_none(place):
    assert "in other plans" not in invoke("studies").output


def test_a_table_of_all_plans_does_not_replace_that_of_the_latest(halved):
    latest, every = invoke("table", "s").output, invoke("table", "s", "--all").output

    assert latest.count("| ✗ |") == 0 and every.count("| ✗ |") == 2
    assert "note: every trial of the study is shown, of 2 plans" in every
    assert (halved / "reports" / "s" / "table.md").read_text() in latest
    assert (halved / "reports" / "s" / "all" / "table.md").read_text() in every


def test_the_page_has_the_note_on_all_plans(halved):
    assert invoke("report", "s", "--no-attach").exit_code == 0
    assert "6 trials of this study belong to other plans" in (halved / "reports" / "s" / "report.html").read_text()
    assert invoke("report", "s", "--all", "--no-attach").exit_code == 0
    assert (
        "every trial of the study is shown, of 2 plans"
        in (halved / "reports" / "s" / "all" / "report.html").read_text()
    )


@pytest.mark.parametrize(
    "words", [["figure", "s", "forest"], ["export", "s"], ["compare", "s", "reference", "masking=false cell=lstm"]]
)
def test_other_commands_take_all_plans_too(halved, words):
    assert invoke(*words, "--all").exit_code == 0


def test_generated_studies_of_one_plan_are_the_same_either_way(database):
    for name in ("whole", "troubled"):
        one, all_of_it = (
            load.study(name, store.connect(f"sqlite:///{database}"), every=every).rows for every in (False, True)
        )
        done = one[one["status"] != NOT_RUN]
        assert sorted(zip(done["label"], done["seed"], strict=True)) == sorted(
            zip(all_of_it["label"], all_of_it["seed"], strict=True)
        )


@pytest.mark.parametrize(("task", "depth"), [("images", 2), ("sentiment", 1), (None, 1), ({"name": "noise"}, 1)])
def test_a_missing_setting_has_the_default_of_the_plans_task(task, depth):
    assert merged._default("depth", [{"task": task}]) == depth
