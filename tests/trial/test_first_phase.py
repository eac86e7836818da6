"""A phase before a trial's own: trained once for all trials that need it, kept, resumed, and trained again if lost."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import threading
import time

import pytest
import tensorflow as tf
from filelock import FileLock

from src import paths
from src.artifacts import MODEL
from src.config.settings import edited
from src.spec.record import END, EVALUATION, FIRST_PHASE, START, STEP
from src.tasks.pretraining.settings import Settings
from src.tasks.pretraining.task import TASK
from src.tracking import journal, outcome
from src.tracking.journal import FAILED, FINISHED, Journal
from src.trial import first_phase
from src.trial import run as trial
from src.trial.prepare import prepare

pytestmark = pytest.mark.training

STEPS = 2  # of an epoch of either phase: two batches of 18 images without labels; 2 steps with labels


class Killed(BaseException):
    """An exception that nothing catches, like a kill of the process."""


@pytest.fixture(autouse=True)
def eager():
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def settings(shared_home):
    """Settings of a tiny trial; no pretext is kept from another test."""
    shutil.rmtree(paths.outputs() / ".shared", ignore_errors=True)
    shutil.rmtree(paths.study_folder("s"), ignore_errors=True)
    small = {"encoder": "mlp", "width": 5, "depth": 1, "code_size": 3, "pretext_batch_size": 18, "pretext_epochs": 2}
    small |= {"epochs": 2, "steps_per_epoch": STEPS, "labels": 2, "data.limit": 40, "study": "s", "dropout": 0.2}
    return edited(Settings(), {**small, "tracking": {"name": "offline", "histograms": False, "pictures": False}})


def kept(settings):
    """Returns the folder of the first phase of a trial."""
    prepared = prepare(settings)
    first = TASK.first(prepared.settings, prepared.data)
    return first_phase.prepared(first, prepared.data).folder


def attempts(folder):
    return len(list(journal.entries(folder, kinds=(START,))))


def result(settings):
    """Returns everything of a trial but times, memory and how its first phase came about."""
    found = outcome.of_journal(prepare(settings).folder)
    left_out = ("time/", "memory/", "pretext/time", "pretext/memory", "data/traces", "pretext/data/traces")
    metrics = {name: value for name, value in found.metrics.items() if not name.startswith(left_out)}
    return found.status, metrics, found.tags["ablation.weights"]


def run(settings, *, kill_at=None, kind=STEP, folder=None):
    """Trains; raises `Killed` once the journal in the folder has this step."""
    append = Journal.append

    def dying(book, record, **options):
        append(book, record, **options)
        if (record.step, record.kind, book.path.parent) == (kill_at, kind, folder) and not options:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "append", dying)
        try:
            return trial.run(settings)
        except Killed:
            return None


def test_trials_that_need_the_same_first_phase_share_it(settings):
    several = [{}, {"tune": "all"}, {"labels": 3}, {"tune": "last_n"}, {"label_seed": 5}, {"epochs": 1}]
    for changes in several[:3]:
        assert run(edited(settings, changes)) == FINISHED

    assert attempts(kept(settings)) == 1
    assert {kept(edited(settings, changes)) for changes in several} == {kept(settings)}
    others = [{"seed": 1}, {"pretext": "denoising"}, {"code_size": 4}, {"pretext_epochs": 1}, {"optimizer": "sgd"}]
    assert len({kept(settings), *(kept(edited(settings, changes)) for changes in others)}) == 1 + len(others)


def test_a_trial_records_its_first_phase_and_whether_it_was_reused(settings):
    run(settings)
    run(edited(settings, {"tune": "all", "tracking.every_n_batches": 2}))

    first, second = (prepare(edited(settings, {"tune": tune})).folder for tune in ("head", "all"))
    identity = kept(settings).name
    tags = [outcome.of_journal(folder).tags["ablation.first_phase"] for folder in (first, second)]
    assert tags == [f"pretext {identity}, trained in this trial", f"pretext {identity}, reused"]
    metrics = outcome.of_journal(second).metrics
    assert (metrics["pretext/steps"], metrics["pretext/epochs"]) == (2 * STEPS, 2)
    assert metrics["pretext/time/train_s"] > 0 and metrics["pretext/model/parameters"] > 0
    own = [entry.record for entry in journal.entries(kept(settings), kinds=(STEP, EVALUATION))]
    for folder, every in ((first, 1), (second, 2)):
        copies = [entry.record for entry in journal.entries(folder, kinds=(FIRST_PHASE,))][1:]
        expected = [record for record in own if record.kind == EVALUATION or record.step % every == 0]
        assert [record.step for record in copies] == [record.step for record in expected]
        for copy, record in zip(copies, expected, strict=True):
            assert {f"pretext/{name}": value for name, value in record.metrics.items()}.items() <= copy.metrics.items()
    steps = [entry.record.step for entry in journal.entries(second, kinds=(STEP,))]
    assert steps == list(range(1, 2 * STEPS + 1))


def test_a_trial_that_reuses_has_the_result_of_one_that_trains(settings):
    run(edited(settings, {"tune": "all"}))
    run(settings)
    reusing = result(settings)
    shutil.rmtree(paths.outputs() / ".shared")
    run(edited(settings, {"rerun": True}))

    assert result(settings) == reusing and reusing[0] == FINISHED


@pytest.mark.parametrize("phase", ["first", "second"])
def test_a_trial_that_is_killed_in_either_phase_resumes_there(settings, phase):
    settings = edited(settings, {"tune": "all"})
    run(settings)
    whole = result(settings)
    shutil.rmtree(paths.outputs() / ".shared")
    shutil.rmtree(prepare(settings).folder)

    folder = kept(settings) if phase == "first" else prepare(settings).folder
    run(settings, kill_at=STEPS + 1, folder=folder)
    assert run(settings) == FINISHED

    assert result(settings) == whole
    start = journal.last_attempt(folder)[0].record
    assert start.detail["tags"]["ablation.resumed"] == "after epoch 1 of 2"
    assert attempts(kept(settings)) == (2 if phase == "first" else 1)
    copies = [entry.record for entry in journal.last_attempt(prepare(settings).folder, kinds=(START, FIRST_PHASE))]
    assert len([record for record in copies if "pretext/val/loss" in record.metrics]) == 2


def _without_model(folder):
    (folder / MODEL).unlink()
    return "its model is missing (No such file or directory)"


def _damaged_model(folder):
    content = bytearray((folder / MODEL).read_bytes())
    content[len(content) // 2] ^= 255
    (folder / MODEL).write_bytes(content)
    return "its model is damaged"


def _damaged_record(folder):
    (folder / journal.FILE).write_text("{}\n", encoding="utf-8")
    return "its record is damaged"


@pytest.mark.parametrize("harm", [_without_model, _damaged_model, _damaged_record])
def test_a_damaged_first_phase_is_trained_again_and_says_so(settings, harm, caplog):
    run(settings)
    reason, before = harm(kept(settings)), result(settings)

    with caplog.at_level(logging.WARNING, "src"):
        assert run(edited(settings, {"rerun": True})) == FINISHED

    assert f"pretext=autoencoder ({kept(settings).name}): is trained again, because {reason}" in caplog.text
    assert result(settings) == before


def test_a_first_phase_that_was_deleted_before_the_second_ended_is_trained_again(settings, caplog):
    run(settings, kill_at=STEPS + 1, folder=prepare(settings).folder)
    shutil.rmtree(kept(settings))

    with caplog.at_level(logging.WARNING, "src"):
        assert run(settings) == FINISHED

    assert "is trained again, because its folder was deleted" in caplog.text
    assert (prepare(settings).folder / "pretext.keras").read_bytes() == (kept(settings) / MODEL).read_bytes()


def test_a_first_phase_that_diverges_fails_every_trial_that_needs_it_but_is_trained_once(settings):
    settings = edited(
        settings,
        {
            "pretext_learning_rate": 1_000.0,
            "optimizer": "sgd",
            "reconstruction": "linear_mse",
            "pretext_epochs": 9,
            "activation": "linear",
        },
    )
    for tune in ("head", "all"):
        assert run(edited(settings, {"tune": tune})) == FAILED

    assert attempts(kept(settings)) == 1
    found = outcome.of_journal(prepare(settings).folder)
    assert found.error.startswith("pretext=autoencoder: the ") and " is not finite at step " in found.error
    assert found.tags["ablation.health"] == "diverged"
    assert found.tags["ablation.diagnosis"].endswith("; lower pretext_learning_rate, or set clip_norm=1")


def test_a_process_waits_for_another_that_trains_the_first_phase_until_that_one_dies(settings, caplog):
    folder = kept(settings)
    folder.parent.mkdir(parents=True)
    lock = folder.with_name(f"{folder.name}.lock")
    code = f"import filelock, time; lock = filelock.FileLock({str(lock)!r}); lock.acquire(); print('held', flush=True)"
    code += "; time.sleep(99)"
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"held\n"
    killed = []
    threading.Timer(2.0, lambda: killed.append(time.time()) or other.kill()).start()

    with caplog.at_level(logging.INFO, "src"):
        assert run(settings) == FINISHED

    other.wait()
    other.stdout.close()
    begin = next(journal.entries(folder)).time_ms / 1_000
    assert begin >= killed[0] and "another process trains it" in caplog.text
    with FileLock(lock).acquire(timeout=0):
        pass


def test_a_kept_phase_is_no_study_and_no_trial_of_one(settings):
    run(settings)

    assert len(list(paths.outputs().glob(f"*/*/{journal.FILE}"))) == 1
    assert all(".shared" not in path.parts for path in paths.outputs().glob(f"*/*/{journal.FILE}"))
    (ended,) = [entry.record for entry in journal.entries(kept(settings), kinds=(END,))]
    assert ended.detail["status"] == FINISHED and MODEL in ended.detail["artifacts"]
