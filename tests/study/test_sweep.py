"""Sweeps with a launcher that writes journals instead of training."""

from __future__ import annotations

import copy
import gc
import json
import shutil
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST, TEMPORARILY_UNAVAILABLE

from analysis.store import connect
from src import environment, paths, registry
from src.artifacts import Artifacts
from src.config.settings import checked, edited
from src.paths import REPOSITORY
from src.spec.metric import Metric, as_records
from src.spec.record import EVALUATION, METRICS, START, Record
from src.spec.section import SettingsError
from src.study import LaunchFailed, estimate, launching, planning, running, sweep
from src.study.job import STOP
from src.tracking import database, journal, provenance
from src.tracking.journal import FAILED, FINISHED, KILLED, Journal, end
from src.tracking.mlflow_replay import Deleted, Store
from tests.study.conftest import trained

TIE = {  # correct answers of 2,500, by seed; summed in order, the second mean is larger in its last bit
    "a": [1953, 1924, 2024, 1907, 2128, 2113, 1999, 2010],
    "b": [2055, 2095, 2096, 1900, 2078, 2014, 1968, 1852],
}


class Launcher:
    """Writes the journals of trials without training; `outcome` gives the end of each row."""

    def __init__(self, outcome=lambda row: FINISHED, accuracy=lambda row: 0.8, error="no memory"):
        self.outcome, self.accuracy, self.error, self.launched, self.attempts = outcome, accuracy, error, [], 0

    def __call__(self, rows):
        self.launched.append([f"{row.label} {row.seed}" for row in rows])
        for row in rows:
            if self.sweep.why_stopped(row.trial.folder.parent):
                continue
            self.attempts += 1
            status = self.outcome(row)
            if status == "unseen":
                raise RuntimeError("a worker died before it began")
            with Journal(row.trial.folder) as book:
                (row.trial.folder / "trial.log").touch()
                tags = {"ablation.kind": "trial", "ablation.identity": row.trial.identity, **provenance.tags()}
                detail = {
                    "attempt": f"{row.trial.identity} {time.time_ns()}",
                    "name": row.label,
                    "tags": tags,
                    "params": {},
                    "process": "",
                }
                book.append(Record(START, 0, detail=detail))
                book.append(Record(EVALUATION, 1, {"val/accuracy": self.accuracy(row)}, {"epoch": 1}))
                if status == "died":
                    break
                metrics = {
                    "test/accuracy": self.accuracy(row),
                    "time/batch_ms_median": 10.0,
                    "data/padding_fraction": 0.1,
                }
                tags = {"ablation.health": "ok", "ablation.weights": f"{row.values.get('units')} {row.seed}"}
                error = None if status == FINISHED else self.error
                book.append(end(step=1, status=status, error=error, metrics=metrics, tags=tags))
            if status == FAILED and row.trial.settings.fail_fast:
                self.sweep.stop_file(row.trial.folder.parent).write_text(
                    "a trial failed and fail_fast=true", encoding="utf-8"
                )
        if any(self.outcome(row) == "died" for row in rows):
            raise RuntimeError("a worker was killed")
        return {}


def run(base, launcher, changes=None, **swept):
    study = planning.study(
        {}, swept or {"cell": ["lstm", "gru"], "seed": [0, 1]}, compose=lambda _: edited(base, changes or {})
    )
    return trained(study, launcher, 200)


def test_finished_trials_are_not_launched_again(base):
    first, again = Launcher(), Launcher()

    assert run(base, first)[0] is False
    failed, text = run(base, again)

    assert first.attempts == 4 and again.launched == [] and not failed
    assert "4 trials, 4 already done" in text


def test_trials_are_launched_in_the_order_of_the_plan(base):
    launcher = Launcher()
    run(base, launcher, cell=["lstm", "gru", "simple_rnn"], seed=list(range(6)))

    rows = json.loads((paths.study_folder("s") / "plan.json").read_text(encoding="utf-8"))[-1]["rows"]
    by_position = sorted(rows, key=lambda row: row["position"])
    assert launcher.launched == [[f"{row['label']} {row['seed']}" for row in by_position]]
    assert by_position != rows


def test_rerun_launches_everything_once(base):
    run(base, Launcher())
    again = Launcher()
    _, text = run(base, again, {"rerun": True})

    assert again.attempts == 4
    assert "rerun=true retrains the finished trials" in text


def test_a_job_gets_the_attempt_that_had_ended_when_its_trial_was_planned(base):
    first, again = Launcher(lambda row: {0: FINISHED, 1: FAILED, 2: KILLED}[row.seed]), Launcher()
    known = set()
    run(base, first, cell=["lstm"], seed=[0, 1, 2])
    before = {
        folder.name: journal.last_attempt(folder)[0].record.detail["attempt"]
        for folder in journal.folders(paths.study_folder("s"))
    }
    again.outcome = lambda row: (
        known.add((row.seed, row.ended == before.get(row.trial.identity), row.ended == "")) or FINISHED
    )

    run(base, again, {"rerun": True}, cell=["lstm"], seed=[0, 1, 2, 3])

    assert sorted(known) == [(0, True, False), (1, True, False), (2, False, True), (3, False, True)]


@pytest.mark.parametrize("is_on", [True, False])
def test_garbage_collection_is_on_while_trials_are_trained_and_restored_afterwards(base, is_on):
    searched = set()
    launcher = Launcher(lambda row: searched.add(gc.isenabled()) or FINISHED)
    try:
        (gc.enable if is_on else gc.disable)()
        run(base, launcher)
        assert (searched, gc.isenabled()) == ({True}, is_on)
    finally:
        gc.enable()


def test_garbage_collection_at_exit_skips_the_objects_of_a_study(base):
    run(base, Launcher())
    gc.unfreeze()

    run(base, Launcher())  # trains nothing

    assert gc.get_freeze_count() > 0


def test_a_study_is_marked_as_running_from_the_start_of_its_workers_to_its_end(base):
    seen = []
    launcher = Launcher(lambda row: seen.append(running.is_held(paths.study_folder("s"))) or FINISHED)

    run(base, launcher)

    assert set(seen) == {True} and not running.is_held(paths.study_folder("s"))


def test_only_new_seeds_are_launched(base):
    run(base, Launcher())
    again = Launcher()
    run(base, again, cell=["lstm", "gru"], seed=[0, 1, 2])

    assert [sorted(launched) for launched in again.launched] == [["cell=gru 2", "cell=lstm 2"]]


def test_a_failure_is_shown_stops_no_other_trial_and_is_retried_only_with_retry_failed(base):
    launcher = Launcher(lambda row: FAILED if row.values["cell"] == "gru" and row.seed == 0 else FINISHED)
    failed, text = run(base, launcher)

    assert failed and launcher.attempts == 4
    assert "1 trial did not finish:\n  cell=gru seed=0: no memory\n    log: " in text
    again, asked = Launcher(), Launcher()
    failed, text = run(base, again)
    assert failed and again.attempts == 0 and "1 trial failed before; retry_failed=true retrains it" in text
    failed, text = run(base, asked, {"retry_failed": True})
    assert not failed and asked.launched == [["cell=gru 0"]]


def test_fail_fast_starts_no_further_trial(base):
    launcher = Launcher(lambda row: FAILED if row.values["cell"] == "gru" else FINISHED)
    failed, text = run(base, launcher, {"fail_fast": True})

    assert failed and launcher.attempts == 2
    assert "stopped early: a trial failed and fail_fast=true" in text
    assert "cell=lstm seed=1: not started: the study stopped before this trial" in text
    assert run(base, Launcher(), {"retry_failed": True})[0] is False


def test_trials_that_a_dead_worker_interrupted_are_retried_alone_and_the_rest_continues(base):
    deaths = []

    def once(row):
        if row.values["cell"] == "gru" and row.seed == 0 and not deaths:
            deaths.append(row)
            return "died"
        return FINISHED

    class Dying(Launcher):
        def __call__(self, rows):
            before = len(deaths)
            try:
                return super().__call__(rows)
            finally:
                if len(deaths) > before:
                    raise RuntimeError("a worker was killed")

    launcher = Dying(once)
    failed, text = run(base, launcher)

    assert not failed
    first, alone, rest = launcher.launched
    assert first[:2] == ["cell=lstm 0", "cell=gru 0"] and sorted(first[2:]) == ["cell=gru 1", "cell=lstm 1"]
    assert (alone, rest) == (["cell=gru 0"], first[2:])
    assert "warning: a worker died (RuntimeError: a worker was killed); retrying 1 interrupted trial" in text
    assert "retrying alone: cell=gru seed=0" in text


def test_a_trial_that_kills_its_worker_twice_is_not_retried_and_the_others_finish(base):
    launcher = Launcher(lambda row: "died" if row.values["cell"] == "gru" and row.seed == 0 else FINISHED)
    failed, text = run(base, launcher)

    assert failed
    assert "1 trial did not finish:\n  cell=gru seed=0: the process ended without an error message" in text
    statuses = [journal.status(journal.last_attempt(folder)) for folder in journal.folders(paths.study_folder("s"))]
    assert sorted(statuses) == [FINISHED] * 3 + [KILLED]


def test_workers_that_die_before_they_start_are_not_relaunched_for_ever(base):
    with pytest.raises(LaunchFailed, match="RuntimeError: a worker died before it began"):
        run(base, Launcher(lambda row: "unseen"))


@pytest.mark.parametrize("how", ["no end", "raises", "no start"])
def test_a_full_disk_is_reported_and_not_a_dead_worker(base, monkeypatch, how):
    launcher = Launcher(lambda row: "died" if how == "raises" else FINISHED)
    append = Journal.append

    def without_end(book, record):
        if record.kind != "end" and how != "no start":
            append(book, record)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Journal, "append", without_end)
    monkeypatch.setattr(launching.tempfile, "TemporaryFile", full)
    said = []
    monkeypatch.setattr(sweep._Command, "_say", lambda self, text: said.append(text))

    with pytest.raises(LaunchFailed, match="outputs/s: No space left on device; no trial can be recorded"):
        run(base, launcher)
    assert "worker" not in "".join(said).replace("workers", "") and len(launcher.launched) == 1


def test_the_next_command_trains_a_trial_that_found_the_disk_full(base):
    full = Launcher(
        lambda row: KILLED if row.values["cell"] == "gru" else FINISHED,
        error="the disk is full (OSError: …); free some space",
    )
    failed, text = run(base, full)

    assert failed and len(full.launched) == 1 and "a worker died" not in text and "retrying" not in text
    assert (
        "2 trials did not finish" in text and "cell=gru seed=0: the disk is full (OSError: …); free some space" in text
    )

    again = Launcher()
    failed, _ = run(base, again)
    assert not failed and again.launched == [["cell=gru 0", "cell=gru 1"]]


def test_a_study_that_a_full_disk_ended_leaves_no_stop_file(base, monkeypatch):
    class Stopping(Launcher):
        def __call__(self, rows):
            self.sweep.stop_file(paths.study_folder("s")).touch()
            return super().__call__(rows)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(launching.tempfile, "TemporaryFile", full)
    with pytest.raises(LaunchFailed, match="No space left on device"):
        run(base, Stopping())

    assert not list(paths.study_folder("s").glob("stop*"))


def test_a_failed_rerun_is_reported_and_the_earlier_result_still_counts(home, table):
    base = checked({"data": {"name": "table", "path": str(table)}, "max_length": 20, "study": "s"})
    run(base, Launcher())
    failed, text = run(base, Launcher(lambda row: FAILED if row.values["cell"] == "gru" else FINISHED), {"rerun": True})

    assert failed
    assert "cell=gru seed=0: no memory" in text
    assert run(base, Launcher(lambda row: pytest.fail("launched")))[0] is False


def test_on_ties_a_path_keeps_the_first_flip(base):
    def accuracy(row):
        flips = [
            name
            for name, is_flipped in (("a", row.values["cell"] == "gru"), ("b", row.values["depth"] == 2))
            if is_flipped
        ]
        return TIE[flips[0]][row.seed] / 2_500 if flips else 0.5

    levels = {"cell": ["lstm", "gru"], "depth": [1, 2], "units": [4, 5]}
    launcher = Launcher(accuracy=accuracy)
    run(base, launcher, {"plan.design": "path", "plan.levels": levels}, seed=list(range(8)))

    assert [name for name in launcher.launched[2] if name.endswith(" 0")] == [
        "cell=gru depth=2 0",
        "cell=gru units=5 0",
    ]


WRITER = """
import sys, time
from pathlib import Path
from src.tracking.journal import FINISHED, Journal, end
from src.spec.record import START, Record
TAGS = {"ablation.weights": "w", "ablation.health": "ok"}
with Journal(Path(sys.argv[1])) as book:
    book.append(Record(START, 0, detail={"attempt": "elsewhere", "tags": TAGS}))
    print("begun", flush=True)
    time.sleep(4)
    book.append(end(step=1, status=FINISHED, metrics={"test/accuracy": 0.9}, tags=TAGS))
"""


def test_a_sweep_waits_for_a_trial_that_another_sweep_is_training(base):
    others = []

    class Racing(Launcher):
        def __call__(self, rows):
            mine = [row for row in rows if row.label != "cell=gru" or row.seed]
            if len(mine) < len(rows) and not others:
                (theirs,) = (row for row in rows if row not in mine)
                words = [sys.executable, "-c", WRITER, str(theirs.trial.folder)]
                others.append(subprocess.Popen(words, cwd=REPOSITORY, stdout=subprocess.PIPE))
                assert others[0].stdout.readline() == b"begun\n"
            return super().__call__(mine)

    launcher = Racing()
    failed, text = run(base, launcher)
    others[0].communicate()

    assert not failed and launcher.attempts == 3
    assert "waiting for 1 trial that another process is training" in text and "died" not in text


def test_a_stopped_worker_is_treated_like_a_dead_worker(base):
    told = []
    launcher = Launcher(lambda row: told.append(row) or KILLED if row.seed == 1 and not told else FINISHED)
    failed, _ = run(base, launcher)

    assert not failed and launcher.launched[1:] == [[f"{told[0].label} 1"]]


def test_the_table_has_the_error_of_a_job_that_cannot_start(base):
    class Refusing(Launcher):
        def __call__(self, rows):
            super().__call__([row for row in rows if row.seed == 0])
            return {row.trial.identity: "data.path: no such file on this node" for row in rows if row.seed == 1}

    failed, text = run(base, Refusing())

    assert failed and "cell=gru seed=1: data.path: no such file on this node" in text


def test_a_file_named_stop_ends_a_study_after_its_running_trials_until_the_user_removes_it(base):
    class Stopped(Launcher):
        def __call__(self, rows):
            super().__call__(rows[:1])
            (paths.study_folder("s") / STOP).touch()
            return super().__call__(rows[1:])

    launcher = Stopped()
    failed, text = run(base, launcher)

    stop = paths.study_folder("s") / STOP
    assert failed and launcher.attempts == 1 and f"stopped early: the file {stop} exists; remove it" in text
    with pytest.raises(SettingsError, match=r"stop: no trial of this study starts while this file exists; remove it"):
        run(base, Launcher(lambda row: pytest.fail("launched")))
    assert stop.exists()
    stop.unlink()
    assert run(base, Launcher())[0] is False
    stop.touch()
    failed, text = run(base, Launcher(lambda row: pytest.fail("launched")))
    assert not failed and "stopped early" not in text  # nothing was left to train


def test_a_step_that_changes_nothing_is_reported_in_a_cumulative_design(base):
    changes = {"plan.design": "cumulative", "plan.levels": {"units": [4, 8], "masking": [False, True]}}
    _, text = run(base, Launcher(), changes, seed=[0, 1])

    assert "changed nothing: + masking=true" in text and "changed nothing: + units=8" not in text


def test_an_interrupted_path_is_not_finished_and_keeps_its_rows_when_it_is_repeated(base):
    changes = {"plan.design": "path", "plan.levels": {"cell": ["lstm", "gru"], "depth": [1, 2]}}

    class Stopped(Launcher):
        def __call__(self, rows):
            super().__call__(rows)
            (paths.study_folder("s") / STOP).touch()
            return {}

    assert run(base, Stopped(), changes, seed=[0])[0] is True
    (paths.study_folder("s") / STOP).unlink()
    assert run(base, Launcher(), changes, seed=[0])[0] is False
    run(base, Launcher(), {**changes, "rerun": True, "fail_fast": True}, seed=[0])
    (record,) = json.loads((paths.study_folder("s") / "plan.json").read_text(encoding="utf-8"))
    assert len(record["rows"]) == 4 and len(record["commands"]) <= 3


def test_a_killed_trial_is_launched_again_without_retry_failed(base):
    run(base, Launcher(lambda row: KILLED if row.seed == 1 else FINISHED))
    again = Launcher()
    run(base, again)

    assert [sorted(names) for names in again.launched] == [["cell=gru 1", "cell=lstm 1"]]


def test_a_path_keeps_the_flip_with_the_largest_gain_on_validation(base):
    gains = {"cell": 0.02, "masking": 0.05, "depth": -0.1}
    off = {"cell": "lstm", "masking": True, "depth": 1}

    def accuracy(row):
        return 0.7 + sum(gain for key, gain in gains.items() if row.values[key] != off[key]) + 0.001 * row.seed

    changes = {
        "plan.design": "path",
        "plan.levels": {"cell": ["lstm", "gru"], "masking": [True, False], "depth": [1, 2]},
    }
    launcher = Launcher(accuracy=accuracy)
    failed, _ = run(base, launcher, {**changes, "plan.seeds": [0, 1]}, seed=[0, 1])

    assert not failed
    assert [sorted({name.rsplit(" ", 1)[0] for name in names}) for names in launcher.launched] == [
        ["reference"],
        ["cell=gru", "depth=2", "masking=false"],
        ["cell=gru masking=false", "masking=false depth=2"],
        ["cell=gru masking=false depth=2"],
    ]
    record = json.loads((paths.study_folder("s") / "plan.json").read_text(encoding="utf-8"))
    assert len(record) == 1 and len(record[0]["rows"]) == 2 * 7
    again = Launcher(accuracy=accuracy)
    run(base, again, {**changes, "plan.seeds": [0, 1]}, seed=[0, 1])
    assert again.launched == []


def test_a_path_does_not_keep_a_flip_with_a_failed_seed(base):
    changes = {
        "plan.design": "path",
        "plan.levels": {"cell": ["lstm", "gru"], "depth": [1, 2], "masking": [True, False]},
    }
    launcher = Launcher(
        lambda row: FAILED if row.label == "cell=gru" and row.seed == 1 else FINISHED,
        lambda row: 0.99 if row.values["cell"] == "gru" else 0.5,
    )
    run(base, launcher, changes, seed=[0, 1])

    taken = [f"{label} {seed}" for seed in (0, 1) for label in ("cell=gru depth=2", "depth=2 masking=false")]
    assert sorted(launcher.launched[2]) == sorted(taken)


def test_a_stopped_path_starts_no_further_round(base):
    changes = {"plan.design": "path", "plan.levels": {"depth": [1, 2], "cell": ["lstm", "gru"]}, "fail_fast": True}
    launcher = Launcher(lambda row: FAILED if row.values["cell"] == "gru" else FINISHED)
    failed, _ = run(base, launcher, changes, seed=[0])

    assert failed and len(launcher.launched) == 2


def test_variants_that_changed_nothing_are_reported(base):
    _, text = run(base, Launcher(), cell=["lstm", "gru"], seed=[0, 1])
    assert "changed nothing: cell=gru: the trained weights are identical without it, for every seed" in text

    _, text = run(base, Launcher(), units=[4, 8], seed=[0, 1])
    assert "changed nothing" not in text
    summary = json.loads((paths.study_folder("s") / "summary.json").read_text(encoding="utf-8"))
    assert summary == {"trials": 4, "finished": 4, "unfinished": {}, "dropped": {}, "changed_nothing": []}


def test_with_plan_within_variants_that_changed_nothing_are_found_at_each_value(base):
    run(base, Launcher(), {"plan.within": ["units"]}, cell=["lstm", "gru"], units=[4, 8], seed=[0, 1])

    summary = json.loads((paths.study_folder("s") / "summary.json").read_text(encoding="utf-8"))
    assert sorted(summary["changed_nothing"]) == ["cell=gru units=4", "cell=gru units=8"]


def test_variants_of_equal_weights_and_other_test_values_are_not_said_to_change_nothing(base):
    launcher = Launcher()
    launcher.accuracy = lambda row: 0.9 if row.values["cell"] == "gru" else 0.8
    _, text = run(base, launcher, cell=["lstm", "gru"], seed=[0, 1])

    same = "same weights: cell=gru: the trained weights are identical without it, for every seed"
    assert f"{same}; only what the test decides from the outputs differs" in " ".join(text.split())
    assert "changed nothing" not in text
    summary = json.loads((paths.study_folder("s") / "summary.json").read_text(encoding="utf-8"))
    assert summary["changed_nothing"] == []


def test_rows_with_identical_settings_share_one_trial(base):
    launcher = Launcher()
    _, text = run(base, launcher, padding=["dataset", "batch"], bucketing=[False, True])

    assert launcher.attempts == 3
    assert "study s: 4 variants × 1 seed, of which 1 equals another: 3 trials" in text


def test_a_repeated_plan_is_recorded_once_with_both_times(base):
    run(base, Launcher())
    run(base, Launcher())
    run(base, Launcher(), depth=[1, 2])

    record = json.loads((paths.study_folder("s") / "plan.json").read_text(encoding="utf-8"))
    assert [len(one["commands"]) for one in record] == [2, 1]


@pytest.mark.parametrize(
    "content", ["{", "", "null", "[1]", "[{}]", '[{"rows": 1, "commands": [{}]}]', '[{"rows": [{}], "commands": []}]']
)
def test_an_unreadable_plan_is_renamed_and_a_new_one_is_written(base, content):
    run(base, Launcher())
    path = paths.study_folder("s") / "plan.json"
    path.write_text(content, encoding="utf-8")

    failed, text = run(base, Launcher())

    assert not failed and "is not a valid plan; it was renamed to plan.broken.json" in text
    assert path.with_suffix(".broken.json").read_text(encoding="utf-8") == content
    assert len(json.loads(path.read_text(encoding="utf-8"))) == 1


def test_the_plan_reports_trials_of_other_code(base, monkeypatch):
    run(base, Launcher())
    monkeypatch.setattr(provenance, "tags", lambda: {"ablation.git_commit": "f" * 40, "ablation.git_dirty": "false"})
    _, text = run(base, Launcher())

    assert "4 finished trials used other code (commit " in text and "); rerun=true retrains them" in text


def test_the_plan_reports_trials_of_another_environment(base, monkeypatch):
    run(base, Launcher())
    known = provenance.tags()["ablation.environment"]
    monkeypatch.setattr(environment, "understood", lambda: "XLA_FLAGS=x")

    _, text = run(base, Launcher())

    assert (
        f"4 finished trials used other environment variables ({known}; now XLA_FLAGS=x); rerun=true retrains them"
        in text
    )


def test_after_the_budget_no_further_trial_starts_and_the_rest_is_listed(base):
    class Slow(Launcher):
        def __call__(self, rows):
            for row in rows:
                super().__call__([row])
                time.sleep(1.5)
            return {}

    launcher = Slow()
    failed, text = run(base, launcher, {"plan.budget_minutes": 1 / 60})

    assert failed and 1 <= launcher.attempts < 4
    assert "plan.budget_minutes is used up: no further trial starts" in text
    assert "stopped early: plan.budget_minutes is used up" in text


def test_a_study_in_which_nothing_can_run_is_an_error(base):
    with pytest.raises(SettingsError, match="leaves no training example"):
        run(base, Launcher(), {"truncation": "remove", "max_length": 2})


def test_a_folder_at_the_path_of_the_database_is_refused_before_any_trial(base, home):
    (home / "mlflow.db").mkdir()

    with pytest.raises(
        SettingsError, match=r"mlflow\.db: a folder, but MLflow's database must be a file; move it away"
    ):
        run(base, Launcher(lambda row: pytest.fail("launched")), {"tracking.name": "mlflow"})
    assert run(base, Launcher(), {"tracking.name": "offline"})[0] is False


@pytest.mark.parametrize("size", [501, 512, 540])
def test_a_home_whose_database_sqlite_cannot_open_is_refused_before_any_trial(base, tmp_path, monkeypatch, size):
    folder = tmp_path / ("a" * 200) / ("b" * 200)
    monkeypatch.setenv("ABLATION_HOME", str(folder / ("c" * (size - len(f"{folder}//mlflow.db")))))

    with pytest.raises(
        SettingsError, match=rf"MLflow's database: its path has {size} bytes, but SQLite allows up to 500; set another"
    ):
        run(base, Launcher(lambda row: pytest.fail("launched")), {"tracking.name": "mlflow"})


def test_a_file_that_is_not_a_database_is_refused_before_any_trial(base, home):
    (home / "mlflow.db").write_text("not a database at all, only text of some length" * 100, encoding="utf-8")

    with pytest.raises(
        SettingsError, match=r"mlflow\.db: MLflow's database cannot be used \(file is not a database\); fix that"
    ):
        run(base, Launcher(lambda row: pytest.fail("launched")), {"tracking.name": "mlflow"})


@pytest.fixture
def tracked(base, blank):
    """A study that was trained once and recorded in MLflow: its settings and its store."""
    settings = edited(base, {"tracking.name": "mlflow"})
    assert run(settings, Launcher())[0] is False
    return settings, Store(None, "s")


def test_a_trial_that_was_deleted_in_mlflow_is_trained_again_with_the_reason(tracked):
    settings, store = tracked
    (run_id,) = [
        one.info.run_id for one in store._search("tags.`ablation.kind` = 'trial'") if one.info.run_name == "cell=gru"
    ][:1]
    store.client.delete_run(run_id)

    for changes, attempts in (({"plan_only": True}, 0), ({}, 1)):
        launcher = Launcher()
        _, text = run(edited(settings, changes), launcher)
        assert launcher.attempts == attempts
        assert "warning: 1 trial of this study: deleted in MLflow; those in this plan are retrained." in text
        assert f"mlflow runs restore --run-id {run_id}" in text and "to train: 1" in text


def test_a_trial_finished_in_mlflow_with_an_incomplete_journal_is_trained_again_with_the_reason(tracked):
    settings, _ = tracked
    folder = journal.folders(paths.study_folder("s"))[0]
    lines = (folder / journal.FILE).read_bytes().splitlines(keepends=True)
    (folder / journal.FILE).write_bytes(b"".join(lines[:-1]))

    for changes, attempts in (({"plan_only": True}, 0), ({}, 1)):
        launcher = Launcher()
        failed, text = run(edited(settings, changes), launcher)
        assert (failed, launcher.attempts) == (False, attempts)
        assert (
            text.count("warning: 1 trial: FINISHED in MLflow, but the journals here are incomplete") == 1
            and folder.name in text
        )
    assert "to train" not in run(settings, Launcher())[1]


@pytest.mark.parametrize("are_here", [True, False])
def test_metrics_of_finished_trials_are_read_from_mlflow_only_without_local_journals(tracked, monkeypatch, are_here):
    settings, _ = tracked
    if not are_here:
        shutil.rmtree(paths.study_folder("s"))
    asked, ask = set[str](), database.Database.runs

    def runs(self, *given, parts, **options):
        asked.update(parts)
        return ask(self, *given, parts=parts, **options)

    monkeypatch.setattr(database.Database, "runs", runs)
    launcher = Launcher()
    failed, text = run(settings, launcher)

    assert not failed and launcher.attempts == 0 and "4 already done" in text and "0.8000" in text
    assert (database.METRICS in asked) is not are_here


def test_the_page_of_a_study_is_written_once_if_nothing_is_left_to_train(tracked, monkeypatch):
    settings, _ = tracked
    pages, present = [], Store.present
    monkeypatch.setattr(Store, "present", lambda self, page: pages.append(page) or present(self, page))

    run(settings, Launcher())

    assert len(pages) == 1 and pages[0]["tags"]["ablation.finished"] == "4 of 4"


def test_no_file_in_mlflow_contains_a_password(base, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run", "tracking.uri=postgresql://me:secret@host/db"])
    run(base, Launcher())
    Artifacts(paths.study_folder("s")).write_settings(edited(base, {"tracking.uri": "postgresql://me:secret@host/db"}))

    for name in ("plan.json", "settings.json"):
        text = (paths.study_folder("s") / name).read_text(encoding="utf-8")
        assert "postgresql://…@host/db" in json.loads(text).__repr__() and "secret" not in text


@pytest.mark.parametrize("what", ["experiment", "study run"])
def test_the_command_restores_a_study_that_was_deleted_in_mlflow_and_plan_only_does_not(tracked, what):
    settings, store = tracked
    delete = {"experiment": store.client.delete_experiment, "study run": store.client.delete_run}[what]
    delete(store.experiment_id if what == "experiment" else store.study_run_id)

    _, text = run(edited(settings, {"plan_only": True}), Launcher())
    assert "was deleted in MLflow" in text and "(or run this command without plan_only)" in text
    with pytest.raises(Deleted):
        Store(None, "s")

    failed, text = run(settings, again := Launcher())
    assert "warning: study s had been deleted in MLflow; it was restored with its trials." in text
    assert (failed, again.attempts) == (False, 0) and Store(None, "s").study_run_id == store.study_run_id


def refuse(monkeypatch, error):
    def refused(*_, **__):
        raise error

    monkeypatch.setattr(Store, "replay", refused)


def test_a_record_that_mlflow_rejects_makes_the_command_fail_without_a_promise_to_send_it_later(
    base, blank, monkeypatch
):
    refuse(monkeypatch, MlflowException("value too long for type character varying(250)", BAD_REQUEST))

    failed, text = run(edited(base, {"tracking.name": "mlflow"}), Launcher())

    assert failed and "later" not in text
    cause = "value too long for type character varying(250)"
    assert f"MLflow rejects 4 trials ({cause}); fix that, then run `python -m src.sync`" in text


def test_an_unreachable_store_does_not_make_the_command_fail(base, blank, monkeypatch):
    refuse(monkeypatch, MlflowException("connection refused", TEMPORARILY_UNAVAILABLE))

    failed, text = run(edited(base, {"tracking.name": "mlflow"}), Launcher())

    assert (
        not failed
        and "MLflow cannot receive 4 trials (connection refused); `python -m src.sync` sends them later" in text
    )


def test_a_store_that_fails_while_trials_run_is_reported_once_with_what_it_lacks(base, blank, monkeypatch):
    def goes_away(row):
        refuse(monkeypatch, error := MlflowException("connection refused", TEMPORARILY_UNAVAILABLE))
        for name in ("outcomes", "present", "attach", "close_study", "best_validation"):
            monkeypatch.setattr(Store, name, lambda *_, **__: (_ for _ in ()).throw(error))
        return FINISHED

    failed, text = run(edited(base, {"tracking.name": "mlflow"}), Launcher(goes_away))

    (warning,) = [line for line in text.splitlines() if "warning" in line]
    assert (
        warning == "warning: MLflow cannot receive 4 trials (connection refused); `python -m src.sync` sends them later"
        and not failed
    )


def test_a_store_that_lacks_only_the_page_is_reported_once(base, blank, monkeypatch):
    def refused(*_, **__):
        raise MlflowException("connection refused", TEMPORARILY_UNAVAILABLE)

    monkeypatch.setattr(Store, "present", refused)
    monkeypatch.setattr(Store, "attach", refused)
    _, text = run(edited(base, {"tracking.name": "mlflow"}), Launcher())

    (warning,) = [line for line in text.splitlines() if "warning" in line]
    assert (
        warning
        == "warning: MLflow did not answer every call (connection refused); `python -m src.sync` sends what it lacks"
    )


def test_plan_only_reports_once_that_the_store_does_not_answer(base, blank, monkeypatch):
    def refused(*_, **__):
        raise MlflowException("connection refused", TEMPORARILY_UNAVAILABLE)

    settings = edited(base, {"tracking.name": "mlflow"})
    run(settings, Launcher())
    monkeypatch.setattr(Store, "outcomes", refused)
    _, text = run(edited(settings, {"plan_only": True}), Launcher())

    (warning,) = [line for line in text.splitlines() if "warning" in line]
    assert (
        warning
        == "warning: MLflow did not answer every call (connection refused); `python -m src.sync` sends what it lacks"
    )


@pytest.mark.parametrize("uri", ["nonsense://x", "mssql://host/db", "file:./mlruns"])
def test_an_unusable_store_is_refused_before_any_trial(base, blank, uri):
    with pytest.raises(SettingsError, match=r"tracking\.uri: "):
        run(edited(base, {"tracking.name": "mlflow", "tracking.uri": uri}), launcher := Launcher())
    assert launcher.attempts == 0


@pytest.mark.parametrize(("name", "is_there"), [("what?", True), ("100%25 é", False)])
def test_a_home_with_special_characters_contains_its_database_and_nothing_is_created_beside_it(
    base, empty, tmp_path, monkeypatch, name, is_there
):
    home = tmp_path / "odd" / name
    home.mkdir(parents=True)
    if is_there:
        shutil.copy(empty, home / "mlflow.db")
    monkeypatch.setenv("ABLATION_HOME", str(home))

    assert run(base, Launcher(), {"tracking.name": "mlflow"})[0] is False

    reader = connect(None)
    (study, *trials) = reader.runs(reader.experiments()["s"])
    assert reader.artifact(study.run_id, "plan.json").is_relative_to(home) and len(trials) == 4
    assert [path.name for path in (tmp_path / "odd").iterdir()] == [name]
    assert {path.name for path in home.iterdir()} == {"mlflow.db", "mlartifacts", "outputs"}


def test_plan_only_writes_nothing(base):
    _, text = run(base, Launcher(lambda row: pytest.fail("launched")), {"plan_only": True})

    assert "study s: 2 variants × 2 seeds = 4 trials" in text
    assert not paths.study_folder("s").exists()


def test_plan_only_lists_the_variants_with_the_trials_left_to_train(base):
    run(base, Launcher(), cell=["lstm"], seed=[0, 1])
    _, text = run(base, Launcher(), {"plan_only": True}, cell=["lstm", "gru"], seed=[0, 1, 2])

    assert "    cell=lstm: 1 to train, 2 already done\n    cell=gru: 3 to train" in text


def test_an_estimate_comes_from_recorded_times_per_batch(base):
    _, text = run(base, Launcher(), {"plan_only": True})
    assert "to train: 4 trials, duration unknown (no recorded trial to estimate it from)" in text
    run(base, Launcher())
    for folder in journal.folders(paths.study_folder("s")):
        (folder / "settings.json").write_text(base.model_dump_json(), encoding="utf-8")

    _, text = run(base, Launcher(), {"plan_only": True}, cell=["lstm", "gru"], seed=[5])

    # 2 trials, each with 5 s of start-up and 9 steps (3 epochs of 140 texts in batches of 64) of 10 ms + 25 %.
    assert "to train: 2 trials, about 0:10 (m:ss)" in text


@pytest.mark.parametrize(
    "line",
    [
        "garbage",
        '{"kind":"end","time_ms":1,"step":1,"metrics":null,"detail":{}}',
        '{"kind":"end","time_ms":1,"step":1,"metrics":{"time/batch_ms_median":"x"},"detail":{}}',
        '{"kind":"end","time_ms":1,"step":1,"metrics":{"time/batch_ms_median":NaN},"detail":{"status":"FINISHED","error":null,"tags":{}}}',
        '{"kind":"end","time_ms":1,"step":1,"metrics":{"time/batch_ms_median":-1},"detail":{"status":"FINISHED","error":null,"tags":{}}}',
    ],
)
def test_a_broken_journal_of_another_study_only_loses_an_estimate(base, line):
    other = paths.study_folder("other") / "cafe"
    other.mkdir(parents=True)
    (other / journal.FILE).write_text(line + "\n", encoding="utf-8")
    (other / "settings.json").write_text(base.model_dump_json(), encoding="utf-8")

    _, text = run(base, Launcher(), {"plan_only": True})

    assert "to train: 4 trials, duration unknown" in text


def test_longer_noise_is_estimated_to_take_longer():
    noise = [checked({"task": {"name": "integration", "sequence_length": length}}) for length in (25, 200)]

    trial = SimpleNamespace(settings=noise[1], task=registry.task("integration"), data=None)

    assert estimate._scale(trial, noise[0]) == 8


def test_if_lower_is_better_a_path_keeps_the_flip_with_the_lowest_validation_value(base, monkeypatch):
    perplexity = Metric("perplexity", "lower", digits=1)
    of_task = registry.task

    def task(name):
        found = copy.copy(of_task(name))
        found.metrics = (perplexity,)
        return found

    class Lower(Launcher):
        def __call__(self, rows):
            self.launched.append([row.label for row in rows])
            for row in rows:
                value = 100.0 - 10 * (row.values["cell"] == "gru") - 20 * (row.values["depth"] == 2)
                with Journal(row.trial.folder) as book:
                    tags = {
                        "ablation.identity": row.trial.identity,
                        "ablation.weights": row.label,
                        "ablation.health": "ok",
                    }
                    start = {
                        "attempt": row.trial.identity,
                        "name": row.label,
                        "tags": tags,
                        METRICS: as_records([perplexity]),
                    }
                    book.append(Record(START, 0, detail=start))
                    book.append(Record(EVALUATION, 1, {"val/perplexity": value}, {"epoch": 1}))
                    book.append(end(step=1, status=FINISHED, metrics={"test/perplexity": value}, tags=tags))
            return {}

    monkeypatch.setattr(registry, "task", task)
    launcher = Lower()
    levels = {"cell": ["lstm", "gru"], "depth": [1, 2], "units": [4, 5]}

    failed, text = run(base, launcher, {"plan.design": "path", "plan.levels": levels}, seed=[0])

    assert not failed and sorted(launcher.launched[2]) == ["cell=gru depth=2", "depth=2 units=5"]
    assert "test perplexity" in text and "70.00" in text
    page = json.loads((paths.study_folder("s") / "study_run.json").read_text(encoding="utf-8"))
    assert page["metrics"]["study/best_val_perplexity"] == 70.0
