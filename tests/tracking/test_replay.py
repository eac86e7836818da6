from __future__ import annotations

import sqlite3
import time

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from sqlalchemy import sql
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from analysis.store import connect
from src.config.settings import edited
from src.spec.metric import IMPLIED
from src.spec.record import EVALUATION, HISTOGRAMS, SAMPLES, START, STEP, Record
from src.tasks.sentiment.settings import Settings
from src.tracking import journal, tensorboard_replay
from src.tracking.follow import Follower
from src.tracking.journal import FAILED, FINISHED, KILLED, Journal, end
from src.tracking.mlflow_replay import Deleted, Store
from src.training.histograms import of_all


def start(attempt="one"):
    tags = {"ablation.kind": "trial", "ablation.identity": "cafe"}
    return Record(
        START,
        0,
        detail={
            "attempt": attempt,
            "name": "cell=gru seed=0",
            "tags": tags,
            "params": {"cell": "gru", "clip_norm": None},
        },
    )


def step(number, *, is_sent=True):
    metrics = {"train/loss": 1 / number, "train/accuracy": 0.5, "time/batch_ms": 3.0}
    return Record(STEP, number, metrics, {"is_sent": is_sent, "gradient_norm": 2.0})


def evaluation(number):
    return Record(EVALUATION, number, {"val/accuracy": 0.7}, {"epoch": 1})


def finish(number, *artifacts):
    return end(
        step=number,
        status=FINISHED,
        metrics={"test/accuracy": 0.8},
        tags={"ablation.health": "ok"},
        artifacts=list(artifacts),
    )


@pytest.fixture
def trial(home, blank):
    folder = home / "outputs" / "s" / "cafe"
    folder.mkdir(parents=True)
    return folder


def write(folder, *records):
    with Journal(folder) as book:
        for record in records:
            book.append(record)


def runs(store):
    return store._search("tags.`ablation.kind` = 'trial'")


def history(store, run, key):
    return [(metric.step, metric.value) for metric in store.client.get_metric_history(run.info.run_id, key)]


def test_mlflow_gets_the_journal_under_the_names_of_the_contract(trial):
    (trial / "settings.json").write_text("{}", encoding="utf-8")
    write(trial, start(), step(1), step(2, is_sent=False), step(3), evaluation(3), finish(3, "settings.json"))
    store = Store(None, "s")

    store.replay(trial)

    (run,) = runs(store)
    assert run.info.status == "FINISHED" and run.info.run_name == "cell=gru seed=0"
    assert run.data.params == {"cell": "gru", "clip_norm": "null"}
    assert history(store, run, "train/loss") == [(1, 1.0), (3, 1 / 3)]
    assert history(store, run, "val/accuracy") == [(3, 0.7)]
    assert run.data.metrics["test/accuracy"] == 0.8
    assert run.data.tags["ablation.health"] == "ok"
    assert run.data.tags["mlflow.parentRunId"] == store.study_run_id
    assert [file.path for file in store.client.list_artifacts(run.info.run_id)] == ["settings.json"]


def test_replaying_again_after_a_crash_anywhere_writes_nothing_twice(trial, home):
    store = Store(None, "s")
    write(trial, start(), *(step(number) for number in range(1, 6)))
    store.replay(trial)
    before = (trial / "mlflow.json").read_bytes()
    write(trial, *(step(number) for number in range(6, 9)), finish(8))
    store.replay(trial)

    for forgotten in (before, b"{}", b"torn {"):
        (trial / "mlflow.json").write_bytes(forgotten)
        store.replay(trial)

    (run,) = runs(store)
    assert history(store, run, "train/loss") == [(number, 1 / number) for number in range(1, 9)]
    with sqlite3.connect(home / "mlflow.db") as database:
        assert database.execute("SELECT COUNT(*) FROM metrics WHERE run_uuid = ?", (run.info.run_id,)).fetchone() == (
            8 * 4 + 1,
        )


def test_the_driver_knows_what_a_worker_in_another_folder_has_sent(trial, home, blank, tmp_path, monkeypatch):
    write(trial, start(), step(1), finish(1))
    Store(f"sqlite:///{blank}", "s").replay(trial)
    monkeypatch.chdir(home)

    assert Store("sqlite:///mlflow.db", "s").replay(trial) == 0


def test_replaying_during_and_after_a_trial_gives_equal_runs(trial, home):
    other = home / "outputs" / "t" / "cafe"
    records = [start(), *(step(number) for number in range(1, 4)), evaluation(3), finish(3)]
    live = Store(None, "s")
    for record in records:
        write(trial, record)
        live.replay(trial)
    write(other, *records)
    late = Store(None, "t")
    late.replay(other)

    for key in ("train/loss", "val/accuracy", "test/accuracy"):
        assert history(live, runs(live)[0], key) == history(late, runs(late)[0], key)


def test_a_new_attempt_is_a_new_run_and_the_failed_one_stays(trial):
    store = Store(None, "s")
    write(trial, start("one"), step(1), end(step=1, status=FAILED, error="no memory"), start("two"), step(1), finish(1))

    store.replay(trial)

    assert {(run.info.status, run.data.tags.get("ablation.error")) for run in runs(store)} == {
        ("FAILED", "no memory"),
        ("FINISHED", None),
    }
    assert [(name, found.status) for name, found in store.outcomes(IMPLIED).items()] == [("cafe", "FINISHED")]


def test_a_superseded_trial_no_longer_counts(trial):
    store = Store(None, "s")
    write(trial, start("one"), step(1), finish(1), start("two"), step(1), finish(1))
    store.replay(trial)

    first, second = sorted(runs(store), key=lambda run: run.data.tags["ablation.attempt"])
    assert first.data.tags["ablation.superseded"] == "true"
    assert {name: found.run_id for name, found in store.outcomes(IMPLIED).items()} == {"cafe": second.info.run_id}


def test_a_trial_that_is_sent_late_does_not_supersede_a_later_one(trial):
    """One home was offline while another home trained the same trial."""
    store, other = Store(None, "s"), trial.parent / "elsewhere"
    other.mkdir()
    write(trial, start("offline"), step(1), finish(1))
    time.sleep(0.01)
    write(other, start("later"), step(1), finish(1))
    for folder in (other, trial):
        store.replay(folder)

    superseded = {run.data.tags["ablation.attempt"]: run.data.tags.get("ablation.superseded") for run in runs(store)}
    assert superseded == {"offline": "true", "later": None}


def at(monkeypatch, seconds):
    monkeypatch.setattr(journal.time, "time", lambda: seconds)


def counting(store):
    """Returns attempt → whether it is superseded, for finished attempts, and the attempt that counts."""
    finished = [run for run in runs(store) if run.info.status == "FINISHED"]
    return {
        run.data.tags["ablation.attempt"]: "ablation.superseded" in run.data.tags for run in finished
    }, store.outcomes(IMPLIED)["cafe"].attempt


@pytest.mark.parametrize("is_live", [True, False])
def test_the_last_finished_attempt_counts_after_the_clock_went_back(trial, monkeypatch, is_live):
    store = Store(None, "s")
    for seconds, attempt in ((9_000, "one"), (500, "two"), (100, "three")):
        at(monkeypatch, seconds)
        write(trial, start(attempt), step(1), finish(1))
        if is_live:
            store.replay(trial)

    store.replay(trial)

    assert counting(store) == ({"one": True, "two": True, "three": False}, "three")


def test_the_last_failed_attempt_counts_after_the_clock_went_back(trial, monkeypatch):
    store = Store(None, "s")
    for seconds, attempt in ((9_000, "one"), (500, "two")):
        at(monkeypatch, seconds)
        write(trial, start(attempt), end(step=0, status=FAILED, error=f"of {attempt}"))
    store.replay(trial)

    assert store.outcomes(IMPLIED)["cafe"].error == "of two"


def test_the_next_attempt_supersedes_one_of_an_older_version_after_the_clock_went_back(trial, monkeypatch):
    store = Store(None, "s")
    at(monkeypatch, 9_000)
    write(trial, start("one"), step(1), finish(1))
    store.replay(trial)
    for tag in ("ablation.journal", "ablation.attempt_number"):
        store.client.delete_tag(runs(store)[0].info.run_id, tag)
    at(monkeypatch, 500)
    write(trial, start("two"), step(1), finish(1))

    store.replay(trial)

    assert counting(store) == ({"one": True, "two": False}, "two")


def test_an_attempt_that_is_sent_again_after_a_later_one_changes_nothing(trial):
    store = Store(None, "s")
    write(trial, start("one"), step(1), finish(1), start("two"), step(1), finish(1))
    store.replay(trial)
    (trial / "mlflow.json").unlink()

    store.replay(trial)

    assert counting(store) == ({"one": True, "two": False}, "two")


def test_the_replay_and_the_analysis_choose_the_same_of_two_simultaneous_study_runs(home, blank):
    first = Store(None, "s")
    begun = first.client.get_run(first.study_run_id).info.start_time
    ids = [
        first.client.create_run(first.experiment_id, start_time=begun, tags={"ablation.kind": "study"}).info.run_id
        for _ in range(5)
    ]

    assert Store(None, "s").study_run_id == min([first.study_run_id, *ids])
    assert connect(None).runs(first.experiment_id)[0].run_id == min([first.study_run_id, *ids])


def test_an_end_without_a_start_does_not_touch_the_attempt_before(trial):
    store = Store(None, "s")
    write(trial, end(step=0, status=KILLED, error="x"), start(), step(1), finish(1))
    store.replay(trial)
    write(trial, end(step=0, status=KILLED, error="x"))
    store.replay(trial)

    assert [run.info.status for run in runs(store)] == ["FINISHED"]


def test_a_database_whose_creation_was_killed_is_created_again(trial, home):
    (home / "mlflow.db").unlink()
    (home / "new-mlflow.db").write_bytes(b"half of it")
    write(trial, start(), step(1), finish(1))
    store = Store(None, "s")
    store.replay(trial)

    assert len(runs(store)) == 1 and (home / "mlflow.db").is_file() and not (home / "new-mlflow.db").exists()


def test_a_database_that_was_deleted_gets_everything_again(trial, home):
    write(trial, start(), step(1), finish(1))
    Store(None, "s").replay(trial)
    again = Store(f"sqlite:///{home / 'new.db'}", "s")
    state = (trial / "mlflow.json").read_text(encoding="utf-8")
    (trial / "mlflow.json").write_text(
        state.replace("mlflow.db", "new.db"), encoding="utf-8"
    )  # the same address, another database

    again.replay(trial)

    assert [run.info.status for run in runs(again)] == ["FINISHED"]


def test_a_journal_shorter_than_what_was_sent_is_sent_again_from_its_beginning(trial):
    store = Store(None, "s")
    write(trial, start(), *(step(number) for number in range(1, 9)))
    store.replay(trial)
    lines = (trial / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (trial / "journal.jsonl").write_bytes(b"".join(lines[:3]))  # the machine failed before the disk had everything
    write(trial, end(step=2, status=KILLED, error="x"))

    store.replay(trial)
    tensorboard_replay.replay(trial)

    assert [run.info.status for run in runs(store)] == ["KILLED"]


def test_the_study_run_is_reopened_and_not_duplicated(home):
    first = Store(None, "s")
    first.close_study("FINISHED")

    again = Store(None, "s")
    again.open_study()

    assert again.study_run_id == first.study_run_id
    assert again.client.get_run(again.study_run_id).info.status == "RUNNING"


def named(name, attempt):
    detail = start(attempt).detail
    return Record(
        START, 0, detail={**detail, "name": name, "tags": {**detail["tags"], "ablation.variant": "v" * 9_000}}
    )


def test_long_names_are_cut_for_every_store_and_trials_stay_separate(trial):
    store, names = Store(None, "s"), [f"data.path={'x' * 200}{middle}{'y' * 200} seed=7" for middle in "ab"]
    for number, name in enumerate(names):
        write(trial, named(name, str(number)), step(1), end(step=1, status=FAILED, error="e" * 9_000))

    store.replay(trial)

    found = [run.info.run_name for run in runs(store)]
    assert len(set(found)) == 2 and all(len(name.encode()) <= 250 and name.endswith("y seed=7") for name in found)
    assert all(len(value) <= 8_000 for run in runs(store) for value in run.data.tags.values())


def test_a_deleted_study_is_restored_only_on_request(home, blank):
    first = Store(None, "s")
    first.client.delete_experiment(first.experiment_id)

    for options in ({}, {"is_new": False}):
        with pytest.raises(Deleted, match=f"mlflow experiments restore --experiment-id {first.experiment_id}"):
            Store(None, "s", **options)
    assert first.client.get_experiment(first.experiment_id).lifecycle_stage == "deleted"

    again = Store(None, "s", restores=True)
    assert again.is_restored and again.study_run_id == first.study_run_id
    assert not Store(None, "s").is_restored


def test_a_deleted_study_run_is_restored_only_on_request(home, blank):
    first = Store(None, "s")
    first.client.delete_run(first.study_run_id)

    for options in ({}, {"is_new": False}):
        with pytest.raises(Deleted, match=f"mlflow runs restore --run-id {first.study_run_id}"):
            Store(None, "s", **options)

    again = Store(None, "s", restores=True)
    assert again.is_restored and again.study_run_id == first.study_run_id


def test_looking_up_a_missing_study_creates_nothing(home, blank):
    with pytest.raises(LookupError, match="no study 's'"):
        Store(None, "s", is_new=False)

    store = Store(None, "s")
    store.client.set_tag(store.study_run_id, "ablation.kind", "none")
    with pytest.raises(LookupError, match="no study 's'"):
        Store(None, "s", is_new=False)


def every_run(store):
    return store._search("tags.`ablation.kind` = 'trial'", view=3)


@pytest.mark.parametrize("is_forgotten", [False, True])
def test_a_deleted_trial_stays_deleted_even_without_the_replays_state(trial, is_forgotten):
    store = Store(None, "s")
    write(trial, start(), step(1), finish(1))
    store.replay(trial)
    (run,) = runs(store)
    store.client.delete_run(run.info.run_id)
    if is_forgotten:
        (trial / "mlflow.json").unlink()

    assert store.replay(trial) == 0

    assert [one.info.run_id for one in every_run(store)] == [run.info.run_id] and not runs(store)
    assert store.deleted_trials() == {run.info.run_id: "cell=gru seed=0"}


def test_an_attempt_that_was_deleted_while_it_ran_is_left_out_but_the_next_is_sent(trial):
    store = Store(None, "s")
    write(trial, start("one"), step(1))
    store.replay(trial)
    store.client.delete_run(runs(store)[0].info.run_id)
    write(trial, step(2), end(step=2, status=FAILED, error="x"), start("two"), step(1), finish(1))

    store.replay(trial)

    assert [run.data.tags["ablation.attempt"] for run in runs(store)] == ["two"]


def test_a_restored_trial_gets_the_records_that_it_missed(trial):
    store = Store(None, "s")
    write(trial, start(), step(1))
    store.replay(trial)
    (run,) = runs(store)
    store.client.delete_run(run.info.run_id)
    write(trial, step(2), finish(2))
    store.replay(trial)

    store.client.restore_run(run.info.run_id)
    store.replay(trial)

    assert [one.info.status for one in runs(store)] == ["FINISHED"]
    assert history(store, run, "train/loss") == [(1, 1.0), (2, 0.5)]


def test_a_trial_that_was_removed_while_it_ran_is_not_created_again(trial):
    store = Store(None, "s")
    write(trial, start(), step(1))
    store.replay(trial)
    store.client.delete_run(runs(store)[0].info.run_id)
    store.client._tracking_client.store._hard_delete_run(every_run(store)[0].info.run_id)
    write(trial, step(2), finish(2))

    store.replay(trial)

    assert not every_run(store)


def test_the_earliest_of_two_study_runs_counts(home, blank):
    first = Store(None, "s")
    first.client.create_run(first.experiment_id, tags={"ablation.kind": "study"})

    assert Store(None, "s").study_run_id == first.study_run_id


def events(trial):
    return EventAccumulator(
        str(trial.parent / "cell=gru seed=0"), size_guidance={"scalars": 0, "histograms": 0}
    ).Reload()


def test_tensorboard_gets_scalars_histograms_and_hparams(trial):
    write(
        trial,
        start(),
        step(1),
        step(2, is_sent=False),
        Record(HISTOGRAMS, 2, detail=of_all({"weights": {"k": [1.0, 2.0]}})),
        finish(2),
    )

    tensorboard_replay.replay(trial)

    shown = events(trial)
    assert [(event.step, event.value) for event in shown.Scalars("train/loss")] == [(1, 1.0)]
    assert shown.Scalars("train/gradient_norm")[0].value == 2.0
    assert shown.Histograms("weights/k")[0].histogram_value.num == 2
    assert {"_hparams_/session_start_info", "_hparams_/session_end_info"} <= set(shown.summary_metadata)


def test_tensorboard_has_no_duplicates_after_a_crash_anywhere(trial):
    write(trial, start(), step(1))
    tensorboard_replay.replay(trial)
    before = (trial / "tensorboard.json").read_bytes()
    write(trial, step(2), finish(2))
    tensorboard_replay.replay(trial)
    whole = next(trial.parent.glob("cell=*/events*")).read_bytes()

    for forgotten in (before, b"{}"):
        (trial / "tensorboard.json").write_bytes(forgotten)
        tensorboard_replay.replay(trial)
        assert next(trial.parent.glob("cell=*/events*")).read_bytes() == whole


def test_tensorboard_shows_the_latest_attempt_only(trial):
    write(trial, start("one"), step(1), step(2), end(step=2, status=FAILED, error="x"))
    tensorboard_replay.replay(trial)
    write(trial, start("two"), step(1), finish(1))
    tensorboard_replay.replay(trial)

    assert len(list(trial.parent.glob("*/events*"))) == 1
    assert [event.step for event in events(trial).Scalars("train/loss")] == [1]


def test_an_unreachable_server_causes_one_warning_and_loses_nothing(trial, caplog, monkeypatch):
    write(trial, start(), step(1))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    away = Follower(trial, edited(Settings(), {"study": "s", "tracking.uri": "http://127.0.0.1:9"}))
    away.update()
    away.update(is_last=True)

    assert [record.levelname for record in caplog.records if record.levelname == "WARNING"] == ["WARNING"]
    assert "`python -m src.sync` sends them later" in caplog.text
    store = Store(None, "s")
    store.replay(trial)
    assert history(store, runs(store)[0], "train/loss") == [(1, 1.0)]


def test_a_study_that_was_deleted_while_it_ran_causes_one_warning_with_the_fix(trial, caplog):
    follower = Follower(trial, edited(Settings(), {"study": "s"}))
    store = Store(None, "s")
    store.client.delete_experiment(store.experiment_id)
    write(trial, start(), step(1))

    follower.update()

    assert "study s was deleted in MLflow" in caplog.text and "mlflow experiments restore" in caplog.text
    assert "later" not in caplog.text
    assert store.client.get_experiment(store.experiment_id).lifecycle_stage == "deleted"


def test_a_permanent_error_does_not_promise_to_send_later(trial, caplog, monkeypatch):
    def refused(store, folder):
        raise MlflowException("Invalid value for parameter 'name'", INVALID_PARAMETER_VALUE)

    monkeypatch.setattr(Store, "replay", refused)
    write(trial, start(), step(1))

    Follower(trial, edited(Settings(), {"study": "s"})).update()

    assert (
        "MLflow rejects this trial (Invalid value for parameter 'name')" in caplog.text and "later" not in caplog.text
    )


def test_a_locked_database_causes_one_warning_and_loses_nothing(trial, home, caplog, monkeypatch):
    text = sql.text
    monkeypatch.setattr(
        sql, "text", lambda words: text(words.replace("busy_timeout = 20000", "busy_timeout = 500"))
    )  # MLflow's patience
    store = Store(None, "s")
    write(trial, start(), step(1))
    follower = Follower(trial, edited(Settings(), {"study": "s"}))
    other = sqlite3.connect(home / "mlflow.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    follower.update()
    other.close()
    write(trial, step(2), finish(2))

    follower.update(is_last=True)

    assert "database is locked. The journal keeps all records" in caplog.text
    assert history(store, runs(store)[0], "train/loss") == [(1, 1.0), (2, 0.5)]


def shrunk(folder, *, lines):
    """Cuts a journal to some lines, as a crash of the machine may, and then makes it longer than before."""
    path = folder / "journal.jsonl"
    size = path.stat().st_size
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:lines]))
    write(folder, end(step=2, status=KILLED, error="x"), start("two"))
    number = 0
    while path.stat().st_size <= size:
        number += 1
        write(folder, step(number))
    write(folder, finish(number))
    return number


def test_a_journal_that_shrank_and_grew_again_is_replayed_from_its_beginning(trial):
    store = Store(None, "s")
    write(trial, start(), *(step(number) for number in range(1, 9)))
    store.replay(trial)
    tensorboard_replay.replay(trial)
    number = shrunk(trial, lines=3)

    store.replay(trial)
    tensorboard_replay.replay(trial)

    assert sorted((run.data.tags["ablation.attempt"], run.info.status) for run in runs(store)) == [
        ("one", "KILLED"),
        ("two", "FINISHED"),
    ]
    (second,) = [run for run in runs(store) if run.info.status == "FINISHED"]
    assert history(store, second, "train/loss") == [(step, 1 / step) for step in range(1, number + 1)]
    assert [event.step for event in events(trial).Scalars("train/loss")] == list(range(1, number + 1))


def test_the_event_file_of_a_cut_journal_has_only_the_journals_steps(trial):
    write(trial, start(), *(step(number) for number in range(1, 9)))
    tensorboard_replay.replay(trial)
    path = trial / "journal.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3]))

    tensorboard_replay.replay(trial)

    assert [event.step for event in events(trial).Scalars("train/loss")] == [1, 2]


def test_a_run_stays_finished_if_the_journal_lost_its_end(trial):
    store = Store(None, "s")
    write(trial, start(), step(1), step(2), finish(2))
    store.replay(trial)
    path = trial / "journal.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    write(trial, end(step=1, status=KILLED, error="x"))

    store.replay(trial)

    (run,) = runs(store)
    assert run.info.status == "FINISHED" and "ablation.error" not in run.data.tags


@pytest.fixture
def lost_answers(monkeypatch):
    """A server whose first answer to every creation is lost, so that MLflow's client repeats the request."""
    from mlflow.tracking import MlflowClient

    create_run, create_experiment = MlflowClient.create_run, MlflowClient.create_experiment

    def run_twice(*arguments, **options):
        create_run(*arguments, **options)
        return create_run(*arguments, **options)

    def experiment_twice(*arguments, **options):
        create_experiment(*arguments, **options)
        return create_experiment(*arguments, **options)

    monkeypatch.setattr(MlflowClient, "create_run", run_twice)
    monkeypatch.setattr(MlflowClient, "create_experiment", experiment_twice)
    return monkeypatch


def studies(store):
    return store._search("tags.`ablation.kind` = 'study'")


def test_lost_answers_to_creations_leave_no_duplicate_runs(trial, lost_answers):
    write(trial, start("one"), step(1), end(step=1, status=FAILED, error="x"), start("two"), step(1), finish(1))
    store = Store(None, "s")

    store.replay(trial)

    assert sorted((run.data.tags["ablation.attempt"], run.info.status) for run in runs(store)) == [
        ("one", "FAILED"),
        ("two", "FINISHED"),
    ]
    assert not any("ablation.superseded" in run.data.tags for run in runs(store))
    assert [run.info.run_id for run in studies(store)] == [store.study_run_id] == [Store(None, "s").study_run_id]
    assert store.deleted_trials() == {} and store.delete_duplicates() == 0


def add_duplicates(store, trial):
    """Creates duplicates as lost answers did in older versions: a second study run, and second runs of attempts."""
    for run in runs(store):
        tags = {**run.data.tags, "mlflow.parentRunId": run.data.tags["mlflow.parentRunId"]}
        tags.pop("ablation.superseded", None)
        store.client.create_run(store.experiment_id, start_time=run.info.start_time, tags=tags)
    second = store.client.create_run(
        store.experiment_id, tags={"ablation.kind": "study", "ablation.study": "s"}
    ).info.run_id
    store.client.set_tag(runs(store)[0].info.run_id, "mlflow.parentRunId", second)


@pytest.mark.parametrize("is_over", [True, False])
def test_of_duplicate_runs_the_one_with_most_metrics_is_kept(trial, is_over):
    store = Store(None, "s")
    write(trial, start(), step(1), *([finish(1)] if is_over else []))
    store.replay(trial)
    (mine,) = runs(store)
    add_duplicates(store, trial)

    assert store.delete_duplicates() == 2

    (run,) = runs(store)
    assert run.info.run_id == mine.info.run_id and run.data.tags["mlflow.parentRunId"] == store.study_run_id
    assert len(studies(store)) == 1 and store.deleted_trials() == {} and store.delete_duplicates() == 0
    if not is_over:
        write(trial, step(2), finish(2))
        store.replay(trial)
        assert history(store, run, "train/loss") == [(1, 1.0), (2, 0.5)]


def test_a_journal_whose_run_was_a_duplicate_continues_in_the_kept_run(trial):
    store = Store(None, "s")
    write(trial, start())
    store.replay(trial)
    add_duplicates(store, trial)
    kept, other = (run.info.run_id for run in sorted(runs(store), key=lambda run: run.info.run_id))
    state = (trial / "mlflow.json").read_text(encoding="utf-8")
    (trial / "mlflow.json").write_text(state.replace(kept, other), encoding="utf-8")
    store.delete_duplicates()
    write(trial, step(1), finish(1))

    store.replay(trial)

    (run,) = runs(store)
    assert (run.info.run_id, run.info.status) == (kept, "FINISHED") and history(store, run, "train/loss") == [(1, 1.0)]


def test_a_trial_with_deleted_files_is_sent_with_a_warning(trial, caplog):
    (trial / "settings.json").write_text("{}", encoding="utf-8")
    write(trial, start(), step(1), finish(1, "model.keras", "settings.json"))
    store = Store(None, "s")

    assert store.replay(trial) == 3
    (run,) = runs(store)
    assert run.info.status == "FINISHED" and run.data.metrics["test/accuracy"] == 0.8
    assert [file.path for file in store.client.list_artifacts(run.info.run_id)] == ["settings.json"]
    assert "without model.keras" in caplog.text


def test_a_deleted_file_causes_no_warning_if_mlflow_has_a_copy(trial, caplog):
    (trial / "settings.json").write_text("{}", encoding="utf-8")
    write(trial, start(), step(1), finish(1, "settings.json"))
    store = Store(None, "s")
    store.replay(trial)
    (trial / "settings.json").unlink()
    (trial / "mlflow.json").unlink()

    assert store.replay(trial) == 3 and not caplog.text
    assert [file.path for run in runs(store) for file in store.client.list_artifacts(run.info.run_id)] == [
        "settings.json"
    ]


SAMPLED = Record(SAMPLES, 1, detail={"samples": []})


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([step(1), SAMPLED], [start("two"), step(1)], ["settings.json"]),
        ([step(1), SAMPLED], [start("two"), step(1), end(step=1, status=KILLED)], ["settings.json"]),
        ([step(1), SAMPLED], [start("two"), step(1), SAMPLED], []),  # it may have begun to write its own files
        ([step(1)], [start("two"), step(1)], []),  # the integration task has no samples
    ],
)
def test_a_finished_trial_keeps_its_files_if_a_later_attempt_wrote_none(trial, first, second, expected):
    (trial / "settings.json").write_text("{}", encoding="utf-8")
    write(trial, start(), *first, finish(1, "settings.json"), *second)
    store = Store(None, "s")

    store.replay(trial)

    (finished,) = [run for run in runs(store) if run.info.status == "FINISHED"]
    assert [file.path for file in store.client.list_artifacts(finished.info.run_id)] == expected
