"""Reading a tracked study into rows."""

from __future__ import annotations

import json
import shutil
import sqlite3

import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from analysis import effects, findings, load, merged, store
from analysis.store import StoreError
from benchmarks import generated
from src import paths
from src.config.settings import checked
from src.spec import contract
from src.tracking.journal import FAILED, FINISHED
from tests.analysis.conftest import ACCURACY, GRID, accuracy, usual
from tests.study.test_sweep import Launcher, run

MANY = {"cell": ["lstm", "gru"], "masking": [True, False], "seed": [0, 1, 2]}


def loaded(name, uri, **options):
    return load.study(name, store.connect(uri), **options)


def test_rows_are_those_of_the_plan_with_the_trial_that_serves_each(uri):
    study = loaded("whole", uri)

    assert study.toggles == ["masking", "cell"]
    assert len(study.rows) == 32 and study.rows["is_reference"].sum() == 8
    assert set(study.rows["status"]) == {"FINISHED"}
    for row in study.rows.to_dict("records"):
        assert row["test/accuracy"] == pytest.approx(
            accuracy({"masking": row["masking"], "cell": row["cell"]}, row["seed"])
        )


def test_the_validation_accuracy_is_that_of_the_best_epoch_not_of_the_last(uri):
    rows = loaded("whole", uri).rows
    assert (rows["val/accuracy"] - rows["test/accuracy"]).abs().max() < 1e-12


def test_the_target_is_reached_at_its_first_step(uri):
    study = loaded("slow_learners", uri)
    reached = study.rows.groupby("masking")[study.steps_to.name]

    assert study.steps_to.name == "steps_to/val_accuracy_0.80"
    assert reached.get_group(True).tolist() == [80.0] * 16 and reached.get_group(False).isna().all()


def with_epochs(path, **histories):
    """Adds recorded values of epochs to every trial of study `s`."""
    with sqlite3.connect(path) as database:
        for run_id in loaded("s", f"sqlite:///{path}").rows["run_id"]:
            for name, values in histories.items():
                points = [(f"time/{name}", value, False, place, place, run_id) for place, value in enumerate(values)]
                database.executemany(
                    "INSERT INTO metrics (key, value, is_nan, timestamp, step, run_uuid) VALUES (?, ?, ?, ?, ?, ?)",
                    points,
                )


def test_an_epochs_time_is_the_mean_of_all_epochs_and_a_steady_epochs_the_median(broken):
    with_epochs(broken, epoch_s=(14.0, 24.0, 1.0), steady_epoch_s=(2.5, 9.0, 3.5))
    rows = loaded("s", f"sqlite:///{broken}").rows

    assert set(rows["time/epoch_s"]) == {13.0} and set(rows["time/steady_epoch_s"]) == {3.5}


def test_what_older_versions_called_an_epochs_time_is_a_steady_epochs(broken):
    with_epochs(broken, epoch_s=(2.5, 9.0, 3.5))
    with sqlite3.connect(broken) as database:
        database.execute("DELETE FROM tags WHERE key = 'ablation.record'")
    study = loaded("s", f"sqlite:///{broken}")

    assert study.rows["time/epoch_s"].isna().all() and set(study.rows["time/steady_epoch_s"]) == {3.5}
    assert any("whose time/epoch_s left out the steps that traced" in note for note in study.notes)


def test_the_trials_behind_a_table_can_be_read_again(uri, tmp_path):
    study = loaded("whole", uri)
    load.trials_of_tables(study).to_csv(tmp_path / "trials.csv", index=False)
    again = pd.read_csv(tmp_path / "trials.csv")

    found = effects.paired(again, metric=ACCURACY, margin=0.005)
    expected = effects.paired(study.rows, metric=ACCURACY, margin=0.005)
    np.testing.assert_allclose(found["change"], expected["change"], atol=1e-6)
    assert found["verdict"].tolist() == expected["verdict"].tolist()


def test_the_step_of_the_validation_before_the_target_is_in_the_rows(own):
    generated.study(
        own,
        "s",
        {},
        lambda values, seed: {"test/accuracy": 0.8, "validation": [[0.9, 0.9], [0.5, 0.6, 0.9], [0.1]][seed]},
    )
    rows = loaded("s", f"sqlite:///{own}").rows

    assert rows["step_before"].tolist()[:2] == [0.0, 80.0] and rows["step_before"].isna().tolist() == [
        False,
        False,
        True,
    ]
    assert rows["last_step"].tolist() == [80.0, 120.0, 40.0]


def test_failed_and_unrun_trials_have_rows_too(uri):
    rows = loaded("troubled", uri).rows
    assert rows["status"].value_counts().to_dict() == {"FINISHED": 30, "FAILED": 1, "not run": 1}
    assert rows.loc[rows["status"] == "FAILED", "error"].tolist() == ["the loss was nan at step 7"]


def test_steps_are_those_of_the_finished_trials(uri):
    study = loaded("whole", uri)
    steps = study.steps

    assert len(steps) == 32 * 120 and set(steps["run_id"]) == set(study.rows["run_id"])


def test_a_real_sweep_is_read_and_read_again_after_a_rerun(home, table):
    base = checked({"data": {"name": "table", "path": str(table)}, "max_length": 20, "study": "s"})
    failing = Launcher(
        lambda row: FAILED if row.label == "cell=lstm masking=false" and row.seed == 1 else FINISHED, lambda row: 0.5
    )
    assert run(base, failing, **MANY)[0]
    first = loaded("s", paths.default_tracking_uri())
    assert first.rows.loc[first.rows["status"] == "FAILED", ["label", "seed"]].to_numpy().tolist() == [
        ["cell=lstm masking=false", 1]
    ]

    run(base, Launcher(accuracy=lambda row: 0.1), {"rerun": True}, **MANY)
    again = loaded("s", paths.default_tracking_uri())
    assert set(again.rows["status"]) == {"FINISHED"} and set(again.rows["test/accuracy"]) == {0.1}
    assert again.notes == ["11 finished trials were trained again (rerun=true) and no longer count"]

    run(base, Launcher(accuracy=lambda row: 0.2), cell=["gru"], seed=[7])
    other = loaded("s", paths.default_tracking_uri())
    assert other.rows["test/accuracy"].tolist() == [0.2]
    assert (
        other.of_plans.startswith("12 trials of this study belong to other plans and are not shown")
        and other.of_plans in other.notes
    )
    assert loaded("s", paths.default_tracking_uri(), every=True).rows["test/accuracy"].tolist().count(0.1) == 12


@pytest.fixture
def broken(own):
    """A store that a test may break."""
    generated.study(own, "s", GRID, usual, seeds=[0, 1])
    return own


def test_a_duplicate_trial_is_reported_and_not_averaged(broken):
    with sqlite3.connect(broken) as database:
        for table, columns in {
            "runs": "name, source_type, user_id, status, start_time + 1, end_time, lifecycle_stage, artifact_uri, "
            "experiment_id",
            "tags": "key, value", "latest_metrics": "key, value / 2, timestamp, step, is_nan",
        }.items():  # fmt: skip
            named = columns.replace(" + 1", "").replace(" / 2", "")
            twin = "SELECT run_uuid FROM params WHERE key = 'cell' AND value = 'gru' LIMIT 1"
            database.execute(
                f"INSERT INTO {table} (run_uuid, {named}) "
                f"SELECT 'twin', {columns} FROM {table} WHERE run_uuid = ({twin})"
            )
    study = loaded("s", f"sqlite:///{broken}")

    [note] = study.notes
    assert "finished 2 times, with the same weights; only the latest counts" in note
    assert (study.rows["run_id"] == "twin").sum() == 1 and len(study.rows) == 8


def twice(path, tags, later=0):
    """Adds a second run of a trial, with tags, that starts `later` milliseconds later; returns the first run's id."""
    client = MlflowClient(f"sqlite:///{path}")
    (run, *_) = client.search_runs([client.get_experiment_by_name("s").experiment_id], "params.cell = 'gru'")
    made = client.create_run(
        run.info.experiment_id, start_time=run.info.start_time + later, tags={**run.data.tags, **tags[1]}
    )
    client.set_terminated(made.info.run_id, end_time=run.info.start_time + later + 1)
    for key, value in tags[0].items():
        client.set_tag(run.info.run_id, key, value)
    return run.info.run_id


@pytest.mark.parametrize("later", [-5_000, 0, 5_000])
@pytest.mark.parametrize("number", [0, 2])
def test_the_later_attempt_of_a_journal_counts_regardless_of_the_clock(broken, later, number):
    first, second = ({"ablation.journal": "j", "ablation.attempt_number": str(place)} for place in (1, number))
    run_id = twice(broken, (first, second), later)

    assert (run_id in set(loaded("s", f"sqlite:///{broken}").rows["run_id"])) == (number < 1)


def test_contradicting_clocks_are_reported_if_nothing_else_orders_the_attempts(broken):
    run_id = twice(broken, ({"ablation.superseded": "true"}, {}), 5_000)
    assert not any("contradict" in note for note in loaded("s", f"sqlite:///{broken}").notes)
    with sqlite3.connect(broken) as database:
        database.execute("UPDATE runs SET end_time = start_time - 1 WHERE run_uuid = ?", (run_id,))

    study = loaded("s", f"sqlite:///{broken}")

    (note,) = (note for note in study.notes if "contradict" in note)
    assert "nothing else tells which is the latest; run" in note and run_id not in note


def plan_of(path):
    [found] = path.parent.glob("mlartifacts/s/*/artifacts/plan.json")
    return found


@pytest.mark.parametrize("text", ["", "[]", "{}", '[{"rows": []}]', '[{"rows": [{"label": 1}], "levels": {}}]', "[3]"])
def test_an_unreadable_plan_is_an_error(broken, text):
    plan_of(broken).write_text(text)
    with pytest.raises(StoreError, match=r"the plan of study 's' .* cannot be read: .*; run the study's command again"):
        loaded("s", f"sqlite:///{broken}")


def test_a_study_without_a_plan_is_an_error(broken):
    plan_of(broken).unlink()
    with pytest.raises(StoreError, match="study 's' has no plan yet; run its command again"):
        loaded("s", f"sqlite:///{broken}")


def test_missing_fields_of_an_old_plan_have_their_defaults(broken):
    path = plan_of(broken)
    records = json.loads(path.read_text())
    del records[-1]["threshold"], records[-1]["aliases"]
    path.write_text(json.dumps(records))

    assert loaded("s", f"sqlite:///{broken}").plan["threshold"] == 0.8


def test_a_foreign_experiment_is_an_error(broken):
    with sqlite3.connect(broken) as database:
        database.execute(
            "INSERT INTO experiments (experiment_id, name, lifecycle_stage) VALUES (9, 'theirs', 'active')"
        )
    with pytest.raises(StoreError, match=r"'theirs' .* was not made by this project"):
        loaded("theirs", f"sqlite:///{broken}")


def test_tidy_frames_hold_every_setting_and_every_step(uri):
    frames = load.tidy(loaded("whole", uri))

    assert len(frames["trials"]) == 32 and len(frames["steps"]) == 32 * 120
    assert {"masking", "cell", "seed", "test/accuracy", "weights", "status"} <= set(frames["trials"])


def test_a_trial_that_was_killed_and_trained_again_counts_once(own):
    generated.study(own, "s", {"cell": ["lstm", "gru"]}, lambda values, seed: {"test/accuracy": 0.8}, seeds=[0])
    with sqlite3.connect(own) as connection:
        [(identity, experiment)] = connection.execute(
            "SELECT value, experiment_id FROM tags JOIN runs USING (run_uuid) WHERE key = 'ablation.identity' LIMIT 1"
        )
        tags = {"ablation.kind": "trial", "ablation.identity": identity}
        generated._insert(connection, experiment, own.parent, status="KILLED", tags=tags)

    found = load.listed(store.connect(f"sqlite:///{own}")).set_index("study")
    assert found.loc["s", ["trials", "finished", "failed"]].tolist() == [2, 2, 0]


def test_studies_are_listed_with_their_trials_by_status(uri):
    found = load.listed(store.connect(uri)).set_index("study")
    assert found.loc["troubled", ["trials", "finished", "failed"]].tolist() == [31, 30, 1]
    assert found.loc["waiting", "latest"] == ""


def first_run(kind, reader):
    return next(run.run_id for run in reader.runs(reader.experiments()["s"]) if run.tags["ablation.kind"] == kind)


def test_a_deleted_experiment_is_an_error_that_names_the_command_to_restore_it(place):
    client = MlflowClient(paths.default_tracking_uri())
    number = client.get_experiment_by_name("s").experiment_id
    client.delete_experiment(number)

    for reader in (store.connect(None), store.ClientStore(paths.default_tracking_uri())):
        with pytest.raises(
            StoreError, match=f"study 's' was deleted in MLflow.* mlflow experiments restore --experiment-id {number}"
        ):
            load.study("s", reader)


def test_a_deleted_study_run_is_an_error_that_names_the_command_to_restore_it(place):
    run_id = first_run("study", store.connect(None))
    MlflowClient(paths.default_tracking_uri()).delete_run(run_id)

    for reader in (store.connect(None), store.ClientStore(paths.default_tracking_uri())):
        with pytest.raises(
            StoreError, match=f"study run of 's'.* was deleted in MLflow.* mlflow runs restore --run-id {run_id}"
        ):
            load.study("s", reader)


def test_a_deleted_trial_is_reported_and_counts_as_not_run(place):
    run_id = first_run("trial", store.connect(None))
    MlflowClient(paths.default_tracking_uri()).delete_run(run_id)

    for reader in (store.connect(None), store.ClientStore(paths.default_tracking_uri())):
        study = load.study("s", reader)
        assert "1 not run" in study.counts
        assert [
            note for note in study.notes if "1 trials were deleted in MLflow" in note and f"--run-id {run_id}" in note
        ]


@pytest.mark.parametrize("how", [shutil.move, shutil.copytree])
def test_a_moved_or_copied_home_is_read_completely_from_its_new_place(place, tmp_path, monkeypatch, how):
    how(place, tmp_path / "there")
    monkeypatch.setenv("ABLATION_HOME", str(tmp_path / "there"))

    reader = store.connect(None)
    study = load.study("s", reader)

    assert len(study.steps["run_id"].unique()) == 12
    assert reader.artifact(study.run_id, "plan.json").is_relative_to(tmp_path / "there")


def test_different_environments_of_trials_are_reported(place):
    client = MlflowClient(paths.default_tracking_uri())
    trials = [run.run_id for run in store.connect(None).runs("1") if run.tags["ablation.kind"] == "trial"]
    for run_id, said in zip(trials, ["keras=tensorflow,float32", "keras=tensorflow,float32 XLA_FLAGS=x"], strict=False):
        client.set_tag(run_id, "ablation.environment", said)

    notes = load.study("s", store.connect(None)).notes

    assert [
        note
        for note in notes
        if note.endswith("numbers: keras=tensorflow,float32; or keras=tensorflow,float32 XLA_FLAGS=x")
    ]


def test_missing_files_are_an_error_that_names_their_place(place):
    shutil.rmtree(place / "mlartifacts")

    with pytest.raises(
        StoreError,
        match=r"the files of study 's' are not at .*, where MLflow has them; if its home was moved, `python -m",
    ):
        load.study("s", store.connect(None))


def test_no_toggle_can_have_the_name_of_a_column(own):
    generated.study(own, "s", {"cell": ["lstm", "gru"]}, lambda values, seed: {"test/accuracy": 0.8}, seeds=(0, 1))
    compared = findings.find(load.study("s", store.connect(f"sqlite:///{own}")))

    frames = (compared.rows, compared.compared, compared.summary)
    names = {name for frame in frames for name in frame.columns if "/" not in name} - {"cell", "seed"}
    assert {"status", "run_id", "package", "verdict"} <= names
    assert sorted(names - contract.RESERVED) == []


def test_a_study_of_an_earlier_version_has_todays_toggles_in_every_view(own):
    def outcome(values, seed):
        return {"test/accuracy": 0.8 + 0.1 * values["jit_compile"]}

    generated.study(own, "s", {"jit_compile": [False, True]}, outcome)
    uri = f"sqlite:///{own}"

    for study in (loaded("s", uri), loaded("s", uri, every=True)):
        assert study.toggles == ["execution"] and study.plan["levels"] == {"execution": ["graph", "xla"]}
        values = study.rows.groupby("label", sort=False)[["execution", "test/accuracy"]].first()
        assert values.to_records().tolist() == [
            ("execution=graph", "graph", 0.8),
            ("execution=xla", "xla", pytest.approx(0.9)),
        ]

    run_id = loaded("s", uri).rows["run_id"].iloc[-1]
    folder = own.parent / "mlartifacts" / "s" / run_id / "artifacts"
    folder.mkdir(parents=True)
    (folder / "settings.json").write_text('{"jit_compile": true, "depth": 2}', encoding="utf-8")
    assert load.settings_of(store.connect(uri), run_id) == {"execution": "xla", "depth": 2}


def test_params_of_an_earlier_version_have_todays_names_and_values():
    assert merged.typed({"jit_compile": "true", "depth": "2"}) == {"execution": "xla", "depth": 2}
