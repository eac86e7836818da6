"""A killed trial resumes after its last epoch and has the result of an uninterrupted trial."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pandas as pd
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from src.config.settings import edited
from src.paths import REPOSITORY
from src.spec.record import EVALUATION, GRAPH, HISTOGRAMS, SAMPLES, START, STEP
from src.tasks.sentiment.settings import Settings
from src.tracking import journal, outcome
from src.tracking.journal import FAILED, FINISHED, KILLED, Journal
from src.trial import checkpoint
from src.trial import run as trial
from src.trial.prepare import prepare
from src.trial.signals import Stopped
from tests.conftest import tiny_trial, write_table
from tests.test_run import command, trials

pytestmark = pytest.mark.training

STEPS = 7  # steps per epoch: 140 texts in batches of 20
KINDS = {
    "dropout and two layers": {"dropout": 0.4, "depth": 2},
    "a bidirectional GRU": {"cell": "gru", "bidirectional": True, "optimizer": "rmsprop"},
    "accumulated gradients": {"batch_size": 10, "accumulate": 2, "optimizer": "adamw", "dropout": 0.2},
    "noise drawn anew": {
        "task": {"name": "integration", "sequence_length": 3, "num_samples": 7_000},
        "data": {"name": "movie_reviews"},
        "batch_size": 1_000,
    },
    "a learning rate that changes": {"schedule": "cosine", "warmup": 0.4, "learning_rate": 0.05},
    "an exponential average": {"averaging": "ema", "ema_momentum": 0.8, "batch_size": 10, "accumulate": 2},
    "an average of epochs": {"averaging": "swa", "optimizer": "sgd", "momentum": 0.9},
    "validations between epochs": {"evaluate_every": 3, "tracking.histograms": True},
}


class Killed(BaseException):
    """An exception that nothing catches, like a kill of the process."""


@pytest.fixture(autouse=True)
def eager():
    """Graphs take seconds to trace; tests/training/test_resume.py and the last tests here cover them."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def settings(home, table):
    small = {
        "cell": "simple_rnn",
        "max_length": 3,  # without a graph, each step over time takes milliseconds
        "vocab_size": 40,
        "units": 4,
        "embedding_dim": 4,
        "batch_size": 20,
        "bucketing": False,
        "epochs": 3,
    }
    data = {"name": "table", "path": str(table)}
    return edited(
        Settings(), {"data": data, "tracking": {"name": "offline", "histograms": False}, "study": "killed", **small}
    )


def run(settings, *, kill_at=None, error=Killed, kind=STEP):
    """Trains, and raises `Killed` once this step was recorded."""
    append = Journal.append

    def dying(book, record, **options):
        append(book, record, **options)
        if record.step == kill_at and record.kind == kind and not options:
            raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "append", dying)
        try:
            return trial.run(settings)
        except (Killed, KeyboardInterrupt):
            return None


def folder(settings):
    return prepare(settings).folder


def state(settings):
    return folder(settings) / checkpoint.FILE


def result(settings):
    """Returns everything that must be equal in two trials: all but times and numbers of traces."""
    found = outcome.of_journal(folder(settings))
    names = [name for name in found.metrics if not name.startswith(("time/", "memory/")) and name != "data/traces"]
    tags = ("weights", "batches", "health", "best_epoch", "identity")
    steps = pd.read_parquet(folder(settings) / "steps.parquet").drop(
        columns=["time/batch_ms", "wait_ms", "is_first", "traces"]
    )
    probabilities = pd.read_parquet(folder(settings) / "test_probabilities.parquet")
    return {
        "metrics": {name: found.metrics[name] for name in names},
        "tags": {name: found.tags[f"ablation.{name}"] for name in tags},
        "steps": steps.to_dict("list"),
        "probabilities": probabilities.to_dict("list"),
        "validations": [
            (entry.record.step, entry.record.metrics["val/loss"], entry.record.detail)
            for entry in journal.last_attempt(folder(settings), kinds=(START, EVALUATION))[1:]
        ],
    }


@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)
def test_a_killed_trial_has_the_result_of_an_uninterrupted_one_bit_for_bit(settings, changes):
    killed = edited(settings, changes)
    whole = edited(killed, {"study": "whole"})
    assert run(whole) == FINISHED

    run(killed, kill_at=3 * STEPS - 2)
    assert run(killed) == FINISHED

    assert result(killed) == result(whole)
    assert outcome.of_journal(folder(killed)).tags["ablation.resumed"] == "after epoch 2 of 3"
    assert "ablation.resumed" not in outcome.of_journal(folder(whole)).tags


def test_a_trial_resumes_after_every_kill_and_its_last_attempt_has_the_whole_record(settings):
    run(edited(settings, {"study": "whole"}))
    settings = edited(settings, {"tracking.histograms": True})
    for step in (STEPS + 1, STEPS + 2, 2 * STEPS + 1):  # the second dies before it completes an epoch
        run(settings, kill_at=step, error=KeyboardInterrupt)
    first = journal.last_attempt(folder(settings))[1].time_ms
    run(settings)

    lines = journal.last_attempt(folder(settings))
    assert [line.record.step for line in lines if line.record.kind == STEP] == list(range(1, 3 * STEPS + 1))
    assert [line.record.detail["epoch"] for line in lines if line.record.kind == EVALUATION] == [1, 2, 3]
    assert [line.record.step for line in lines if line.record.kind == HISTOGRAMS] == [0, STEPS, 2 * STEPS, 3 * STEPS]
    assert lines[0].record.detail["tags"]["ablation.resumed"] == "after epochs 1 and 2 of 3"
    assert lines[1].time_ms == first < lines[0].time_ms
    (events,) = folder(settings).parent.glob(f"*/events.out.tfevents.*.{folder(settings).name}.*")
    seen = EventAccumulator(str(events), size_guidance={"histograms": 0}).Reload()
    assert [event.step for event in seen.Scalars("train/loss")] == list(range(1, 3 * STEPS + 1))
    assert len(seen.Histograms(next(tag for tag in seen.Tags()["histograms"] if tag.startswith("weights")))) == 4
    assert result(settings) == result(edited(settings, {"study": "whole"}))
    undisturbed = journal.last_attempt(folder(edited(settings, {"study": "whole"})))
    assert [line.record for line in lines if line.record.kind == SAMPLES] == [
        line.record for line in undisturbed if line.record.kind == SAMPLES
    ]


def test_a_trial_that_stops_early_resumes_to_the_same_end_and_says_why(settings):
    settings = edited(
        settings, {"learning_rate": 1e-9, "epochs": 6, "patience": 2}
    )  # no epoch is better than the first
    whole = edited(settings, {"study": "whole"})
    assert run(whole) == FINISHED

    run(settings, kill_at=2 * STEPS + 3)
    assert run(settings) == FINISHED

    assert result(settings) == result(whole)
    assert len(result(whole)["validations"]) == 3 and max(result(whole)["steps"]["step"]) == 3 * STEPS
    for each in (settings, whole):
        tags = outcome.of_journal(folder(each)).tags
        why = "val/accuracy was best after epoch 1, patience=2"
        assert tags["ablation.stopped"] == f"after epoch 3 of 6: {why}" and tags["ablation.best_epoch"] == "1 of 3"


def test_a_trial_killed_during_its_test_stays_stopped(settings):
    settings = edited(settings, {"learning_rate": 1e-9, "epochs": 6, "patience": 1})
    run(settings, kill_at=2 * STEPS, kind=SAMPLES)
    assert run(settings, kill_at=1) == FINISHED

    assert outcome.of_journal(folder(settings)).tags["ablation.stopped"].startswith("after epoch 2 of 6: ")


def test_times_add_up_over_both_processes(settings):
    run(settings, kill_at=2 * STEPS + 3)
    steps = journal.last_attempt(folder(settings), kinds=(START, STEP))[1:]
    before = {line.record.step: line.record.metrics["time/batch_ms"] for line in steps}
    run(settings)

    times = pd.read_parquet(folder(settings) / "steps.parquet")["time/batch_ms"].tolist()
    assert times[: 2 * STEPS] == [before[step] for step in range(1, 2 * STEPS + 1)]
    assert times[2 * STEPS] != before[2 * STEPS + 1]
    assert outcome.of_journal(folder(settings)).metrics["time/train_s"] == pytest.approx(sum(times) / 1_000)


def test_graphs_of_both_processes_count_but_not_as_retracing(settings):
    tf.config.run_functions_eagerly(False)
    settings = edited(settings, {"epochs": 2, "learning_rate": 0.05, "batch_size": 30})
    run(settings, kill_at=6)
    run(settings)

    found = outcome.of_journal(folder(settings))
    assert found.metrics["data/traces"] == 4  # two per process: full batches, and the smaller last one
    assert found.tags["ablation.health"] == "ok"


def test_a_trial_that_is_killed_during_its_test_repeats_no_training_step(settings, caplog):
    run(settings, kill_at=3 * STEPS, kind="end")  # before its end is written
    path = folder(settings) / journal.FILE
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    probabilities = folder(settings) / "test_probabilities.parquet"
    expected = pd.read_parquet(probabilities)
    probabilities.unlink()

    assert run(settings, kill_at=1) == FINISHED

    assert pd.read_parquet(probabilities).equals(expected)
    assert "resumes after epoch 3 of 3" in caplog.text


@pytest.mark.parametrize("error", [Killed, KeyboardInterrupt, Stopped])
def test_the_terminal_says_after_which_epoch_a_trial_resumes(settings, error, capsys):
    run(settings, kill_at=2 * STEPS - 1, error=error)
    capsys.readouterr()
    run(settings)

    assert capsys.readouterr().err.rstrip().endswith("seed=0: resumes after epoch 1 of 3")


def test_an_uninterrupted_trial_has_no_message_about_resuming_and_leaves_no_checkpoint(settings, capsys):
    run(settings)

    assert capsys.readouterr().err == ""
    assert not list(folder(settings).glob("*checkpoint*"))


def test_after_a_damaged_checkpoint_training_starts_from_the_beginning_with_a_warning(settings, capsys):
    run(edited(settings, {"study": "whole"}))
    run(settings, kill_at=3 * STEPS - 1)
    data = bytearray(state(settings).read_bytes())
    data[len(data) // 2] ^= 1
    state(settings).write_bytes(data)
    capsys.readouterr()

    run(settings)

    err = capsys.readouterr().err
    assert (
        "seed=0: starts from the beginning, because its checkpoint cannot be used: it is damaged" in err
        and len(err.splitlines()) == 1
    )
    assert result(settings) == result(edited(settings, {"study": "whole"}))
    assert "ablation.resumed" not in outcome.of_journal(folder(settings)).tags


@pytest.mark.parametrize("changes", [{"rerun": True}, {"checkpoint": "none"}])
def test_rerun_and_checkpoint_none_train_from_the_beginning(settings, changes, capsys):
    run(settings, kill_at=STEPS + 1)
    capsys.readouterr()
    run(edited(settings, changes), kill_at=1)

    assert capsys.readouterr().err == ""
    assert [line.record.kind for line in journal.last_attempt(folder(settings))] == [START, GRAPH, STEP]
    assert not state(settings).exists()


def test_with_checkpoint_none_no_checkpoint_is_written(settings):
    run(edited(settings, {"checkpoint": "none"}), kill_at=STEPS + 1)

    assert not state(settings).exists()


@pytest.mark.parametrize("error", [ValueError("odd"), MemoryError()])
def test_a_failed_trial_starts_from_the_beginning(settings, error, capsys):
    assert run(settings, kill_at=STEPS + 1, error=error) == FAILED
    assert not state(settings).exists()
    capsys.readouterr()
    run(settings, kill_at=1)

    assert capsys.readouterr().err == ""
    assert [line.record.kind for line in journal.last_attempt(folder(settings))] == [START, GRAPH, STEP]


def test_a_trial_that_cannot_start_keeps_its_checkpoint(settings, monkeypatch):
    from src.training import startup

    run(settings, kill_at=STEPS + 1)

    def broken():
        raise ImportError("no TensorFlow today")

    monkeypatch.setattr(startup, "import_tensorflow", broken)
    with pytest.raises(trial.NotBegun, match="no TensorFlow today"):
        run(settings)
    assert state(settings).exists()


def test_an_attempt_that_is_stopped_at_once_keeps_the_progress_of_the_previous_one(settings):
    run(settings, kill_at=STEPS + 2)
    run(settings, kill_at=STEPS + 1, error=KeyboardInterrupt)

    last = journal.last(folder(settings))
    assert (last.step, last.detail["status"]) == (STEPS + 1, KILLED)


@pytest.mark.slow
@pytest.mark.usefixtures("blank")
@pytest.mark.timeout(600)
def test_a_process_that_is_killed_in_its_last_epoch_resumes_from_there(home, tmp_path):
    """With graphs, MLflow, and a signal that no process can catch."""
    table = write_table(tmp_path / "t.csv")
    words = [
        *tiny_trial(table),
        "epochs=4",
        "batch_size=2",
        "cell=gru",
        "dropout=0.3",
        "evaluate_every=50",
    ]  # 70 steps per epoch
    environment = {**os.environ, "ABLATION_HOME": str(home)}
    assert subprocess.run(command(*words, "study=whole"), cwd=REPOSITORY, env=environment, check=False).returncode == 0
    process = subprocess.Popen(command(*words), cwd=REPOSITORY, env=environment)
    end, step = time.monotonic() + 200, 0
    while step < 3 * 70 + 20:
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.01)
        found = journal.folders(home / "outputs" / "adhoc")
        last = journal.last(found[0]) if found else None
        step = last.step if last else 0
    process.send_signal(signal.SIGKILL)
    process.wait()

    done = subprocess.run(command(*words), cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "resumes after epoch 3 of 4" in done.stderr
    whole, killed = (outcome.of_journal(journal.folders(home / "outputs" / study)[0]) for study in ("whole", "adhoc"))
    assert killed.tags["ablation.weights"] == whole.tags["ablation.weights"]
    assert {name: killed.metrics[name] for name in ("test/loss", "test/accuracy")}.items() <= whole.metrics.items()
    client, runs = trials()
    assert [one.info.status for one in runs] == [KILLED, FINISHED]
    for name in ("train/loss", "val/accuracy"):
        ours, theirs = (
            [(point.step, point.value) for point in client.get_metric_history(run_id, name)]
            for run_id in (runs[1].info.run_id, trials("whole")[1][0].info.run_id)
        )
        assert ours == theirs
    assert not list((home / "outputs").glob("**/*checkpoint*"))
