"""`analysis.train` and `analysis.predict`: what they pass to the commands, and what they return."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import analysis
from analysis import commands
from src.paths import REPOSITORY
from src.spec.section import SettingsError
from tests.conftest import tiny_trial

PROGRAM = "python -c \"import json, sys; print(json.dumps(dict(zip(['test/score'], [float(sys.argv[1])]))))\" {lr}"


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("cell", ["lstm", "gru"], "cell=lstm,gru"),
        ("seed", range(3), "seed=0,1,2"),
        ("seed", np.arange(2), "seed=0,1"),
        ("dropout", (0.1, np.float64(0.5)), "dropout=0.1,0.5"),
        ("masking", [True, False], "masking=true,false"),
        ("max_length", None, "max_length=null"),
        ("data.path", "my reviews, new.csv", "data.path='my reviews, new.csv'"),
        ("data.path", ["a b", "it's"], r"data.path='a b','it\'s'"),
        ("plan.looks", [4, 8], "plan.looks=[4,8]"),
        ("toggles.lr", [0.1, 1], "toggles.lr=0.1,1"),
    ],
)
def test_values_are_written_in_the_grammar_of_the_command_line(key, value, word):
    assert commands._word(key, value) == word


@pytest.mark.parametrize(("value", "message"), [([], "seed: got no value"), ({"a": 1}, "write each with its dot")])
def test_values_that_no_command_line_has_are_refused(value, message):
    with pytest.raises(SettingsError, match=message):
        commands._word("seed", value)


def test_a_wrong_value_is_the_error_of_the_command(home):
    with pytest.raises(SettingsError, match=r"^cell: got 'foo'; allowed: one of simple_rnn, gru, lstm"):
        analysis.train({"cell": "foo"}, study="wrong")
    with pytest.raises(SettingsError, match="no text to classify"):
        analysis.predict("run", [])
    with pytest.raises(SettingsError, match="nowhere"):
        analysis.predict("nowhere", ["a text"])


@pytest.mark.training
def test_a_study_is_trained_returned_and_its_trial_classifies(home, table, capsys):
    words = dict(word.split("=", 1) for word in tiny_trial(table))
    tiny = {key: words[key] if key.startswith("data") else json.loads(words[key]) for key in words}
    study = analysis.train({**tiny, "cell": ["lstm", "gru"], "seed": [0], "epochs": 1}, study="mine")

    assert "mine" in capsys.readouterr().out
    assert sorted(study.trials["label"]) == ["cell=gru", "cell=lstm"] and set(study.trials["status"]) == {"FINISHED"}
    assert "test accuracy" in study.table().markdown()

    folder = next((home / "outputs" / "mine").glob("*/model.keras"))
    found = analysis.predict(str(folder.parent), ["good film", "!!!", "two\nlines"])

    assert list(found["text"]) == ["good film", "!!!", "two lines"] and found["class"].notna().tolist() == [
        True,
        False,
        True,
    ]
    assert found["error"][1] and np.allclose(found.iloc[0, 3:].astype(float).sum(), 1.0)


@pytest.mark.training
def test_an_interrupt_stops_the_study_and_keeps_its_records(home):
    command = "python -c 'import time; time.sleep(600)' {lr} {seed}"
    settings = {
        "task": "program",
        "command": command,
        "toggles.lr": [1, 2],
        "program.metrics.score.direction": "higher",
    }
    code = f"import analysis; analysis.train({settings!r}, study='slow')"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509 - `&` has it ignored
    ) as process:
        journals = home / "outputs" / "slow"
        while process.poll() is None and not list(journals.glob("*/journal.jsonl")):
            time.sleep(0.2)
        time.sleep(1)
        os.kill(process.pid, signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=120)
        finally:
            process.kill()

    assert "KeyboardInterrupt" in errors
    (journal,) = journals.glob("*/journal.jsonl")
    assert "stopped by Ctrl-C" in journal.read_text(encoding="utf-8")
