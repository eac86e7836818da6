from __future__ import annotations

import os
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

from analysis import findings, load, store, tables
from analysis.tables import Cell, Table

PDFLATEX = shutil.which("pdflatex")


def find(name, uri, **options):
    return findings.find(load.study(name, store.connect(uri)), **options)


def column(table, heading):
    return [row[table.headings.index(heading)].text for row in table.rows]


def test_a_grid_has_one_row_a_variant_with_check_marks_and_the_reference_first(uri):
    table = tables.ablation(find("whole", uri))

    assert table.headings[:4] == ["masking", "cell", "n", "test accuracy"]
    assert column(table, "masking") == ["✓", "✓", "✗", "✗"] and column(table, "cell") == ["lstm", "gru", "lstm", "gru"]
    assert column(table, "verdict") == ["reference", "helps", "hurts", "no difference"]
    assert column(table, "change [95 %]")[0] == "" and column(table, "change [95 %]")[2].startswith("-0.020 [-0.02")
    assert column(table, "ms per batch") == ["50.7", "50.7", "40.7", "40.7"]
    assert column(table, "ratio of ms per batch") == ["1", "1.00", "0.80 [0.80, 0.80]", "0.80 [0.80, 0.80]"]


def test_only_the_best_mean_is_bold(uri):
    table = tables.ablation(find("whole", uri))

    assert table.bold == {(1, 3)}
    assert table.markdown().count("**") == 2


def test_a_mean_of_survivors_is_never_the_best(uri):
    table = tables.ablation(find("troubled", uri))
    gru = column(table, "n").index("7/8")

    assert column(table, "verdict")[gru] == "no verdict: 1 of 8 seeds diverged"
    assert (gru, table.headings.index("test accuracy")) not in table.bold
    assert "ms per batch (rough)" in table.headings


def test_seeds_that_never_reach_the_target_are_counted(uri):
    table = tables.ablation(find("slow_learners", uri))
    never = "never in 8 of 8"
    assert column(table, "steps to 0.80 validation accuracy (median)") == ["80", "80", never, never]
    again = tables.ablation(find("slow_learners", uri, metric="test/accuracy"))
    assert column(again, "steps to 0.80 validation accuracy (median)")[2:] == [never] * 2


def test_designs_that_change_one_thing_name_it(uri):
    table = tables.ablation(find("left_out", uri))
    assert column(table, "variant") == ["reference", "masking=false", "cell=gru"]


def test_effects_have_their_share_of_variance(uri):
    table = tables.factorial(find("whole", uri))
    assert column(table, "effect") == ["masking=false", "cell=gru", "masking=false × cell=gru"]
    shares = [float(text.rstrip("%")) for text in column(table, "share of variance")]
    assert 95 < sum(shares) <= 100.1  # the fixture has almost no noise


def test_a_missing_number_is_a_dash_and_a_seed_more_is_one_seed():
    assert tables._number(float("nan"), 3).text == "–"
    assert tables.verdict({"verdict": "cannot tell", "further_seeds": 1.0}) == "cannot tell; about 1 more seed would"
    assert tables.verdict({"verdict": "cannot tell", "further_seeds": np.float64(1.0)}) == "cannot tell; about 1 more seed would"
    assert tables.verdict({"verdict": "cannot tell", "further_seeds": 15.0}) == "cannot tell; about 15 more seeds would"


ODD = Table(
    ["a_b & c", "change [95 %]"],
    [[Cell("x|y_z #1 {50%} ~ \\end{table}"), Cell("-0.010 [-0.020, +0.001]", -0.01)], [Cell("✓ ✗ – × …"), Cell("–")]],
    frozenset({(0, 1)}),
    "Study a_b: 100 % of $ & #",
)


def test_html_is_escaped_and_sortable():
    text = Table(["<b>"], [[Cell("<script>", 1.5)], [Cell("&")]], frozenset({(1, 0)}), "c & d").html()

    assert "<script>" not in text and "&lt;script&gt;" in text and 'data-value="1.5"' in text and "<b>&amp;</b>" in text


def test_a_bar_in_a_cell_does_not_break_markdown():
    assert ODD.markdown().splitlines()[2] == "| x\\|y_z #1 {50%} ~ \\\\end{table} | **-0.010 [-0.020, +0.001]** |"


@pytest.mark.skipif(PDFLATEX is None and "CI" not in os.environ, reason="no LaTeX on this machine")
def test_latex_compiles_in_a_document(tmp_path, uri):
    found = find("whole", uri)
    parts = [
        ODD.latex("odd"),
        tables.ablation(found).latex("whole"),
        tables.factorial(found).latex("effects"),
        tables.effects(found).latex("all"),
    ]
    document = (
        "\\documentclass{article}\n\\usepackage{booktabs,amssymb,graphicx}\n\\begin{document}\n" + "\n".join(parts) + "\\end{document}\n"
    )
    (tmp_path / "paper.tex").write_text(document, encoding="utf-8")
    done = subprocess.run(
        [PDFLATEX, "-halt-on-error", "-no-shell-escape", "paper.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-1500:]
    assert (tmp_path / "paper.pdf").stat().st_size > 10_000
    assert "\\bfseries" in parts[0] and "$-$0.010 [$-$0.020" in parts[0]


def test_a_frame_of_texts_is_shown_as_it_is():
    assert tables.plain(pd.DataFrame({"study": ["a"], "trials": [3]})) == "| study | trials |\n| --- | --- |\n| a | 3 |\n"


def test_a_column_that_is_left_out_takes_no_bold_along():
    table = Table(["a", "b", "c"], [[Cell("1"), Cell("2"), Cell("3")]], frozenset({(0, 0), (0, 2)}), "").without("a", "nothing")
    assert (table.headings, [cell.text for cell in table.rows[0]], table.bold) == (["b", "c"], ["2", "3"], {(0, 1)})


def test_a_p_value_beside_the_level_says_on_which_side_it_is():
    assert [tables._p(p).text for p in (0.0496, 0.0504, 0.0489, 0.0511, 0.0004)] == ["0.0496", "0.0504", "0.049", "0.051", "< 0.001"]
