"""Merging studies."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest

from analysis import load
from analysis.store import connect
from src import paths, sync
from src.spec.metric import Metric
from src.tracking.journal import FAILED
from src.upkeep import merge
from tests.upkeep.conftest import Trial


@pytest.fixture(autouse=True)
def sync_here(monkeypatch):
    """The merge sends its study with `python -m src.sync` in this process, which saves its imports."""
    monkeypatch.setattr(
        subprocess, "run", lambda command, check: subprocess.CompletedProcess(command, sync.main(command[3:]))
    )


def files(study):
    return {path: path.read_bytes() for path in sorted(paths.study_folder(study).rglob("*.*")) if path.is_file()}


def test_a_merged_study_has_each_trial_once_and_the_others_stay(two, capsys):
    before = files("a") | files("b")

    code, out, _ = two.do(capsys, "merge", "a", "b", "--into", "ab", "--yes")

    assert code == 0 and "4 trials, " in out and "1 trial of several studies count once" in out
    assert sorted(tag["ablation.identity"] for tag in two.runs("ab")) == ["aa00", "aa01", "aa10", "bb20"]
    assert {tag["ablation.study"] for tag in two.runs("ab")} == {"ab"}
    assert {path: path.read_bytes() for path in before} == before
    assert len(two.runs("a")) == 3 and len(two.runs("b")) == 2


def test_where_plans_differ_that_of_the_first_study_judges(two, capsys):
    out = two.do(capsys, "merge", "a", "b", "--into", "ab", "--yes")[1]

    assert "the plan of a judges, because the plans differ in levels and reference" in out
    assert list(load.study("ab", connect(None)).rows["identity"]) == ["aa00", "aa01", "aa10"]
    assert set(load.study("ab", connect(None), every=True).rows["identity"]) == {"aa00", "aa01", "aa10", "bb20"}


def test_seeds_of_rungs_are_not_joined(world, capsys):
    for name, seed in (("a", 0), ("c", 1)):
        world.study(name, Trial(f"{name}a0{seed}", "lstm", seed), Trial(f"{name}a1{seed}", "gru", seed))
    path = paths.study_folder("c") / "plan.json"
    *earlier, record = json.loads(path.read_text())
    path.write_text(json.dumps([*earlier, record | {"selection": [{"key": "epochs", "candidates": []}]}]))

    out = world.do(capsys, "merge", "a", "c", "--into", "ac")[1]

    assert "the plan of a judges, because seeds of looks and rungs cannot be joined" in out


def test_seeds_of_the_same_comparisons_become_one_plan(world, capsys):
    world.study("a", Trial("aa00", "lstm", 0), Trial("aa10", "gru", 0))
    world.study("c", Trial("cc01", "lstm", 1), Trial("cc11", "gru", 1))

    out = world.do(capsys, "merge", "a", "c", "--into", "ac", "--yes")[1]

    assert "one plan with all 2 seeds judges" in out
    rows = load.study("ac", connect(None)).rows
    assert sorted(zip(rows["label"], rows["seed"], strict=True)) == [
        ("cell=gru", 0), ("cell=gru", 1), ("cell=lstm", 0), ("cell=lstm", 1),
    ]  # fmt: skip


def test_equal_labels_of_other_settings_do_not_become_one_plan(world, capsys):
    world.study("a", Trial("aa00", "lstm", 0), Trial("aa10", "gru", 0), fixed={"epochs": 2})
    world.study("c", Trial("cc01", "lstm", 1), Trial("cc11", "gru", 1), fixed={"epochs": 3})

    assert (
        "the plan of a judges, because the plans differ in fixed"
        in world.do(capsys, "merge", "a", "c", "--into", "ac")[1]
    )


PERPLEXITY = (Metric("perplexity", "lower"), Metric("loss", "lower"))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            {"data": "e" * 16, "fixed": {"data.limit": 9}},
            f"the data differ: a has {'d' * 16}; c has {'e' * 16} (data.limit=9)",
        ),
        ({"task": "images"}, "the tasks differ: a has sentiment; c has images"),
        ({"metric": "test/loss"}, "metrics differ: a has test/accuracy, chosen by accuracy (higher); c has test/loss"),
        ({"metrics": PERPLEXITY}, "c has test/perplexity, chosen by perplexity (lower)"),
    ],
)  # fmt: skip
def test_studies_that_cannot_be_compared_are_refused_with_what_differs(two, capsys, other, message):
    two.study("c", Trial("cc00", "lstm", 0), **other)

    code, _, error = two.do(capsys, "merge", "a", "c", "--into", "ac", "--yes")

    assert code == 2 and message in error and not paths.study_folder("ac").exists()


def test_a_finished_trial_counts_before_a_failed_one(world, capsys):
    world.study("a", Trial("aa00", "lstm", 0, status=FAILED), Trial("aa10", "gru", 0))
    world.study("b", Trial("aa00", "lstm", 0), Trial("bb20", "simple_rnn", 0))

    world.do(capsys, "merge", "a", "b", "--into", "ab", "--yes")

    assert set(load.study("ab", connect(None), every=True).rows["status"]) == {"FINISHED"}


@pytest.mark.parametrize(("where", "name", "at"), [(shutil, "copytree", 2), (os, "replace", 1), (sync, "main", 1)])
def test_an_interrupted_merge_is_finished_by_repeating_it(two, capsys, stopped, where, name, at):
    stopped(where, name, at=at)

    assert two.do(capsys, "merge", "a", "b", "--into", "ab", "--yes")[0] == 130
    assert paths.study_folder("ab").exists() == (where is sync)
    assert two.do(capsys, "merge", "a", "b", "--into", "ab", "--yes")[0] == 0

    assert len(two.runs("ab")) == 4
    saved = json.loads((paths.study_folder("ab") / merge.FILE).read_text(encoding="utf-8"))
    assert saved == ["a", "b"]


def test_trials_whose_journals_are_elsewhere_are_not_merged(two, capsys):
    shutil.rmtree(paths.study_folder("b") / "bb20")

    code, _, error = two.do(capsys, "merge", "a", "b", "--into", "ab", "--yes")

    assert code == 2 and "does not have the journals of 1 trial; merge where they are" in error


@pytest.mark.parametrize("words", [["a", "--into", "n"], ["a", "a", "--into", "n"], ["a", "b", "--into", "b"]])
def test_one_study_and_a_name_that_exists_are_refused(two, capsys, words):
    assert two.do(capsys, "merge", *words, "--yes")[0] == 2
