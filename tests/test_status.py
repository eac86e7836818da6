from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time

import pytest
from rich.console import Console

from src import paths, status
from src.paths import REPOSITORY
from src.spec.metric import Metric, as_records
from src.spec.record import EVALUATION, METRICS, START, STEP, Record
from src.study.running import held, is_held
from src.tracking import journal
from src.tracking.journal import FAILED, FINISHED, KILLED, Journal, end

NAMES = {
    "a": ("cell=lstm", 0),
    "b": ("cell=gru", 0),
    "c": ("cell=lstm", 1),
    "d": ("cell=gru", 1),
    "e": ("cell=lstm", 2),
    "f": ("cell=gru", 2),
}


def begin(book, accuracy=None):
    book.append(Record(START, 0, detail={"attempt": book.path.parent.name, "tags": {}}))
    if accuracy is not None:
        book.append(Record(STEP, 7, {"train/loss": 0.5}, {"epoch": 1}))
        book.append(Record(EVALUATION, 7, {"val/accuracy": accuracy}, {"epoch": 1}))


def trial(study, name, ended=None, *, accuracy=None, error=None):
    with Journal(paths.study_folder(study) / name) as book:
        begin(book, accuracy)
        if ended:
            metrics = {"test/accuracy": accuracy - 0.1} if accuracy else {}
            book.append(end(step=7, status=ended, error=error, metrics=metrics))


def write_plan(study, names):
    rows = [{"identity": name, "label": NAMES[name][0], "seed": NAMES[name][1]} for name in names]
    record = {"design": "grid", "rows": [*rows, {"identity": None, "label": "dropped", "seed": 0}], "commands": [{}]}
    (paths.study_folder(study) / "plan.json").write_text(json.dumps([record]), encoding="utf-8")


@pytest.fixture
def running(home):
    """A study `s` of six trials in different states, one of them running, and a trial of an earlier plan."""
    trial("s", "a", FINISHED, accuracy=0.8)
    trial("s", "b", FAILED, error="ValueError: no memory")
    trial("s", "c", KILLED, accuracy=0.7)
    trial("s", "d")  # whose process is gone
    trial("s", "old", FINISHED, accuracy=0.9)
    write_plan("s", NAMES)
    with Journal(paths.study_folder("s") / "e") as book:
        begin(book, 0.85)
        yield home


def lines(*arguments, width=200, is_terminal=False):
    text = io.StringIO()
    console = Console(file=text, width=width, force_terminal=is_terminal, color_system=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(status, "Console", lambda **_: console)
        assert status.main(arguments) == 0
    return text.getvalue().splitlines()


def test_a_running_study_is_shown_in_full(running):
    assert lines("s") == [
        "study s, design grid",
        "  6 trials: 1 done, 1 running, 1 failed, 2 stopped, 1 not begun",
        "  time left: about 0:00 (m:ss)",
        "  best: cell=lstm seed=2: validation accuracy 0.850",
        "  running: cell=lstm seed=2: step 7, validation accuracy 0.850",
        "  failed: cell=gru seed=0: ValueError: no memory",
        "  1 more trial of earlier plans",
    ]


def test_running_studies_are_shown_in_full_and_others_in_one_line(running):
    trial("other", "a", FINISHED, accuracy=0.8)
    write_plan("other", "ab")

    shown = lines()
    assert shown[0] == "study s, design grid" and shown[-1] == "other  2 trials: 1 done, 1 not begun"


def test_the_time_left_is_the_mean_duration_of_finished_trials_times_the_remaining_trials(running, monkeypatch):
    durations = {"a": 100.0, "e": 30.0}
    monkeypatch.setattr(status, "_seconds_of", lambda folder: durations[folder.name])

    assert status.of("s").seconds_left == 3 * 100 + 70  # two stopped, one not begun, and the rest of the one that runs


def test_status_writes_nothing_and_does_not_disturb_trials(running):
    def tree():
        return sorted((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in running.rglob("*"))

    before = tree()
    lines("s"), lines(), status.main(["s", "--json"])

    assert tree() == before


STARTS = "  the sweep is running; no trial is under way: its workers are starting (TensorFlow takes about 10 s"


@pytest.fixture
def stopped(home):
    """A study `s` of two trials, one of them stopped, and a finished study `other`; nothing runs."""
    trial("s", "a", KILLED, accuracy=0.8)
    write_plan("s", "ab")
    trial("other", "a", FINISHED, accuracy=0.8)
    return paths.study_folder("s")


def test_a_sweep_with_starting_workers_is_shown_as_running(stopped):
    assert lines()[0] == "nothing is running"

    with held(stopped):
        shown, record = lines(), status.of("s").as_record()
        assert shown[:2] == ["study s, design grid", "  2 trials: 1 stopped, 1 not begun"]
        assert shown[-2].startswith(STARTS) and shown[-1].startswith("other")
        assert record["sweep_is_running"] and not status.of("other").is_running

    assert lines()[0] == "nothing is running" and not status.of("s").as_record()["sweep_is_running"]


def test_a_sweep_with_running_trials_shows_the_trials(running):
    with held(paths.study_folder("s")):
        assert not any("workers are starting" in line for line in lines("s"))


def test_a_study_with_two_sweeps_runs_until_both_have_ended(stopped):
    with held(stopped):
        with held(stopped):
            pass
        assert status.of("s").is_running
    assert not status.of("s").is_running


def test_a_killed_sweep_does_not_count_as_running(stopped):
    program = "import sys, time; from pathlib import Path; from src.study.running import held\n"
    program += "with held(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(60)"
    sweep = subprocess.Popen([sys.executable, "-c", program, str(stopped)], cwd=REPOSITORY, stdout=subprocess.PIPE)
    with sweep:
        assert sweep.stdout.readline() == b"held\n" and status.of("s").is_running
        sweep.kill()

    assert not status.of("s").is_running and (stopped / "sweep.lock").is_file()


def test_status_does_not_affect_a_starting_sweep(stopped):
    with held(stopped):
        test_status_writes_nothing_and_does_not_disturb_trials(paths.home())
        assert status.of("s").is_running


def test_a_sweep_runs_in_a_folder_without_write_permission(tmp_path):
    (tmp_path / "file").touch()

    with held(tmp_path / "file"):
        assert not is_held(tmp_path / "file")


def test_a_writer_of_a_journal_is_detected_without_taking_a_lock(home):
    folder = paths.study_folder("s") / "a"
    assert not journal.has_writer(folder)
    with Journal(folder):
        assert journal.has_writer(folder)
    assert not journal.has_writer(folder)


DIRTY = {
    "s/b/journal.jsonl": "garbage\n",
    "s/c/journal.jsonl": '{"kind":"start","time_ms":1,"step":0,"metrics":{},"detail":{"attempt":"x","tags":3}}\n',
    "s/d/journal.jsonl": '{"kind":"start","ti',
    "s/.journals.json": '{"fields": 3}',
    "s/notes.txt": "mine",
    "file": "x",
    ".cache/x/journal.jsonl": "x",
}


@pytest.mark.parametrize("held", [None, "{", "[]", "[1]", '[{"rows": [1], "commands": [1]}]', '[{"rows": 3}]'])
def test_a_folder_with_foreign_files_is_shown_as_far_as_it_is_readable(home, held):
    trial("s", "a", FINISHED, accuracy=0.8)
    for name, text in DIRTY.items():
        path = paths.outputs() / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    if held is not None:
        (paths.study_folder("s") / "plan.json").write_text(held, encoding="utf-8")

    text = "\n".join(lines("s"))
    assert "1 done" in text and "unreadable: b: " in text and "invalid line" in text
    assert [line.split()[0] for line in lines() if not line.startswith(" ")] == ["nothing", "s"]


def test_json_contains_the_same_facts_as_the_lines(running, capsys):
    assert status.main(["s", "--json"]) == 0

    record = json.loads(capsys.readouterr().out)
    counts = {key: record[key] for key in ("trials", "done", "running", "failed", "stopped", "not_begun", "unreadable")}
    assert counts == {"trials": 6, "done": 1, "running": 1, "failed": 1, "stopped": 2, "not_begun": 1, "unreadable": 0}
    assert (record["best"]["name"], record["running_trials"][0]["step"]) == ("cell=lstm seed=2", 7)
    assert status.main(["--json"]) == 0 and json.loads(capsys.readouterr().out)[0]["study"] == "s"


@pytest.mark.parametrize(
    ("typed", "rest"), [("masking_by_cel", "did you mean masking_by_cell?"), ("zzz", "studies: masking_by_cell")]
)
def test_an_unknown_study_is_an_error_in_one_line_with_the_nearest_name(home, capsys, typed, rest):
    trial("masking_by_cell", "a")

    assert status.main([typed]) == 2
    assert capsys.readouterr().err == f"error: no study '{typed}' in {paths.outputs()}; {rest}\n"


@pytest.mark.parametrize("typed", ["../s", "s/a", ".cache", "", "x\x1b[31m"])
def test_only_the_name_of_a_study_is_accepted(running, capsys, typed):
    assert status.main([typed]) == (2 if typed else 0)
    assert "\x1b" not in capsys.readouterr().err


def test_watch_repeats_until_ctrl_c(running, monkeypatch):
    waited = []

    def sleep(seconds):
        waited.append(seconds)
        if len(waited) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    assert lines("s", "--watch", "2").count("study s, design grid") == 2 and waited == [2.0, 2.0]


@pytest.mark.parametrize("width", [80, 60])
def test_every_line_fits_the_terminal(home, width):
    label = "implementation=packed_loop padding=batch vocab_size=10000 data.path=a_rather_long_name_of_a_file.csv"
    trial("s", "a", FINISHED, accuracy=0.8)
    with Journal(paths.study_folder("s") / "b") as book:
        begin(book, 0.85)
        rows = [{"identity": name, "label": label, "seed": 3} for name in "ab"]
        record = {"design": "grid", "rows": rows, "commands": [{}]}
        (paths.study_folder("s") / "plan.json").write_text(json.dumps([record]), encoding="utf-8")
        shown = lines("s", width=width, is_terminal=True)

    assert max(map(len, shown)) <= width and any("… seed=3: step 7" in line for line in shown)


def test_status_without_any_study_says_that_there_are_none(home):
    assert lines() == [f"no studies in {paths.outputs()}"]


def test_neither_tensorflow_nor_mlflow_is_imported(running):
    program = "import sys; from src import status; status.main(['s']); status.main([])\n"
    program += "sys.exit(bool({'tensorflow', 'keras', 'mlflow', 'pandas'} & set(sys.modules)))"

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, env=os.environ, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "") and "1 running" in done.stdout


def test_a_closed_pipe_ends_the_command_without_a_traceback(running):
    reads, writes = os.pipe()
    os.close(reads)

    command = [sys.executable, "-m", "src.status", "s", "--json"]
    ended = subprocess.run(command, check=False, stdout=writes, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY)

    os.close(writes)
    assert ended.returncode == 0 and ended.stderr == ""


PERPLEXITY = Metric("perplexity", "lower", digits=1)


def validated(name, value, ended=None):
    with Journal(paths.study_folder("s") / name) as book:
        book.append(Record(START, 0, detail={"attempt": name, "tags": {}, METRICS: as_records([PERPLEXITY])}))
        if value is not None:
            book.append(Record(EVALUATION, 7, {"val/perplexity": value}, {"epoch": 1}))
        if ended:
            book.append(end(step=7, status=ended, metrics={"test/perplexity": 41.26}))


@pytest.mark.parametrize("has_plan", [True, False])
def test_the_best_trial_has_the_lowest_value_if_lower_is_better(home, has_plan):
    validated("a", 80.0, FINISHED)
    validated("b", 40.0, FINISHED)
    validated("c", None, FINISHED)
    if has_plan:
        write_plan("s", "abc")
        path = paths.study_folder("s") / "plan.json"
        (record,) = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps([record | {"metrics": as_records([PERPLEXITY])}]), encoding="utf-8")

    best = "cell=gru seed=0" if has_plan else "b"
    assert f"  best: {best}: validation perplexity 40.0, test perplexity 41.3" in lines("s")


def test_json_names_the_test_value_after_its_metric(home, capsys):
    validated("a", 40.0, FINISHED)

    assert status.main(["s", "--json"]) == 0

    best = json.loads(capsys.readouterr().out)["best"]
    assert (best["first_metric"], best["best_validation"], best["test_perplexity"]) == ("perplexity", 40.0, 41.26)
