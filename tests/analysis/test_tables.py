from __future__ import annotations

import io
import math
import os
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt

from analysis import answer, examples, findings, load, store, table, tables, texts
from analysis.table import Table
from analysis.texts import Entry
from benchmarks import generated
from src.inference.sequential import Rule
from src.inference.student import Interval
from src.paths import REPOSITORY
from src.spec.metric import IMPLIED, Metric
from src.terminal.visible import visible
from tests.analysis.conftest import ACCURACY, usual

PDFLATEX = shutil.which("pdflatex")


def find(name, uri, **options):
    return findings.find(load.study(name, store.connect(uri)), **options)


def column(table, heading):
    return [row[table.headings.index(heading)].text for row in table.rows]


def test_a_grid_has_one_row_a_variant_with_check_marks_and_the_reference_first(uri):
    table = tables.ablation(find("whole", uri))

    assert table.headings[:4] == ["masking", "cell", "n", "test accuracy"]
    assert column(table, "masking") == ["✓", "✓", "✗", "✗"] and column(table, "cell") == ["lstm", "gru", "lstm", "gru"]
    assert column(table, "verdict") == ["reference", "helps", "hurts", "no difference (each at 5 %, not adjusted)"]
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
    assert set(column(table, "seeds")) == {str(find("whole", uri).study.rows["seed"].nunique())}
    shares = [float(text.rstrip("%")) for text in column(table, "share of variance (ω²)")]
    assert 95 < sum(shares) <= 100.1  # the fixture has almost no noise


@pytest.mark.parametrize("of", [tables.factorial, tables.ablation, tables.effects])
def test_every_table_says_at_which_level_it_finds_no_difference(own, of):
    def outcome(values, seed):
        return {"test/accuracy": 0.8 + 0.001 * ((3 * seed + 5 * (values["cell"] == "gru") + 2 * values["masking"]) % 7)}

    generated.study(own, "s", {"masking": [True, False], "cell": ["lstm", "gru"]}, outcome, seeds=range(8), margin=0.02)
    verdicts = column(of(find("s", f"sqlite:///{own}")), "verdict")

    assert set(verdicts) - {"reference"} == {"no difference (each at 5 %, not adjusted)"}


def test_a_missing_number_is_a_dash():
    assert texts.number(float("nan"), 3).text == "–"


@pytest.mark.parametrize(
    ("few", "many", "text"),
    [
        (np.float64(12.0), 40.0, "cannot tell; a study of 12 to 40 seeds may"),
        (12.0, math.nan, "cannot tell; a study of 12 seeds or more may"),
        (math.nan, math.nan, "cannot tell"),
    ],
)
def test_undecided_rows_name_a_range_of_seeds_that_may_decide(few, many, text):
    assert texts.verdict({"verdict": "cannot tell", "seeds_needed": few, "seeds_needed_high": many}) == text


ODD = Table(
    ["a_b & c", "change [95 %]"],
    [
        [Entry("x|y_z #1 {50%} ~ \\end{table}"), Entry("-0.010 [-0.020, +0.001]", -0.01)],
        [Entry("✓ ✗ – × …"), Entry("–")],
    ],
    frozenset({(0, 1)}),
    "Study a_b: 100 % of $ & #",
)


def test_html_is_escaped_and_sortable():
    text = Table(["<b>"], [[Entry("<script>", 1.5)], [Entry("&")]], frozenset({(1, 0)}), "c & d").html()

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
        "\\documentclass{article}\n\\usepackage{booktabs,amssymb,graphicx}\n\\begin{document}\n"
        + "\n".join(parts)
        + "\\end{document}\n"
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


def everything(values, seed):
    """Outcomes that differ in every column of a table; one trial diverged, and some never reach the target."""
    if values["cell"] == "gru" and seed == 7:
        return {"test/accuracy": math.nan, "status": "FAILED", "tags": {"health": "diverged"}}
    many = values["cell"] == "gru"
    return {
        "test/accuracy": 0.8 + 0.01 * (seed % 3) + 0.002 * (seed % 4) * many,
        "time/batch_ms_median": 50.0 + seed + 9 * many, "time/epoch_s": 9.0 + 5 * many,
        "time/steady_epoch_s": 4.0 + many, "time/trace_s": 3.0 + 20 * many, "data/traces": 2.0 + 9 * many,
        "memory/peak_mb": 900.0 + 400 * many, "model/parameters": 1_000.0 + 400 * many,
        "data/padding_fraction": 0.1 + 0.2 * many,
        "validation": [0.7, 0.75 + 0.1 * (seed % 2), 0.78],
    }  # fmt: skip


def test_every_possible_column_appears_if_it_is_informative(own):
    generated.study(own, "s", {"cell": ["lstm", "gru"]}, everything, seeds=range(8), design="one_at_a_time")
    table, every = (of(find("s", f"sqlite:///{own}")) for of in (tables.ablation, tables.effects))

    assert table.headings == [
        "variant", "cell", "n", "diverged", "test accuracy", "change [95 %]", "p (Holm)", "p (sign flip)",
        "correlation", "verdict", "ms per batch", "ratio of s per epoch", "s per epoch", "s per steady epoch",
        "peak memory (MB)", "parameters", "padded steps", "traces", "s of steps that traced",
        "steps to 0.80 validation accuracy (median)",
    ]  # fmt: skip
    assert column(table, "traces") == ["2", "11"] and column(table, "s of steps that traced") == ["3.0", "23.0"]
    assert column(table, "s per epoch") == ["9.00", "14.00"] and column(table, "s per steady epoch") == ["4.00", "5.00"]
    assert every.headings == [
        "comparison", "n", "unfinished", "diverged", "change [95 %]", "p", "p (Holm)", "p (sign flip)", "correlation",
        "change / sd of the differences", "verdict",
    ]  # fmt: skip


def test_metrics_of_the_test_alone_have_a_column_if_variants_differ_and_else_stand_below_the_table(own):
    metrics = (
        *IMPLIED,
        Metric("floor", "lower", digits=1, title="floor of it", test_only=True),
        Metric("mixture", "lower", digits=2, test_only=True),
    )

    def outcome(values, seed):
        mixture = 5.0 + seed % 2 + (values["cell"] == "gru")
        return {**usual(values, seed), "test/floor": 7.04, "test/mixture": mixture}

    generated.study(own, "s", {"cell": ["lstm", "gru"]}, outcome, seeds=range(8), metrics=metrics)
    generated.study(own, "one", {"cell": ["lstm"]}, outcome, seeds=range(8), metrics=metrics)
    table, alone = (tables.ablation(find(name, f"sqlite:///{own}")) for name in ("s", "one"))

    assert column(table, "test mixture") == ["5.50", "6.50"] and "test floor of it" not in table.headings
    assert table.notes[-1] == "Also measured in the test: floor of it 7.0."
    assert "test mixture" not in alone.headings
    assert alone.notes[-1] == "Also measured in the test: floor of it 7.0, mixture 5.50."


def test_the_documents_explain_every_column_that_a_table_can_have_and_no_other(own, uri, monkeypatch):
    """All possible columns of a table, shown or not."""
    made = []

    def keeping(columns, *_, **__):
        made.extend(columns)
        return Table([*columns], [], frozenset(), "")

    generated.study(own, "s", {"cell": ["lstm", "gru"], "masking": [True, False]}, everything, seeds=range(8))
    found, of_cell = (find("s", f"sqlite:///{own}", toggle=toggle) for toggle in (None, "cell"))
    over = examples.variants(
        find("whole", uri).study, "masking=true cell=lstm", "masking=true cell=gru", metric=ACCURACY
    )[1]
    monkeypatch.setattr(tables, "of_columns", keeping)
    for one in (found, of_cell):
        tables.ablation(one, every=True)
    tables.factorial(found), tables.effects(found)
    with_looks = replace(
        found,
        study=replace(found.study, rule=Rule("spending", 8, (4, 8))),
        summary=found.summary.assign(decided_at=math.nan, look=math.nan),
    )
    tables.ablation(with_looks)
    of_both = {"cell=gru": Interval(0.0, -1.0, 1.0)}
    tables.over_examples({"cell=gru": over}, of_both, first=found.study.metrics[0])
    page = (
        (REPOSITORY / "docs" / "results.md").read_text(encoding="utf-8").split("## Tables")[1].split("## Verdicts")[0]
    )
    named = {name for cell in re.findall(r"^\| (.+?) \| ", page, flags=re.MULTILINE) for name in cell.split(", ")} - {
        "column",
        "---",
    }

    shown = {re.sub(r" \((rough|median)\)", "", heading) for heading in made}
    shown = {re.sub(r"^(ratio of|steps to|change in) .*", r"\1 …", heading) for heading in shown} - {"masking", "cell"}
    assert shown - named == set()
    of_users = {"toggles", "such as cell", "or the requested metric", "the further metrics of `--also`"}
    assert named - shown == of_users


def test_variants_that_trace_more_often_than_usual_are_compared_by_all_that_an_epoch_took(own):
    def outcome(values, seed):
        is_new = values["retracing"] == "per_shape"
        times = {"time/epoch_s": 19.0 if is_new else 2.0, "time/steady_epoch_s": 1.3 if is_new else 1.6}
        return {"test/accuracy": 0.8, "data/traces": 30.0 if is_new else 2.0, **times}

    generated.study(own, "s", {"retracing": ["signature", "per_shape"]}, outcome, metric="time/epoch_s")
    table = tables.ablation(find("s", f"sqlite:///{own}"))

    assert column(table, "ratio of s per epoch") == ["1", "9.50"]
    assert (0, table.headings.index("s per epoch")) in table.bold and column(table, "s per steady epoch") == [
        "1.60",
        "1.30",
    ]


def test_outlying_seeds_and_the_bound_on_failures_stand_beside_the_comparison(own):
    def outcome(values, seed):
        has_failed = values["cell"] == "gru" and seed == 4
        return {
            "test/accuracy": 0.5
            if has_failed
            else 0.8 + 0.003 * ((seed * 3) % 5) + 0.002 * ((seed * len(values["cell"])) % 3)
        }

    generated.study(own, "s", {"cell": ["lstm", "gru", "simple_rnn"]}, outcome, seeds=range(8))
    found = find("s", f"sqlite:///{own}")
    table = tables.effects(found)

    assert column(table, "outlier") == ["seed 4", ""]
    assert column(table, "failure rate (upper bound)") == ["up to 31%", "up to 31%"]
    assert any("seed 4 is an outlier (Grubbs' test at 5 %)" in text for text in answer.sentences(found))


def test_the_better_of_two_models_is_counted_over_seeds():
    none = {"seeds_needed": math.nan, "seeds_needed_high": math.nan}
    over_seeds = pd.Series(
        {"pairs": 8, "n": 8, "change": 0.0, "low": -0.1, "high": 0.1, "p": 0.9, "verdict": "cannot tell", **none}
    )
    ours, theirs = [90, 10, 80, 20, 90, 10, 80, 20], [10, 90, 20, 80, 10, 90, 20, 80]
    examples = pd.DataFrame(
        {
            "seed": range(8),
            "value": 0.8,
            "other_value": 0.8,
            "only_ours": ours,
            "only_theirs": theirs,
            "p": 0.001,
            "are_counted": True,
        }
    )
    examples["ahead"] = np.sign(examples["only_ours"] - examples["only_theirs"])
    text = tables.comparison(over_seeds, examples, ("a", "b"), metric=ACCURACY, first=IMPLIED[0])
    table = tables.over_examples({"b": examples.assign(examples=1_000)})

    assert "of 8 seeds: b in 4, a in 4." in text
    assert [cell.text for cell in table.rows[0]][-2:] == ["4", "4"]


def test_a_frame_of_texts_is_shown_unchanged():
    assert (
        table.of_frame(pd.DataFrame({"study": ["a"], "trials": [3]})).markdown()
        == "| study | trials |\n| --- | --- |\n| a | 3 |\n"
    )


def test_a_column_that_is_left_out_takes_no_bold_along():
    table = Table(["a", "b", "c"], [[Entry("1"), Entry("2"), Entry("3")]], frozenset({(0, 0), (0, 2)}), "").without(
        "a", "nothing"
    )
    assert (table.headings, [cell.text for cell in table.rows[0]], table.bold) == (["b", "c"], ["2", "3"], {(0, 1)})


def test_a_p_value_near_the_level_shows_on_which_side_it_is():
    assert [texts.p_value(p).text for p in (0.0496, 0.0504, 0.0489, 0.0511, 0.0004)] == [
        "0.0496",
        "0.0504",
        "0.049",
        "0.051",
        "< 0.001",
    ]


LINKS = [
    "[x](http://a.b)", "![x](http://a.b/c.png)", "http://a.b", "HTTPS://a.b", "www.a.b", "mailto:a@b.c", "a@b.cd", "<http://a.b>",
    "<img src=x>",
    "<!-- x -->", "[a][b]", "&lt;b&gt;", "~~x~~", "`x`", "**x**", "_x_", "a|b", "\\",
    "ftp://a.b", "<?x?>", "x\x1b[31m", "a\nb", "\u202ex",
]  # fmt: skip


def parsed(text):
    """The text of the table's cells as a browser shows it, and the kinds of their tokens."""
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    tokens = [token for token in parser.parse(text) if token.type == "inline"]
    kinds = {child.type for token in tokens for child in token.children}
    return ["".join(child.content for child in token.children) for token in tokens], kinds


@pytest.mark.parametrize("written", LINKS)
def test_nothing_in_a_cell_is_markup(written):
    (heading, cell), kinds = parsed(Table([written], [[Entry(written)]], frozenset(), "").markdown())

    assert heading == cell == visible(written.replace("\n", " ")) and kinds <= {"text", "text_special"}


@pytest.mark.parametrize("address", ["http://a.b", "https://a.b", "ftp://a.b", "www.a.b", "WWW.a.b", "mailto:a"])
def test_a_bare_address_is_broken_for_github(address):
    assert not re.search(
        r"(?<!\\)://|www\.|mailto:", Table(["x"], [[Entry(address)]], frozenset(), "").markdown(), re.IGNORECASE
    )


@pytest.mark.parametrize(
    "written", ["=1+1", "+ cell=gru", "-x", "@SUM(A1)", "\t=1", "\r=1", "＝1", '=cmd|"/c x"!A1', "-1+2"]
)
def test_no_text_in_a_csv_is_a_formula(written):
    frame = pd.DataFrame({written: [written, "plain"], "value": [-0.5, 1.0]})

    found = pd.read_csv(io.StringIO(texts.csv(frame), newline=""), lineterminator="\n")

    assert found.columns[0] == f"'{written}" and found.iloc[0, 0] == f"'{written}" and found.iloc[1, 0] == "plain"
    assert found["value"].tolist() == [-0.5, 1.0]


def test_numbers_in_a_csv_stay_numbers():
    frame = pd.DataFrame(
        {
            "mixed": [-1, "-1", "+2.5", "-1e-3", None, True],
            "number": [-1.5] * 6,
            "time": pd.to_datetime(["2026-01-01"] * 6),
        }
    )

    assert texts.csv(frame) == frame.to_csv(index=False)


def test_captions_and_labels_are_text_to_latex():
    table = Table([r"\input{x}"], [[Entry("\\write18 \x1b^~")]], frozenset(), r"\input{/etc/passwd} ^ ~ \x1b")

    found = table.latex("a}b{c\\")

    assert r"\textbackslash{}input\{/etc/passwd\} \textasciicircum{} \textasciitilde{}" in found
    assert r"\label{tab:a-b-c-}" in found and r"\input" not in found and r"\write" not in found and "\x1b" not in found


def test_html_has_no_control_characters_and_no_broken_attributes():
    found = Table(["\x1b"], [[Entry("\x1b\u202e", 1.0), Entry("<b>", '"><script>')]], frozenset(), "\x00").html()

    assert "<script>" not in found and not set(found) & set("\x00\x1b\u202e")
