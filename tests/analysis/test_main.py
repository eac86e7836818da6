"""The command line of the analysis."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from analysis.__main__ import app
from benchmarks import generated
from src.paths import REPOSITORY


def invoke(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_a_report_is_written_printed_and_attached_to_the_studys_run(place):
    done = invoke("report", "s")

    assert done.exit_code == 0, done.output
    assert done.output.startswith("study s: trials: 12 finished\n")
    assert (
        "| masking | cell | n | test accuracy |" in done.output and "attached to the study's MLflow run" in done.output
    )
    assert (place / "reports" / "s" / "report.html").is_file()
    assert len(list((place / "mlartifacts" / "s").glob("*/artifacts/report/report.html"))) == 1


def test_a_table_is_printed_in_the_requested_format(place, tmp_path):
    markdown = invoke("table", "s", "--out", tmp_path).output
    latex = invoke("table", "s", "--format", "latex", "--out", tmp_path).output
    csv = invoke("table", "s", "--format", "csv", "--factorial", "--out", tmp_path).output

    assert "Intervals are over seeds, for this test set; margin 0.01." in markdown
    assert latex.startswith("% \\usepackage{booktabs,amssymb,graphicx}\n\\begin{table")
    assert csv.startswith("term,kind,effect,change")
    assert pd.read_csv(tmp_path / "table.csv")["change"].iloc[1] == pytest.approx(0.05, abs=0.01)


def test_figures_are_written_by_name(place, tmp_path):
    done = invoke("figure", "s", "forest", "curves", "--out", tmp_path)

    assert done.exit_code == 0, done.output
    assert {path.name for path in tmp_path.iterdir() if path.suffix == ".svg"} == {"forest.svg", "curves.svg"}


def test_figures_lie_where_the_report_has_them(place):
    invoke("figure", "s", "forest")

    assert [path.parent.name for path in place.glob("reports/s/**/forest.svg")] == ["figures"]


def test_two_variants_are_compared_over_seeds_and_over_examples(place):
    done = invoke("compare", "s", "masking=true cell=lstm", "masking=true cell=gru")

    assert done.exit_code == 0, done.output
    assert "over seeds, on this test set? (paired t test)" in done.output
    assert "exact McNemar test; says nothing about other seeds" in done.output
    assert "at 5 % (not adjusted for the number of seeds), of 3 seeds: neither in any." in done.output


def test_the_reference_may_be_called_so_and_undecided_pairs_are_compared_too(place):
    done = invoke("compare", "s", "reference", "masking=false cell=lstm")

    assert done.exit_code == 0, done.output
    assert "Does masking=false cell=lstm differ from reference over seeds" in done.output


def test_frames_are_exported(place, tmp_path):
    done = invoke("export", "s", "--out", tmp_path)

    assert done.exit_code == 0, done.output
    assert len(pd.read_parquet(tmp_path / "trials.parquet")) == 12 and len(pd.read_csv(tmp_path / "steps.csv")) == 240


def files_of_trials(place, name):
    return sorted(place.glob(f"mlartifacts/s/*/artifacts/{name}"))


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-20]),
        lambda path: path.write_bytes(b"PAR1" + bytes(100) + b"PAR1"),
        lambda path: path.write_bytes(path.read_bytes()[:10] + bytes(2_000) + path.read_bytes()[2_010:]),
        lambda path: pd.DataFrame({"other": [1]}).to_parquet(path),
        lambda path: pd.DataFrame({"step": ["one"], "time/batch_ms": ["fast"]}).to_parquet(path),
        lambda path: pd.DataFrame({"step": [], "time/batch_ms": []}).to_parquet(path),
    ],
)
def test_an_export_says_how_many_trials_have_lost_their_steps(place, tmp_path, damage):
    for path in files_of_trials(place, "steps.parquet")[:2]:
        damage(path)

    done = invoke("export", "s", "--out", tmp_path)

    assert done.exit_code == 0, done.output
    assert len(pd.read_parquet(tmp_path / "steps.parquet")) == 200
    warning = "warning: 2 of 12 finished trials have no per-step record that can be read (steps.parquet)"
    assert f"{warning}; their steps are left out\n" in done.stderr


def test_an_export_says_how_many_trials_have_lost_their_settings(place, tmp_path):
    for path in files_of_trials(place, "steps.parquet")[2:]:
        (path.parent / "settings.json").write_text('{"units": 64}', encoding="utf-8")

    done = invoke("export", "s", "--out", tmp_path)

    warning = "warning: 2 of 12 finished trials have no settings that can be read (settings.json)"
    assert f"{warning}; columns that do not vary are empty" in done.stderr
    assert "per-step" not in done.stderr


def test_a_study_that_was_trained_offline_is_to_be_sent_first(place):
    (place / "outputs" / "off").mkdir(parents=True)
    (place / "outputs" / "off" / "plan.json").write_text("{}", encoding="utf-8")

    done = invoke("table", "off")

    assert "; run `python -m src.sync off` if its trials ran offline, or name its store with --uri\n" in done.stderr
    assert done.exit_code == 2


def test_studies_are_listed(place):
    assert "| s | 12 | 12 | 0 |" in invoke("studies").output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["report", "t"], "no study 't' in "),
        (["table", "ss"], "did you mean 's'? There are s"),
        (["table", "s", "--toggle", "depth"], "'depth' was not varied in s; varied: masking, cell"),
        (["table", "s", "--metric", "foo"], "no trial of s has the metric 'foo'; there are "),
        (["figure", "s", "forst"], "no figure 'forst'; did you mean 'forest'?"),
        (["figure", "s", "waterfall"], "s has no data for waterfall"),
        (["figure", "forest", "s"], "name the study first: analysis figure s forest"),
        (
            ["compare", "s", "masking=true cell=lstm", "cell=gru"],
            "no variant 'cell=gru' in s; there are masking=true cell=lstm,",
        ),
        (["compare", "s", "masking=true cell=lstm", "masking=true cell=lstm"], "cannot be compared with itself"),
        (
            ["compare", "s", "masking=true cell=lstm", "masking=true cell=gru", "--metric", "foo"],
            "no trial of s has the metric 'foo'",
        ),
        (["table", "s", "--uri", "foo"], "--uri: 'foo' is no MLflow store"),
        (["table", "s", "--out", "/dev/null/x"], "Not a directory: /dev/null/x"),
    ],
)
def test_a_wrong_command_line_is_an_error_of_one_line_with_the_fix(place, words, message):
    done = invoke(*words)

    assert done.exit_code in (1, 2)
    assert message in done.stderr and done.stderr.count("\n") == 1 and "Traceback" not in done.output


def test_without_any_study_the_next_command_is_named(home, empty):
    assert "train something first (python -m src.run)" in invoke("studies").stderr
    shutil.copy(empty, home / "mlflow.db")
    assert "no study yet; train one: python -m src.run" in invoke("studies").output


def test_the_analysis_never_imports_tensorflow():
    program = "import sys, pkgutil, importlib, analysis\nfor module in pkgutil.iter_modules(analysis.__path__):\n"
    program += "    importlib.import_module(f'analysis.{module.name}')\n"
    program += "print('tensorflow' in sys.modules, 'mlflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)

    assert done.stdout == "False False\n"


def test_trials_without_their_files_still_have_a_report(home, empty):
    shutil.copy(empty, home / "mlflow.db")
    levels = {"data": ["movie_reviews", "table"], "cell": ["lstm", "gru"]}
    generated.study(
        home / "mlflow.db", "bare", levels, lambda values, seed: {"test/accuracy": 0.8 + 0.01 * seed}, seeds=[0, 1, 2]
    )
    done = invoke("report", "bare")

    assert done.exit_code == 0, done.output
    assert "d" * 16 in (home / "reports" / "bare" / "report.html").read_text(
        encoding="utf-8"
    )  # the data's hash, not the toggle's values


def test_broken_files_of_a_trial_cost_a_figure_but_not_the_report(place):
    for name in ("steps.parquet", "test_probabilities.parquet"):
        for path in place.glob(f"mlartifacts/s/*/artifacts/{name}"):
            path.write_bytes(b"PAR1 and then nothing")
    done = invoke("report", "s", "--no-attach")

    assert done.exit_code == 0, done.output
    assert (
        "no pair of trials has kept what the test said of every example"
        in invoke("compare", "s", "masking=true cell=lstm", "masking=true cell=gru").output
    )


def test_only_what_was_written_is_attached(place):
    (place / "private.txt").write_text("mine")
    done = invoke("report", "s", "--out", place)

    assert done.exit_code == 0, done.output
    attached = {path.name for path in place.glob("mlartifacts/s/*/artifacts/report/**/*") if path.is_file()}
    assert "report.html" in attached and "forest.png" in attached and "private.txt" not in attached


@pytest.mark.parametrize(
    "words", [["report", "s", "--no-attach"], ["table", "s"], ["figure", "s", "forest"], ["export", "s"]]
)
def test_a_full_disk_is_an_error_of_one_line_and_keeps_the_old_files(place, tmp_path, monkeypatch, words):
    out = tmp_path / "out"
    (out / "figures").mkdir(parents=True)
    old = ["report.html", "table.csv", "forest.png", "trials.csv", "figures/forest.png"]
    for name in old:
        (out / name).write_text("old")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)  # the last step: everything else has been written by then
    done = invoke(*words, "--out", out)

    assert done.exit_code == 1
    *_, last = done.stderr.splitlines()  # an export also says what trials have lost
    assert last == f"error: No space left on device; what was in the folder is as it was: {out}"
    assert [(out / name).read_text() for name in old] == ["old"] * len(old)
    assert {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} == set(old)


@pytest.mark.parametrize("trouble", ["RUNNING", "FAILED", "KILLED"])
def test_the_report_of_an_unfinished_study_names_what_is_missing(home, empty, trouble):
    shutil.copy(empty, home / "mlflow.db")

    def outcome(values, seed):
        return {"test/accuracy": 0.8, **({"status": trouble} if seed == 1 and values["cell"] == "gru" else {})}

    generated.study(home / "mlflow.db", "open", {"cell": ["lstm", "gru"]}, outcome, seeds=[0, 1, 2], steps=3)
    done = invoke("report", "open", "--no-attach")
    text = (home / "reports" / "open" / "report.html").read_text(encoding="utf-8")

    assert done.exit_code == 0, done.output
    assert ("Still running" in text) == (trouble == "RUNNING") and not re.search(r"\bnan\b", text)
    assert "no verdict: 1 of 3 seeds did not finish" in text


def test_a_closed_pipe_is_no_error(place):
    command = f"{sys.executable} -m analysis table s | true"
    buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    words = ["bash", "-o", "pipefail", "-c", command]

    done = subprocess.run(words, cwd=REPOSITORY, env=buffered, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
