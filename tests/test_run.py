"""End-to-end tests through the command line."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from src import paths, run, sync, use
from src.artifacts import MODEL, PATCH, PROBABILITIES, SETTINGS, STEPS
from src.parts.words import preprocessing
from src.paths import REPOSITORY
from src.tasks.sentiment import predicting
from src.tasks.sentiment.settings import Settings
from src.tracking import journal
from src.tracking.mlflow_replay import Store
from src.trial.prepare import prepare
from tests.conftest import tiny_trial, write_table

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("blank")]  # MLflow takes seconds to create a database

OF_CLASSES = ("macro_f1", "balanced_accuracy", "roc_auc", "average_precision", "log_loss", "calibration_error")
METRICS = {
    *(f"{split}/{name}" for split in ("val", "test") for name in OF_CLASSES),
    "data/labels",
    "train/loss",
    "train/accuracy",
    "time/batch_ms",
    "train/gradient_norm",
    "val/loss",
    "val/accuracy",
    "best/val_accuracy",
    "test/loss",
    "test/accuracy",
    "time/batch_ms_median",
    "time/batch_ms_p10",
    "time/batch_ms_p90",
    "time/epoch_s",
    "time/steady_epoch_s",
    "time/train_s",
    "time/trace_s",
    "time/tokens_per_s",
    "data/padding_fraction",
    "data/batches_per_epoch",
    "data/traces",
    "data/leaked_test",
    "data/leaked_validation",
    "data/unknown_fraction",
    "model/parameters",
    "memory/peak_mb",
}
FILES = {SETTINGS, MODEL, STEPS, PROBABILITIES, preprocessing.FILE, "classes_test.csv", "worst_test.parquet"}
NAMES = "kind study variant identity data weights batches kernel workers health git_commit git_dirty position record"
TAGS = {f"ablation.{name}" for name in NAMES.split()}


def trials(study="adhoc", uri=None):
    client = MlflowClient(uri or paths.default_tracking_uri())
    experiment = client.get_experiment_by_name(study)
    return client, client.search_runs(
        [experiment.experiment_id], "tags.`ablation.kind` = 'trial'", order_by=["attributes.start_time ASC"]
    )


def command(*overrides):
    return [sys.executable, "-m", "src.run", *overrides]


def test_four_trials_from_the_command_line_are_recorded_according_to_the_contract(home, tiny):
    (home / "mlflow.db").unlink()
    tuned = ["epochs=3", "learning_rate=0.05", "evaluate_every=10"]
    done = subprocess.run(
        command("-m", "masking=true,false", "cell=lstm,gru", *tiny, *tuned),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    for line in (
        "masking=true cell=lstm (reference)",
        "masking=false cell=gru",
        "test accuracy",
        "Next:",
        "mlflow ui",
        "tensorboard --logdir",
    ):
        assert line in done.stdout
    client, runs = trials()
    assert [run.info.status for run in runs] == ["FINISHED"] * 4
    assert {(run.data.params["masking"], run.data.params["cell"]) for run in runs} == {
        (m, c) for m in ("true", "false") for c in ("lstm", "gru")
    }
    (study,) = client.search_runs([runs[0].info.experiment_id], "tags.`ablation.kind` = 'study'")
    assert study.info.status == "FINISHED"
    plan = json.loads((home / "outputs" / "adhoc" / "plan.json").read_text(encoding="utf-8"))
    assert [row["role"] for row in plan[0]["rows"]] == ["reference", "variant", "variant", "variant"]
    assert {row["identity"] for row in plan[0]["rows"]} == {run.data.tags["ablation.identity"] for run in runs}
    positions = {row["identity"]: str(row["position"]) for row in plan[0]["rows"]}
    assert {run.data.tags["ablation.identity"]: run.data.tags["ablation.position"] for run in runs} == positions
    assert [run.data.tags["ablation.position"] for run in runs] == ["1", "2", "3", "4"]  # the earliest first
    for one in runs:
        assert set(one.data.metrics) >= METRICS
        assert set(one.data.metrics) - METRICS <= {"steps_to/val_accuracy_0.80"}
        assert set(one.data.tags) >= TAGS
        assert set(one.data.params) == set(Settings.toggles()) | {"data.path"}
        assert one.data.metrics["best/val_accuracy"] == max(
            point.value for point in client.get_metric_history(one.info.run_id, "val/accuracy")
        )
        assert [
            model.name
            for model in client.search_logged_models([study.info.experiment_id], f"source_run_id = '{one.info.run_id}'")
        ] == ["model"]
        assert one.data.tags["mlflow.parentRunId"] == study.info.run_id
        files = {file.path for file in client.list_artifacts(one.info.run_id)}
        assert files - {PATCH} == FILES  # the patch exists if the code has uncommitted changes
        steps = [metric.step for metric in client.get_metric_history(one.info.run_id, "train/loss")]
        assert steps == list(range(1, len(steps) + 1))
        folder = home / "outputs" / "adhoc" / one.data.tags["ablation.identity"]
        assert len(pd.read_parquet(folder / "steps.parquet")) == len(steps)
        assert list((folder.parent / one.info.run_name).glob("events.out.tfevents.*"))
    masked = next(run for run in runs if run.data.tags["ablation.variant"] == "masking=true cell=lstm")
    assert masked.info.run_name == "masking=true cell=lstm seed=0"
    assert (
        study.data.tags["ablation.fixed"].startswith("data=table ")
        and "learning_rate=0.05" in study.data.tags["ablation.fixed"]
    )
    assert masked.data.metrics["test/accuracy"] > 0.9
    assert masked.data.metrics["steps_to/val_accuracy_0.80"] > 0


@pytest.fixture(scope="module")
def trained(tmp_path_factory, empty):
    """A home with one finished trial, created once."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "home").mkdir()
    shutil.copy(empty, folder / "home" / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ABLATION_HOME", str(folder / "home"))
        assert run.main(tiny_trial(write_table(folder / "table.csv"))) == 0
    return folder / "home"


@pytest.fixture
def finished(trained, home, capsys):
    """A finished trial, its MLflow run and folder, in a separate home."""
    shutil.copytree(trained, home, dirs_exist_ok=True)
    _, (one,) = trials()
    return one, home / "outputs" / "adhoc" / one.data.tags["ablation.identity"]


def numbers(one):
    return {key: value for key, value in one.data.metrics.items() if not key.startswith(("time/", "memory/"))}


def test_equal_seeds_give_bitwise_equal_metrics_and_another_seed_different_ones(finished, tiny, capsys):
    run.main([*tiny, "rerun=true"])
    run.main([*tiny, "seed=1"])

    _, (first, again, other) = trials()
    assert numbers(first) == numbers(again)
    assert (
        first.data.tags["ablation.weights"]
        == again.data.tags["ablation.weights"]
        != other.data.tags["ablation.weights"]
    )
    assert numbers(first)["test/loss"] != numbers(other)["test/loss"]
    assert first.data.tags["ablation.superseded"] == "true" and "ablation.superseded" not in again.data.tags


def test_a_finished_trial_is_not_trained_again(finished, tiny, capsys):
    assert run.main([*tiny]) == 0

    out = capsys.readouterr().out
    assert "study adhoc: 1 trial, 1 already done" in out
    assert len(trials()[1]) == 1
    assert f"{finished[0].data.metrics['test/accuracy']:.4f}" in out


def test_the_reloaded_model_gives_the_same_test_accuracy(finished):
    one, folder = finished
    trained = preprocessing.load(folder)
    prepared = prepare(trained.settings)
    stored = pd.read_parquet(folder / "test_probabilities.parquet")

    from src.tasks.sentiment.task import TASK

    labels = prepared.data.split("test").labels
    chance = np.zeros(len(labels), np.float32)
    for ids, _, rows in TASK.phase(trained.settings, prepared.data).held_out["test"]():
        chance[rows.numpy()] = 1 / (1 + np.exp(-np.asarray(trained.model(ids))[:, 0]))
    np.testing.assert_allclose(chance, stored["probability_1"], atol=1e-6)
    assert ((chance > 0.5) == labels).mean() == one.data.metrics["test/accuracy"]


def test_the_worst_errors_are_those_of_the_stored_predictions(finished, capsys):
    _, folder = finished
    stored = pd.read_parquet(folder / "test_probabilities.parquet")
    wrong = int((stored["prediction"] != stored["label"]).sum())

    assert use.main([str(folder), "errors", "--count", "24"]) == 0

    out = capsys.readouterr().out.splitlines()
    assert len(out) == (1 + min(wrong, 24) if wrong else 1) and out[0].startswith("number\t" if wrong else "no error")
    assert all("\trow " in line and " of table.csv\t" in line for line in out[1:])
    assert use.main([str(folder)]) == 0 and "shows the test texts that it got most wrong" in capsys.readouterr().out


def test_predict_takes_a_folder_an_identity_or_a_run_id_and_a_file(finished, tmp_path, capsys):
    one, folder = finished
    (tmp_path / "texts.txt").write_text("the film was wonderful\n\nawful plot\n", encoding="utf-8")
    answers = []
    capsys.readouterr()
    for name in (str(folder), folder.name, folder.name[:6], one.info.run_id):
        assert predicting.main([name, "--file", str(tmp_path / "texts.txt")]) == 1  # for the blank line
        answers.append(capsys.readouterr().out)

    assert len(set(answers)) == 1 and len(answers[0].splitlines()) == 3
    assert answers[0].split("\t")[0] in ("good", "bad")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense!", "x"], "RUN: got 'nonsense!'"),
        (["abcdef", "x"], "no finished trial 'abcdef'"),
        (["abcdef"], "no text; give one in quotes"),
        (["abcdef", "--file", "gone.txt"], "gone.txt: No such file"),
    ],
)
def test_predict_reports_invalid_arguments(home, capsys, arguments, message):
    assert predicting.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_a_text_without_words_gets_its_own_error(finished, capsys):
    assert predicting.main([finished[1].name, "fine", "?!", "good"]) == 1

    said = capsys.readouterr()
    assert [line.split("\t")[0] in ("bad", "good") for line in said.out.splitlines()] == [True, False, True]
    assert "error: 1 of 3 texts has no answer: row 2: it has no words (no letter and no digit)" in said.err


def test_several_seeds_are_averaged(finished, tiny, capsys):
    assert run.main([*tiny, "seed=1"]) == 0
    names = [one.data.tags["ablation.identity"] for one in trials()[1]]
    capsys.readouterr()
    chances = []
    for runs in (*names, ",".join(names)):
        assert predicting.main([runs, "the film was wonderful", "--format", "jsonl"]) == 0
        said = capsys.readouterr()
        chances.append(json.loads(said.out)["probabilities"]["good"])

    assert chances[2] == pytest.approx((chances[0] + chances[1]) / 2, abs=1e-6) and chances[0] != chances[1]
    assert said.err == "each probability is the mean of 2 trials\n"


def test_the_prediction_for_a_text_does_not_depend_on_the_other_texts(home, tiny, tmp_path, capsys):
    """Without a mask, padding is part of what a model reads."""
    assert run.main([*tiny, "masking=false", "padding=batch", "max_length=null"]) == 0
    folder = str(next(home.glob("outputs/adhoc/*/model.keras")).parent)
    given = ["the film was wonderful", "a " * 300 + "film", "awful"]
    capsys.readouterr()
    together, alone = [], []

    assert predicting.main([folder, *given]) == 0
    together = capsys.readouterr().out
    for text in given:
        assert predicting.main([folder, text]) == 0
        alone.append(capsys.readouterr().out)

    assert together == "".join(alone)


def test_a_users_table_with_three_classes_trains_with_only_a_path(home, tmp_path, capsys):
    path = write_table(tmp_path / "mine.csv", rows=600, classes=3)

    assert (
        run.main(["data=table", f"data.path={path}", "epochs=3", "learning_rate=0.05", "units=8", "embedding_dim=8"])
        == 0
    )

    _, (one,) = trials()
    assert one.data.params["head"] == "softmax"
    assert one.data.metrics["test/accuracy"] > 0.9
    assert "head=softmax is used: the data have 3 classes" in capsys.readouterr().out


def test_truncation_that_removes_everything_is_refused_before_training(home, tiny, table, capsys):
    assert run.main([*tiny, "truncation=remove", "max_length=2"]) == 2

    message = (
        "truncation=remove with max_length=2 leaves no training example of class 'bad' or 'good'; the shortest text"
    )
    assert f"{table}: {message}" in capsys.readouterr().err


def test_a_diverging_trial_fails_with_its_step_and_does_not_stop_the_others(home, tiny, capsys):
    assert run.main(["-m", *tiny, "optimizer=adamw", "learning_rate=1000,0.001", "batch_size=4", "epochs=4"]) == 1

    out = capsys.readouterr().out
    assert "1 trial did not finish:" in out
    assert "learning_rate=1000 seed=0: " in out and "is not finite at step" in out and "log: " in out
    one, other = trials()[1]
    assert (one.info.status, other.info.status) == ("FAILED", "FINISHED")
    assert one.data.tags["ablation.health"] == "diverged"
    assert one.data.tags["ablation.diagnosis"].startswith("learning rate too high: the loss was 0.")
    assert "1 trial diverged; likely cause: learning rate too high: " in out
    assert "is not finite at step" in one.data.tags["ablation.error"]
    assert one.data.metrics["train/loss"] != 0


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_trial_gets_status_killed_and_keeps_its_records(home, tiny, capsys, monkeypatch, request, sent):
    from src.tracking.follow import Follower

    # A shell ignores SIGINT for commands in the background.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    update, calls = Follower.update, []

    def stop(follower, *, is_last=False):
        update(follower, is_last=is_last)
        calls.append(is_last)
        if len(calls) == 2:  # after the first epoch
            signal.raise_signal(sent)

    monkeypatch.setattr(Follower, "update", stop)

    assert run.main(tiny) == 130
    assert "run the same command again to continue" in capsys.readouterr().out
    (killed,) = trials()[1]
    assert killed.info.status == "KILLED"
    assert killed.data.tags["ablation.error"] == (
        "stopped by SIGTERM" if sent == signal.SIGTERM else "stopped by Ctrl-C"
    )
    steps = [
        metric.step
        for metric in MlflowClient(paths.default_tracking_uri()).get_metric_history(killed.info.run_id, "train/loss")
    ]
    assert len(steps) >= 7 and steps == list(range(1, len(steps) + 1))

    assert [run.main(tiny) for _ in range(2)] == [0, 0]  # the second command trains it, the third does not
    assert sorted(one.info.status for one in trials()[1]) == ["FINISHED", "KILLED"]


def test_a_trial_whose_process_is_killed_keeps_its_records(home, tiny):
    process = subprocess.Popen(
        command(*tiny, "epochs=2000"), cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    steps = 0
    for _ in range(600):
        books = list((home / "outputs" / "adhoc").glob(f"*/{journal.FILE}"))
        steps = sum(1 for entry in journal.entries(books[0].parent) if entry.record.kind == "step") if books else 0
        if steps > 20:
            break
        time.sleep(0.1)
    process.kill()

    assert process.wait(timeout=60) == -signal.SIGKILL
    assert not (REPOSITORY / "multirun").exists()
    assert sync.main([]) == 0
    (killed,) = trials()[1]
    assert killed.info.status == "KILLED"
    client = MlflowClient(paths.default_tracking_uri())
    recorded = [metric.step for metric in client.get_metric_history(killed.info.run_id, "train/loss")]
    assert len(recorded) >= steps and recorded == list(range(1, len(recorded) + 1))


def test_predict_finds_the_files_of_a_run_in_a_moved_home(finished, home, tmp_path, monkeypatch, capsys):
    shutil.move(home, tmp_path / "there")
    shutil.rmtree(tmp_path / "there" / "outputs")
    monkeypatch.setenv("ABLATION_HOME", str(tmp_path / "there"))

    assert predicting.main([finished[0].info.run_id, "the film was wonderful"]) == 0


def test_an_offline_rerun_supersedes_the_old_trial_after_sync(finished, tiny, capsys):
    assert run.main([*tiny, "tracking=offline", "rerun=true"]) == 0
    assert sync.main([]) == 0

    assert [one.data.tags.get("ablation.superseded") for one in trials()[1]] == ["true", None]


def test_the_table_is_printed_even_if_the_store_fails_after_the_start(home, tiny, capsys, monkeypatch):
    def away(*_, **__):
        raise OSError("the server is gone")

    for name in ("outcomes", "attach", "close_study", "replay"):
        monkeypatch.setattr(Store, name, away)

    assert run.main([*tiny]) == 0
    assert "test accuracy" in capsys.readouterr().out


def test_predict_reports_a_run_without_a_model(finished, capsys):
    one = finished[0]

    assert predicting.main([one.data.tags["mlflow.parentRunId"], "x"]) == 2
    assert "holds no whole trained model" in capsys.readouterr().err


def test_sync_sends_offline_trials_once(home, tiny, capsys):
    (home / "mlflow.db").unlink()

    assert run.main([*tiny, "tracking=offline"]) == 0
    assert not (home / "mlflow.db").exists()
    assert "python -m src.sync" in capsys.readouterr().out

    assert sync.main(["adhoc"]) == 0
    _, (one,) = trials()
    assert one.info.status == "FINISHED"
    capsys.readouterr()
    assert sync.main([]) == 0
    assert "adhoc: 0 records sent to sqlite" in capsys.readouterr().out


def test_an_unreachable_server_does_not_stop_a_study(home, tiny, capsys, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    assert run.main([*tiny, "tracking.uri=http://127.0.0.1:9"]) == 0
    (folder,) = journal.folders(paths.study_folder("adhoc"))
    assert [one.record.detail["tracking_uri"] for one in journal.entries(folder, kinds=("start",))] == [
        "http://127.0.0.1:9"
    ]

    assert "warning: MLflow cannot be reached" in capsys.readouterr().out
    assert sync.main([]) == 1
    assert "cannot be sent now" in capsys.readouterr().err
    assert sync.main(["--uri", paths.default_tracking_uri()]) == 0
    assert trials()[1][0].info.status == "FINISHED"


def test_sync_refuses_an_unknown_study(finished, capsys):
    assert sync.main(["nonsense"]) == 2
    assert "no study 'nonsense'" in capsys.readouterr().err


def test_a_study_waits_for_a_trial_of_another_process_and_then_trains_it_if_it_did_not_finish(finished, tiny, capsys):
    program = "import sys, time; from pathlib import Path; from src.tracking.journal import Journal\n"
    program += "with Journal(Path(sys.argv[1])): print('held', flush=True); time.sleep(6)"
    other = subprocess.Popen([sys.executable, "-c", program, str(finished[1])], cwd=REPOSITORY, stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"held\n"

    assert run.main([*tiny, "rerun=true"]) == 0

    other.communicate(timeout=60)
    out = capsys.readouterr()
    assert (
        "another process is training this trial" in out.err
        and "waiting for 1 trial that another process is training" in out.out
    )
    assert [one.info.status for one in trials()[1]] == ["FINISHED"]


def test_tracking_can_log_every_nth_step_and_writes_nothing_to_the_current_folder(home, tiny, tmp_path, capsys):
    before = set(tmp_path.iterdir())

    assert run.main([*tiny, "tracking.every_n_batches=4"]) == 0

    assert set(tmp_path.iterdir()) == before
    client, (one,) = trials()
    steps = [metric.step for metric in client.get_metric_history(one.info.run_id, "time/batch_ms")]
    assert steps == [4, 8, 12]


def test_every_implementation_of_the_loop_gives_the_same_results_and_records(home, tiny, capsys):
    loops = ["keras", "cell_loop", "graph_loop", "packed_loop", "eager_loop", "fused_loop"]
    assert run.main(["-m", *tiny, "epochs=1", f"implementation={','.join(loops)}"]) == 0

    _, runs = trials()
    found = {one.data.params["implementation"]: one.data for one in runs}
    assert set(found) == set(loops)
    keras = found["keras"]
    for name in loops[1:]:
        assert set(found[name].metrics) - {"time/trace_s"} == set(keras.metrics) - {"time/trace_s"}
        assert found[name].metrics["test/loss"] == pytest.approx(keras.metrics["test/loss"], abs=1e-4)
        assert found[name].metrics["val/accuracy"] == pytest.approx(keras.metrics["val/accuracy"], abs=0.02)
        assert found[name].metrics["model/parameters"] == keras.metrics["model/parameters"]
    assert found["eager_loop"].metrics["data/traces"] == 0 and keras.metrics["data/traces"] <= 2
    assert (
        found["eager_loop"].tags["ablation.kernel"] == "python"
        and found["graph_loop"].tags["ablation.kernel"] == "while_loop"
        and found["fused_loop"].tags["ablation.kernel"] == "fused"
    )
