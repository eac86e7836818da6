"""Options of tables for a paper: columns, decimals, a caption, and LaTeX that is legible in two columns."""

from __future__ import annotations

import io
import math
import os
import re
import shutil
import subprocess

import pandas as pd
import pytest
from typer.testing import CliRunner

from analysis import findings, load, store, tables
from analysis.__main__ import app
from benchmarks import generated
from tests.analysis.conftest import GRID, SEEDS, accuracy

PDFLATEX = shutil.which("pdflatex")


def find(name, uri, **options):
    return findings.find(load.study(name, store.connect(uri)), **options)


def invoke(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def asked(uri, tmp_path):
    """Returns the output of `table whole` with the given options."""

    def ask(*words):
        done = invoke("table", "whole", "--uri", uri, "--out", tmp_path, *words)
        assert done.exit_code == 0, done.output
        return done.stdout

    return ask


def test_the_requested_columns_follow_the_variant_in_their_order(asked):
    assert "| variant | verdict | masking | change [95 %] |\n" in asked("--columns", "verdict,masking,change")


@pytest.mark.parametrize("study", ["whole", "left_out", "numbers", "alone"])
@pytest.mark.parametrize("columns", ["n", "n,variant"])
def test_each_row_begins_with_its_variants_label_regardless_of_the_requested_columns(uri, tmp_path, study, columns):
    done = invoke("table", study, "--uri", uri, "--out", tmp_path, "--columns", columns, "--format", "csv")

    found = pd.read_csv(io.StringIO(done.stdout))
    assert found.columns.tolist() == ["variant", "n"]
    assert found["variant"].tolist() == list(dict.fromkeys(find(study, uri).summary["label"]))


def test_values_of_one_toggle_have_a_column_for_the_other_toggles(asked):
    assert "| with | variant | verdict |" in asked("--toggle", "cell", "--columns", "verdict")


def test_variants_are_compared_within_the_values_of_a_toggle_in_a_file_of_its_own(asked, tmp_path):
    shown = asked("--within", "masking", "--columns", "verdict")

    assert "| masking=false | cell=gru | helps |" in shown
    assert (tmp_path / "table_within_masking.md").read_text(encoding="utf-8").startswith("| with | variant | verdict |")


def test_a_question_mark_lists_the_columns(asked, tmp_path):
    names = asked("--columns", "?").splitlines()

    assert {"variant", "verdict", "parameters", "traces"} < set(names)
    assert f"| variant | {names[3]} |" in asked("--columns", names[3])


def test_main_effects_are_named_too(asked):
    assert "| effect | verdict |" in asked("--factorial", "--columns", "verdict")


def test_columns_that_are_hidden_by_default_can_be_requested(asked):
    shown = asked("--columns", "parameters, traces")

    assert "| variant | parameters | traces |\n| --- | --- | --- |\n| masking=true cell=lstm | 1,000 | 2 |" in shown


def test_the_best_mean_stays_bold_if_its_column_moves(asked):
    assert "| **0.859** | gru |" in asked("--columns", "test_accuracy,cell")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            "verdit",
            "--columns: no column 'verdit'; did you mean 'verdict'? "
            "There are variant, masking, cell, n, test_accuracy, change,",
        ),
        ("", "--columns: no column ''; there are variant, masking, cell,"),
        ("cell,cell", "--columns: 'cell' is listed twice; name each column once"),
    ],
)
def test_an_unknown_column_is_an_error_that_lists_the_columns(uri, tmp_path, columns, message):
    done = invoke("table", "whole", "--uri", uri, "--out", tmp_path, "--columns", columns)

    assert done.exit_code == 2 and message in done.stderr
    assert not list(tmp_path.iterdir())


def test_columns_of_main_effects_can_be_chosen_too(asked):
    assert asked("--factorial", "--columns", "effect,verdict").splitlines()[1] == "| effect | verdict |"


@pytest.mark.parametrize(("digits", "mean"), [(1, "0.8"), (5, "0.80888")])
def test_the_metric_has_the_requested_number_of_decimals(asked, digits, mean):
    assert f"| lstm | 8 | {mean} |" in asked("--digits", digits)


def test_a_given_caption_is_used_and_escaped(asked):
    assert r"\caption{100 \% \textbackslash{}input\{x\}}" in asked("--format", "latex", "--caption", r"100 % \input{x}")
    assert "<caption>a &lt;b&gt;</caption>" in asked("--format", "html", "--caption", "a <b>")


def test_a_csv_of_chosen_columns_has_numbers_in_full(asked):
    found = pd.read_csv(io.StringIO(asked("--format", "csv", "--columns", "cell,test_accuracy")))

    assert found.columns.tolist() == ["variant", "cell", "test accuracy"]
    assert found["test accuracy"].iloc[0] == pytest.approx(
        sum(accuracy({"masking": True, "cell": "lstm"}, s) for s in SEEDS) / 8, abs=1e-12
    )


def test_the_requested_table_is_written_as_printed(asked, tmp_path):
    shown = asked("--columns", "cell,verdict", "--format", "latex")

    assert (tmp_path / "table.tex").read_text().split("\\label")[0] == shown.split("\\label")[0]
    assert (tmp_path / "effects.md").read_text().startswith("| comparison | n |")


def test_a_table_for_a_paper_names_the_variant_once_and_its_seeds_in_the_caption(uri):
    table = tables.compact(find("left_out", uri))

    assert table.headings == [
        "variant",
        "test accuracy",
        "change [95 %]",
        "p (Holm)",
        "verdict",
        "ratio of ms per batch",
    ]
    assert table.caption.endswith("; reference: masking=true cell=lstm, 8 seeds")


def test_a_table_for_a_paper_says_its_level_below(uri):
    table = tables.compact(find("whole", uri))

    assert [row[table.headings.index("verdict")].text for row in table.rows] == [
        "reference",
        "helps",
        "hurts",
        "no difference",
    ]
    assert table.notes == ("No difference: within ±0.005, each at 5 %, not adjusted.",)


def test_seeds_that_differ_between_variants_stay_in_a_table_for_a_paper(uri):
    assert "n" in tables.compact(find("troubled", uri)).headings


MEASURED = r"""
\documentclass[twocolumn]{article}
\usepackage{booktabs,amssymb,graphicx}
\renewcommand{\resizebox}[3]{\setbox0\hbox{#3}\typeout{NATURAL \the\wd0 OF \the\linewidth}\box0}
\begin{document}
%s
\end{document}
"""


@pytest.mark.skipif(PDFLATEX is None and "CI" not in os.environ, reason="no LaTeX on this machine")
def test_latex_is_hardly_scaled_down_in_a_paper_of_two_columns(uri, own, tmp_path):
    levels = {
        "padding": ["batch", "dataset"],
        "bucketing": [True, False],
        "cell": ["lstm", "simple_rnn"],
        "vocab_size": [10_000, 1_000],
    }

    def outcome(values, seed):
        rnn = values.get("cell") == "simple_rnn"
        return {"test/accuracy": 0.8 - 0.1 * rnn + 0.01 * (seed % 3), "model/parameters": 673_089.0 - 9_000 * rnn}

    generated.study(own, "long", levels, outcome, design="leave_one_out", seeds=SEEDS)
    papers = [
        tables.compact(find(name, uri))
        for name in ("whole", "left_out", "steps", "troubled", "slow_learners", "one_seed")
    ]
    papers.append(tables.compact(find("long", f"sqlite:///{own}")))
    (tmp_path / "paper.tex").write_text(MEASURED % "\n".join(table.latex("x") for table in papers), encoding="utf-8")
    command = [PDFLATEX, "-halt-on-error", "-no-shell-escape", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    measured = re.findall(r"NATURAL ([\d.]+)pt\s*OF ([\d.]+)pt", done.stdout)

    assert done.returncode == 0, done.stdout[-1500:]
    assert len(measured) == len(papers)
    assert max(float(natural) / float(line) for natural, line in measured) < 1.15
    assert min(float(natural) / float(line) for natural, line in measured) > 0.4


def test_generated_grids_have_their_toggles_in_a_paper(uri):
    assert tables.compact(find("whole", uri)).headings[: len(GRID)] == list(GRID)


def test_signs_that_latex_would_change_are_commands(uri):
    text = tables.compact(find("whole", uri)).latex("x")

    assert "$<$ 0.001" in text and not re.search(r"[^$]< 0", text)
    assert "$\\pm$0.005" in text


def test_convenience_says_what_an_improvement_costs_beside_time(asked):
    shown = asked("--convenience")

    assert "| settings added | combinations ruled out |" in shown.replace("| traces | peak memory (MB) ", "")
    assert "| masking=false cell=gru | 0 of 1 |" in shown and "traces" in shown and "peak memory (MB)" in shown


def test_convenience_is_shown_only_on_request(asked):
    assert "settings added" not in asked()


def test_a_combination_that_was_dropped_or_normalised_is_ruled_out(uri):
    study = load.study("whole", store.connect(uri))
    study.rows.loc[(study.rows["masking"] == False) & (study.rows["cell"] == "gru"), "dropped"] = "cannot run"  # noqa: E712
    shown = tables.with_convenience(tables.ablation(findings.find(study)), findings.find(study))

    assert [row[shown.headings.index("combinations ruled out")].text for row in shown.rows] == [
        "",
        "1 of 2",
        "1 of 2",
        "1 of 1",
    ]


def test_a_table_that_is_wider_than_the_terminal_names_the_columns_that_fit(asked, uri):
    whole = tables.ablation(find("whole", uri))
    named = re.search(r"`--columns (\S+)`", tables.fewer(whole, width=80))

    assert named and named[1] == "change,verdict"
    assert "| variant | change [95 %] | verdict |\n" in asked("--columns", named[1])
    assert tables.fewer(whole, width=1000) == ""


@pytest.fixture
def measured(own):
    """Returns a function that makes a study with further metrics; each variant's is its seeds' mean, 4 + place."""

    def make(also):
        def outcome(values, seed):
            place = GRID["cell"].index(values["cell"])
            further = {"data/mixed": place + seed} if seed < 7 else {"data/mixed": math.nan, "status": "FAILED"}
            return {"test/accuracy": 0.8 + 0.01 * (seed % 3), "time/train_s": 2.0 + place, **further}

        generated.study(own, "s", {"cell": GRID["cell"]}, outcome, seeds=range(1, 8), also=also)
        return f"sqlite:///{own}"

    return make


def entries(table, heading):
    return [row[table.headings.index(heading)].text for row in table.rows]


def test_a_table_shows_the_further_metrics_of_its_plan_beside_the_verdict(measured):
    found = find("s", measured(["data/mixed", "time/train_s"]))

    for table in (tables.ablation(found), tables.compact(found)):
        place = table.headings.index("verdict")
        assert table.headings[place + 1 : place + 3] == ["data/mixed", "s of training"]
        assert entries(table, "data/mixed") == ["3.500", "4.500"]  # of the seeds 1 to 6, which finished
        assert entries(table, "s of training") == ["2.0", "3.0"]


def test_counts_have_no_decimals(own):
    def outcome(values, seed):
        return {"test/accuracy": 0.8, "data/labels": 1_000.0 + 500 * (values["cell"] == "gru"), "data/few": 1.0}

    generated.study(own, "s", {"cell": GRID["cell"]}, outcome, also=["data/labels", "data/few"])
    table = tables.ablation(find("s", f"sqlite:///{own}"))

    assert entries(table, "data/labels") == ["1,000", "1,500"] and entries(table, "data/few") == ["1.000", "1.000"]


def test_requested_further_metrics_replace_those_of_the_plan(measured, tmp_path):
    uri = measured(["time/train_s"])

    done = invoke("table", "s", "--uri", uri, "--out", tmp_path, "--also", "data/mixed, loss", "--format", "csv")

    assert done.exit_code == 2 and "no trial of s has the metric 'loss'" in done.stderr
    done = invoke("table", "s", "--uri", uri, "--out", tmp_path, "--also", "data/mixed")
    assert "| data/mixed |" in done.stdout and "s of training" not in done.stdout
    assert pd.read_csv(tmp_path / "table.csv")["mean data/mixed"].tolist() == [3.5, 4.5]


def test_a_further_metric_that_the_table_has_already_is_shown_once(measured):
    table = tables.ablation(find("s", measured(["accuracy", "time/batch_ms_median", "steps_to"])))

    assert len(set(table.headings)) == len(table.headings) and not table.notes
    assert [heading for heading in table.headings if "steps to" in heading] == [
        "steps to 0.80 validation accuracy (median)"
    ]


def test_a_note_names_a_metric_of_the_plan_that_no_trial_has(measured):
    table = tables.ablation(find("s", measured(["data/mixd"])))

    assert table.notes == ("No trial has the metric data/mixd (plan.also).",) and "data/mixd" not in table.headings


def test_a_report_shows_further_metrics_too(measured, tmp_path):
    uri = measured(["data/mixed"])

    done = invoke("report", "s", "--uri", uri, "--out", tmp_path, "--no-attach", "--also", "time/train_s")

    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert done.exit_code == 0 and "s of training" in page and ">data/mixed<" not in page
