"""A task without Keras: trained, resumed, compared and used, without an import of TensorFlow."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from analysis.__main__ import app
from src import paths, registry, sync
from src.config.settings import checked
from src.paths import REPOSITORY
from src.spec.record import FINISHED, STEP, Record, end
from src.spec.section import SettingsError
from src.tracking import journal
from src.tracking.journal import Journal
from src.trial import run as trial
from src.trial.prepare import prepare

pytestmark = pytest.mark.training
PLAIN = Path(__file__).parent / "plain"
TASK = "ablation_line:TASK"
WORDS = ["-m", f"task={TASK}", "has_offset=true,false", "seed=0,1", "epochs=3", "study=lines", "tracking=offline"]
PROGRAM = """
import sys
from src import MODULE
code = MODULE.main(sys.argv[1:])
print("imported:", sorted({"tensorflow", "keras"} & sys.modules.keys()))
sys.exit(code)
"""


def output_of(module: str, *words: str, code: int = 0) -> str:
    """Returns what a command prints in its own process, which must not import TensorFlow or Keras."""
    path = os.pathsep.join(map(str, (REPOSITORY, PLAIN)))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("MODULE", module), *words],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "imported: []" in done.stdout, done.stdout
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def trained(empty, tmp_path_factory):
    """Trains two variants with two seeds; yields what the command printed."""
    home = tmp_path_factory.mktemp("home")
    shutil.copy(empty, home / "mlflow.db")
    (home / "keras.json").write_text('{"floatx": "float8"}', encoding="utf-8")  # refused for tasks with Keras
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ABLATION_HOME", str(home))
        patch.setenv("KERAS_HOME", str(home))
        yield output_of("run", *WORDS)


def folders() -> list[Path]:
    return sorted(path.parent for path in paths.study_folder("lines").glob("*/settings.json"))


def best() -> Path:
    """Returns the folder of a trial whose line has an offset."""
    return next(folder for folder in folders() if '"has_offset": true' in (folder / "settings.json").read_text())


def test_a_study_is_trained_and_its_table_is_shown(trained):
    assert "2 variants × 2 seeds = 4 trials" in trained and len(folders()) == 4
    assert "test error" in trained and "changed nothing" not in trained and "did not finish" not in trained
    assert not [path for folder in folders() for path in folder.glob("checkpoint*")]


def test_finished_trials_are_not_trained_again(trained):
    before = [(folder / "journal.jsonl").read_bytes() for folder in folders()]

    again = output_of("run", *WORDS)

    assert "4 already done" in again and "to train" not in again
    assert [(folder / "journal.jsonl").read_bytes() for folder in folders()] == before


def test_the_table_of_the_analysis_compares_the_variants(trained):
    assert sync.main([]) == 0

    result = CliRunner().invoke(app, ["table", "lines"])

    assert result.exit_code == 0, result.output
    assert "test error" in result.output and "hurts" in result.output
    assert "changed nothing" not in result.output


@pytest.mark.parametrize("name", [str, lambda folder: folder.name])
def test_a_command_uses_a_trained_model(trained, name):
    assert "7.0" in output_of("use", "--task", TASK, name(best()), "value", "2.0")


def test_a_study_is_refused_with_a_list_of_its_finished_trials(trained):
    refusal = output_of("use", "--task", TASK, "lines", code=2)

    assert "'lines' is a study; name one of its finished trials: " in refusal and "… (4 in all)" in refusal


def test_a_command_names_the_file_that_it_misses(trained, tmp_path):
    folder = shutil.copytree(best(), tmp_path / "copy")
    (folder / "line.npy").unlink()

    refusal = output_of("use", "--task", TASK, str(folder), "value", "2.0", code=2)

    assert (
        f"{folder}: this finished trial of task=ablation_line:TASK has no line.npy; name a trial of a task" in refusal
    )


def test_a_trial_that_did_not_finish_is_refused(trained, tmp_path):
    folder = shutil.copytree(best(), tmp_path / "copy")
    lines = (folder / "journal.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "journal.jsonl").write_text("".join(lines[:-1]), encoding="utf-8")

    refusal = output_of("use", "--task", TASK, str(folder), "value", "2.0", code=2)

    assert f"{folder}: holds no finished trial" in refusal and "model.keras" not in refusal


def test_a_killed_trial_resumes(home, monkeypatch):
    monkeypatch.syspath_prepend(str(PLAIN))
    monkeypatch.setitem(sys.modules, "tensorflow", None)  # importing it would raise
    monkeypatch.setattr(registry, "_allowed", {TASK})
    settings = checked({"task": TASK, "epochs": 3, "study": "killed", "tracking": {"name": "offline"}})
    append = Journal.append

    def dying(book, record, **options):
        append(book, record, **options)
        if record.kind == STEP and record.step == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Journal, "append", dying)
        trial.run(settings)
    assert trial.run(settings) == FINISHED

    start, *others = [entry.record for entry in journal.last_attempt(prepare(settings).folder)]
    assert start.detail["tags"]["ablation.resumed"] == "after epoch 2 of 3"
    assert [record.step for record in others if record.kind == STEP] == [1, 2, 3]


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "yielded nothing"),
        ([Record(STEP, 1, {"train/loss": 1.0}, {})], "stopped without an end"),
        ([end(step=1, status=FINISHED, metrics={"test/error": "0.5"}, artifacts=[])], "'0.5', which is not a number"),
        ([end(step=1, status=FINISHED, metrics={"test/error": None}, artifacts=[])], "None, which is not a number"),
    ],
)
def test_records_that_break_the_contract_are_refused(home, monkeypatch, records, message):
    monkeypatch.syspath_prepend(str(PLAIN))
    registry.allow(TASK)
    monkeypatch.setattr(type(registry.task(TASK)), "records", lambda task, of_trial: iter(records))

    with pytest.raises((ValueError, TypeError), match=message):
        list(trial.records(prepare(checked({"task": TASK}))))


def test_numbers_of_numpy_are_recorded_as_plain_numbers(home, monkeypatch):
    monkeypatch.syspath_prepend(str(PLAIN))
    registry.allow(TASK)
    last = end(step=1, status=FINISHED, metrics={"test/error": np.float32(0.5)}, artifacts=[])
    monkeypatch.setattr(type(registry.task(TASK)), "records", lambda task, of_trial: iter([last]))

    assert type(list(trial.records(prepare(checked({"task": TASK}))))[-1].metrics["test/error"]) is float


def test_a_task_that_cannot_prepare_a_trial_is_named_in_one_line(home, monkeypatch):
    monkeypatch.syspath_prepend(str(PLAIN))
    registry.allow(TASK)
    monkeypatch.setattr(type(registry.task(TASK)), "load", lambda task, settings: None)

    with pytest.raises(
        SettingsError, match=f"task={TASK} cannot prepare this trial .AttributeError: 'NoneType' object"
    ):
        prepare(checked({"task": TASK}))


def test_the_data_do_not_depend_on_the_seed(home, monkeypatch):
    monkeypatch.syspath_prepend(str(PLAIN))
    registry.allow(TASK)
    data = SimpleNamespace(digest="", rows={"train": 1, "validation": 1, "test": 1})
    seeds = []
    monkeypatch.setattr(type(registry.task(TASK)), "load", lambda task, settings: seeds.append(settings.seed) or data)

    assert prepare(checked({"task": TASK, "seed": 3})).settings.seed == 3 and seeds == [0]


def test_the_plan_reports_trials_of_another_version_of_the_task(trained, tmp_path):
    changed = tmp_path / "ablation_line.py"
    changed.write_text((PLAIN / "ablation_line.py").read_text(encoding="utf-8") + "# changed\n", encoding="utf-8")
    path = os.pathsep.join([str(REPOSITORY), str(tmp_path)])

    done = subprocess.run(
        [sys.executable, "-m", "src.run", *WORDS, "plan_only=true"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )

    assert f"4 finished trials used the task of {TASK}, code " in done.stdout, done.stdout + done.stderr
