"""Variants ranked over studies."""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

from analysis import leaderboard
from analysis.__main__ import app
from analysis.store import StoreError, connect
from benchmarks import generated
from src.spec.metric import Metric

TEST = {"lstm": [0.80, 0.82, 0.81], "gru": [0.90, 0.70, 0.74], "simple_rnn": [0.60, 0.61, 0.66]}
VALIDATION = {"lstm": 0.85, "gru": 0.75, "simple_rnn": 0.65}


def outcome(values, seed, *, data="d" * 16):
    cell = values["cell"]
    tags = {"identity": f"{cell}-{seed}-{data}", "data": data}
    return {
        "test/accuracy": TEST[cell][seed],
        "validation": [0.1, VALIDATION[cell], 0.5],
        "time/train_s": 2.0 + seed,
        "tags": tags,
    }


@pytest.fixture
def store(home, blank):
    """Studies of the same data that have a trial in common, and one of other data."""
    generated.study(blank, "one", {"cell": ["lstm", "gru"]}, outcome)
    generated.study(blank, "two", {"cell": ["simple_rnn", "gru"]}, outcome, seeds=[0, 1])
    generated.study(
        blank, "other", {"cell": ["lstm"]}, lambda values, seed: outcome(values, seed, data="e" * 16), seeds=[0]
    )
    return connect(None)


def test_variants_of_all_studies_are_ranked_by_validation_with_intervals_over_seeds(store):
    board = leaderboard.of_store(store)[0][0]

    assert list(board.frame["variant"]) == ["cell=lstm", "cell=gru", "cell=simple_rnn"] or list(
        board.frame["variant"]
    ) == ["defaults", "cell=gru", "cell=simple_rnn"]
    assert list(board.frame["n"]) == [3, 3, 2] and list(board.frame["studies"]) == ["one", "one, two", "two"]
    for row, cell in zip(board.frame.to_dict("records"), ["lstm", "gru", "simple_rnn"], strict=True):
        values = np.array(TEST[cell][: row["n"]])
        half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
        np.testing.assert_allclose([row["mean"], row["low"], row["high"]], values.mean() + np.array([0, -half, half]))
        assert row["ranked_by"] == VALIDATION[cell]


def test_a_trial_of_several_studies_counts_once(store):
    board = leaderboard.of_store(store)[0][0]

    assert board.once == 2 and board.frame.loc[board.frame["variant"] == "cell=gru", "n"].item() == 3
    assert "2 trials of several studies count once." in board.table(5).markdown()


def test_other_data_are_ranked_apart(store):
    boards, _ = leaderboard.of_store(store)

    assert [(board.data[0], len(board.frame)) for board in boards] == [("d", 3), ("e", 1)]


def test_by_the_test_the_order_is_that_of_the_test_and_the_note_says_what_it_costs(store):
    board = leaderboard.of_store(store, by="test")[0][0]

    assert list(board.frame["mean"]) == sorted(board.frame["mean"], reverse=True)
    assert "winner's curse" in board.table(5).markdown() and "did not decide the order" not in board.table(5).markdown()


def test_of_a_metric_that_is_better_lower_the_lowest_is_first(home, blank):
    metrics = (Metric("ppl", "lower"), Metric("loss", "lower"))
    values = {"lstm": 90.0, "gru": 70.0}
    generated.study(
        blank, "lm", {"cell": ["lstm", "gru"]}, metrics=metrics,
        outcome=lambda each, seed: {"test/ppl": values[each["cell"]] + seed, "validation": [values[each["cell"]]]},
    )  # fmt: skip

    board = leaderboard.of_store(connect(None))[0][0]

    assert list(board.frame["ranked_by"]) == [70.0, 90.0] and board.metric.name == "test/ppl"


def test_studies_that_choose_by_other_metrics_are_ranked_apart(home, blank):
    for name, first in (("by_accuracy", "accuracy"), ("by_loss", "loss")):
        metrics = (Metric(first, "higher" if first == "accuracy" else "lower"), Metric("extra", "lower"))
        generated.study(
            blank, name, {"cell": ["lstm", "gru"]}, metrics=metrics,
            outcome=lambda each, seed: {"test/accuracy": 0.5, "test/loss": 0.7, "test/extra": 1.0, "validation": [0.6]},
        )  # fmt: skip

    boards, notes = leaderboard.of_store(connect(None))
    assert [(board.metric.name, set(board.frame["studies"])) for board in boards] == [
        ("test/accuracy", {"by_accuracy"}),
        ("test/loss", {"by_loss"}),
    ]
    assert notes == []
    assert len(leaderboard.of_store(connect(None), metric="extra")[0]) == 2  # best accuracies and losses have no order


def test_a_metric_with_two_directions_is_left_out_and_alone_refused(home, blank):
    for name, direction in (("up", "higher"), ("down", "lower")):
        generated.study(
            blank, name, {"cell": ["lstm", "gru"]}, lambda values, seed: {"test/score": 1.0, "validation": [1.0]},
            metrics=(Metric("score", direction),),
        )  # fmt: skip

    disagree = r"on what is better: down has test/score \(lower\), up has test/score \(higher\); name another metric"
    with pytest.raises(StoreError, match=disagree):
        leaderboard.of_store(connect(None))

    generated.study(blank, "one", {"cell": ["lstm", "gru"]}, outcome)
    boards, notes = leaderboard.of_store(connect(None))
    assert [board.metric.name for board in boards] == ["test/accuracy"] and re.search(disagree, notes[0])


def test_failed_seeds_are_counted_and_a_variant_without_a_finished_one_has_no_rank(home, blank):
    def failing(values, seed):
        is_failed = values["cell"] == "gru" or seed == 2
        return {**outcome(values, seed), **({"status": "FAILED"} if is_failed else {})}

    generated.study(blank, "s", {"cell": ["lstm", "gru"]}, failing)

    board = leaderboard.of_store(connect(None))[0][0]

    assert list(board.frame["failed"]) == [1] and list(board.frame["n"]) == [2] and board.unfinished == 1
    assert "1 variant without a finished seed: no rank." in board.table(5).markdown()


def test_the_command_prints_every_format(store, tmp_path):
    runs = {name: CliRunner().invoke(app, ["leaderboard", "--format", name]) for name in ("markdown", "html", "csv")}

    assert all(run.exit_code == 0 for run in runs.values())
    (tmp_path / "l.csv").write_text(runs["csv"].stdout, encoding="utf-8")
    assert list(pd.read_csv(tmp_path / "l.csv")["data"].str[0]) == ["d", "d", "d", "e"]
    assert "| rank | variant | n |" in runs["markdown"].stdout and runs["html"].stdout.count("<table>") == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--task", "image"], "--task: no finished trial of task=image"), (["--metric", "acc"], "no trial has 'acc'")],
)
def test_an_unknown_task_or_metric_is_an_error_with_what_there_is(store, words, message):
    done = CliRunner().invoke(app, ["leaderboard", *words])

    assert done.exit_code == 2 and message in done.stderr
