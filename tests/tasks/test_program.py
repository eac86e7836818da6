"""Any command as a trial: reports, outcomes, identity, bad input, and the end of all processes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from analysis.__main__ import app
from src import registry, run
from src.config.settings import checked
from src.paths import REPOSITORY
from src.spec.record import EVALUATION, FAILED, FINISHED, KILLED, STEP
from src.spec.section import SettingsError
from src.tasks.program import command, report
from src.tasks.program.process import Log
from src.tasks.program.report import Report
from src.tracking import journal
from src.trial import run as trial
from src.trial.prepare import prepare

SCRIPTS = Path(__file__).parent / "programs"
PYTHON = sys.executable
OF_LOSS = {"metrics": {"loss": "lower"}}


def settings_of(words: str, *, toggles=None, seed=0, study="p", plan=None, **program):
    """Returns settings of a program that reports a loss."""
    given = {"task": "program", "command": words, "toggles": toggles or {}, "seed": seed, "study": study}
    values = {**given, "tracking": {"name": "offline"}, "program": OF_LOSS | program}
    return checked(values | ({"plan": plan} if plan else {}))


def python(code: str, folder: Path, name: str = "program.py") -> str:
    """Writes a program that imports what it may need; returns its command, with the seed."""
    begin = "import json, os, signal, subprocess, sys, time\n"
    begin += "def report(**values):\n"
    begin += "    with open(os.environ['ABLATION_METRICS'], 'a') as file: file.write(json.dumps(values) + '\\n')\n"
    (folder / name).write_text(begin + code, encoding="utf-8")
    return f"{PYTHON} {name} {{seed}}"


def outcome_of(settings):
    """Runs a trial; returns its status and its last record."""
    status = trial.run(settings)
    return status, journal.last(prepare(settings).folder)


def reports(settings):
    """Returns the entries of the last attempt."""
    return [entry.record for entry in journal.last_attempt(prepare(settings).folder)]


def values(records, name):
    return [(record.step, record.metrics[name]) for record in records if name in record.metrics]


# ---- reports


def test_json_lines_become_curves_and_final_metrics(home, tmp_path):
    shutil.copy(SCRIPTS / "lines.py", tmp_path)
    settings = settings_of(f"{PYTHON} lines.py --lr {{lr}} --seed {{seed}}", toggles={"lr": 0.1}, seed=3)

    status, end = outcome_of(settings)

    slope, losses = __import__("random").Random(3).random(), []
    for _ in range(3):
        slope -= 0.1 * 2 * (slope - 3)
        losses.append((slope - 3) ** 2)
    assert status == FINISHED and end.metrics["test/loss"] == losses[-1]
    records = reports(settings)
    curve = list(zip((10, 20, 30), losses, strict=True))
    assert values([each for each in records if each.kind == STEP], "train/loss") == curve
    assert values([each for each in records if each.kind == EVALUATION], "val/loss") == curve
    assert end.metrics["best/val_loss"] == min(losses)
    assert records[0].detail["params"]["toggles.lr"] == 0.1
    folder = prepare(settings).folder
    assert (folder / "artifacts" / "slope.txt").read_text() == str(slope)
    assert json.loads((folder / "toggles.json").read_text()) == {"lr": 0.1, "seed": 3}
    assert {"artifacts", "output.log", "toggles.json"} <= {*end.detail["artifacts"]}
    assert "slope" in (folder / "output.log").read_text() and "runs: " in (folder / "trial.log").read_text()


def test_wall_time_is_marked_and_a_reported_time_takes_precedence(home, tmp_path):
    silent = settings_of(python("time.sleep(0.3)\nreport(**{'test/loss': 1})", tmp_path))
    timed = settings_of(python("report(**{'test/loss': 1, 'time/train_s': 7.5})", tmp_path, "timed.py"))

    _, end = outcome_of(silent)
    assert 0.3 < end.metrics["time/train_s"] < 20 and end.metrics["memory/peak_mb"] > 1
    assert end.detail["tags"]["ablation.times"] == "wall time of the process"
    _, end = outcome_of(timed)
    assert end.metrics["time/train_s"] == 7.5 and end.detail["tags"]["ablation.times"] == "reported by the program"


def test_a_shell_script_reports_by_lines_that_patterns_recognise(home, tmp_path):
    shutil.copy(SCRIPTS / "shell.sh", tmp_path)
    patterns = [r"epoch (?P<epoch>\d+): val_loss=(?P<val_loss>\d+)", r"(?P<name>test_\w+)=(?P<value>\d+)"]
    settings = settings_of("bash shell.sh {width} {seed}", toggles={"width": 4}, seed=1, patterns=patterns)

    status, end = outcome_of(settings)

    assert status == FINISHED and end.metrics["test/loss"] == 9
    assert values(reports(settings), "val/loss") == [(1, 10.0), (2, 9.0)]


def test_the_metrics_of_the_programs_own_mlflow_run_are_read(home, tmp_path):
    shutil.copy(SCRIPTS / "tracked.py", tmp_path)
    metrics = {"accuracy": "higher"}
    settings = settings_of(f"{PYTHON} tracked.py {{lr}} {{seed}}", toggles={"lr": 0.25}, mlflow=True, metrics=metrics)

    status, end = outcome_of(settings)

    assert status == FINISHED, end.detail["error"]
    assert end.metrics["test/accuracy"] == 0.65 and end.metrics["best/val_accuracy"] == 0.6
    assert values(reports(settings), "train/accuracy") == [(0, 0.6), (1, 0.7)]
    assert (prepare(settings).folder / "artifacts" / "notes" / "a.txt").read_text() == "hello"


@pytest.mark.training
def test_a_keras_script_with_mlflows_callback_is_a_trial(home, tmp_path):
    """The callback puts every validation at step 0 under another name, too; the curve by epoch is what counts."""
    shutil.copy(SCRIPTS / "keras_callback.py", tmp_path)
    patterns = [r"Test loss: (?P<test_loss>[\d.e-]+)", r"Test accuracy: (?P<test_accuracy>[\d.]+)"]
    words = f"{PYTHON} keras_callback.py --filters {{filters}} --seed {{seed}}"
    settings = settings_of(words, toggles={"filters": 4}, mlflow=True, patterns=patterns, metrics={})

    status, end = outcome_of(settings)

    assert status == FINISHED, end.detail["error"]
    assert 0.5 < end.metrics["test/accuracy"] <= 1 and end.metrics["test/loss"] > 0
    for name in ("train/loss", "train/accuracy", "val/loss", "val/accuracy"):
        assert [step for step, _ in values(reports(settings), name)] == [0, 1, 2]
    losses = [value for _, value in values(reports(settings), "val/loss")]
    shown = re.findall(r"val_loss: ([\d.]+)", (prepare(settings).folder / "output.log").read_text())
    assert losses == pytest.approx([float(each) for each in shown], abs=1e-4) and len(set(losses)) == 3
    assert end.metrics["best/val_accuracy"] == max(value for _, value in values(reports(settings), "val/accuracy"))
    assert "ablation.remarks" not in end.detail["tags"]


def test_the_folds_of_a_cross_validation_are_seeds(home, tmp_path):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    shutil.copy(SCRIPTS / "folds.py", tmp_path)
    words = f"{PYTHON} folds.py {{depth}} {{seed}}"

    ends = [outcome_of(settings_of(words, toggles={"depth": 2}, seed=fold, metrics={})) for fold in (0, 1)]

    assert [status for status, _ in ends] == [FINISHED, FINISHED]
    assert all(0.5 < end.metrics["test/accuracy"] <= 1 for _, end in ends)


@pytest.fixture
def torch_python():
    """Returns a Python that has PyTorch: this one, or the one that TORCH_PYTHON names."""
    if "TORCH_PYTHON" in os.environ:
        return os.environ["TORCH_PYTHON"]
    pytest.importorskip("torch", reason="PyTorch is not installed; TORCH_PYTHON names a Python with torch and mlxtend")
    return PYTHON


def test_a_pytorch_script_is_a_trial(home, tmp_path, torch_python):
    shutil.copy(REPOSITORY / "experiments" / "programs" / "mlp_torch.py", tmp_path)
    words = f"{torch_python} mlp_torch.py --epochs 2 --width {{width}} --lr {{lr}} --seed {{seed}}"
    metrics = {"accuracy": "higher", "loss": "lower"}

    ends = [
        outcome_of(settings_of(words, toggles={"width": 8, "lr": 0.01}, seed=seed, metrics=metrics)) for seed in (0, 1)
    ]

    (status, end), (_, other) = ends
    assert status == FINISHED, end.detail["error"]
    assert 0.5 < end.metrics["test/accuracy"] < 1 and end.metrics["test/accuracy"] != other.metrics["test/accuracy"]
    assert end.metrics["model/parameters"] == 784 * 8 + 8 + 8 * 8 + 8 + 8 * 10 + 10
    assert end.detail["tags"]["ablation.times"] == "reported by the program"
    settings = settings_of(words, toggles={"width": 8, "lr": 0.01}, metrics=metrics)
    for name in ("train/loss", "val/loss", "val/accuracy"):
        assert [step for step, _ in values(reports(settings), name)] == [55, 110]  # of 3,500 images in batches of 64
    assert (prepare(settings).folder / "artifacts" / "model.pt").is_file()


def test_the_environment_has_the_toggles_as_written(home, tmp_path):
    code = "report(**{'test/loss': float(os.environ['ABLATION_TOGGLE_x']) + int(os.environ['ABLATION_SEED'])})\n"
    code += "assert json.load(open(os.environ['ABLATION_SETTINGS'])) == {'x': 0.5, 'flag': True, 'seed': 2}\n"
    code += "assert os.environ['ABLATION_TOGGLE_flag'] == 'true'"
    settings = settings_of(python(code, tmp_path), toggles={"x": 0.5, "flag": True}, seed=2, passes="environment")

    assert outcome_of(settings)[1].metrics["test/loss"] == 2.5


def test_nothing_in_a_value_is_interpreted(home, tmp_path):
    text = "a b; touch gone $(touch gone) 'x' \"y\" {seed} *"
    code = "report(**{'test/loss': float(sys.argv[2] == " + repr(text) + ")})"
    settings = settings_of(python(code, tmp_path) + " {text}", toggles={"text": text})

    assert outcome_of(settings)[1].metrics["test/loss"] == 1
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize(
    ("lines", "curve", "remark"),
    [
        (
            ['{"step": 2, "val/loss": 2}', '{"step": 1, "val/loss": 1}'],
            {2: 2, 1: 1},
            "steps out of order: 1 came after 2",
        ),
        (['{"step": 1, "val/loss": 2}', '{"step": 1, "val/loss": 3}'], {1: 2}, "val/loss was reported twice at step 1"),
        (['{"step": 1, "val/loss": 2}', '{"step": 1, "val/loss": 2}'], {1: 2}, None),
        (["garbage", '{"step": 1, "val/loss": 2}'], {1: 2}, "line 1 of the metrics is no JSON object: garbage"),
        (['{"step": 1, "val/loss": "2"}'], {}, "val/loss is '2', which is not a number"),
        (['{"step": -1, "val/loss": 2}'], {0: 2}, "step is -1, which is no whole number"),
        (['{"epoch": 1.5, "val/loss": 2}'], {0: 2}, "epoch is 1.5, which is no whole number"),
        (['{"best/val_loss": 2}'], {}, "best/val_loss is computed"),
        (['{"val_loss": 2, "epoch": 3, "note": "x"}'], {3: 2}, None),
        (["", "[]"], {}, "line 2 of the metrics is no JSON object"),
    ],
)
def test_an_untidy_report_is_kept_with_a_remark(lines, curve, remark):
    told = Report(metrics=["loss"], names={})

    records = [record for number, line in enumerate(lines, 1) for record in told.line(line.encode(), number)]

    assert dict(values(records, "val/loss")) == curve
    assert remark in told.remarks[0] if remark else not told.remarks


def test_a_line_is_read_once_it_is_complete(tmp_path):
    path, told = tmp_path / "m.jsonl", Report(metrics=["loss"], names={})
    lines = report.Lines(path)
    assert not list(lines.new(told))
    path.write_text('{"step": 1, "val/loss"', encoding="utf-8")
    assert not list(lines.new(told))
    with path.open("a", encoding="utf-8") as file:
        file.write(': 2}\n{"test/loss": 5}')
    assert len(list(lines.new(told))) == 1 and told.value("test/loss") is None

    assert not list(lines.new(told, is_last=True)) and told.value("test/loss") == 5 and not told.remarks


@pytest.mark.training
@pytest.mark.usefixtures("blank")
def test_a_study_of_programs_has_the_report_of_every_study_with_their_curves_by_epoch(home, tmp_path):
    code = "lr, seed = float(sys.argv[2]), int(sys.argv[1])\nfor epoch in (1, 2, 3):\n"
    code += "    report(epoch=epoch, **{'val/loss': 1 / epoch + lr + seed / 100})\n"
    code += "report(**{'test/loss': lr + seed / 100, 'time/batch_ms_median': 2 + lr})"
    words = ["-m", "task=program", f"command={python(code, tmp_path)} {{lr}}", "toggles.lr=0.1,0.2", "seed=0,1,2"]
    assert run.main([*words, "program.metrics.loss=lower", "study=mine"]) == 0

    done = CliRunner().invoke(app, ["report", "mine"])

    assert done.exit_code == 0, done.output
    page = (home / "reports" / "mine" / "report.html").read_text(encoding="utf-8")
    assert "Validation loss by step, by variant: mean and 95 % interval over 3 seeds." in page
    assert "+0.100" in page and "ms per batch" in page and "per-step record" not in page


# ---- outcomes


@pytest.mark.parametrize(
    ("code", "status", "how", "error"),
    [
        ("print('bad'); sys.exit(3)", FAILED, "exit code 3", "the program ended with exit code 3; its last line: bad"),
        ("1 / 0", FAILED, "exit code 1", "its last line: ZeroDivisionError: division by zero"),
        ("os.abort()", FAILED, "signal SIGABRT", "the program was ended by SIGABRT"),
        ("os.kill(os.getpid(), signal.SIGKILL)", KILLED, "signal SIGKILL", "the same command runs it again"),
        ("sys.exit(143)", KILLED, "signal SIGTERM", "the program was ended by SIGTERM"),
        ("pass", FAILED, "no final metric", "the program reported no test/loss (it reported nothing)"),
        ("report(**{'val/x': 1})", FAILED, "no final metric", "(it reported val/x)"),
        ("print('{]' * 9)", FAILED, "no final metric", "$ABLATION_METRICS, or declare program.metrics"),
        ("report(**{'test/loss': float('nan')})", FAILED, "not a number", "test/loss is nan"),
        ("report(**{'test/loss': float('inf')})", FAILED, "not a number", "test/loss is inf"),
        (
            "open(__file__, 'a').write('#'); report(**{'test/loss': 1})",
            FAILED,
            "changed its files",
            "program.py changed",
        ),
    ],
)
def test_every_end_of_a_program_is_an_outcome(home, tmp_path, code, status, how, error):
    settings = settings_of(python(code, tmp_path))
    folder = prepare(settings).folder

    returned = trial.run(settings)
    end = journal.last(folder)

    assert (end.detail["status"], end.detail["tags"]["ablation.outcome"]) == (status, how)
    assert returned == ("INTERRUPTED" if status == KILLED else status)
    assert error in end.detail["error"] and len(end.detail["error"].splitlines()) == 1
    assert end.detail["tags"]["ablation.health"] == ("diverged" if how == "not a number" else "ok")
    assert "output.log" in end.detail["artifacts"]


def test_metrics_before_a_failure_are_kept(home, tmp_path):
    settings = settings_of(python("report(step=1, **{'train/loss': 2, 'test/loss': 3})\nsys.exit(1)", tmp_path))

    status, end = outcome_of(settings)

    assert status == FAILED and end.metrics["test/loss"] == 3
    assert values(reports(settings), "train/loss") == [(1, 2.0)]


def test_a_program_that_never_ends_is_ended(home, tmp_path):
    code = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\nprint('up')\nwhile True: time.sleep(0.1)"
    settings = settings_of(python(code, tmp_path), timeout_minutes=0.02)

    status, end = outcome_of(settings)

    assert status == FAILED and end.detail["tags"]["ablation.outcome"] == "timeout"
    assert "raise program.timeout_minutes" in end.detail["error"] and end.metrics["time/train_s"] < 15


def test_a_flood_of_output_keeps_its_begin_and_its_end(tmp_path):
    log = Log(tmp_path / "x.log", 1_000)
    for number in range(10_000):
        log.write(f"line {number}\n".encode())
    log.close()

    text = (tmp_path / "x.log").read_text(encoding="utf-8")
    assert len(text) < 1_200 and text.startswith("line 0\n") and text.endswith("line 9999\n")
    assert "bytes left out" in text


def test_a_program_that_floods_its_log_is_read_to_its_end(home, tmp_path):
    code = "for _ in range(200): sys.stdout.write('x' * 100_000)\nreport(**{'test/loss': 1})"
    settings = settings_of(python(code, tmp_path), log_mb=1)

    assert outcome_of(settings)[0] == FINISHED
    assert (prepare(settings).folder / "output.log").stat().st_size < 1_200_000


# ---- identity


def identity_of(tmp_path, **changes):
    words = changes.pop("words", f"{PYTHON} a.py {{lr}} {{seed}}")
    return prepare(settings_of(words, **({"toggles": {"lr": 1}} | changes))).identity


def test_the_identity_holds_the_command_the_toggles_the_files_and_how_metrics_are_read(home, tmp_path):
    for name in ("a.py", "b.txt"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    first = identity_of(tmp_path)

    assert identity_of(tmp_path) == first
    others = [
        identity_of(tmp_path, words=f"{PYTHON} a.py {{lr}} --seed {{seed}}"),
        identity_of(tmp_path, toggles={"lr": 2}),
        identity_of(tmp_path, seed=1),
        identity_of(tmp_path, files=["b.txt"]),
        identity_of(tmp_path, patterns=["(?P<test_loss>.)"]),
        identity_of(tmp_path, names={"x": "test/loss"}),
    ]
    assert len({first, *others}) == 7
    same = ({"timeout_minutes": 1}, {"log_mb": 1}, {"metrics": {"x": "higher"}})
    assert {identity_of(tmp_path, **change) for change in same} == {first}
    assert prepare(declared_as_float(1)).identity == prepare(declared_as_float(1.0)).identity
    (tmp_path / "a.py").write_text("changed", encoding="utf-8")
    assert identity_of(tmp_path) != first


def declared_as_float(value):
    toggles = {"lr": {"type": "float"}}
    words = f"{PYTHON} a.py {{lr}} {{seed}}"
    given = {"command": words, "toggles": {"lr": value}, "program": {"toggles": toggles}}
    return checked({"task": "program", **given})


def test_the_commit_of_the_programs_repository_is_in_the_identity_and_a_dirty_tree_is_marked(home, tmp_path):
    def git(*words):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *words], cwd=tmp_path, check=True)

    def data():
        return prepare(settings_of(f"{PYTHON} a.py {{seed}}")).data

    (tmp_path / "a.py").write_text("1", encoding="utf-8")
    (tmp_path / "other.py").write_text("1", encoding="utf-8")
    outside = data()
    git("init", "-q")
    git("add", "a.py", "other.py")
    git("commit", "-qm", "x")
    clean = data()
    (tmp_path / "other.py").write_text("2", encoding="utf-8")
    dirty = data()

    assert outside.version == "no git repository"
    assert len(clean.commit) == 40 and clean.version == clean.commit and dirty.version == f"{clean.commit} (dirty)"
    assert len({outside.digest, clean.digest, dirty.digest}) == 3


# ---- bad input


@pytest.mark.parametrize(
    ("words", "change", "message"),
    [
        ("", {}, "command: got ''; write the command of a trial, as in command='python"),
        ("true {lrr} {seed}", {"toggles": {"lr": 1}}, "command: {lrr} is no toggle; allowed: {lr}, {seed}"),
        ("true {} {seed}", {}, "command: {} is no toggle"),
        ("true {seed}", {"toggles": {"lr": 1}}, "command: {lr} is missing, so toggles.lr would change nothing"),
        ("true {lr}", {"toggles": {"lr": 1}}, "command: {seed} is missing, so the seed would change nothing"),
        ("true {seed", {}, "command: '{' stands alone in '{seed'"),
        ("true 'x {seed}", {}, "command: No closing quotation"),
        ("true {seed} | cat", {}, "command: '|' is for a shell, but no shell reads the command"),
        ("no-such-program {seed}", {}, "command: there is no program 'no-such-program' on the PATH"),
        ("./no.sh {seed}", {}, "command: there is no program './no.sh' in "),
        ("./plain.sh {seed}", {}, "command: ./plain.sh is not executable; run chmod +x ./plain.sh"),
        ("true {seed}", {"files": ["no.csv"]}, "program.files: 'no.csv' is not there in "),
        ("true {seed}", {"folder": "nowhere"}, "program.folder: "),
        ("true {seed}", {"patterns": ["("]}, "program.patterns: '(' is no regular expression"),
        ("true {seed}", {"patterns": ["loss .*"]}, "program.patterns: 'loss .*' names no metric"),
        ("true {seed}", {"metrics": {"x": "none"}}, "program.metrics: the first metric, x, has no direction"),
        ("true {seed}", {"metrics": {"x": "up"}}, "program.metrics.x: got 'up'; allowed: {name: higher, lower"),
        (
            "true {seed}",
            {"metrics": {"a/b": "lower"}},
            "program.metrics: got the name 'a/b'; allowed: up to 50 letters",
        ),
        ("true {seed}", {"toggles": {"seed": 1}}, "toggles.seed: the name is reserved"),
        ("true {seed}", {"timeout_minutes": 0}, "program.timeout_minutes: got 0; allowed: a number above 0"),
    ],
)
def test_bad_input_is_refused_with_the_fix(home, tmp_path, words, change, message):
    (tmp_path / "plain.sh").write_text("true", encoding="utf-8")

    with pytest.raises(SettingsError) as caught:
        settings = settings_of(words, **change)
        registry.task("program").metrics_of(settings)
        prepare(settings)

    assert str(caught.value).startswith(message) and len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("rule", "value", "message"),
    [
        ({"type": "int"}, 0.5, "toggles.x: got 0.5; allowed: int"),
        ({"type": "bool"}, 1, "toggles.x: got 1; allowed: bool"),
        ({"low": 0.0, "high": 1.0}, 2, "toggles.x: got 2; allowed: from 0 to 1"),
        ({"choices": ["a", "b"]}, "c", "toggles.x: got c; allowed: a, b"),
    ],
)
def test_a_declared_toggle_refuses_other_values(home, rule, value, message):
    given = {"command": "true {x} {seed}", "toggles": {"x": value}, "program": {"toggles": {"x": rule}}}

    with pytest.raises(SettingsError, match=message):
        prepare(checked({"task": "program", **given}))


@pytest.mark.parametrize("key", ["learning_rate", "epochs", "batch_size"])
def test_a_toggle_of_other_tasks_is_refused(home, key):
    with pytest.raises(SettingsError, match=f"{key}=7(.0)? has no effect on a program; write toggles.{key}=7"):
        prepare(checked({"task": "program", "command": "true {seed}", key: 7}))


def test_braces_are_written_twice():
    words = command.words_of("run '{{\"a\": {x}}}' {seed}")

    assert command.filled(words, {"x": "1 }", "seed": "2"}) == ["run", '{"a": 1 }}', "2"]
    assert command.names_in(words) == ["x", "seed"]


def test_data_that_change_after_the_plan_are_reported(home, tmp_path):
    settings = settings_of(python("report(**{'test/loss': 1})", tmp_path))

    with pytest.raises(trial.NotBegun, match="its data or files have changed since the study was planned"):
        trial.run(settings, planned="0" * 16)


# ---- the command line


def command_of(capsys, *words):
    code = run.main(["task=program", "tracking=offline", *words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_toggles_of_the_user_are_swept(home, tmp_path, capsys):
    code, out, err = command_of(
        capsys, "-m", "command=true {lr} --model={model} {seed}", "toggles.lr=0.1,0.01", "toggles.model=mlp,a cnn",
        "seed=range(0,2)", "plan_only=true",
    )  # fmt: skip

    assert code == 0 and "4 variants × 2 seeds = 8 trials" in out, err
    assert "toggles.lr=0.01 toggles.model=a cnn" in out


def test_a_metric_of_the_command_line_compares(home, tmp_path, capsys):
    words = ["command=true {seed}", "program.metrics.bleu.direction=higher", "program.metrics.bleu.unit=points"]

    assert command_of(capsys, *words, "plan_only=true", "plan.metric=val/bleu")[0] == 0
    code, _, err = command_of(capsys, "command=true {seed}", "plan_only=true", "plan.metric=val/bleu")
    assert code == 2 and "plan.metric: got val/bleu; allowed: test/accuracy" in err


def test_a_section_of_the_task_is_no_toggle(home, capsys):
    code, _, err = command_of(capsys, "-m", "command=true {seed}", "program.timeout_minutes=1,2")

    assert code == 2 and "program.timeout_minutes: it is not a toggle" in err


def test_another_task_has_no_toggles_of_the_user(home, capsys):
    assert run.main(["-m", "toggles.lr=1,2", "plan_only=true"]) == 2
    assert "task=sentiment has no toggles; task=program has it" in capsys.readouterr().err


@pytest.fixture
def experiments(monkeypatch, tmp_path):
    """Returns a folder in place of experiments/, while no command line has named the task."""
    folder = tmp_path / "experiments"
    folder.mkdir()
    monkeypatch.setattr(run, "EXPERIMENTS", folder)
    monkeypatch.setattr(run.register_experiments, "__defaults__", (folder,))
    monkeypatch.setattr(registry, "_named", set())
    return folder


def test_init_writes_a_study_file_that_plans(home, tmp_path, experiments, capsys):
    code, out, err = command_of(capsys, "--init", "study=mine")
    assert code == 0 and str(experiments / "mine.yaml") in out, err
    before = (experiments / "mine.yaml").read_text(encoding="utf-8")
    (tmp_path / "train.py").write_text("", encoding="utf-8")
    text = before.replace("command: python ", "command: python3 ")
    (experiments / "mine.yaml").write_text(text, encoding="utf-8")

    code, out, err = command_of(capsys, "-m", "+experiments=mine", "plan_only=true")

    assert code == 0 and "4 variants × 5 seeds = 20 trials" in out and "files in the identity: train.py" in out, err
    code, _, err = command_of(capsys, "--init", "study=mine")
    assert code == 2 and "mine.yaml exists and is not replaced" in err
    assert (experiments / "mine.yaml").read_text(encoding="utf-8") == text


def test_init_of_another_task_is_refused(home, experiments, capsys):
    assert run.main(["task=sentiment", "--init"]) == 2
    assert "task=sentiment has no study file to start from" in capsys.readouterr().err


def test_a_study_file_runs_a_command_only_if_the_command_line_names_the_task(home, experiments, capsys):
    text = "study: evil\ndefaults: [override /task: program]\ncommand: touch gone {seed}\n"
    (experiments / "evil.yaml").write_text(text, encoding="utf-8")

    assert run.main(["-m", "+experiments=evil", "plan_only=true"]) == 2

    assert "this study file runs a command, which only the command line can allow" in capsys.readouterr().err


# ---- the end of all processes

TREE = """
child = subprocess.Popen([sys.executable, '-c', '''
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.setsid()
if os.fork(): os._exit(0)
while True: time.sleep(0.05)
''', 'ORPHAN'])
print('up', flush=True)
"""


def alive(mark: str) -> list[int]:
    """Returns the processes whose environment has a mark."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TEST_MARK") == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (psutil.Error, OSError):
            continue
    return found


def until(condition, seconds=20.0):
    """Waits until a condition holds; returns whether it did."""
    deadline = time.monotonic() + seconds
    while not (done := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return done


def test_processes_that_a_program_leaves_behind_are_ended(home, tmp_path, monkeypatch):
    monkeypatch.setenv("TEST_MARK", str(tmp_path))
    settings = settings_of(python(TREE + "time.sleep(0.3)\nreport(**{'test/loss': 1})", tmp_path))

    assert outcome_of(settings)[0] == FINISHED

    assert set(alive(str(tmp_path))) <= {os.getpid()}


@pytest.fixture
def started(home, tmp_path):
    """Starts a study of a program with children that ignore SIGTERM; yields its process and its mark."""
    python(TREE + "time.sleep(100) if not os.path.exists('calm') else report(**{'test/loss': 1})", tmp_path)
    words = ["task=program", f"command={PYTHON} program.py {{seed}}", "program.metrics.loss=lower", "study=tree"]
    environment = {**os.environ, "TEST_MARK": str(tmp_path), "PYTHONPATH": str(REPOSITORY)}
    studies = []

    def start(*more):
        studies.append(
            subprocess.Popen(
                [PYTHON, "-m", "src.run", "-m", *words, "tracking=offline", *more],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - `&` has it ignored
            )
        )
        return studies[-1]

    yield start
    for study in studies:
        study.kill()
        study.communicate()


def programs(tmp_path) -> list[psutil.Process]:
    """Returns the programs that run, without their children, trials and supervisors."""
    found = []
    for pid in alive(str(tmp_path)):
        try:
            process = psutil.Process(pid)
            found += [process] if process.cmdline()[1:2] == ["program.py"] else []
        except psutil.Error:  # it has ended since
            continue
    return found


def is_up(tmp_path) -> bool:
    return bool(list((tmp_path / "home").glob("outputs/tree/*/output.log"))) and any(
        "up" in path.read_text() for path in (tmp_path / "home").glob("outputs/tree/*/output.log")
    )


@pytest.mark.training
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("launcher", [[], ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=0,1"]])
def test_no_process_is_left_when_a_study_ends(started, tmp_path, number, launcher):
    study = started(*launcher)
    assert until(lambda: is_up(tmp_path) and programs(tmp_path), 60)

    study.send_signal(number)

    assert until(lambda: not alive(str(tmp_path)), 40), alive(str(tmp_path))


@pytest.mark.training
def test_no_process_is_left_when_a_launcher_kills_a_worker_with_its_children(started, tmp_path):
    study = started()
    assert until(lambda: is_up(tmp_path) and programs(tmp_path), 60)
    worker = psutil.Process(study.pid)

    worker.suspend()  # so that it cannot react before it is killed, too
    for process in (*worker.children(), worker):  # as Ray does
        process.kill()

    assert until(lambda: not alive(str(tmp_path)), 40), alive(str(tmp_path))


@pytest.mark.training
@pytest.mark.parametrize("victim", ["program", "supervisor"])
def test_a_program_that_is_killed_runs_again_to_one_finished_trial(started, tmp_path, victim):
    study = started()
    assert until(lambda: is_up(tmp_path) and programs(tmp_path), 60)
    (tmp_path / "calm").touch()
    program = programs(tmp_path)[0]

    (program if victim == "program" else program.parent()).kill()

    assert study.wait(60) == 0, study.stdout.read()
    ends = [
        entry.record.detail["status"]
        for folder in journal.folders(tmp_path / "home" / "outputs" / "tree")
        for entry in journal.entries(folder, kinds=("end",))
    ]
    assert ends == [KILLED, FINISHED] and not alive(str(tmp_path))
