"""Studies whose trials share first phases: each is trained once, whichever process is killed, and when."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from src import paths, run
from src.paths import REPOSITORY
from src.spec.record import END, EVALUATION, START, STEP
from src.tracking import journal, outcome
from src.tracking.journal import FINISHED
from tests.test_run import command

pytestmark = [pytest.mark.training, pytest.mark.slow, pytest.mark.timeout(900)]

TINY = "task=pretraining encoder=mlp width=5 code_size=3 pretext_batch_size=18 steps_per_epoch=2 data.limit=40"
TINY += " execution=eager tracking=offline tracking.histograms=false tracking.pictures=false study=s"
EPOCHS, STEPS = 60, 2  # of both phases; steps of an epoch
PAIR = f"-m {TINY} pretext=denoising tune=head,all depth=1 labels=2 dropout=0.2"
PAIR += f" pretext_epochs={EPOCHS} epochs={EPOCHS}"
TWO = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The results of the two trials in an uninterrupted process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ABLATION_HOME", str(tmp_path_factory.mktemp("alone")))
        assert run.main(PAIR.split()) == 0
        return results()


@pytest.fixture
def start(home):
    """Returns a function that starts the study in a process, which is killed at the end of the test."""
    started = []

    def begin(*more):
        log = (home / "log.txt").open("w")
        process = subprocess.Popen(command(*PAIR.split(), *more), cwd=REPOSITORY, stdout=log, stderr=log)
        started.append((process, log))
        return process

    yield begin
    for process, log in started:
        process.kill()
        process.wait()
        log.close()


def kept():
    """Returns the folders of all first phases."""
    return [path.parent for path in (paths.outputs() / ".shared").glob(f"*/*/{journal.FILE}")]


def trials():
    return journal.folders(paths.study_folder("s"))


def results():
    """Returns identity → everything of a trial but times, memory, numbers of traces, and who trained the pretext."""
    found = {}
    for folder in trials():
        ended = outcome.of_journal(folder)
        names = [name for name in ended.metrics if not any(part in name for part in ("time/", "memory/", "traces"))]
        values = {name: ended.metrics[name] for name in names}
        found[folder.name] = (ended.status, values, ended.tags["ablation.weights"])
    return found


def steps_of(folder):
    """Returns the optimizer steps of the last attempt, those before it was resumed included."""
    return [entry.record.step for entry in journal.last_attempt(folder, kinds=(START, STEP))[1:]]


def awaited(process, folders):
    """Returns the first folder in which two epochs are recorded, whose process is then still training."""
    end = time.monotonic() + 200
    while True:
        for folder in folders():
            if sum(1 for _ in journal.entries(folder, kinds=(EVALUATION,))) > 2:
                return folder
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.02)


def trained_by(folder):
    """Returns the number of the process that trains in a folder."""
    return int(journal.last_attempt(folder)[0].record.detail["process"].split()[-1])


def check_that_it_went_on(folder):
    """Checks that the attempts in a folder went on after an epoch of the first one, and that no step was lost."""
    first, *others = (entry.record.detail["resumed"] for entry in journal.entries(folder, kinds=(START,)))
    assert first == [] and others and all(epochs and min(epochs) >= 2 for epochs in others)
    assert steps_of(folder) == list(range(1, EPOCHS * STEPS + 1))


@pytest.mark.parametrize("phase", ["first", "second"])
def test_a_study_that_is_killed_in_either_phase_goes_on_there_and_trains_the_pretext_once(start, undisturbed, phase):
    process = start()
    folder = awaited(process, kept if phase == "first" else trials)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert journal.status(journal.last_attempt(folder)) is None  # neither finished nor stopped: killed

    assert run.main(PAIR.split()) == 0

    assert results() == undisturbed
    check_that_it_went_on(folder)
    (pretext,) = kept()
    starts = list(journal.entries(pretext, kinds=(START,)))
    ends = [entry.record.detail["status"] for entry in journal.entries(pretext, kinds=(END,))]
    assert len(starts) == (2 if phase == "first" else 1) and ends == [FINISHED]


def test_two_workers_lose_the_one_that_trains_the_pretext_while_the_other_waits_for_it(start, undisturbed, home):
    process = start(*TWO)
    folder = awaited(process, kept)
    while "another process trains it" not in "".join(path.read_text() for path in home.glob("outputs/s/*/trial.log")):
        assert journal.status(journal.last_attempt(folder)) is None, "the pretext ended before the other worker began"
        time.sleep(0.02)
    os.kill(trained_by(folder), signal.SIGKILL)

    assert process.wait(timeout=500) == 0, (home / "log.txt").read_text()

    assert results() == undisturbed and kept() == [folder]
    check_that_it_went_on(folder)
    assert "a worker died" in (home / "log.txt").read_text()


def test_a_study_of_36_variants_trains_each_pretext_once_a_seed(home):
    variants = "pretext=autoencoder,denoising,rotation tune=head,last_n,all labels=1,2,3,null"

    assert run.main(["-m", *TINY.split(), *variants.split(), "depth=2", "pretext_epochs=1", "epochs=1"]) == 0

    assert len(trials()) == 36 and {outcome.of_journal(folder).status for folder in trials()} == {FINISHED}
    assert [len(steps_of(folder)) for folder in kept()] == [2, 2, 2]
    assert sum(len(list(journal.entries(folder, kinds=(START,)))) for folder in kept()) == 3
    tags = [outcome.of_journal(folder).tags["ablation.first_phase"].split(", ")[1] for folder in trials()]
    assert (tags.count("trained in this trial"), tags.count("reused")) == (3, 33)
